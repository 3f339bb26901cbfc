"""Maintenance of the lake: what stays readable, what goes, and that neither kills, clocks nor other writers matter."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from deltalake import DeltaTable
from test_lakehouse import MADE, files_below, finish, go, seed_network, start, waits_for_a_lock, write_network

from scmagnify_assets.lake import lakehouse as module
from scmagnify_assets.lake.lakehouse import Lakehouse, extension_path
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_assets.lake.maintenance import maintain, passed_time
from scmagnify_core.errors import InputError, StorageError
from scmagnify_core.tables.catalogue import TABLES

START = datetime.now(UTC)
needs_delta = pytest.mark.skipif(extension_path() is None, reason="the delta extension is not installed")


def day(number: float) -> datetime:
    """A moment after now, so that files look old by then."""
    return START + timedelta(days=number)


class Clock(datetime):
    """A clock for the lake's module, set by hand."""

    moment = START

    @classmethod
    def now(cls, tz=None):
        return cls.moment

    @classmethod
    def set(cls, number: float) -> None:
        cls.moment = day(number)


@pytest.fixture(autouse=True, scope="module")
def merging_is_for_maintenance() -> Iterator[None]:
    """Writes merge no files here, so that what maintenance removes can be counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MANY_FILES", 10_000)
        yield


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock by which the lake stamps writes."""
    monkeypatch.setattr(module, "datetime", Clock)
    return Clock.set


def write(lake: Lakehouse, dataset: str, n: int, seed: int = 0, **made: Any) -> Materialization:
    """``n`` edges of one seed's model, and an artefact of its own."""
    artifacts = {"note.txt": f"{dataset} {n}".encode()}
    return lake.write("seed_network", dataset, seed, {"seed_network": seed_network(n)}, artifacts, **MADE | made)


def rewrite(
    lake: Lakehouse, clock: Callable[[float], None], days: Sequence[float], n: int = 1, dataset: str = "busy"
) -> list[Materialization]:
    """One write per day, each of another size, from ``n`` up."""
    made = []
    for i, number in enumerate(days):
        clock(number)
        made.append(write(lake, dataset, n + i))
    return made


def is_there(lake: Lakehouse, made: Materialization) -> bool:
    """Whether a materialization is read whole, table and artefact; False if both say that maintenance removed it."""
    answers: set[bool | InputError] = set()
    for table, n_rows in made.tables.items():
        try:
            answers.add(len(lake.read(table, materialization_id=made.materialization_id)) == n_rows)
        except InputError as error:
            answers.add(False if f"of table '{table}': was removed by maintenance on" in str(error) else error)
    try:
        answers.add(
            lake.artifact_path(made.asset, made.dataset, made.seed, "note.txt", made=made, verify=True).is_file()
        )
    except InputError as error:
        answers.add(False if f"Artefact 'note.txt' of a former {made.asset}" in str(error) else error)
    assert answers in ({True}, {False}), f"{made} is there in part: {answers}"
    return answers == {True}


def are_there(lake: Lakehouse, made: Sequence[Materialization]) -> list[bool]:
    return [is_there(lake, one) for one in made]


# ---------------------------------------------------------------- what stays and what goes


@needs_delta
def test_maintain_keeps_what_is_current_or_was_within_the_period_and_removes_the_rest(lake, clock):
    clock(0)
    once = write_network(lake, 7, 7.0, "once")
    seed_10 = write(lake, "once", 2, seed=10)
    busy = []
    for number in range(0, 201, 20):
        clock(number)
        busy.append(write_network(lake, 3 + number, float(number), "busy"))
        write(lake, "once", 3 + number, seed=1)
    before = files_below(lake.root)
    report = maintain(lake, keep_days=90, now=day(201))
    assert report.horizon == busy[5].created_at, "day 100 is the newest that is more than 90 days old"
    assert report.n_materializations_removed == 2 * 5
    assert report.n_files_removed == (3 + 1) * 5
    assert report.n_objects_removed == 2 * 5
    gone = set(before) - set(files_below(lake.root))
    assert len(gone) == report.n_files_removed + report.n_objects_removed
    assert report.bytes_freed > 0

    assert are_there(lake, [once, seed_10, *busy[5:]]) == [True] * 8
    assert are_there(lake, busy[:5]) == [False] * 5
    assert lake.current("multiscale_network", "once") == once
    assert lake.current("multiscale_network", "busy") == busy[-1]
    assert lake.current("seed_network", "once", 10) == seed_10
    assert lake.sql("SELECT dataset, count(*) AS n FROM edges GROUP BY 1 ORDER BY 1").to_pylist() == [
        {"dataset": "busy", "n": 203}, {"dataset": "once", "n": 7},
    ]  # fmt: skip

    states = lake.sql("SELECT * FROM time_travel WHERE table_name = 'edges'").to_pylist()
    assert sum(row["is_readable"] for row in states) == 1 + 6
    with lake.connect() as connection:
        for row in states:
            query = (
                f"SELECT count(*) FROM delta_scan('{lake.root}/edges', version := {row['version']}) "
                f"WHERE dataset = '{row['dataset']}'"
            )
            if row["is_readable"]:
                assert connection.execute(query).fetchall() == [(row["n_rows"],)]
                assert len(lake.read("edges", row["dataset"], version=row["version"])) == row["n_rows"]
            else:
                match = "Maintenance may have removed that version: time_travel.is_readable says"
                with pytest.raises(StorageError, match=match):
                    lake.sql(query)
                match = rf"Version {row['version']} of table 'edges': was removed by maintenance on .* last 90 days"
                with pytest.raises(InputError, match=match):
                    lake.read("edges", row["dataset"], version=row["version"])


