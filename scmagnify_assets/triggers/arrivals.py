"""Data sets that arrive in a folder, and what is done with them.

An arrival is a data file (h5ad, h5mu) with a TOML of the same name beside it, or without one, or a TOML that names
a ``file`` elsewhere, as `scmagnify add` writes it. ``defaults.toml`` in the same folder holds settings for all. The
folder is local or any that fsspec reaches by URL; files of a remote one are copied to ``$SCMAGNIFY_HOME/received``
first.

The sensor only looks: it compares sizes and times with what it saw before. Reading and hashing, which may take
minutes and gigabytes, are done by a run of its own for each arrival, so that one bad or huge file holds up no
other, and its error stands in the UI like that of any run.

- A file is taken when it was the same in two looks at least `REST_SECONDS` apart, or when ``NAME.done`` lies beside
  it.
- A file that could not be taken for another reason (a full disk, a killed process) is tried again, later and later.
- A bad file is moved to ``rejected/`` in the same folder, with ``error.txt`` beside it that says what to do. It is
  not tried again until it is put back.
- A file that is touched, but has the content that is registered, changes nothing.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg
import fsspec
from fsspec.implementations.local import LocalFileSystem

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.intake import complete, inspect
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.steps.failures import DATASET_TAG, RETRY, is_lost, is_to_be_retried, is_worth_another
from scmagnify_core.errors import InputError, ScmagnifyError, StorageError
from scmagnify_core.specification import merge, parse_spec, paths_in, read_spec_file

DATA_SUFFIXES = (".h5ad", ".h5mu")
DEFAULTS = "defaults"
REJECTED = "rejected"
REST_SECONDS = 4.0  # the daemon looks every 5 s, or a moment sooner
AGAIN_SECONDS = 3600.0
INTERVAL_SECONDS = 4  # see `automation`


@dataclass(frozen=True)
class Arrival:
    """Files of one name in the folder; ``signature`` changes when any of them is written, replaced or touched."""

    stem: str
    files: tuple[str, ...]
    signature: str

    @property
    def data(self) -> str | None:
        """The data file; None where a TOML stands alone."""
        return next((name for name in self.files if name.endswith(DATA_SUFFIXES)), None)

    @property
    def marker(self) -> str | None:
        """State of the ``.done`` marker that says that the files are complete; None where there is none."""
        return _marker_of(self.signature)


class IncomingFolder:
    """The watched folder, local or remote."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.fs, self.path = fsspec.core.url_to_fs(home.incoming_url)
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def list(self) -> dict[str, Arrival]:
        """What lies in the folder, by name; subfolders, hidden and other files are left alone."""
        self.fs.invalidate_cache()
        if not self.fs.isdir(self.path):
            return {}
        files: dict[str, dict[str, str]] = {}
        for info in self.fs.ls(self.path, detail=True):
            name = PurePosixPath(info["name"]).name
            stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
            if not name.isprintable():  # nor could it be written into Dagster's records
                continue
            if info["type"] != "directory" and suffix in (*DATA_SUFFIXES, ".toml", ".done") and name[0] != ".":
                files.setdefault(stem, {})[name] = self._state_of(info)
        files.pop(DEFAULTS, None)
        return {
            stem: Arrival(stem, tuple(sorted(states)), json.dumps(sorted(states.items())))
            for stem, states in sorted(files.items())
            if set(states) != {f"{stem}.done"}
        }

    def _state_of(self, info: Mapping[str, Any]) -> str:
        if self.is_local and info.get("islink"):
            # What it points to may be written without the link changing.
            with suppress(OSError):
                target = Path(info["name"]).stat()
                return json.dumps([target.st_size, target.st_mtime_ns, target.st_ctime_ns, target.st_ino])
        return _state(info)

    def settings(self, arrival: Arrival, folder: Path) -> dict[str, Any] | None:
        """Raw settings of an arrival whose files are in the local ``folder``; None for a TOML that awaits its data.

        Raises
        ------
        InputError
            There are two data files of that name, or a TOML is not valid.
        """
        if len(data := [name for name in arrival.files if name.endswith(DATA_SUFFIXES)]) > 1:
            raise InputError(
                f"'{arrival.stem}'", f"has several data files: {', '.join(data)}.", "Give each its own name."
            )
        raw: dict[str, Any] = {}
        for stem in (DEFAULTS, arrival.stem):
            if (toml := folder / f"{stem}.toml").is_file():
                raw = merge(raw, read_spec_file(toml))
        if data:
            raw["file"] = str(folder / data[0])
        if not self.is_local:
            self._refuse_local_files(raw, folder)
        return complete(raw, folder, self.home, arrival.stem) if "file" in raw else None

    def _refuse_local_files(self, raw: Mapping[str, Any], folder: Path) -> None:
        """What came from elsewhere may name no file of this machine: whoever writes there could read all of it."""
        references = raw.get("references")
        given = paths_in(raw) + (list(map(str, references.values())) if isinstance(references, Mapping) else [])
        for path in given:
            if not (folder / path).resolve().is_relative_to(folder.resolve()):
                raise InputError(
                    f"'{path}'", "lies outside the incoming folder.",
                    "Put it beside the data and name it by a relative path; genomes go into references.toml.",
                )  # fmt: skip

    def fetch(self, arrival: Arrival, *, only_settings: bool = False) -> Path:
        """The local folder with the arrival's files: this one, or a copy of what lies in a remote one.

        Files that the TOML names by a relative path are copied along, unless the settings are all that is wanted.
        """
        if self.is_local:
            return Path(self.path)
        # By its content's signature: a later delivery must not overwrite what is registered, good or bad.
        digest = hashlib.sha256(arrival.signature.encode()).hexdigest()[:16]
        folder = self.home.received / arrival.stem / digest
        folder.mkdir(parents=True, exist_ok=True)
        tomls = [f"{stem}.toml" for stem in (DEFAULTS, arrival.stem)]
        for name in tomls if only_settings else {*arrival.files, *tomls}:
            self._copy(name, folder)
        for toml in () if only_settings else [folder / name for name in tomls if (folder / name).is_file()]:
            for path in paths_in(read_spec_file(toml)):
                if Path(path).is_relative_to(folder):
                    self._copy(str(Path(path).relative_to(folder)), folder)
        return folder

    def _copy(self, name: str, folder: Path) -> None:
        source, target = f"{self.path}/{name}", folder / name
        if not self.fs.isfile(source):
            target.unlink(missing_ok=True)  # settings that are gone there must not go on here
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        self.fs.get_file(source, str(temporary))
        temporary.replace(target)

    def reject(self, arrival: Arrival, error: str) -> str:
        """Move an arrival aside with its error in words; returns where it is now."""
        time_stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        target = f"{self.path}/{REJECTED}/{arrival.stem}.{time_stamp}"
        self.fs.makedirs(target, exist_ok=True)
        with self.fs.open(f"{target}/error.txt", "w") as file:
            file.write(f"{error}\n\nMend it and put the files back into {self.path} (all but this one).\n")
        for name in arrival.files:
            if self.fs.exists(f"{self.path}/{name}"):
                self.fs.mv(f"{self.path}/{name}", f"{target}/{name}")
        return target


