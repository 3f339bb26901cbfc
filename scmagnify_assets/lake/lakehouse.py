"""The lakehouse: the only module that reads or writes storage.

A lake is one folder on a local or POSIX-shared file system::

    <root>/<table>/                     one Delta table per declaration in `scmagnify_core.tables.catalogue`
    <root>/objects/<ab>/<sha256>[.ext]  artefacts (weights, operators, reports), named by their content
    <root>/lake.duckdb                  for other programs: SQL views over the tables, the questions of `views`, the
                                        data dictionary
    <root>/.locks/                      one advisory lock per partition, two against maintenance

What a reader may rely on, and how it is brought about:

- **A partition of one table is always whole.** It is replaced in one Delta commit; a kill before the commit
  leaves unreferenced files and nothing else. Nothing is deleted but by `scmagnify_assets.lake.maintenance`, and that
  nothing that is current or was within its period, so each former version stays readable for so long.
- **Several tables of one asset do not change together**, because Delta has no commit over tables. `write` makes
  everything ready, then commits in this order: ``lineage`` (so that no row is ever without its story),
  ``artifacts``, the data tables, and last, in one commit, ``table_versions``: the mark that the materialization is
  complete. `current` and the ``materialization_id`` argument of `read` see only marked materializations and
  read each table at the version that was recorded, hence always one consistent set, even during a rewrite or
  after a crash. Plain SQL sees the newest commit of each table, which for the moments of a rewrite (or after a
  crash, until the asset is run again) may be of two materializations; ``materialization_id`` tells them apart.
- **Writers of one partition take turns** through ``flock``, which the kernel releases however a process ends.
  Delta's own conflict check stands behind it for file systems that do not honour locks: the write is repeated.
  Writers also share a lock that maintenance holds alone, so that nothing is deleted under a write.
- **Reading writes nothing**, not even a lock: a lake on a read-only mount is read like any other.
- **Order never hangs on a clock.** What is newest, and what superseded what, is told by Delta versions.
- **SQL sees the lake and nothing else**: no other file, no network through DuckDB (`connect`).
- **Success means on disk.** delta-rs does not fsync; files, log entry and folders are synced after each commit.

Names of data sets differ in more than case, or they would share files where a file system ignores it
(`check_new_name`). The lake cannot live below a path with any of ``% [ ] | ^ ? * \\``: delta-rs panics on them or
DuckDB reads them as escapes or patterns. It is made for file systems, not yet for S3: locks, fsync and artefacts go
through paths.

The module is long because all storage is in one place, so that one review can judge it. What does not live here:
what a row means (core), when to write (Dagster), how a materialization is described (`lineage`), what may be deleted
(`maintenance`).
"""

import fcntl
import hashlib
import importlib.util
import operator
import os
import random
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from json import loads
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Schema, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from scmagnify_assets.lake import dictionary, views
from scmagnify_assets.lake.files import sync
from scmagnify_assets.lake.lineage import Input, Materialization, code_version, new_materialization_id
from scmagnify_assets.lake.upgrade import carry_over
from scmagnify_core.errors import InputError, StorageError, shorten
from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.schema import Table

Connection = duckdb.DuckDBPyConnection
ALL = "all"  # in the place of a data set, where a result is of all of them
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
UNUSABLE_IN_PATH = re.compile(r"[%\[\]|^?*\\\x00-\x1f]")
ROWS_PER_GROUP = 122_880  # DuckDB's own row-group size: one group is one unit of its parallel scan
ATTEMPTS = 30
# An append-only table of single-row files is compacted about every so many writes, and by `create` beyond this many:
# every read of lineage goes through all of them, and through the log since its last checkpoint.
MANY_FILES = 10
# The versions of the tables that open connections show (`Lakehouse.connect`).
_VERSIONS: WeakKeyDictionary[Connection, dict[str, int]] = WeakKeyDictionary()

# Whatever else works on these files, Delta's own 30 days for its log and 7 for removed files shall not decide what
# time travel can reach: only `maintenance` does.
CONFIGURATION = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


def check_name(name: str, what: str = "Data set name") -> str:
    """Return ``name`` if it can be a folder, a partition value and a SQL literal alike.

    Raises
    ------
    InputError
        It has other characters than letters, digits, ``.``, ``_`` and ``-``, or more than 64 of them.
    """
    if not NAME.fullmatch(name):
        found = "may hold letters, digits, '.', '_' and '-', at most 64, and start with a letter or digit."
        raise InputError(f"{what} {name!r}", found, "Rename it, for instance by renaming the file.")
    return name


def check_new_name(name: str, known: Iterable[str]) -> str:
    """Return ``name`` if, beside the ``known`` names, it is a good name for one more data set.

    Two names that differ in case alone would be one folder, one lock and one TOML on a file system that ignores case
    (macOS, SMB), and one data set to a hurried reader anywhere.

    Raises
    ------
    InputError
        `check_name` refuses it, it means all data sets, or a known name differs from it in case alone.
    """
    check_name(name)
    if name.casefold() == ALL:
        raise InputError(f"Data set name {name!r}", "stands for all data sets.", "Choose another name.")
    if like := [one for one in known if one != name and one.casefold() == name.casefold()]:
        found = f"differs from the registered {shorten(like)} in case alone."
        raise InputError(f"Data set name {name!r}", found, "Choose another name, or write it as it is registered.")
    return name


def extension_path() -> Path | None:
    """DuckDB's delta extension as shipped by its wheel, for ``LOAD '<path>'`` without a network; None if absent."""
    spec = importlib.util.find_spec("duckdb_extension_delta")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "extensions" / f"v{duckdb.__version__}" / "delta.duckdb_extension"
        if path.is_file():
            return path
    return None


@dataclass(frozen=True)
class _Artifact:
    """Content to store, its hash and where it goes below the lake's folder."""

    name: str
    content: bytes | Path
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, name: str, content: bytes | Path) -> "_Artifact":
        check_name(name, "Artefact name")
        if isinstance(content, bytes):
            return cls(name, content, hashlib.sha256(content).hexdigest(), len(content))
        return cls(name, content, _sha256(content), content.stat().st_size)

    @property
    def path(self) -> str:
        return f"objects/{self.sha256[:2]}/{self.sha256}{Path(self.name).suffix}"