def test_maintain_keeps_whole_tables_as_of_every_version_within_the_period(lake, clock):
    for number in range(0, 121, 20):
        clock(number)
        write(lake, "x" if number % 40 else "y", number + 1)
    whole = [lake.read("seed_network", version=version) for version in range(8)]
    maintain(lake, keep_days=60, now=day(121))
    for version in range(5, 8):  # version 4 was written on day 60, just beyond
        assert lake.read("seed_network", version=version).equals(whole[version])
    match = r"Version 2 of table 'seed_network': was removed by .* kept are the last 60 days. Name a data set"
    with pytest.raises(InputError, match=match):
        lake.read("seed_network", version=2)


def test_maintain_keeps_the_current_files_that_a_crashed_write_has_replaced_long_ago(lake, clock):
    class Crashing(Lakehouse):
        def _append(self, name, rows, key):
            if name == "table_versions":
                raise OSError("power cut")
            return super()._append(name, rows, key)

    clock(0)
    made = write(lake, "x", 3)
    with pytest.raises(StorageError, match="power cut"):
        write(Crashing(lake.root), "x", 9)
    rewrite(lake, clock, range(40, 201, 40))
    maintain(lake, now=day(200))
    assert lake.current("seed_network", "x", 0) == made
    assert is_there(lake, made)
    assert len(lake.read("seed_network", "x")) == 9, "the tables as they are lose nothing either"
    clock(201)
    mended = write(lake, "x", 4)
    rewrite(lake, clock, range(240, 401, 40), n=100)
    maintain(lake, now=day(400))
    assert are_there(lake, [made, mended]) == [False, True]
    assert len(list((lake.root / "seed_network" / "dataset=x").rglob("*.parquet"))) == 1, (
        "the crashed write's is gone"
    )


def test_maintain_deletes_an_artefact_only_when_nothing_within_the_period_names_it(lake, clock):
    def report_of(dataset: str, content: bytes) -> Materialization:
        return lake.write("report", dataset, None, {}, {"report.html": content}, **MADE)

    clock(0)
    former = report_of("x", b"shared")
    other = report_of("y", b"shared")
    clock(1)
    report_of("x", b"new")
    rewrite(lake, clock, range(40, 201, 40))
    maintain(lake, now=day(200))
    # `former` is beyond the period, but its content is still that of another data set.
    assert lake.artifact_path("report", "x", None, "report.html", made=former).read_bytes() == b"shared"
    clock(201)
    report_of("y", b"newer")
    rewrite(lake, clock, range(240, 401, 40), n=100)
    assert maintain(lake, now=day(400)).n_objects_removed
    match = r"Artefact 'report.html' of a former report for y: was removed by maintenance on .* the last 90 days"
    with pytest.raises(InputError, match=match):
        lake.artifact_path("report", "y", None, "report.html", made=other)
    assert lake.artifact_path("report", "x", None, "report.html").read_bytes() == b"new"


