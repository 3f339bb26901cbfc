"""What arrives in the incoming folder: when it is taken, what becomes of it, and where the bad ones go."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec
import pytest
import tomli_w

from scmagnify_assets.datasets import registry
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.service.runner import open_instance
from scmagnify_assets.steps import failures
from scmagnify_assets.steps.failures import DATASET_TAG
from scmagnify_assets.triggers import arrivals as module
from scmagnify_assets.triggers.arrivals import IncomingFolder, arrivals, receive_data_set
from scmagnify_core.errors import StorageError
from scmagnify_core.specification import parse_spec


class Clock:
    """Time as the sensor sees it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


class Watch:
    """The sensor, tick by tick, and the runs that it asks for."""

    def __init__(self, home: Home, instance: dg.DagsterInstance, clock: Clock) -> None:
        self.home, self.instance, self.clock = home, instance, clock
        self.lake = Lakehouse(home.lake)
        self.cursor: str | None = None

    def tick(self, after: float = 6.0) -> list[str]:
        """Names for which a run is asked for, ``after`` seconds."""
        self.clock.now += after
        result: Any = arrivals(dg.build_sensor_context(instance=self.instance, cursor=self.cursor))
        self.cursor = result.cursor
        if not result.run_requests:
            self.reason = result.skip_reason.skip_message
        return [one.run_config["ops"]["receive"]["config"]["name"] for one in result.run_requests or []]

    def receive(self, name: str) -> dg.ExecuteInProcessResult:
        return receive_data_set.execute_in_process(
            run_config={
                "ops": {"receive": {"config": {"name": name}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            instance=self.instance,
            raise_on_error=False,
        )

    def versions(self, name: str) -> list[str]:
        """Data versions that Dagster was told of, newest first."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("raw_dataset"), asset_partitions=[name]), limit=9
        ).records
        return [record.asset_materialization.tags[registry.DATA_VERSION] for record in records]

    @property
    def partitions(self) -> list[str]:
        return sorted(self.instance.get_dynamic_partitions("dataset"))


@pytest.fixture
def watch(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    with open_instance(home) as instance:
        yield Watch(home, instance, clock)


@pytest.fixture
def settings(raw_settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a TOML that lies beside its data."""
    return {key: value for key, value in raw_settings.items() if key not in ("name", "file")}


def drop(watch: Watch, data: str, name: str, settings: dict[str, Any] | None) -> None:
    suffix = Path(data).suffix
    shutil.copyfile(data, watch.home.incoming / f"{name}{suffix}")
    if settings is not None:
        (watch.home.incoming / f"{name}.toml").write_text(tomli_w.dumps(settings))


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return str(event.step_failure_data.user_failure_data.description)


# ---------------------------------------------------------------- when an arrival is taken


def test_arrivals_takes_a_file_that_was_at_rest_between_two_looks_and_takes_it_once(watch: Watch) -> None:
    (watch.home.incoming / "blood.h5ad").write_bytes(b"1")
    assert watch.tick() == []
    assert watch.reason == "Waiting until at rest: blood."
    assert watch.tick() == ["blood"]
    assert watch.tick() == watch.tick(after=86_400) == []


def test_arrivals_waits_while_a_file_grows_but_not_for_its_neighbour(watch: Watch) -> None:
    incoming = watch.home.incoming
    (incoming / "done.h5ad").write_bytes(b"1")
    (incoming / "growing.h5ad").write_bytes(b"1")
    watch.tick()
    (incoming / "growing.h5ad").write_bytes(b"12")
    assert watch.tick() == ["done"]
    (incoming / "growing.h5ad").write_bytes(b"123")
    assert watch.tick() == []
    assert watch.tick() == ["growing"]


def test_arrivals_takes_a_marked_file_at_the_first_look(watch: Watch) -> None:
    (watch.home.incoming / "blood.h5mu").write_bytes(b"1")
    (watch.home.incoming / "blood.done").touch()
    (watch.home.incoming / "lonely.done").touch()
    assert watch.tick() == ["blood"]


def test_a_marker_of_a_former_delivery_says_nothing_of_the_next(watch: Watch) -> None:
    data, marker = watch.home.incoming / "blood.h5mu", watch.home.incoming / "blood.done"
    data.write_bytes(b"1")
    marker.touch()
    assert watch.tick() == ["blood"]
    data.write_bytes(b"12")
    assert watch.tick() == []
    data.write_bytes(b"123")
    assert watch.tick() == []
    marker.write_text("again")
    assert watch.tick() == ["blood"]


@pytest.mark.parametrize("toml", ["prior = [1]", 'file = "a\\u0000b"', "x = " + "[" * 3000])
def test_an_odd_toml_holds_up_nobody(watch: Watch, toml: str) -> None:
    (watch.home.incoming / "odd.toml").write_text(toml)
    (watch.home.incoming / "blood.h5ad").write_bytes(b"1")
    watch.tick()
    assert "blood" in watch.tick()
    assert watch.tick() == []


def test_a_name_that_cannot_be_written_down_holds_up_nobody(watch: Watch) -> None:
    import os

    (watch.home.incoming / "blood.h5ad").write_bytes(b"1")
    with open(os.fsencode(watch.home.incoming) + b"/caf\xe9.h5ad", "wb") as file:  # noqa: PTH123 (a name of bytes)
        file.write(b"1")
    watch.tick()
    assert watch.tick() == ["blood"]


def test_arrivals_looks_at_what_a_link_points_to(watch: Watch, tmp_path: Path) -> None:
    target = tmp_path / "target.h5ad"
    target.write_bytes(b"1")
    (watch.home.incoming / "blood.h5ad").symlink_to(target)
    watch.tick()
    target.write_bytes(b"2")
    assert watch.tick() == []
    assert watch.tick() == ["blood"]


def test_arrivals_takes_a_file_again_when_it_or_its_toml_changes(watch: Watch) -> None:
    data, toml = watch.home.incoming / "blood.h5ad", watch.home.incoming / "blood.toml"
    data.write_bytes(b"1")
    watch.tick()
    assert watch.tick() == ["blood"]
    toml.write_text("seeds = 2")
    watch.tick()
    assert watch.tick() == ["blood"]
    data.write_bytes(b"2")
    watch.tick()
    assert watch.tick() == ["blood"]


def test_arrivals_lets_a_toml_wait_for_its_data(watch: Watch) -> None:
    (watch.home.incoming / "blood.toml").write_text("seeds = 2")
    (watch.home.incoming / "defaults.toml").write_text("seeds = 1")
    assert watch.tick() == watch.tick() == watch.tick() == []
    (watch.home.incoming / "blood.h5ad").write_bytes(b"1")
    watch.tick()
    assert watch.tick() == ["blood"]


def test_arrivals_leaves_other_files_hidden_files_and_folders_alone(watch: Watch) -> None:
    for name in ("prior.parquet", ".blood.h5ad.part", ".hidden.h5ad", "notes.txt"):
        (watch.home.incoming / name).write_bytes(b"1")
    (watch.home.incoming / "folder.h5ad").mkdir()
    assert watch.tick() == watch.tick() == []


def test_arrivals_takes_files_although_the_clock_was_set_back(watch: Watch) -> None:
    (watch.home.incoming / "blood.h5ad").write_bytes(b"1")
    watch.tick()
    assert watch.tick(after=-1_000_000) == []
    assert watch.tick() == ["blood"]


def test_arrivals_takes_nothing_that_add_has_just_registered(watch: Watch, raw_settings: dict[str, Any]) -> None:
    registry.register(watch.lake, raw_settings)
    toml = watch.home.incoming / "small.toml"
    toml.write_text(tomli_w.dumps(raw_settings))
    assert watch.tick() == watch.tick() == []
    toml.write_text(tomli_w.dumps(raw_settings | {"seeds": 5}))  # edited by hand: to be registered anew
    watch.tick()
    assert watch.tick() == ["small"]


# ---------------------------------------------------------------- what becomes of it


def test_receive_registers_a_data_set_and_tells_the_graph(
    watch: Watch, simulated: dict[str, Path], settings: dict[str, Any]
) -> None:
    drop(watch, str(simulated["data"]), "blood", settings)
    assert watch.receive("blood").success
    assert watch.partitions == ["blood"]
    registration = registry.find(watch.lake, "blood")
    assert watch.versions("blood") == [registration.data_version]
    assert registration.raw["file"] == str(watch.home.incoming / f"blood{simulated['data'].suffix}")
    assert registration.spec().seeds == settings["seeds"]
    lineage = watch.lake.read("lineage", "blood")
    assert lineage["run_id"].iloc[0] != "none"


def test_receive_changes_nothing_for_a_file_that_was_only_touched(
    watch: Watch, simulated: dict[str, Path], settings: dict[str, Any]
) -> None:
    drop(watch, str(simulated["data"]), "blood", settings)
    watch.receive("blood")
    drop(watch, str(simulated["data"]), "blood", settings)  # same content, new times
    assert watch.receive("blood").success
    assert len(watch.versions("blood")) == len(watch.lake.read("lineage", "blood")) == 1


def test_receive_registers_new_settings_as_a_new_version(
    watch: Watch, simulated: dict[str, Path], settings: dict[str, Any]
) -> None:
    drop(watch, str(simulated["data"]), "blood", settings)
    watch.receive("blood")
    drop(watch, str(simulated["data"]), "blood", settings | {"seeds": 4})
    watch.receive("blood")
    assert len(set(watch.versions("blood"))) == 2
    assert registry.find(watch.lake, "blood").spec().seeds == 4


def test_receive_puts_the_toml_over_the_folders_defaults(
    watch: Watch, simulated: dict[str, Path], settings: dict[str, Any]
) -> None:
    (watch.home.incoming / "defaults.toml").write_text(tomli_w.dumps(settings | {"scmagnify": {"n_lags": 2}}))
    drop(watch, str(simulated["data"]), "plain", None)
    drop(watch, str(simulated["data"]), "own", {"seeds": 7})
    assert watch.receive("plain").success
    assert watch.receive("own").success
    assert registry.find(watch.lake, "plain").spec().scmagnify.n_lags == 2
    spec = registry.find(watch.lake, "own").spec()
    assert (spec.seeds, spec.scmagnify.n_lags) == (7, 2)


def test_receive_leaves_what_has_changed_since_it_was_seen_to_the_next_run(watch: Watch) -> None:
    (watch.home.incoming / "blood.h5ad").write_bytes(b"half")
    result = receive_data_set.execute_in_process(
        run_config={"ops": {"receive": {"config": {"name": "blood", "signature": "[]"}}}}, instance=watch.instance
    )
    assert result.success
    assert (watch.home.incoming / "blood.h5ad").exists()


def test_receive_does_not_blame_a_file_that_is_replaced_while_it_is_read(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = watch.home.incoming / "blood.h5ad"
    path.write_bytes(b"bad")

    def replaced(*_: Any) -> None:
        path.write_bytes(b"better")
        raise ValueError("bad")

    monkeypatch.setattr(module, "take", replaced)
    assert watch.receive("blood").success
    assert path.read_bytes() == b"better"


def test_register_refuses_content_that_was_not_validated(watch: Watch, raw_settings: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match="'file' of 'small' changed while being read"):
        registry.register(watch.lake, raw_settings, validated={"file": "0" * 64} | other_hashes(watch, raw_settings))
    assert registry.names(watch.lake) == []


def other_hashes(watch: Watch, raw: dict[str, Any]) -> dict[str, str]:
    found = registry.hash_files(watch.lake, parse_spec(raw))
    return {key: value for key, value in found.items() if key != "file"}


def test_receive_of_what_is_gone_does_nothing(watch: Watch) -> None:
    assert watch.receive("blood").success
    assert watch.partitions == []


@pytest.mark.parametrize("tags", [{"dagster/will_retry": "false"}, {}], ids=["no retry", "a retry that never came"])
def test_an_arrival_whose_run_was_lost_is_asked_for_again(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str]
) -> None:
    (watch.home.incoming / "blood.h5ad").write_bytes(b"1")
    watch.clock.now = time.time()  # runs end by the real clock
    watch.tick()
    assert watch.tick() == ["blood"]
    assert watch.tick() == []  # the run has not begun
    asked = []
    monkeypatch.setattr(failures, "MAX_VAIN", 3)
    for _ in range(3):
        run = watch.instance.create_run_for_job(
            receive_data_set,
            run_config={"ops": {"receive": {"config": {"name": "blood"}}}},
            tags={DATASET_TAG: "blood"},
        )
        assert watch.tick(after=600) == []  # it is under way
        watch.instance.report_run_failed(run)
        assert watch.instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] == "true"
        watch.instance.add_run_tags(run.run_id, tags)
        asked.append(watch.tick(after=600))
    assert asked == [["blood"], ["blood"], []]  # the last one was in vain


# ---------------------------------------------------------------- bad arrivals


def break_truncated(incoming: Path, name: str) -> None:
    (path,) = incoming.glob(f"{name}.h5*")
    path.write_bytes(path.read_bytes()[:5000])


def break_toml(incoming: Path, name: str) -> None:
    (incoming / f"{name}.toml").write_text("seeds = [")


def break_key(incoming: Path, name: str) -> None:
    (incoming / f"{name}.toml").write_text("seedz = 3")


def break_prior(incoming: Path, name: str) -> None:
    (incoming / f"{name}.toml").write_text('time_key = "pseudotime"')


def break_twice(incoming: Path, name: str) -> None:
    (incoming / f"{name}.h5ad").write_bytes(b"1")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_truncated, "truncated|cannot be read|not a"),
        (break_toml, "not valid TOML"),
        (break_key, "did you mean 'seeds'"),
        (break_prior, "no evidence for any edge"),
        (break_twice, "has several data files"),
    ],
)
def test_receive_moves_a_bad_arrival_aside_with_its_error_in_words(
    watch: Watch, simulated: dict[str, Path], settings: dict[str, Any], damage: Any, words: str
) -> None:
    import re

    drop(watch, str(simulated["data"]), "bad", settings)
    damage(watch.home.incoming, "bad")
    watch.tick()
    assert watch.tick() == ["bad"]
    result = watch.receive("bad")
    assert not result.success
    assert re.search(words, failure(result)), failure(result)
    (aside,) = (watch.home.incoming / "rejected").iterdir()
    assert re.search(words, (aside / "error.txt").read_text())
    assert {path.suffix for path in aside.iterdir()} >= {".txt", ".toml", simulated["data"].suffix}
    assert watch.partitions == []
    assert watch.tick() == watch.tick() == []  # not tried again