def _marker_of(signature: str | None) -> str | None:
    states = dict(json.loads(signature)) if signature else {}
    return next((state for name, state in states.items() if name.endswith(".done")), None)


def _state(info: Mapping[str, Any]) -> str:
    """Size and times, or what a remote store has instead; not the time of the last access."""
    keys = ("size", "mtime", "created", "ino", "ETag", "etag", "LastModified", "last_modified", "updated", "md5")
    return json.dumps([str(info.get(key)) for key in keys if key in info])


class ReceiveConfig(dg.Config):
    """Which arrival to take, as it was seen; a later one has a run of its own. Without a signature, as it is now."""

    name: str
    signature: str = ""


def take(folder: IncomingFolder, arrival: Arrival, lake: Lakehouse, run_id: str, log: Any) -> registry.Registration:
    """Validate an arrival and register it, in place of what was registered for this very file.

    Raises
    ------
    ScmagnifyError
        It cannot be used; the message says why. Nothing was registered.
    """
    raw = folder.settings(arrival, folder.fetch(arrival))
    if raw is None:
        raise InputError(f"'{arrival.stem}.toml'", "names no file, and none lies beside it.", 'Add file = "...".')
    known = registry.read_all(lake).get(raw["name"])
    if known is not None:
        there = Path(str(known.raw["file"]))
        if there != Path(raw["file"]) and there.exists():
            raise InputError(
                f"name '{raw['name']}'", f"is taken by another file, {there}.",
                f"Rename this one, or replace that one: scmagnify add {raw['file']} --name {raw['name']} --replace",
            )  # fmt: skip
        if registry.is_registered(lake, raw):
            log.info(f"{arrival.stem} has the content and the settings that are registered: nothing to do.")
            return known
    # A TOML that `scmagnify add` wrote may be of a data set whose prior is still to come.
    needs_evidence = arrival.data is not None or known is None
    before = registry.hash_files(lake, parse_spec(raw))
    found = inspect(
        raw,
        f"'{arrival.stem}.toml'",
        needs_evidence=needs_evidence,
        reading=lambda name: log.info(f"Reading {name}."),
    )
    for line in found.lines:
        log.info(line)
    return registry.register(lake, raw, replace=True, run_id=run_id, validated=before)


