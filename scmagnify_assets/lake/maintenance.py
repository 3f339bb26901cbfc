"""What may be deleted from the lake, and deleting it: time travel for a stated period, and no further.

`maintain` merges the small files of the append-only tables and deletes three things, and nothing else:

- **Data files of former materializations** that were superseded more than ``keep_days`` ago. A materialization is
  what counts, not a table's version: a complete one is read at the version that it recorded, so that the *current*
  one of a data set that was written once, long ago, hangs on an old version for ever. Its files stay, also where a
  crashed write has since taken their place in the table. This is why deltalake's own vacuum is not used: it knows
  versions and the clock, but not materializations, and would delete those.
- **Artefacts** that only such materializations refer to.
- **Remains of killed writers**: files that no commit and no row names, older than ``keep_days``.

Kept are thus every file of the tables as they are, everything that was superseded within the period, whole tables as of
every version that was committed within it, and Delta's logs.

How that is safe:

- **Against writers** by a lock (`Lakehouse.alone`): a writer that is about to use an artefact again, or whose files no
  commit names yet, is waited for. Where a file system does not honour locks, the age of files stands behind it. Other
  maintenance is waited for too. Readers need no lock: nothing that they would ask for anew is deleted.
- **Against a kill** by order: the row of the table ``maintenance``, whose horizon puts versions out of reach, is
  written before the first file goes. What a killed run left is deleted by the next.
- **Against clocks.** What superseded what is told by Delta versions. How long ago is told by the moments that writes
  recorded, and those a wrong clock may have written. Such a clock must not age what is fresh, so time here is the
  lake's own: it passes from write to write, never backwards; moments after now do not count; and no gap counts for
  more than half the period. However far a clock jumps ahead, half the period of history stays. The price is that a
  lake that rests ages slower than the wall: things are kept at least ``keep_days``, in a lake at rest longer.

Kept apart from `lakehouse` because it only decides and deletes; what it knows of storage is Delta's log, which is JSON.
It is correct because the log is never shortened (`lakehouse.CONFIGURATION`): where it is, nothing is deleted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.errors import InputError, StorageError
from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.schema import Table

KEEP_DAYS = 90
MIN_KEEP_DAYS = 7  # a running step reads its inputs as they were when it began
FEW_FILES = 10  # an append-only table with no more is left alone
NEVER = float("inf")


@dataclass(frozen=True)
class Maintenance:
    """What one run removed: a row of the table ``maintenance``, where the meanings and units are declared."""

    maintained_at: datetime
    keep_days: int
    horizon: datetime | None
    horizon_version: int
    n_materializations_removed: int
    n_files_removed: int
    n_objects_removed: int
    n_remains_removed: int
    bytes_freed: int
    n_files_merged: int


@dataclass(frozen=True)
class _History:
    """The order of all writes, how far back the period reaches, and what it retains.

    ``order`` has the version of ``lineage`` of every materialization, crashed ones too: smaller is earlier.
    ``partition`` has its data set and seed. ``superseded`` is that of `Lakehouse.superseded`, and ``retained`` are the
    complete ones that stay readable. ``newest`` is the moment of the last write that is not ahead of now.
    """

    order: Mapping[str, int]
    partition: Mapping[str, Mapping[str, str]]
    superseded: Mapping[str, int | None]
    retained: Set[str]
    newest: datetime
    horizon: datetime | None
    horizon_version: int

    def is_recent(self, made: str) -> bool:
        """Whether a write began within the period."""
        return self.order.get(made, NEVER) > self.horizon_version


def maintain(lake: Lakehouse, keep_days: int = KEEP_DAYS, now: datetime | None = None) -> Maintenance:
    """Merge small files and delete what no version within the period needs; see the module's docstring.

    Waits for writers and for other maintenance. It may be killed at any moment and run again. Takes some seconds for
    ten thousand writes, during which writers wait and readers do not.

    Parameters
    ----------
    keep_days
        Former materializations stay readable at least so long after they were superseded.
    now
        The present moment, for tests; by the clock when None.

    Raises
    ------
    InputError
        ``keep_days`` is less than 7.
    StorageError
        There is no lake, it cannot be written, or its log has been shortened by another tool.
    """
    if keep_days < MIN_KEEP_DAYS:
        found = f"is less than {MIN_KEEP_DAYS}: running steps read former versions."
        raise InputError(f"keep_days = {keep_days}", found, f"Give {MIN_KEEP_DAYS} days or more.")
    now = now or datetime.now(UTC)
    lake.create()
    with lake.alone("Maintaining the lake"):
        n_merged = lake.compact(FEW_FILES)
        done = lake.read("maintenance", columns=["horizon_version", "horizon"])
        former = int(done["horizon_version"].max()) if len(done) else -1
        history = _history(lake, timedelta(days=keep_days), now, former)
        # By a clock that is ahead of the last write no file may look old, lest a lock that fails be all that saves it.
        old = (history.newest - timedelta(days=keep_days)).timestamp()
        files: list[Path] = []
        remains: list[Path] = []
        for table in TABLES.values():
            needless, unknown = _needless_files(lake.root, table, lake, history)
            files += needless
            remains += [path for path in unknown if path.stat().st_mtime < old]
        objects, unknown = _needless_objects(lake, history)
        objects, more = ([path for path in paths if path.stat().st_mtime < old] for paths in (objects, unknown))
        remains += more
        report = Maintenance(
            maintained_at=now,
            keep_days=keep_days,
            horizon=history.horizon,
            horizon_version=history.horizon_version,
            n_materializations_removed=sum(
                successor is not None and former < successor <= history.horizon_version
                for successor in history.superseded.values()
            ),
            n_files_removed=len(files),
            n_objects_removed=len(objects),
            n_remains_removed=len(remains),
            bytes_freed=sum(path.stat().st_size for path in (*files, *objects, *remains)),
            n_files_merged=n_merged,
        )
        lake.record_maintenance(vars(report))
        for path in (*files, *objects, *remains):
            path.unlink(missing_ok=True)
    return report


def passed_time(moments: Sequence[datetime], now: datetime, most: timedelta) -> list[timedelta]:
    """How much of the lake's time lies between each moment, given in order of writing, and now.

    Time goes on where a moment is later than all before it, by ``most`` at most. A moment after now is of a clock that
    was ahead (or now is of one that is behind), one before another of a clock that was set back: neither moves
    anything, and counts as late as its place in the order allows.
    """
    passed = timedelta()
    latest: datetime | None = None
    at: list[timedelta | None] = []
    for moment in (*moments, now):
        moves = moment <= now and (latest is None or moment >= latest)
        if moves:
            passed += timedelta() if latest is None else min(moment - latest, most)
            latest = moment
        at.append(passed if moves else None)
    ages = []
    later = passed
    for one in reversed(at[:-1]):
        later = later if one is None else one
        ages.append(passed - later)
    return ages[::-1]


def _history(lake: Lakehouse, keep: timedelta, now: datetime, former_horizon: int) -> _History:
    order = {made: version for version, made, _ in _commits(lake.root / "lineage") if made is not None}
    rows = lake.read("lineage", columns=["materialization_id", "dataset", "seed", "created_at"])
    rows = rows.iloc[rows["materialization_id"].map(order).argsort()]  # every row's commit is signed
    moments = [moment.to_pydatetime() for moment in rows["created_at"]]
    horizon, horizon_version = None, former_horizon
    for made, moment, age in zip(
        rows["materialization_id"], moments, passed_time(moments, now, keep / 2), strict=True
    ):
        if order[made] <= former_horizon or age > keep:
            horizon, horizon_version = moment, max(order[made], former_horizon)
    superseded = lake.superseded()
    return _History(
        order=order,
        partition={
            made: {"dataset": dataset, "seed": str(seed)}
            for made, dataset, seed in zip(rows["materialization_id"], rows["dataset"], rows["seed"], strict=True)
        },
        superseded=superseded,
        retained={made for made, successor in superseded.items() if successor is None or successor > horizon_version},
        newest=max((moment for moment in moments if moment <= now), default=now),
        horizon=horizon,
        horizon_version=horizon_version,
    )


def _commits(table: Path) -> Iterator[tuple[int, str | None, list[dict[str, Any]]]]:
    """Every commit of a table, oldest first: its version, the materialization that signed it, and its actions."""
    entries = sorted(path for path in (table / "_delta_log").glob("*.json") if path.stem.isdigit())
    for expected, path in enumerate(entries):
        if int(path.stem) != expected:
            raise StorageError(
                f"The log of table '{table.name}' lacks version {expected}: another tool has shortened it, so that "
                f"maintenance cannot tell which files are needed. Nothing was deleted. ({path.parent})"
            )
        actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        signature: dict[str, Any] = next((one["commitInfo"] for one in actions if "commitInfo" in one), {})
        yield expected, signature.get("materialization_id"), actions


@dataclass
class _File:
    """A data file in a table's log: the versions that hold it, and the write that took it out."""

    partition: tuple[str | None, ...]
    added: int
    removed: float = NEVER
    removed_by: float = NEVER  # a version of `lineage`