def test_a_bad_arrival_leaves_its_neighbour_and_former_results_alone(
    watch: Watch, simulated: dict[str, Path], settings: dict[str, Any]
) -> None:
    drop(watch, str(simulated["data"]), "blood", settings)
    watch.receive("blood")
    before = registry.find(watch.lake, "blood")
    drop(watch, str(simulated["data"]), "good", settings)
    break_truncated(watch.home.incoming, "blood")
    watch.tick()
    assert watch.tick() == ["blood", "good"]
    assert not watch.receive("blood").success
    assert watch.receive("good").success
    assert watch.partitions == ["blood", "good"]
    assert registry.find(watch.lake, "blood") == before


@pytest.mark.parametrize("name", ["my data", "..", "x' OR '1'='1", "bl\u043eod"])
def test_receive_refuses_a_name_that_cannot_be_one(
    watch: Watch, simulated: dict[str, Path], settings: dict[str, Any], name: str
) -> None:
    drop(watch, str(simulated["data"]), "fine", settings | {"name": name})
    result = watch.receive("fine")
    assert "Data set name" in failure(result)
    assert watch.partitions == []


def test_receive_refuses_a_name_that_another_file_has(
    watch: Watch, simulated: dict[str, Path], raw_settings: dict[str, Any], settings: dict[str, Any]
) -> None:
    registry.register(watch.lake, raw_settings)  # its file lies elsewhere
    drop(watch, str(simulated["data"]), "small", settings)
    assert "is taken by another file" in failure(watch.receive("small"))
    assert registry.find(watch.lake, "small").raw["file"] == raw_settings["file"]