class Lakehouse:
    """Tables, artefacts and SQL views below one folder.

    Cheap to construct and free of state, so that one can be made wherever needed, in any process; but not in a child
    that was forked after its parent used a lake, where delta-rs panics: start workers by spawn or forkserver.

    Parameters
    ----------
    root
        The lake's folder; it need not exist before `create`.

    Raises
    ------
    InputError
        The path has characters that the storage engines cannot take.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).expanduser().resolve()
        if bad := UNUSABLE_IN_PATH.findall(str(self.root)):
            found = f"holds {shorten(dict.fromkeys(bad))}, which Delta and DuckDB misread in paths."
            raise InputError(f"Lake folder {str(self.root)!r}", found, "Choose another folder.")
        if partition := re.search(r"/(?:dataset|seed)=[^/]*", str(self.root)):
            found = f"lies below {partition[0]!r}, which DuckDB takes for a partition."
            raise InputError(f"Lake folder {str(self.root)!r}", found, "Choose another folder.")

    # ---------------------------------------------------------------- making a lake

    def create(self) -> None:
        """Make every table and the SQL views; harmless on an existing lake and from several processes at once.

        Tables are made up front because two first writes that both create a table would fail. A lake of an
        older product is brought up to date where that loses nothing: tables that are new, and columns that were
        added as nullable, are added. Small files of the append-only tables are merged where they are many. Where the
        lake cannot be written (a read-only mount), a complete one is left as it is.

        Raises
        ------
        StorageError
            A stored table differs from its declaration in any other way, or something is to be made and the folder
            cannot be written.
        """
        with self._reporting("Creating the lake", []):
            if self.root.is_dir() and not os.access(self.root, os.W_OK):
                if lacking := [*self._missing_tables(), *self._compare_schemas()]:
                    raise StorageError(
                        f"The lake {self.root} cannot be written here and lacks tables or columns of this version of "
                        f"the product ({shorten(lacking)}). `create` it once where it can be written."
                    )
                return
            self.root.mkdir(parents=True, exist_ok=True)
            with self._lock("create"):
                additions = self._compare_schemas()
                for table in TABLES.values():
                    path = str(self.root / table.name)
                    if not DeltaTable.is_deltatable(path):
                        append_only = {"delta.appendOnly": "true"} if table.mode == "append" else {}
                        delta = DeltaTable.create(
                            path,
                            schema=table.schema,
                            partition_by=list(table.partition_by),
                            description=table.meaning,
                            configuration=CONFIGURATION | append_only,
                        )
                        self._sync_commit(delta)
                    elif table.name in additions:
                        delta = self._open(table.name)
                        delta.alter.add_columns(Schema.from_arrow(pa.schema(additions[table.name])).fields)
                        delta.update_incremental()
                        self._sync_commit(delta)
                if self._crowded(MANY_FILES):
                    with self._writing():
                        self.compact(MANY_FILES)
                if (extension := extension_path()) and not self._views_are_current():
                    self._write_views(extension)
            carry_over(self)

    def _compare_schemas(self) -> dict[str, list[pa.Field]]:
        """Nullable columns that stored tables lack; raises for every other difference, before any change."""
        additions: dict[str, list[pa.Field]] = {}
        problems: list[str] = []
        for table in TABLES.values():
            if not DeltaTable.is_deltatable(str(self.root / table.name)):
                continue
            delta = self._open(table.name)
            stored = {field.name: field for field in pa.schema(delta.schema().to_arrow())}
            for field in table.schema:
                if field.name not in stored and field.nullable:
                    additions.setdefault(table.name, []).append(field)
                elif field.name not in stored:
                    problems.append(f"'{table.name}' lacks column {field.name}")
                elif not stored[field.name].equals(field):
                    old = stored[field.name]
                    problems.append(f"'{table.name}.{field.name}' is {_describe(old)}, not {_describe(field)}")
            if surplus := [name for name in stored if name not in table.schema.names]:
                problems.append(f"'{table.name}' has unknown column {', '.join(surplus)}")
            if (found := delta.metadata().partition_columns) != list(table.partition_by):
                problems.append(f"'{table.name}' is partitioned by {found}, not {list(table.partition_by)}")
        if problems:
            raise StorageError(
                f"The lake {self.root} was made by another version of the product: {'; '.join(problems)}. "
                "Nothing was changed. Open it with the version that made it, or choose a new lake folder and rerun."
            )
        return additions

    def _missing_tables(self) -> list[str]:
        return [name for name in TABLES if not DeltaTable.is_deltatable(str(self.root / name))]

    def _crowded(self, more_than: int) -> list[str]:
        """Append-only tables of more than so many files: each write adds a file of a row or a few."""
        return [
            table.name
            for table in TABLES.values()
            if table.mode == "append" and len(self._open(table.name).file_uris()) > more_than
        ]

    def compact(self, more_than: int) -> int:
        """Merge the files of append-only tables that have more than so many; returns how many were merged.

        A checkpoint then stands for the log so far. Not of the other tables: there a partition is one commit of as few
        files as can be, and a materialization is read at the version that it recorded, whose files a merge would make
        superfluous and maintenance delete.
        """
        n_merged = 0
        for name in self._crowded(more_than):
            delta = self._open(name)
            try:
                n_merged += int(delta.optimize.compact()["numFilesRemoved"])
            except CommitFailedError:
                continue  # somebody else was faster
            delta.create_checkpoint()
            self._sync_commit(delta)
        return n_merged

    # ---------------------------------------------------------------- writing

    def write(
        self,
        asset: str,
        dataset: str,
        seed: int | None,
        tables: Mapping[str, pd.DataFrame],
        artifacts: Mapping[str, bytes | Path],
        *,
        run_id: str,
        inputs: Sequence[Input],
        parameters: Mapping[str, Any],
        file_sha256: str,
        seeds: Sequence[int] | None = None,
        runtime_s: float | None = None,
        peak_memory_mib: float | None = None,
    ) -> Materialization:
        """Replace one partition of an asset: all of its tables, and its artefacts.

        Everything is checked before anything is written. Repeating a write is safe: it replaces the same rows. The
        order of the commits is in the module's docstring.

        Parameters
        ----------
        asset
            Asset that is materialized. In a table that several assets write, only its own rows are replaced.
        dataset, seed
            The partition. With a ``seed`` only the rows of that seed are replaced; without one those of all seeds, and
            a table with a seed has it in its body.
        tables
            Body columns of every table of the asset. An empty frame removes the partition's rows. Leaving out a table
            that the asset wrote before is an error, as its rows would stay behind.
        artifacts
            Name to content, or to a file that is copied.
        run_id
            Dagster's run, 'none' outside one.
        inputs, parameters, file_sha256, seeds, runtime_s, peak_memory_mib
            What the content was made from, and what that took; see `Materialization`.

        Raises
        ------
        SchemaError
            A frame does not match its declaration. Nothing was written.
        StorageError
            The disk is full, failing or contended; the message says whether anything visible changed.
        ValueError
            The tables or the seed are not those of the asset: a mistake in the calling code.
        """
        check_name(asset, "Asset name")
        check_name(dataset)
        seed = None if seed is None else operator.index(seed)  # it becomes part of a predicate
        if unknown := [name for name in tables if name not in TABLES]:
            raise ValueError(f"asset {asset!r} writes {unknown}, which are no tables")
        declared = {name: TABLES[name] for name in tables}
        if seed is not None:
            if without := [name for name, table in declared.items() if "seed" not in table.schema.names]:
                raise ValueError(f"seed is {seed!r}, but {without} have no seed")
            tables = {name: frame.assign(seed=np.int16(seed)) for name, frame in tables.items()}
        if not tables and not artifacts:
            raise ValueError(f"asset {asset!r} has neither tables nor artefacts to write")

        bodies = {name: declared[name].validate(tables[name]) for name in declared}
        former = self.current(asset, dataset, seed)
        if former is not None and (left := {name for name in former.tables if name in TABLES} - set(tables)):
            raise ValueError(f"asset {asset!r} wrote {sorted(left)} before: their rows would stay behind")
        with self._reporting(f"Reading the artefacts of {asset} for {dataset}", []):
            objects = [_Artifact.of(name, artifacts[name]) for name in sorted(artifacts)]
        made = Materialization(
            materialization_id=new_materialization_id(),
            run_id=run_id,
            asset=asset,
            dataset=dataset,
            seed=seed,
            code_version=code_version(),
            data_version=_content_hash(bodies, objects, () if seed is None else ("seed",)),
            file_sha256=file_sha256,
            seeds=None if seeds is None else tuple(int(one) for one in seeds),
            inputs=tuple(inputs),
            parameters=dict(parameters),
            tables={name: body.num_rows for name, body in bodies.items()},
            created_at=datetime.now(UTC),
            runtime_s=runtime_s,
            peak_memory_mib=peak_memory_mib,
        )
        lineage_row = made.to_row()  # before any write: parameters may not be JSON
        replaced: list[str] = []
        with self._reporting(f"Writing {asset} for {dataset}", replaced):
            self._open("lineage")  # says that there is no lake, where there is none
            self._check_space(sum(body.nbytes for body in bodies.values()) + sum(one.size_bytes for one in objects))
            # Not the other way round: who waits for the partition while maintenance waits for him would wait for ever.
            with self._writing(), self._lock(f"{asset}.{dataset}.{seed}"):
                for one in objects:
                    self._store(one)
                versions = {"lineage": (self._append("lineage", [lineage_row], _key(made)), 1)}
                if objects:
                    rows = [lineage_row | vars(one) | {"path": one.path} for one in objects]
                    versions["artifacts"] = self._append("artifacts", rows, _key(made)), len(rows)
                for name, body in bodies.items():
                    stamped = _stamp(body, declared[name], made)
                    delta = self._commit(declared[name], stamped, _key(made), _predicate(declared[name], made))
                    replaced.append(name)
                    self._sync_commit(delta)
                    versions[name] = delta.version(), body.num_rows
                now = datetime.now(UTC)
                marks = [
                    {"table_name": name, "version": version, "n_rows": n_rows, "committed_at": now} | _key(made)
                    for name, (version, n_rows) in versions.items()
                ]
                self._append("table_versions", marks, _key(made))
                if versions["lineage"][0] % MANY_FILES == 0:
                    with suppress(OSError, DeltaError):  # what was to be written is there
                        self.compact(MANY_FILES // 2)
        return made

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]], key: Mapping[str, str]) -> int:
        """Append rows to one of the lake's own tables; returns the committed Delta version. ``key`` signs it."""
        schema = TABLES[name].schema
        data = pa.Table.from_pylist([{column: row[column] for column in schema.names} for row in rows], schema=schema)
        self._sync_commit(delta := self._commit(TABLES[name], data, key))
        return int(delta.version())

    def _commit(
        self, table: Table, data: pa.Table, key: Mapping[str, str], predicate: str | None = None
    ) -> DeltaTable:
        """Commit ``data``: appended, or in place of the rows of ``predicate``. Conflicts repeat the whole write."""
        for attempt in range(ATTEMPTS):
            delta = self._open(table.name)
            properties: dict[str, Any] = {
                "writer_properties": _parquet(table),
                "commit_properties": CommitProperties(custom_metadata=dict(key), max_commit_retries=100),
            }
            try:
                if predicate is None:
                    write_deltalake(delta, data, mode="append", **properties)
                else:
                    write_deltalake(delta, data, mode="overwrite", predicate=predicate, **properties)
            except CommitFailedError:
                time.sleep(random.uniform(0, min(1.0, 0.01 * 2**attempt)))
                continue
            return delta
        raise OSError(f"{ATTEMPTS} attempts to commit to table '{table.name}' met other writers")

    def _store(self, artifact: _Artifact) -> None:
        """Put an artefact at its address: complete under its final name, or not there at all."""
        path = self.root / artifact.path
        if path.is_file() and path.stat().st_size == artifact.size_bytes:
            with suppress(OSError):  # as good as new: behind the lock, this too keeps maintenance from deleting it
                os.utime(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{new_materialization_id()}.tmp"
        try:
            if isinstance(artifact.content, bytes):
                temporary.write_bytes(artifact.content)
            else:
                shutil.copyfile(artifact.content, temporary)
                if _sha256(temporary) != artifact.sha256:
                    raise OSError(f"{artifact.content} changed while it was being copied")
            sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent, path.parent.parent, self.root)

    def _check_space(self, n_bytes: int) -> None:
        """Refuse a write that may not fit. Uncompressed sizes, hence on the safe side."""
        if (free := shutil.disk_usage(self.root).free) < n_bytes:
            raise OSError(f"up to {n_bytes:,} bytes are needed, {free:,} are free")

    def _sync_commit(self, delta: DeltaTable) -> None:
        """Bring the newest commit of a table to the disk: data files, log entry, checkpoint, and their folders."""
        folder, version = self.root / Path(delta.table_uri).name, delta.version()
        log = folder / "_delta_log"
        entries = list(log.glob(f"{version:020d}*")) + [path for path in [log / "_last_checkpoint"] if path.exists()]
        actions = [loads(line) for line in (log / f"{version:020d}.json").read_text().splitlines()]
        files = [folder / unquote(action["add"]["path"]) for action in actions if "add" in action]
        parents = {parent for path in files for parent in path.parents if parent.is_relative_to(folder)}
        sync(*files, *parents, *entries, log, folder, self.root)

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Hold the name of a data set while it is found free and taken, lest two take it at once.

        Names that differ in case alone are one here, too.

        Raises
        ------
        StorageError
            The lake cannot be written.
        """
        with ExitStack() as stack:
            with self._reporting(f"Claiming the name {check_name(name)}", []):
                stack.enter_context(self._lock(f"claim.{name.casefold()}"))
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Be a writer among others, while maintenance is not at work.

        Through a gate, at which maintenance keeps new writers while it waits for those at work: an exclusive lock
        alone might never find a moment without a writer.
        """
        with ExitStack() as stack:
            with self._lock("gate", shared=True):
                stack.enter_context(self._lock("writers", shared=True))
            yield

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Wait for writers at work, and for other maintenance, and keep new ones out. Readers are not held up.

        What the file system or the engines raise meanwhile becomes a `StorageError` that says ``what`` was done.
        """
        with self._reporting(what, []):
            self._open("lineage")  # says that there is no lake, where there is none
            with self._lock("gate"), self._lock("writers"):
                yield

    @contextmanager
    def _lock(self, name: str, shared: bool = False) -> Iterator[None]:
        """Hold a lock; the kernel frees it when the process ends, however it ends."""
        folder = self.root / ".locks"
        folder.mkdir(exist_ok=True)
        with (folder / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Explicitly: closing would not do where a forked child has inherited the file.
                fcntl.flock(file, fcntl.LOCK_UN)

    @contextmanager
    def _reporting(self, what: str, replaced: Sequence[str] | None = None) -> Iterator[None]:
        """Turn what the file system and the engines raise into a `StorageError`.

        Give ``replaced``, the tables already replaced, where something is being written: the message then says
        how much space is left and what is visible now.
        """
        try:
            yield
        except TableNotFoundError as error:
            raise StorageError(f"There is no lake at {self.root}: `create` it first. ({error})") from error
        except (OSError, DeltaError, duckdb.Error) as error:
            state = ""
            if replaced is not None:
                existing = next(path for path in [self.root, *self.root.parents] if path.exists())
                state = f" {shutil.disk_usage(existing).free:,} bytes are free there. " + (
                    f"Already replaced: {', '.join(replaced)}; run the asset again to replace the rest."
                    if replaced
                    else "Nothing visible changed."
                )
            raise StorageError(f"{what} ({self.root}) failed: {error}.{state}") from error

    # ---------------------------------------------------------------- reading

    def read(
        self,
        table: str,
        dataset: str | None = None,
        seed: int | None = None,
        columns: Sequence[str] | None = None,
        *,
        version: int | None = None,
        materialization_id: str | None = None,
    ) -> pd.DataFrame:
        """Read a table, or one partition of it, body and stamped columns, in key order.

        Parameters
        ----------
        dataset, seed
            Only these rows; None is all.
        columns
            Only these columns; None is all.
        version
            The table as of this Delta version (see `versions`); None is the newest.
        materialization_id
            The rows that this complete materialization wrote, at the version it recorded: what an asset reads
            as its input, so that its recorded lineage is true even while somebody rewrites the table.

        Raises
        ------
        InputError
            No such table, column or version, or maintenance has removed it.
        StorageError
            There is no lake, or the materialization is not complete.
        """
        if table not in TABLES:
            raise InputError(f"Table '{table}'", f"does not exist. Tables: {', '.join(TABLES)}.", "Name one of them.")
        declared = TABLES[table]
        names = list(columns) if columns is not None else declared.schema.names
        if unknown := [name for name in names if name not in declared.schema.names]:
            available = f"does not exist. Columns: {', '.join(declared.schema.names)}."
            raise InputError(f"Column {shorten(unknown)} of '{table}'", available, "Name one of them.")
        if version is not None:
            with self._reporting(f"Reading table '{table}'"):
                newest = self._open(table).version()
            if not 0 <= version <= newest:
                remedy = f"`versions('{table}', ...)` lists them."
                raise InputError(
                    f"Version {version} of table '{table}'", f"does not exist; {newest} is newest.", remedy
                )
        where = {"dataset": dataset, "seed": seed, "materialization_id": materialization_id}
        if materialization_id is not None and declared.mode == "replace":
            marks = self._rows("table_versions", _key_of(materialization_id) | {"table_name": table})
            if not marks.num_rows:
                raise StorageError(
                    f"Materialization {materialization_id} has not completed a write of table '{table}'. "
                    "Run its asset again."
                )
            version = marks["version"][0].as_py()
            # Of that version only this partition is sure to be there still, so only its files may be opened.
            (story,) = self._rows("lineage", _key_of(materialization_id), ["dataset", "asset", "seed"]).to_pylist()
            where |= {c: story[c] for c in declared.partition_by if where.get(c) is None}
        try:
            rows = self._rows(table, {k: v for k, v in where.items() if v is not None}, names, version)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError) and version is not None:
                what = f"Version {version} of table '{table}'"
                if materialization_id is not None:
                    self._explain_removal(what, materialization_id)
                else:  # of a version before the horizon only some data sets are there still
                    self._explain_horizon(
                        what, self._order_of(table, int(version)), "Name a data set. " * (dataset is None)
                    )
            raise
        gaps = [one for one in rows.schema if pa.types.is_integer(one.type) and rows[one.name].null_count]
        # As floats, which pandas takes for integers with nulls, they would no longer match their declaration.
        return rows.to_pandas().astype({one.name: f"Int{one.type.bit_width}" for one in gaps})

    def _rows(
        self,
        name: str,
        where: Mapping[str, Any],
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows whose columns equal the values of ``where``; files that cannot hold any are not opened."""
        table = TABLES[name]
        with self._reporting(f"Reading table '{name}'"):
            delta = self._open(name, version)
            stored = delta.schema().to_arrow().names  # a former version may lack columns that were added since
            names = [column for column in (columns or table.schema.names) if column in stored]
            order = [column for column in (*table.partition_by, *table.key) if column in stored]
            files = delta.to_pyarrow_dataset(file_pruning_predicate=[(k, "=", v) for k, v in where.items()] or None)
            condition = None
            for column, value in where.items():
                equals = pc.field(column) == value
                condition = equals if condition is None else condition & equals
            # Rows of one file are in key order already; only the order of files is unspecified.
            is_sorted = len(files.files) < 2
            found = files.to_table(
                columns=names if is_sorted else [*dict.fromkeys([*names, *order])], filter=condition
            )
            return found if is_sorted else found.sort_by([(c, "ascending") for c in order]).select(names)

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        return DeltaTable(str(self.root / name), version=version)

    def current(self, asset: str, dataset: str, seed: int | None = None) -> Materialization | None:
        """The newest complete materialization of a partition; None if there is none.

        Complete means that its rows in ``table_versions``, one commit and the last of a write, exist: a write that
        crashed or is under way does not count. Newest means the highest Delta version of its ``lineage`` row,
        which, unlike a clock, cannot run backwards.
        """
        rows = self._rows("lineage", {"asset": asset, "dataset": dataset}).to_pylist()
        candidates = {row["materialization_id"]: row for row in rows if row["seed"] == seed}
        if not candidates:
            return None
        marks = self._rows("table_versions", {"table_name": "lineage"}, ["materialization_id", "version"]).to_pylist()
        complete = [mark for mark in marks if mark["materialization_id"] in candidates]
        if not complete:
            return None
        return Materialization.from_row(
            candidates[max(complete, key=lambda mark: mark["version"])["materialization_id"]]
        )

    def ancestry(self, made: Materialization) -> list[Materialization]:
        """A materialization and everything that it was made from, back to the file, each once."""
        rows = {
            row["materialization_id"]: row for row in self._rows("lineage", {"dataset": made.dataset}).to_pylist()
        }
        found: dict[str, Materialization] = {}
        ahead = [made.materialization_id]
        while ahead:
            one = ahead.pop()
            if one not in found and one in rows:
                found[one] = Materialization.from_row(rows[one])
                ahead += [origin.materialization_id for origin in found[one].inputs]
        return list(found.values())

    def superseded(self) -> dict[str, int | None]:
        """For each complete materialization the version of ``lineage`` that took its place; None for current ones.

        Incomplete ones take nobody's place and are not in it.
        """
        # In this order: whatever is marked by now has its story.
        marks = self._rows("table_versions", {"table_name": "lineage"}, ["materialization_id", "version"]).to_pylist()
        lineage = self._rows("lineage", {}, ["materialization_id", "asset", "dataset", "seed"]).to_pylist()
        partition = {row["materialization_id"]: (row["asset"], row["dataset"], row["seed"]) for row in lineage}
        newest: dict[tuple[Any, ...], str] = {}
        result: dict[str, int | None] = {}
        for mark in sorted(marks, key=lambda mark: mark["version"]):
            made = mark["materialization_id"]
            if (former := newest.get(partition[made])) is not None:
                result[former] = mark["version"]
            result[made] = None
            newest[partition[made]] = made
        return result

    def _order_of(self, table: str, version: int) -> int:
        """The version of ``lineage`` of the complete write that made a version of a table; 0, the first, of others."""
        made = self._rows("table_versions", {"table_name": table, "version": version}, ["materialization_id"])
        if not made.num_rows:
            return 0
        where = {"table_name": "lineage"} | _key_of(made["materialization_id"][0].as_py())
        return int(self._rows("table_versions", where, ["version"])["version"][0].as_py())

    def record_maintenance(self, row: Mapping[str, Any]) -> None:
        """Append to the table ``maintenance``. What its horizon leaves out counts as removed from then on."""
        self._append("maintenance", [row], {})

    def _explain_removal(self, what: str, materialization_id: str) -> None:
        """Raise an `InputError` if maintenance has removed a materialization."""
        if (successor := self.superseded().get(materialization_id)) is not None:
            self._explain_horizon(what, successor, "")

    def _explain_horizon(self, what: str, order: int, remedy: str) -> None:
        """Raise an `InputError` if maintenance has had a horizon of this version of ``lineage`` or a later one."""
        if "maintenance" in self._missing_tables():
            return  # an older lake
        done = self.read("maintenance")
        done = done[done["horizon_version"] >= order]
        if len(done):
            found = (
                f"was removed by maintenance on {done['maintained_at'].iloc[0]:%Y-%m-%d}; "
                f"kept are the last {done['keep_days'].iloc[-1]} days."
            )
            raise InputError(what, found, f"{remedy}The view time_travel says what is readable.")

    def artifact_path(
        self,
        asset: str,
        dataset: str,
        seed: int | None,
        name: str,
        *,
        made: Materialization | None = None,
        verify: bool = False,
    ) -> Path:
        """Where a materialization's artefact lies, after checking that it is there and of the right size.

        Parameters
        ----------
        made
            The materialization; the current one of the partition when None.
        verify
            Hash the content too, at the cost of reading the file.

        Raises
        ------
        InputError
            Maintenance has removed it.
        StorageError
            There is no complete materialization, no such artefact, or the file is missing or damaged.
        """
        whose = f"{asset} for {dataset}" + ("" if seed is None else f", seed {seed}")
        made = made or self.current(asset, dataset, seed)
        if made is None:
            raise StorageError(f"There is no complete {whose} in {self.root}. Run that asset.")
        rows = {row["name"]: row for row in self._rows("artifacts", _key(made)).to_pylist()}
        if name not in rows:
            raise StorageError(f"Artefact '{name}' of {whose} does not exist. It has {shorten(rows)}.")
        path = self.root / rows[name]["path"]
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            self._explain_removal(f"Artefact '{name}' of a former {whose}", made.materialization_id)
        if size != rows[name]["size_bytes"] or (verify and _sha256(path) != rows[name]["sha256"]):
            found = "is missing"
            if size is not None:
                found = f"is damaged ({size:,} of {rows[name]['size_bytes']:,} bytes)"
            if size == rows[name]["size_bytes"]:
                found = "is damaged (its hash differs)"
            raise StorageError(f"Artefact '{name}' of {whose} {found}: {path}. Delete it and run the asset again.")
        return path

    def version(self, table: str) -> int:
        """The newest Delta version of a table: changes with each write to it."""
        with self._reporting(f"Reading table '{table}'"):
            return int(self._open(table).version())

    def versions(self, table: str, dataset: str) -> pd.DataFrame:
        """Every version of a data set's rows in a table, oldest first, for ``read(version=...)``.

        Columns: ``version``, ``materialization_id``, ``seed`` (nullable), ``committed_at``, ``n_rows``.
        """
        lineage = self._rows("lineage", {"dataset": dataset}, ["materialization_id", "seed"])
        marks = self._rows("table_versions", {"table_name": table})
        names = ["version", "materialization_id", "seed", "committed_at", "n_rows"]
        joined = marks.join(lineage, "materialization_id", join_type="inner").select(names).sort_by("version")
        return joined.to_pandas().astype({"seed": "Int16"})

    # ---------------------------------------------------------------- SQL

    def connect(self, *, time_travel: bool = True) -> Connection:
        """Open a connection whose tables are the lake's, with the views and functions of `views` and the dictionary.

        It can open no file outside of the lake's folder, load no extension and change no setting. (Below that folder
        ``COPY ... TO`` can write, as DuckDB has no way to allow reading alone: `sql`, which takes only queries, is the
        door for queries of others.)

        Its tables are the files of the newest commits at the moment of the call, and `sql` brings them up to date
        before it asks: planning a scan of known files takes DuckDB 1 ms, and reading Delta's log first, as the views
        in ``lake.duckdb`` do, some 10 to 20 ms a table. Former versions need the delta extension, which takes a third
        of a second to load; without ``time_travel`` it is left out.

        Raises
        ------
        StorageError
            There is no lake here.
        """
        with self._reporting("Opening the SQL views"):
            self._open("lineage")  # says that there is no lake better than DuckDB would
            connection = duckdb.connect()
            if time_travel and (extension := extension_path()) is not None:
                with suppress(duckdb.Error):
                    connection.execute(f"LOAD {quote(str(extension))}")
            self._bring_up_to_date(connection)
            questions = views.statements(quote, str(self.root / "edges"), comments=False)
            connection.execute(";".join([*questions, *dictionary.statements(quote)]))
            connection.execute(
                f"SET allowed_directories = [{quote(f'{self.root}/')}]; SET enable_external_access = false; "
                "SET python_enable_replacements = false; SET lock_configuration = true"
            )
            return connection

    def _bring_up_to_date(self, connection: Connection) -> None:
        """Point a connection's tables at their newest files, where they have changed since it last looked.

        Append-only tables last: the story of a row is committed before the row, so what is seen has its story.
        """
        seen = _VERSIONS.setdefault(connection, {})
        for table in sorted(TABLES.values(), key=lambda table: table.mode == "append"):
            log = self.root / table.name / "_delta_log"
            if table.name in seen and not (log / f"{seen[table.name] + 1:020}.json").exists():
                continue
            try:
                delta = self._open(table.name)
            except TableNotFoundError:  # an older lake that nobody has brought up to date: it is empty
                delta = None
            connection.execute(f"CREATE OR REPLACE VIEW {table.name} AS {self._scan(table, delta)}")
            seen[table.name] = -1 if delta is None else delta.version()

    def _scan(self, table: Table, delta: DeltaTable | None) -> str:
        """A query for the rows of a table at the version that is open."""
        nulls = ", ".join(f'NULL::{dictionary.sql_type(one)} AS "{one.name}"' for one in table.columns)
        empty = f"SELECT {nulls} WHERE false"
        if delta is None or not (files := [unquote(uri) for uri in delta.file_uris()]):
            return empty
        types = {one.name: dictionary.sql_type(one) for one in table.columns if one.name in table.partition_by}
        partitions = ", ".join(f"{quote(name)}: {kind}" for name, kind in types.items())
        hive = f"hive_partitioning = true, hive_types = {{{partitions}}}" if types else "hive_partitioning = false"
        n_rows = sum(pa.table(delta.get_add_actions())["num_records"].to_pylist())  # DuckDB would guess
        scan = f"read_parquet([{', '.join(map(quote, files))}], {hive}, explicit_cardinality = {n_rows}"
        names = ", ".join(f'"{name}"' for name in table.schema.names)
        if "dataset" in types and (null := re.search("/dataset=(null)/", "".join(files), re.IGNORECASE)):
            # DuckDB takes a partition of that name for none. (There is one of them, as names differ in more than case.)
            names = names.replace('"dataset"', f'coalesce("dataset", {quote(null[1])}) AS "dataset"')
        if self._is_as_created(table):
            return f"SELECT {names} FROM {scan})"
        # Files that are older than a column lack it; to look for that in all of them takes time.
        return f"SELECT {names} FROM (FROM {scan}, union_by_name = true) UNION ALL BY NAME {empty})"

    def _is_as_created(self, table: Table) -> bool:
        """Whether a table was created with all of the columns that it has."""
        try:
            with (self.root / table.name / "_delta_log" / f"{0:020}.json").open(encoding="utf-8") as log:
                (created,) = [loads(line)["metaData"] for line in log if line.startswith('{"metaData"')]
        except (OSError, ValueError):
            return False
        return {field["name"] for field in loads(created["schemaString"])["fields"]} == set(table.schema.names)

    def sql(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> pa.Table:
        """Run one or more queries over the lake's views; returns the last one's result.

        ``connection`` is one of `connect` for who asks often: opening one takes longer than most questions.

        Raises
        ------
        InputError
            A statement is not a query (use `connect` for those: the lake is read-only there too), or DuckDB
            does not understand it.
        StorageError
            There is no lake, or its files cannot be read.
        """
        with self.stream(query, parameters, connection) as rows:
            return rows.read_all()

    @contextmanager
    def stream(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> Iterator[pa.RecordBatchReader]:
        """`sql` for results that need not fit memory: a reader of batches, while the context is open."""
        time_travel = re.search("delta_scan|edges_at|edge_changes", query, re.IGNORECASE) is not None
        own = None if connection is not None else self.connect(time_travel=time_travel)
        using = connection or own
        assert using is not None
        try:
            with self._reporting("Opening the SQL views"):
                self._bring_up_to_date(using)
            rows = _run(using, query, parameters).to_arrow_reader(ROWS_PER_GROUP)
            yield pa.RecordBatchReader.from_batches(rows.schema, _batches(rows))
        except duckdb.PermissionException as error:
            found = f"reaches outside of the lake, which is not allowed ({str(error).partition(chr(10))[0]})."
            raise InputError("SQL", found, "Query the lake's tables: FROM tables lists them.") from error
        except duckdb.IOException as error:
            if "LogSegment end version" in str(error):
                found = "asks for a version that does not exist."
                raise InputError("SQL", found, "FROM time_travel lists the versions of each table.") from error
            hint = ""
            if re.search(r"version|edges_at|edge_changes", query, re.IGNORECASE) and "No such file" in str(error):
                hint = " Maintenance may have removed that version: time_travel.is_readable says what is still there."
            raise StorageError(f"Querying {self.root} failed: {error}{hint}") from error
        except duckdb.Error as error:
            raise InputError("SQL", str(error), _sql_remedy(error)) from error
        finally:
            if own is not None:
                own.close()

    def split(self, query: str, connection: Connection) -> list[str]:
        """The statements of a query; all of it as one where DuckDB cannot read it, which asking will then tell."""
        try:
            return [statement.query.strip() for statement in connection.extract_statements(query)]
        except duckdb.Error:
            return [query]

    def is_unfinished(self, query: str, connection: Connection) -> bool:
        """Whether DuckDB cannot read a query because something is missing at its end."""
        try:
            connection.extract_statements(query)
        except duckdb.Error as error:
            return bool(re.search("at end of input|unterminated|without selection list", str(error)))
        return False

    def rows_of_all_datasets(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> int:
        """Rows of partitioned tables that a query would read of every data set, as it names none; 0 if it names some.

        Told by DuckDB's plan, so nothing is read. What only looks at the first rows does not count, nor what is no
        single query or cannot be planned.
        """
        own = None if connection is not None else self.connect()
        using = connection or own
        assert using is not None
        try:
            (statement,) = using.extract_statements(query)
            if statement.type.name != "SELECT":
                return 0
            ((_, plan),) = using.execute(f"EXPLAIN (FORMAT json) {statement.query}", parameters).fetchall()
            return sum(_whole_scans(node) for node in loads(plan))
        except (duckdb.Error, ValueError):
            return 0
        finally:
            if own is not None:
                own.close()

    def _view_statements(self) -> list[str]:
        """One view per table with its meaning as comments, the views of questions, and the data dictionary."""
        statements = []
        for table in TABLES.values():
            statements.append(f"CREATE VIEW {table.name} AS FROM delta_scan({quote(str(self.root / table.name))})")
            statements.append(f"COMMENT ON VIEW {table.name} IS {quote(table.meaning)}")
            statements += [views.column_comment(table.name, column, quote) for column in table.columns]
        return statements + views.statements(quote, str(self.root / "edges")) + dictionary.statements(quote)

    def _fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self._view_statements()).encode()).hexdigest()

    def _views_are_current(self) -> bool:
        """Whether ``lake.duckdb`` holds the views of this product version for this very folder."""
        path = self.root / "lake.duckdb"
        if not path.is_file():
            return False
        try:
            with duckdb.connect() as connection:
                connection.execute(f"ATTACH {quote(str(path))} AS lake (READ_ONLY)")
                return connection.execute("FROM lake.about").fetchall() == [(self._fingerprint(),)]
        except duckdb.Error:
            return False  # damaged, or of another DuckDB version: written anew

    def _write_views(self, extension: Path) -> None:
        """Write ``lake.duckdb`` beside the old one and swap: whoever has the old one open keeps reading it."""
        temporary = self.root / f".lake.{new_materialization_id()}.tmp"
        try:
            with duckdb.connect(temporary) as connection:
                connection.execute(f"LOAD {quote(str(extension))}")
                about = f"CREATE TABLE about AS SELECT {quote(self._fingerprint())} AS fingerprint"
                connection.execute(";".join(["BEGIN", *self._view_statements(), about, "COMMIT"]))
            temporary.chmod(0o444)  # whoever attaches it shall not change it by mistake
            sync(temporary)
            temporary.replace(self.root / "lake.duckdb")
            sync(self.root)
        finally:
            temporary.unlink(missing_ok=True)


def _run(connection: Connection, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> Connection:
    """Run queries, and refuse everything else."""
    kinds = {statement.type.name for statement in connection.extract_statements(query)}
    if not kinds:
        raise InputError("SQL", "there is no query.", "Write SELECT ... or FROM ...")
    if "EXPLAIN" in kinds and re.search("analy[sz]e", query, re.IGNORECASE):
        kinds.add("EXPLAIN ANALYZE")  # it runs what it explains, and that may be COPY ... TO a file
    if extra := kinds - {"SELECT", "EXPLAIN"}:
        raise InputError("SQL", f"{shorten(sorted(extra))} is not a query.", "Write SELECT ... or FROM ...")
    return connection.execute(query, parameters)


def _batches(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches of a query that may fail half way: Arrow then raises what a disk would, where a file is written.

    Now and then DuckDB tells of the thread that was interrupted (3 of 80 times), and not of the one that failed.
    """
    try:
        yield from rows
    except OSError as error:
        found = f"failed half way ({str(error).partition(chr(10))[0]})."
        raise InputError("SQL", found, "Mend the query; run it again if this does not say why.") from error


def _sql_remedy(error: duckdb.Error) -> str:
    """What to try after what DuckDB says, on a line of its own: its message ends with a mark below the query."""
    if "Referenced column" in str(error):
        return "\nText needs single quotes: 'Gata1'. DESCRIBE edges lists the columns of a table."
    if isinstance(error, duckdb.CatalogException):
        return "\nFROM tables lists tables, views and functions."
    return ""


def _whole_scans(node: Mapping[str, Any]) -> int:
    """Rows below a node of DuckDB's plan that are scanned without a filter on the data set."""
    if node["name"].strip() == "STREAMING_LIMIT":  # stops when it has enough
        return 0
    if node["name"].strip() in ("READ_PARQUET", "DELTA_SCAN"):
        about = node.get("extra_info", {})
        filters = f"{about.get('Filters')} {about.get('File Filters')}"
        return 0 if re.search(r"\bdataset\b", filters) else int(about.get("Estimated Cardinality", 0))
    below = [_whole_scans(child) for child in node.get("children", ())]
    if "file_row_number" in str(node.get("extra_info", {}).get("Conditions")):
        return min(below)  # fetches the other columns of the few rows that the other branch has found
    return sum(below)


def _key_of(materialization_id: str) -> dict[str, str]:
    return {"materialization_id": materialization_id}


def _key(made: Materialization) -> dict[str, str]:
    return _key_of(made.materialization_id)


def quote(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _describe(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"


def _predicate(table: Table, made: Materialization) -> str:
    """The rows that a materialization replaces. Typed: an integer in quotes would match nothing, or everything."""
    values = {"dataset": quote(made.dataset), "asset": quote(made.asset)}
    if made.seed is not None:  # else rows of all seeds are replaced
        values["seed"] = str(made.seed)
    return " AND ".join(f"{column} = {values[column]}" for column in table.partition_by if column in values)


def _stamp(body: pa.Table, table: Table, made: Materialization) -> pa.Table:
    """Add the columns that say which partition and materialization the rows belong to."""
    columns = [
        body[field.name]
        if field.name in body.column_names
        else pa.repeat(pa.scalar(getattr(made, field.name), field.type), body.num_rows)
        for field in table.schema
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _parquet(table: Table) -> WriterProperties:
    """Zstd; floats, which a dictionary cannot help, split by byte so that their exponents compress."""
    split = ColumnProperties(dictionary_enabled=False, encoding="BYTE_STREAM_SPLIT")
    return WriterProperties(
        compression="ZSTD",
        compression_level=3,
        max_row_group_size=ROWS_PER_GROUP,
        column_properties={c.name: split for c in table.columns if pa.types.is_floating(c.dtype)} or None,
    )


def _content_hash(bodies: Mapping[str, pa.Table], artifacts: Sequence[_Artifact], stamped: Sequence[str] = ()) -> str:
    """Hash of what was written and nothing else: no identifier, time, path, process, measured or stamped column enters.

    Each column enters as its validity and its valid values. Not as Arrow's own IPC bytes: those include what happens
    to lie under a null and behind the end of a buffer.
    """
    digest = hashlib.sha256()
    for name in sorted(bodies):
        digest.update(f"table\0{name}\0{bodies[name].num_rows}\0".encode())
        left_out = [column.name for column in TABLES[name].columns if column.is_measured]
        body = bodies[name].drop_columns([*left_out, *stamped])
        for field, column in zip(body.schema, body.columns, strict=True):
            digest.update(f"column\0{field.name}\0{field.type}\0".encode())
            whole = column.combine_chunks()
            for part in (whole.is_valid(), whole.drop_null()):
                for content in _plain_bytes(part):
                    digest.update(content)
    for one in artifacts:
        digest.update(f"artifact\0{one.name}\0{one.sha256}\0".encode())
    return digest.hexdigest()


def _plain_bytes(values: pa.Array) -> Iterator[bytes | memoryview]:
    """The content of an array without nulls: fixed-width values, or the lengths of texts and their bytes."""
    if pa.types.is_string(values.type):
        yield pc.binary_length(values).to_numpy().tobytes()
        if len(values):
            _, offsets, content = values.buffers()
            ends = memoryview(offsets).cast("i")
            yield memoryview(content)[ends[values.offset] : ends[values.offset + len(values)]]
    elif pa.types.is_timestamp(values.type):
        yield values.cast(pa.int64()).to_numpy().tobytes()
    else:
        yield values.to_numpy(zero_copy_only=False).tobytes()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