def test_maintain_removes_old_remains_of_killed_writers_and_no_fresh_ones(lake, clock):
    rewrite(lake, clock, range(0, 121, 40))
    remains = [
        lake.root / "edges" / "dataset=busy" / "part-00000-dead.parquet",
        lake.root / "edges" / "_delta_log" / "_commit_dead.json.tmp",
        lake.root / "objects" / "ab" / f"{'ab' * 32}.h5mu",
        lake.root / "objects" / "ab" / ".dead.tmp",
    ]
    fresh = [path.with_name(f"{path.stem}-fresh{path.suffix}") for path in remains]
    for path in (*remains, *fresh):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"remains")
    for path in fresh:
        os.utime(path, (day(119).timestamp(),) * 2)
    known = {name: Path(name) for name in files_below(lake.root)}.keys() - {str(path) for path in remains}
    report = maintain(lake, keep_days=100, now=day(121))
    assert report.n_remains_removed == 4
    assert not any(path.exists() for path in remains)
    assert all(path.exists() for path in fresh)
    assert report.n_files_removed + report.n_objects_removed == len(known - set(files_below(lake.root)))


def test_maintain_merges_the_append_only_tables_alone(lake, clock):
    made = rewrite(lake, clock, range(11))
    before = {name: DeltaTable(str(lake.root / name)).version() for name in TABLES}
    report = maintain(lake)
    after = {name: DeltaTable(str(lake.root / name)).version() for name in TABLES}
    assert {name for name in TABLES if after[name] != before[name]} == {
        "lineage", "artifacts", "table_versions", "maintenance",
    }  # fmt: skip
    assert report.n_files_merged == 3 * 11
    assert report.n_files_removed == report.n_objects_removed == 0
    assert len(DeltaTable(str(lake.root / "lineage")).file_uris()) == 1
    assert are_there(lake, made[::5]) == [True] * 3


def test_maintain_twice_removes_nothing_more_and_records_both(lake, clock):
    rewrite(lake, clock, range(0, 121, 40))
    first = maintain(lake, keep_days=70, now=day(121))
    before = {name for name in files_below(lake.root) if "maintenance" not in name}
    second = maintain(lake, keep_days=70, now=day(122))
    assert first.n_files_removed
    assert second.n_files_removed == second.n_objects_removed == second.n_materializations_removed == 0
    assert second.horizon_version == first.horizon_version
    assert second.horizon == first.horizon
    assert before == {name for name in files_below(lake.root) if "maintenance" not in name}
    rows = lake.read("maintenance")
    assert rows["n_files_removed"].tolist() == [first.n_files_removed, 0]
    assert rows["horizon"].tolist() == [first.horizon] * 2


def test_maintain_never_brings_back_what_a_shorter_period_put_out_of_reach(lake, clock):
    made = rewrite(lake, clock, range(0, 61, 10))
    maintain(lake, keep_days=20, now=day(61))
    maintain(lake, keep_days=90, now=day(61))
    readable = lake.sql(
        "SELECT materialization_id AS m FROM time_travel WHERE is_readable AND table_name = 'seed_network'"
    )
    assert set(readable["m"].to_pylist()) == {one.materialization_id for one in made if is_there(lake, one)}
    assert len(readable) == 3


def test_maintain_of_an_empty_lake_removes_nothing_and_says_so(lake):
    report = maintain(lake)
    assert report.horizon is None
    assert report.horizon_version == -1
    assert report.bytes_freed == 0
    assert lake.read("maintenance")["horizon"].isna().all()


def test_maintain_refuses_a_period_that_running_steps_could_outlast(lake):
    with pytest.raises(InputError, match=r"keep_days = 6: is less than 7.*Give 7 days or more"):
        maintain(lake, keep_days=6)


def test_maintain_deletes_nothing_where_the_log_has_been_shortened(lake, clock):
    rewrite(lake, clock, range(0, 121, 40))
    DeltaTable(str(lake.root / "seed_network")).create_checkpoint()
    (lake.root / "seed_network" / "_delta_log" / f"{1:020d}.json").unlink()
    before = set(files_below(lake.root))
    with pytest.raises(StorageError, match=r"log of table 'seed_network' lacks version 1.*Nothing was deleted"):
        maintain(lake, now=day(121))
    assert before <= set(files_below(lake.root))


def test_maintain_brings_an_older_lake_up_to_date(lake, clock):
    """A lake without the table is queried before, and maintained then."""
    shutil.rmtree(lake.root / "maintenance")
    made = rewrite(lake, clock, range(0, 121, 40))
    assert lake.sql("SELECT bool_and(is_readable) AS r FROM time_travel")["r"].to_pylist() == [True]
    assert lake.sql("FROM maintenance").num_rows == 0
    path = lake.artifact_path("seed_network", "busy", 0, "note.txt", made=made[1])
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(StorageError, match="is missing"):
        lake.artifact_path("seed_network", "busy", 0, "note.txt", made=made[1])
    path.write_bytes(content)
    assert maintain(lake, keep_days=70, now=day(121)).n_materializations_removed == 1
    assert are_there(lake, made) == [False, True, True, True]