def test_receive_does_not_blame_the_file_for_a_full_disk(
    watch: Watch, simulated: dict[str, Path], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "take", full)
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda self, attempt: 0)  # the pauses between attempts
    drop(watch, str(simulated["data"]), "blood", settings)
    result = watch.receive("blood")
    assert not result.success
    assert not (watch.home.incoming / "rejected").exists()
    # In an hour the disk may have room.
    watch.clock.now = time.time()
    watch.cursor = json.dumps(
        {"handled": {"blood": IncomingFolder(watch.home).list()["blood"].signature}, "asked": ["blood"]}
    )
    run_id = watch.instance.get_run_records(limit=1)[0].dagster_run.run_id
    watch.instance.add_run_tags(run_id, {DATASET_TAG: "blood"})
    assert watch.tick(after=60) == []
    assert watch.tick(after=3600) == ["blood"]


# ---------------------------------------------------------------- folders that fsspec reaches


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("SCMAGNIFY_INCOMING", "memory://bucket/incoming")
    fs = fsspec.filesystem("memory")
    fs.makedirs("/bucket/incoming", exist_ok=True)
    yield fs
    fs.rm("/bucket", recursive=True)


def test_receive_copies_a_remote_arrival_with_the_files_it_names(
    watch: Watch, remote: Any, simulated: dict[str, Path]
) -> None:
    suffix = simulated["data"].suffix
    remote.put_file(str(simulated["data"]), f"/bucket/incoming/blood{suffix}")
    remote.put_file(str(simulated["prior"]), "/bucket/incoming/priors/base.parquet")
    toml = {"prior": "priors/base.parquet", "networks": {"mine": "priors/base.parquet"}, "seeds": 1}
    remote.pipe_file("/bucket/incoming/blood.toml", tomli_w.dumps(toml).encode())
    watch.tick()
    assert watch.tick() == ["blood"]
    assert watch.receive("blood").success
    raw = registry.find(watch.lake, "blood").raw
    (folder,) = (watch.home.received / "blood").iterdir()
    assert raw["file"] == str(folder / f"blood{suffix}")
    assert (folder / "priors" / "base.parquet").read_bytes() == simulated["prior"].read_bytes()
    assert raw["networks"] == {"mine": str(folder / "priors" / "base.parquet")}


