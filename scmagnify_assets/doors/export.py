"""What leaves the lake: the results of one data set as a file, or a folder, that other tools read.

What a reader may rely on:

- **One consistent set.** Every table is read as its current, complete materialization wrote it, and none may have been
  made from a former state of another: a run that has got half way, or a part that was run again by itself, is refused
  with what to do. Where all of it comes from goes along wherever the format has a place for that.
- **Whole or not there.** A file is written beside its place, brought to the disk and then renamed; what was there stays
  until then. In a folder that exists already, ``provenance.json`` is taken away first and comes back last. What a
  killed export leaves is a hidden folder beside it that ends in ``.part``.

In whose words the results leave is `scmagnify_core.exchange`'s business.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scmagnify_assets.datasets import registry
from scmagnify_assets.lake.files import refuse_missing_folder, staging, sync, written_whole
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core import exchange
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.errors import InputError, shorten
from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.schema import STAMPED, Table

NETWORK = "multiscale_network"
PROVENANCE = "provenance.json"


class Format(StrEnum):
    """What is written; ``tables`` is a folder of parquet files."""

    h5mu = "h5mu"
    h5ad = "h5ad"
    graphml = "graphml"
    gexf = "gexf"
    csv = "csv"
    tsv = "tsv"
    parquet = "parquet"
    tables = "tables"


EDGE_LISTS = (Format.csv, Format.tsv, Format.parquet)
OBJECTS = (Format.h5mu, Format.h5ad)
# What to type next, in Python.
HINTS: Mapping[Format, str] = {
    Format.h5mu: "import mudata, scanpy; data = mudata.read({path!r}); "
    "scanpy.pl.embedding(data['tf_activity'], 'embedding', color=data['tf_activity'].var_names[:4])",
    Format.h5ad: "import anndata, decoupler; data = anndata.read_h5ad({path!r}); "
    "activities = decoupler.pp.get_obsm(data, 'score_mlm')",
    Format.graphml: "import networkx; graph = networkx.read_graphml({path!r})",
    Format.gexf: "import networkx; graph = networkx.read_gexf({path!r})",
    Format.csv: "import pandas; edges = pandas.read_csv({path!r})",
    Format.tsv: "import pandas; edges = pandas.read_csv({path!r}, sep='\\t')",
    Format.parquet: "import pandas; edges = pandas.read_parquet({path!r})",
    Format.tables: "import pandas; edges = pandas.read_parquet('{path}/edges.parquet')",
}


@dataclass(frozen=True)
class Choice:
    """Which edges leave; see `scmagnify_core.exchange.choose_edges`."""

    selected: bool = False
    top: int | None = None
    max_padj: float | None = None


@dataclass(frozen=True)
class Exported:
    """What was written: where, as what, and in words what it holds."""

    path: Path
    format: Format
    holds: str
    size_bytes: int

    @property
    def hint(self) -> str:
        """What to type in Python to read it."""
        return HINTS[self.format].format(path=str(self.path))


@dataclass(frozen=True)
class Snapshot:
    """Current materializations of a data set that were made from each other, by asset."""

    lake: Lakehouse
    registration: registry.Registration
    made: Mapping[str, Materialization]

    def rows(self, table: Table) -> pd.DataFrame:
        """A table as these materializations wrote it, stamped columns and all seeds included.

        Columns that an older product did not write are null.
        """
        read = [
            self.lake.read(table.name, one.dataset, one.seed, materialization_id=one.materialization_id)
            for one in self.made.values()
            if table.name in one.tables
        ]
        rows = pd.concat(read, ignore_index=True) if read else pd.DataFrame()
        return rows.reindex(columns=table.schema.names)

    def body(self, name: str) -> pd.DataFrame:
        """A table without its stamped columns; without rows where its asset was not made."""
        rows = self.rows(TABLES[name])
        return rows.drop(columns=[column for column in STAMPED if column in rows])

    def data(self) -> Dataset:
        """The data set as analysed."""
        made = self.made["dataset"]
        return Dataset.load(self.lake.artifact_path("dataset", made.dataset, None, "dataset.h5mu", made=made))

    def about(self) -> dict[str, Any]:
        """Where the results come from, as JSON has it."""
        last = max(self.made.values(), key=lambda one: one.created_at)
        network = self.made.get(NETWORK, last)
        about: dict[str, Any] = {
            "dataset": self.registration.name,
            "file_sha256": network.file_sha256,
            "code_version": network.code_version,
            "seeds": list(network.seeds or ()),
            "made_at": last.created_at.isoformat(timespec="seconds"),
            "materialization_ids": {asset: one.materialization_id for asset, one in self.made.items()},
        }
        if self.registration.sha256 == network.file_sha256:  # else the results are of former content
            about["file"] = str(self.registration.raw["file"])
        return about


def take_snapshot(lake: Lakehouse, name: str, assets: Sequence[str] | None = None) -> Snapshot:
    """The current materializations of some assets (None: all of a data set), if they belong together.

    An asset that was not made is left out, but the first of ``assets`` must be there.

    Raises
    ------
    InputError
        The data set is not registered or not run, or an asset was made from a former state of another.
    """
    registration = registry.find(lake, name)
    candidates = assets or _assets(registration.spec().methods)
    made = {asset: one for asset in candidates if (one := lake.current(asset, name)) is not None}
    if all(asset == registry.ASSET for asset in made) or (assets and assets[0] not in made):
        what = "results" if assets is None else assets[0]
        raise InputError(f"data set '{name}'", f"has no {what} yet.", f"Run it: scmagnify run {name}")
    for asset, one in made.items():
        for origin in one.inputs:
            source = made.get(origin.asset)
            # By content: what was made again to the same content changes nothing downstream.
            if source is not None and source.data_version != origin.data_version:
                raise InputError(
                    f"'{asset}' of '{name}'", f"was made from a former {origin.asset}.",
                    f"Let the run that makes it anew finish, or start one: scmagnify run {name}",
                )  # fmt: skip
    return Snapshot(lake, registration, made)


def _tables() -> list[Table]:
    """Tables of a data set, in declared order."""
    return [table for table in TABLES.values() if table.mode == "replace" and not table.over_datasets]


def _assets(methods: Collection[str]) -> list[str]:
    """Assets that write the tables of a data set which runs these methods."""
    writers = (writer for table in _tables() for writer in table.writers)
    return list(dict.fromkeys(name for one in writers for name in (one.replace("<method>", m) for m in methods)))


def export_results(
    lake: Lakehouse,
    name: str,
    output: str,
    *,
    format: str | None = None,
    layout: str | None = None,
    choice: Choice | None = None,
    force: bool = False,
) -> Exported:
    """Write the results of a data set.

    Parameters
    ----------
    output
        A file, or a folder: one that exists, or whose name ends in ``/``.
    format
        The ending of ``output`` decides when None.
    layout
        Of a list of edges; decoupler's when None.
    choice
        Which edges; all that the model keeps when None.
    force
        Replace what is there.

    Raises
    ------
    InputError
        The data set has no results that belong together, no edge is left, options do not fit the format, something is
        at ``output`` already, or it cannot be written.
    """
    path, choice = Path(output).expanduser(), choice or Choice()
    kind = _format_of(output, path, format)
    if layout is not None and layout not in (known := get_args(exchange.Layout)):
        raise InputError(f"--layout {layout}", "is not known.", f"Choose one of {', '.join(known)}.")
    if layout is not None and kind not in EDGE_LISTS:
        raise InputError(f"--layout {layout}", f"is for lists of edges, not for {kind}.", "Name a .csv file for one.")
    if kind is Format.tables:
        if choice != Choice():
            raise InputError(
                "options", "choose edges, but a folder gets whole tables.", "Leave them out, or name a file."
            )
        return _export_tables(lake, name, path, force)
    if path.is_dir():
        raise InputError(f"'{path}'", f"is a folder, and {kind} is one file.", f"Name one, say {path / name}.{kind}")
    if path.exists() and not force:
        raise InputError(f"'{path}'", "exists already.", "Choose another name, or pass --force to replace it.")
    refuse_missing_folder(path)
    if kind in OBJECTS:
        write, holds = _object(lake, name, kind, choice)
    elif kind in EDGE_LISTS:
        write, holds = _edge_list(lake, name, layout or "decoupler", choice)
    else:
        write, holds = _graph(lake, name, choice)
    with written_whole(path, f".{kind}") as temporary:
        write(temporary)
    return Exported(path, kind, holds, path.stat().st_size)


def _format_of(output: str, path: Path, format: str | None) -> Format:
    known = [str(one) for one in Format]
    if format is not None:
        if format not in known:
            raise InputError(f"--format {format}", "is not known.", f"Choose one of {', '.join(known)}.")
        return Format(format)
    if output.endswith(("/", os.sep)) or path.is_dir():
        return Format.tables
    ending = path.suffix[1:].lower()
    if ending not in known[:-1]:
        raise InputError(
            f"'{path.name}'", "has no ending that says what to write.",
            f"Give it one of .{', .'.join(known[:-1])}, name a folder (ending in '/'), or pass --format.",
        )  # fmt: skip
    return Format(ending)


# ---------------------------------------------------------------- what is written

Write = Callable[[Path], None]


def _edge_list(lake: Lakehouse, name: str, layout: str, choice: Choice) -> tuple[Write, str]:
    snapshot = take_snapshot(lake, name, [NETWORK])
    edges, holds = _edges(snapshot, choice)
    rows = exchange.edge_list(edges, layout)  # type: ignore[arg-type]
    return lambda path: exchange.write_edges(rows, path, snapshot.about()), holds


def _graph(lake: Lakehouse, name: str, choice: Choice) -> tuple[Write, str]:
    snapshot = take_snapshot(lake, name, [NETWORK, "dataset", "regfactors"])
    edges, holds = _edges(snapshot, choice)
    sources = snapshot.body("edges")["source"].unique()
    genes, loadings = snapshot.body("genes"), snapshot.body("regfactor_loadings")
    graph = exchange.to_graph(edges, sources, genes, loadings, snapshot.about())
    return lambda path: exchange.write_graph(graph, path), f"{holds}, between {graph.number_of_nodes():,} genes"


def _object(lake: Lakehouse, name: str, kind: Format, choice: Choice) -> tuple[Write, str]:
    snapshot = take_snapshot(lake, name, [NETWORK, "dataset", "regfactors", "tf_activity", "regfactor_activity"])
    edges, holds = _edges(snapshot, choice)
    tables = ("multiscale_network", "regfactors", "regfactor_loadings", "tf_activity", "regfactor_activity")
    results = exchange.Results(
        snapshot.data(), edges, **{table: snapshot.body(table) for table in tables}, about=snapshot.about()
    )
    value = exchange.to_anndata(results) if kind is Format.h5ad else exchange.to_mudata(results)
    activities = {"TF": results.tf_activity, "RegFactor": results.regfactor_activity}
    counts = [f"{frame.iloc[:, 1].nunique():,} {what} activities" for what, frame in activities.items()]
    holds = f"{results.dataset.rna.n_obs:,} cells, {' and '.join(counts)}, {holds}"

    def write(path: Path) -> None:
        _make_room(path, exchange.size_of(value))
        exchange.write_object(value, path)

    return write, holds


def _edges(snapshot: Snapshot, choice: Choice) -> tuple[pd.DataFrame, str]:
    """The edges that leave, and how many they are, in words."""
    edges = snapshot.body("edges")
    chosen = exchange.choose_edges(edges, selected=choice.selected, top=choice.top, max_padj=choice.max_padj)
    n_kept = len(exchange.choose_edges(edges))
    if len(chosen) == n_kept:
        return chosen, f"all {n_kept:,} edges that the model keeps"
    return chosen, f"{len(chosen):,} of the {n_kept:,} edges that the model keeps"


def _export_tables(lake: Lakehouse, name: str, folder: Path, force: bool) -> Exported:
    """Every table of the data set as parquet, and where they come from."""
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"'{folder}'", "is a file.", "Name a folder, or give the file an ending that says what to write."
        )
    refuse_missing_folder(folder)
    tables = [*_tables(), TABLES["lineage"]]
    names = [PROVENANCE, *(f"{table.name}.parquet" for table in tables)]
    if not force and (there := [one for one in names if (folder / one).exists()]):
        raise InputError(
            f"'{folder}'", f"holds {shorten(there, 3)} already.",
            "Choose another folder, or pass --force to replace them (and nothing else in it).",
        )  # fmt: skip
    snapshot = take_snapshot(lake, name)
    written: dict[str, int] = {}
    with staging(folder) as staged:
        for table in tables:
            rows = _lineage(snapshot) if table.name == "lineage" else snapshot.rows(table)
            if len(rows):
                _write_parquet(rows, table, staged / f"{table.name}.parquet")
                written[table.name] = len(rows)
        about = json.dumps(snapshot.about() | {"tables": written}, indent=2)
        (staged / PROVENANCE).write_text(about, encoding="utf-8")
        size = sum(path.stat().st_size for path in staged.iterdir())
        sync(*staged.iterdir(), staged)
        if folder.exists():
            for one in names:
                (folder / one).unlink(missing_ok=True)
            for path in sorted(staged.iterdir(), key=lambda path: path.name == PROVENANCE):
                path.replace(folder / path.name)
        else:
            staged.replace(folder)
    return Exported(folder, Format.tables, f"{len(written)} tables with {sum(written.values()):,} rows", size)


def _lineage(snapshot: Snapshot) -> pd.DataFrame:
    """The story of the materializations that leave."""
    rows = snapshot.lake.read("lineage", snapshot.registration.name)
    ids = {one.materialization_id for one in snapshot.made.values()}
    return rows[rows["materialization_id"].isin(ids)]


def _write_parquet(rows: pd.DataFrame, table: Table, path: Path) -> None:
    """Rows with the declared types; meaning and unit of each column go along as metadata of the field."""
    meanings = {column.name: {"meaning": column.meaning, "unit": column.unit or ""} for column in table.columns}
    schema = pa.schema([one.with_metadata(meanings[one.name]) for one in table.schema], {"meaning": table.meaning})
    pq.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False), path, compression="zstd")


def _make_room(path: Path, n_bytes: int) -> None:
    """Find out whether so much fits before HDF5 does, which ends the process when a write fails."""
    if shutil.disk_usage(path.parent).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if hasattr(os, "posix_fallocate"):  # not on macOS; asks for quotas and limits, too
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