# ---------------------------------------------------------------- clocks


def test_passed_time_goes_forward_only_and_never_leaps():
    def ages(days: list[float], now: float) -> list[float]:
        return [age / timedelta(days=1) for age in passed_time([day(n) for n in days], day(now), timedelta(days=45))]

    assert ages([0, 10, 20], 25) == [25, 15, 5]
    assert ages([0, -365, 10], 11) == [11, 1, 1], "a clock that was set back ages nobody"
    assert ages([-20000, 0, 10], 11) == [45 + 11, 11, 1], "nor one that had lost its date"
    assert ages([0, 365, 10, 365, 20], 25) == [25, 15, 15, 5, 5], "moments ahead of now do not count"
    assert ages([0, 10], 375) == [10 + 45, 45], "a clock ahead now counts for half the period"
    assert ages([0, 365, 366], 367) == [45 + 2, 2, 1], "also when it is ahead for good"
    assert ages([0, 10], -365) == [0, 0]
    assert ages([0, 0, 0], 0) == [0, 0, 0]
    assert ages([], 5) == []


def test_lake_is_right_under_a_clock_that_jumps_back_and_forth(lake, clock):
    made = rewrite(lake, clock, [0, -365, 366, 2, -18000, 3])
    assert lake.current("seed_network", "busy", 0) == made[-1]
    versions = lake.versions("seed_network", "busy")
    assert versions["materialization_id"].tolist() == [one.materialization_id for one in made]
    for now in (4, 369, -365):
        assert maintain(lake, now=day(now)).n_materializations_removed == 0, f"by a clock at day {now}"
    assert are_there(lake, made) == [True] * 6
    later = rewrite(lake, clock, range(40, 201, 40), n=100)
    maintain(lake, now=day(200))
    assert lake.current("seed_network", "busy", 0) == later[-1]
    assert are_there(lake, [*made, *later]) == [False] * 6 + [False, True, True, True, True]


def test_maintain_spares_fresh_files_under_a_clock_that_jumped_ahead(lake, clock):
    made = rewrite(lake, clock, range(3))
    running = lake.root / "edges" / "dataset=busy" / "part-00000-being-written.parquet"
    running.parent.mkdir()
    running.write_bytes(b"rows")
    maintain(lake, now=day(3650))
    assert running.exists()
    assert are_there(lake, made) == [True] * 3


def test_provenance_names_the_registration_of_highest_version_whatever_the_clock(lake, clock):
    for number, file in ((0, "/in/former.h5ad"), (-365, "/in/latter.h5ad")):
        clock(number)
        row = pd.DataFrame(
            {"file": [file], "sha256": "a" * 64, "size_bytes": 1, "species": None, "spec": "{}", "files": "{}",
             "registered_at": pd.Timestamp(day(number))}
        )  # fmt: skip
        made = MADE | {"file_sha256": "a" * 64, "parameters": {"file": file}}
        lake.write("raw_dataset", "x", None, {"datasets": row}, {}, **made)
    write_network(lake, 1, file_sha256="a" * 64)
    assert lake.sql("SELECT file FROM edge_provenance")["file"].to_pylist() == ["/in/latter.h5ad"]


# ---------------------------------------------------------------- with others, and killed


USES_AN_OBJECT_AGAIN = """
class Dawdling(Lakehouse):
    def _append(self, name, rows, key):
        if name == "lineage":
            print("stored", flush=True)
            sys.stdin.readline()
        return super()._append(name, rows, key)
content = {"note.txt": b"busy 1"}
Dawdling(root).write("seed_network", "x", 0, {"seed_network": seed_network(1)}, content, **MADE)
"""
MAINTAINS = """
from scmagnify_assets.lake.maintenance import maintain
print(maintain(Lakehouse(root)).n_objects_removed)
"""
WRITES_WITHOUT_A_GAP = """
class Slow(Lakehouse):
    def _append(self, *some):
        time.sleep(0.2)
        return super()._append(*some)
print("first", flush=True)
for i in range(1000000):
    write_seed(Slow(root), seed_network(1), "writer" + args[0])
"""
DELETES_SLOWLY = (
    """
unlink = Path.unlink
def slowly(path, missing_ok=False):
    print("deletes", flush=True)
    time.sleep(0.02)
    unlink(path, missing_ok)
Path.unlink = slowly
"""
    + MAINTAINS
)