@dg.op(retry_policy=RETRY)
def receive(context: dg.OpExecutionContext, config: ReceiveConfig) -> None:
    """Validate an arrival, register it and tell the asset graph; move it aside with its error if it is bad."""
    home = Home.find()
    folder, lake = IncomingFolder(home), Lakehouse(home.lake)
    arrival = folder.list().get(config.name)
    if arrival is None or arrival.signature != (config.signature or arrival.signature):
        context.log.info(f"{config.name} is gone or has changed since: nothing to do.")
        return
    try:
        registration = take(folder, arrival, lake, context.run_id, context.log)
    except (StorageError, OSError, MemoryError):
        raise  # not the file's fault, and it may pass
    except Exception as error:
        now = folder.list().get(config.name)
        if now is None or now.signature != arrival.signature:
            context.log.info(f"{config.name} changed while it was read: its new content has a run of its own.")
            return
        words = str(error) if isinstance(error, ScmagnifyError) else f"It cannot be read: {error!r}"
        where = folder.reject(arrival, words)
        raise dg.Failure(f"{words}\nMoved to {where}.", metadata={"moved_to": where}, allow_retries=False) from error
    registry.announce(context.instance, registration)
    context.log.info(f"{registration.name} is registered, its results will follow.")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Validates a data set that arrived and registers it; a bad one is moved aside with its error.",
)
def receive_data_set() -> None:
    """One op; the sensor `arrivals` starts it."""
    receive()


@dg.sensor(
    job=receive_data_set,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks for data files and TOMLs that arrive in the incoming folder.",
)
def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare the folder with the last look; ask for a run for each arrival that is at rest."""
    home = Home.find()
    folder = IncomingFolder(home)
    before = json.loads(context.cursor) if context.cursor else {}
    # Of each name: what was last seen and since when; what was handled; what was asked for and is not yet known to
    # have come to an end.
    seen: dict[str, Any] = {}
    handled: dict[str, str] = {}
    asked: list[str] = []
    requests, waiting = [], []
    for stem, arrival in folder.list().items():
        is_handled = before.get("handled", {}).get(stem) == arrival.signature
        if is_handled and stem in before.get("asked", ()):
            if (again := _is_to_be_asked_again(context.instance, stem)) is None:
                asked.append(stem)
            if not again:
                handled[stem] = arrival.signature
                continue
        elif is_handled or _is_registered(folder, arrival):
            handled[stem] = arrival.signature
            continue
        elif not _is_at_rest(
            arrival, before.get("seen", {}).get(stem, {}), seen, _marker_of(before.get("handled", {}).get(stem))
        ):
            if stem in before.get("handled", {}):
                handled[stem] = before["handled"][stem]
            waiting.append(stem)
            continue
        handled[stem] = arrival.signature
        if arrival.data is None and _awaits_data(folder, arrival):
            continue
        asked.append(stem)
        requests.append(
            dg.RunRequest(
                run_config={"ops": {"receive": {"config": {"name": stem, "signature": arrival.signature}}}},
                # Before the long runs of other data sets, so that a bad file is known at once.
                tags={DATASET_TAG: stem, "dagster/priority": "10"},
            )
        )
    reason = f"Waiting until at rest: {', '.join(waiting)}." if waiting else f"Nothing new in {folder.path}."
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason(reason),
        cursor=json.dumps({"seen": seen, "handled": handled, "asked": asked}),
    )


def _is_at_rest(arrival: Arrival, before: Mapping[str, Any], seen: dict[str, Any], marked: str | None) -> bool:
    """Whether an arrival may be taken; if not, what was seen of it is noted for the next look.

    ``marked`` is the marker of the former delivery: left lying, it says nothing of this one.
    """
    now = time.time()
    since = before["since"] if before.get("signature") == arrival.signature else now
    # A clock that was set back makes the difference negative: count anew rather than wait for years.
    since = min(since, now)
    if arrival.marker not in (None, marked) or now - since >= REST_SECONDS:
        return True
    seen[arrival.stem] = {"signature": arrival.signature, "since": since}
    return False


def _is_to_be_asked_again(instance: dg.DagsterInstance, stem: str) -> bool | None:
    """Whether the run for an arrival was lost and another is due; None while that is not known."""
    filters = dg.RunsFilter(job_name=receive_data_set.name, tags={DATASET_TAG: stem})
    records, now = instance.get_run_records(filters, limit=1), time.time()
    if not records or not records[0].dagster_run.is_finished or is_to_be_retried(records[0], now):
        return None
    if records[0].dagster_run.status != dg.DagsterRunStatus.FAILURE:
        return False
    if is_lost(records[0], now):
        return True if is_worth_another(instance, receive_data_set.name, stem, now) else None
    # A bad file would have been moved aside: something else was wrong, a full disk say. Hourly, until it passes.
    return True if now >= (records[0].end_time or 0.0) + AGAIN_SECONDS else None


def _awaits_data(folder: IncomingFolder, arrival: Arrival) -> bool:
    """Whether a TOML that stands alone names no file; its data may be on their way."""
    try:
        return folder.settings(arrival, folder.fetch(arrival, only_settings=True)) is None
    except Exception:  # whatever is odd about one file must not hold up the others
        return False  # the run says what is wrong with it


def _is_registered(folder: IncomingFolder, arrival: Arrival) -> bool:
    """Whether a TOML that stands alone says what is registered already, as right after `scmagnify add`."""
    if arrival.data is not None or not folder.is_local:
        return False
    try:
        raw = folder.settings(arrival, Path(folder.path))
        known = None if raw is None else registry.read_all(Lakehouse(folder.home.lake)).get(raw["name"])
        return known is not None and raw is not None and known.raw == registry.as_json(raw)
    except Exception:  # whatever is odd about one file must not hold up the others
        return False