def _needless_files(root: Path, table: Table, lake: Lakehouse, history: _History) -> tuple[list[Path], list[Path]]:
    """Data files of a table that nothing within the period needs; and files that are in no commit."""
    folder = root / table.name
    files: dict[str, _File] = {}
    commits = list(_commits(folder))
    # A commit that no materialization signed (a merge) is at most as old as the next one that one did.
    when, at = NEVER, dict[int, float]()
    for version, made, _ in reversed(commits):
        when = history.order.get(made, when) if made is not None else when
        at[version] = when
    for version, _, actions in commits:
        for action in actions:
            if "add" in action:
                name = unquote(action["add"]["path"])
                values = action["add"]["partitionValues"]
                earlier = files.get(name)
                files[name] = _File(
                    tuple(values.get(column) for column in table.partition_by),
                    version if earlier is None else earlier.added,
                )
            elif "remove" in action and (file := files.get(unquote(action["remove"]["path"]))):
                file.removed, file.removed_by = version, at[version]
    retained = _retained_versions(lake, table, history)
    needless = [
        folder / name
        for name, file in files.items()
        if file.removed_by <= history.horizon_version
        and not any(file.added <= version < file.removed for version in retained.get(file.partition, ()))
    ]
    known = {folder / name for name in files}
    unknown = [
        path
        for path in folder.rglob("*")
        if path.suffix in ((".tmp",) if "_delta_log" in path.parts else (".tmp", ".parquet")) and path not in known
    ]
    return [path for path in needless if path.is_file()], unknown