@pytest.fixture(scope="module")
def aged_template(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> tuple[Path, list[Materialization]]:
    """A lake with writes of 600 days, the last one now; maintenance removes the first 12 of 16."""
    root = tmp_path_factory.mktemp("aged") / "lake"
    shutil.copytree(empty_lake, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "datetime", Clock)
        made = rewrite(Lakehouse(root), Clock.set, range(-600, 1, 40))
    Lakehouse(root).compact(1)
    return root, made


@pytest.fixture
def aged(
    tmp_path: Path, aged_template: tuple[Path, list[Materialization]]
) -> tuple[Lakehouse, list[Materialization]]:
    """A copy of that lake, its artefacts as old as they seem; maintenance can go by the true clock."""
    shutil.copytree(aged_template[0], tmp_path / "lake")
    for path in (tmp_path / "lake" / "objects").glob("*/*"):
        os.utime(path, (day(-600).timestamp(),) * 2)
    return Lakehouse(tmp_path / "lake"), aged_template[1]


def test_maintain_waits_for_a_writer_that_uses_an_artefact_again(aged):
    lake, made = aged
    path = lake.artifact_path("seed_network", "busy", 0, "note.txt", made=made[0])
    writer, maintenance = start(lake.root, USES_AN_OBJECT_AGAIN), start(lake.root, MAINTAINS)
    go(writer)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "stored\n"
    assert path.stat().st_mtime >= START.timestamp(), "it is marked as used, where locks should fail"
    os.utime(path, (day(-600).timestamp(),) * 2)  # so that the lock alone has to do
    go(maintenance)
    while maintenance.poll() is None and not waits_for_a_lock(maintenance.pid):
        time.sleep(0.05)
    assert maintenance.poll() is None, "it does not wait"
    assert path.exists()
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()
    _, n_removed = finish(writer, maintenance)
    assert int(n_removed) == 11
    assert lake.artifact_path("seed_network", "x", 0, "note.txt", verify=True) == path


def test_maintain_lets_new_writers_wait_rather_than_wait_for_them_for_ever(aged):
    """Two writers that overlap without a gap: an exclusive lock alone would hardly ever be granted."""
    lake, _ = aged
    writers = [start(lake.root, WRITES_WITHOUT_A_GAP, k) for k in range(2)]
    maintenance = start(lake.root, MAINTAINS)
    go(*writers)
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "first\n"
    go(maintenance)
    assert finish(maintenance) == ["12"]
    assert all(writer.poll() is None for writer in writers), "the writers should outlast it"
    for writer in writers:
        writer.kill()
        writer.communicate()


def test_two_maintenances_at_once_take_turns(aged):
    lake, made = aged
    processes = [start(lake.root, MAINTAINS) for _ in range(2)]
    go(*processes)
    assert sorted(map(int, finish(*processes))) == [0, 12]
    assert len(lake.read("maintenance")) == 2
    assert are_there(lake, made[-5:]) == [False, True, True, True, True]


def test_kill_during_maintenance_loses_nothing_and_the_next_completes_it(aged):
    lake, made = aged
    processes = [start(lake.root, DELETES_SLOWLY) for _ in range(3)]
    pause = random.Random(1)
    states = []
    for i, process in enumerate(processes):
        go(process)
        assert process.stdout is not None
        if i:  # the first is killed at any moment, the others while they delete
            assert process.stdout.readline() == "deletes\n"
        time.sleep(pause.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        rows = lake.sql("SELECT materialization_id AS m, is_readable AS r FROM time_travel")
        readable = {m for m, r in zip(rows["m"].to_pylist(), rows["r"].to_pylist(), strict=True) if r}
        assert {one.materialization_id for one in made[-4:]} <= readable
        assert all(is_there(lake, one) for one in made if one.materialization_id in readable)
        assert lake.current("seed_network", "busy", 0) == made[-1]
        states.append(len(files_below(lake.root / "seed_network")))
    assert states[0] > states[-1] > 4, "none was killed while deleting"
    report = maintain(lake)
    assert are_there(lake, made) == [False] * 12 + [True] * 4
    assert len(list((lake.root / "seed_network").rglob("*.parquet"))) == 4
    assert len(list((lake.root / "objects").glob("*/*"))) == 4
    assert 0 < report.n_files_removed < 12, "killed runs had deleted some"


def test_readers_read_on_while_maintenance_deletes(aged):
    lake, made = aged
    process = start(lake.root, DELETES_SLOWLY)
    go(process)
    n_reads = 0
    while process.poll() is None:
        assert lake.current("seed_network", "busy", 0) == made[-1]
        assert len(lake.read("seed_network", "busy")) == 16
        assert is_there(lake, made[-2])
        n_reads += 1
    finish(process)
    assert n_reads > 1