def test_receive_copies_nothing_from_outside_a_remote_folder(watch: Watch, remote: Any) -> None:
    remote.pipe_file("/bucket/secret.parquet", b"secret")
    remote.pipe_file("/bucket/incoming/blood.h5ad", b"1")
    remote.pipe_file("/bucket/incoming/blood.toml", b'prior = "../secret.parquet"')
    folder = IncomingFolder(watch.home)
    folder.fetch(folder.list()["blood"])
    assert not list(watch.home.root.rglob("secret.parquet"))


@pytest.mark.parametrize(
    "toml",
    [
        'truth = "/etc/passwd"', 'file = "../../lake/x.h5ad"', 'references = {genome = "/g"}',
        'networks = {mine = "/etc/passwd"}',
    ],
)  # fmt: skip
def test_a_remote_toml_may_not_name_files_of_this_machine(watch: Watch, remote: Any, toml: str) -> None:
    remote.pipe_file("/bucket/incoming/blood.h5mu" if "file" not in toml else "/bucket/incoming/other.h5mu", b"1")
    remote.pipe_file("/bucket/incoming/blood.toml", toml.encode())
    assert "lies outside the incoming folder" in failure(watch.receive("blood"))


def test_a_bad_remote_delivery_leaves_the_registered_one(
    watch: Watch, remote: Any, simulated: dict[str, Path]
) -> None:
    name = f"/bucket/incoming/blood{simulated['data'].suffix}"
    remote.put_file(str(simulated["data"]), name)
    remote.put_file(str(simulated["prior"]), "/bucket/incoming/base.parquet")
    remote.pipe_file("/bucket/incoming/blood.toml", b'prior = "base.parquet"')
    assert watch.receive("blood").success
    before = registry.find(watch.lake, "blood")
    remote.pipe_file(name, b"no HDF5")
    assert not watch.receive("blood").success
    assert registry.find(watch.lake, "blood") == before
    registry.refuse_changed_files(watch.lake, before)  # its files are still there


def test_receive_moves_a_bad_remote_arrival_aside(watch: Watch, remote: Any) -> None:
    remote.pipe_file("/bucket/incoming/blood.h5ad", b"no HDF5")
    assert not watch.receive("blood").success
    (aside,) = remote.ls("/bucket/incoming/rejected", detail=False)
    assert sorted(Path(path).name for path in remote.ls(aside, detail=False)) == ["blood.h5ad", "error.txt"]
    assert IncomingFolder(watch.home).list() == {}


def test_signature_does_not_change_without_a_change(watch: Watch) -> None:
    (watch.home.incoming / "blood.h5ad").write_bytes(b"1")
    folder = IncomingFolder(watch.home)
    first = folder.list()["blood"]
    (watch.home.incoming / "blood.h5ad").read_bytes()
    assert folder.list()["blood"] == first
    assert json.loads(first.signature)[0][0] == "blood.h5ad"