def _retained_versions(lake: Lakehouse, table: Table, history: _History) -> dict[tuple[str | None, ...], list[int]]:
    """For each partition of a table, the versions at which retained materializations are read.

    None for an append-only table, which is always read as it is.
    """
    result: dict[tuple[str | None, ...], list[int]] = {}
    if table.mode == "append":
        return result
    marks = lake.read("table_versions", columns=["materialization_id", "table_name", "version"])
    marks = marks[(marks["table_name"] == table.name) & marks["materialization_id"].isin(history.retained)]
    for made, version in zip(marks["materialization_id"], marks["version"], strict=True):
        partition = history.partition[made]
        result.setdefault(tuple(partition[column] for column in table.partition_by), []).append(int(version))
    return result


def _needless_objects(lake: Lakehouse, history: _History) -> tuple[list[Path], list[Path]]:
    """Artefacts that only materializations beyond the period refer to; and files that no row names."""
    rows = lake.read("artifacts", columns=["materialization_id", "path"])
    retained = history.retained
    is_needed = [made in retained or history.is_recent(made) for made in rows["materialization_id"]]
    needed = {lake.root / path for path in rows.loc[is_needed, "path"]}
    named = {lake.root / path for path in rows["path"]}
    stored = {path for path in lake.root.glob("objects/*/*") if path.is_file()}
    stored |= {path for path in lake.root.glob("objects/*/.*") if path.is_file()}
    return sorted((stored & named) - needed), sorted(stored - named)
