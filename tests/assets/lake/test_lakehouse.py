"""The lakehouse against real Delta tables, real processes, real kills and a really full disk."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import scmagnify_assets
import scmagnify_core
from scmagnify_assets.lake import lakehouse as module
from scmagnify_assets.lake import lineage
from scmagnify_assets.lake.lakehouse import Lakehouse, check_name, extension_path
from scmagnify_assets.lake.lineage import Input, Materialization, code_version, package_versions
from scmagnify_assets.lake.views import VIEWS
from scmagnify_core.errors import InputError, SchemaError, StorageError
from scmagnify_core.tables.catalogue import TABLES

MADE = {"run_id": "run-1", "inputs": [], "parameters": {"n_lags": 5}, "file_sha256": "f" * 64}
NETWORK_TABLES = ("multiscale_network", "edges", "seed_agreement")


def seed_network(n: int, weight: float = 1.0) -> pd.DataFrame:
    targets = [f"g{i:04d}" for i in range(n)]
    return pd.DataFrame(
        {"source": "TF", "target": targets, "lag": 1, "weight": weight, "magnitude": abs(weight), "cv": np.nan}
    )


def network(n: int, weight: float = 1.0) -> dict[str, pd.DataFrame]:
    """Every table of the asset ``multiscale_network``: ``n`` edges whose score tells the write apart."""
    edges = seed_network(n, weight)
    return {
        "multiscale_network": edges.drop(columns="cv").assign(weight_sd=0.0),
        "edges": edges[["source", "target"]].assign(
            score=weight, signed_score=-weight, lag=1.5, peak_lag=1, n_seeds=2, stability=1.0, sign_agreement=1.0,
            score_sd=0.0, rank=np.arange(1, n + 1), is_selected=True, has_weight=True, pvalue=0.01, padj=0.02,
        ),
        "seed_agreement": pd.DataFrame(
            {"seed_a": [0], "seed_b": [1], "n_top": n, "jaccard": 1.0, "spearman": np.nan}
        ).head(n),
    }  # fmt: skip


def write_seed(
    lake: Lakehouse, frame: pd.DataFrame, dataset: str = "x", seed: int = 0, **made: Any
) -> Materialization:
    return lake.write("seed_network", dataset, seed, {"seed_network": frame}, {}, **MADE | made)


def write_network(lake: Lakehouse, n: int, weight: float = 1.0, dataset: str = "x", **made: Any) -> Materialization:
    artifacts = {"note.txt": f"{n} {weight}".encode()}
    return lake.write("multiscale_network", dataset, None, network(n, weight), artifacts, **MADE | made)


def files_below(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_lakehouse import *
root, args = Path(sys.argv[1]), sys.argv[2:]
print("ready", flush=True)
sys.stdin.readline()
"""


def start(root: Path, body: str, *args: object) -> subprocess.Popen[str]:
    """Start a process that has imported everything and waits for `go`."""
    code = SCRIPT.format(folder=str(Path(__file__).parent)) + body
    command = [sys.executable, "-c", code, str(root), *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def go(*processes: subprocess.Popen[str]) -> None:
    """Let the processes run, all at once."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    outputs = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        outputs.append(output.strip())
    return outputs


def assert_whole(lake: Lakehouse, dataset: str, tables: tuple[str, ...] = NETWORK_TABLES) -> None:
    """The newest rows of each table come from one write, all of them; the current materialization is one set."""
    lineage = lake.read("lineage", dataset).set_index("materialization_id")
    for table in tables:
        rows = lake.read(table, dataset)
        makers = rows["materialization_id"].unique()
        assert len(makers) <= 1, f"{table} mixes {len(makers)} writes"
        if len(makers):
            assert f'"{table}": {len(rows)}' in lineage.loc[makers[0], "tables"]
    current = lake.current("multiscale_network", dataset)
    if current is not None:
        for table, n_rows in current.tables.items():
            rows = lake.read(table, dataset, materialization_id=current.materialization_id)
            assert len(rows) == n_rows
        note = lake.artifact_path("multiscale_network", dataset, None, "note.txt", verify=True).read_text()
        scores = lake.read("edges", dataset, materialization_id=current.materialization_id)["score"]
        assert note == f"{len(scores)} {scores.iloc[0]}"


# -------------------------------------------------------------------- create


def test_create_makes_every_declared_table_and_is_idempotent(lake: Lakehouse) -> None:
    for table in TABLES.values():
        delta = DeltaTable(str(lake.root / table.name))
        assert pa.schema(delta.schema().to_arrow()).equals(table.schema)
        assert delta.metadata().partition_columns == list(table.partition_by)
    lake.create()
    before = files_below(lake.root)
    lake.create()
    after = files_below(lake.root)
    assert {name for name in after if ".locks" not in name} == {name for name in before if ".locks" not in name}
    assert after[str(lake.root / "lake.duckdb")] == before[str(lake.root / "lake.duckdb")]


def test_create_survives_several_processes_at_once(tmp_path: Path) -> None:
    processes = [start(tmp_path / "lake", "Lakehouse(root).create()") for _ in range(3)]
    go(*processes)
    finish(*processes)
    lake = Lakehouse(tmp_path / "lake")
    assert all(DeltaTable(str(lake.root / name)).version() == 0 for name in TABLES)
    write_network(lake, 3)
    assert lake.sql("FROM edges").num_rows == 3


def test_create_adds_nullable_columns_to_an_older_lake(tmp_path: Path) -> None:
    old = pa.schema([field for field in TABLES["cells"].schema if field.name not in ("sample", "n_counts")])
    path = str(tmp_path / "lake" / "cells")
    DeltaTable.create(path, schema=old, partition_by=["dataset"])
    values = {field.name: ["old"] if field.type == pa.string() else [0.5] for field in old}
    write_deltalake(path, pa.table(values, schema=old), mode="append")
    lake = Lakehouse(tmp_path / "lake")
    lake.create()
    rows = lake.read("cells")
    assert list(rows.columns) == TABLES["cells"].schema.names
    assert rows["sample"].isna().all()
    assert rows["pseudotime"].tolist() == [0.5]
    assert lake.sql("SELECT sample FROM cells")["sample"].to_pylist() == [None]
    new = rows.astype({"sample": "str", "n_counts": "float64"}).assign(cell="new", sample="s1", n_counts=7.0)
    write_deltalake(path, pa.Table.from_pandas(new, TABLES["cells"].schema, preserve_index=False), mode="append")
    both = lake.sql("SELECT cell, sample, n_counts FROM cells ORDER BY cell DESC").to_pylist()
    assert [tuple(row.values()) for row in both] == [("old", None, None), ("new", "s1", 7.0)]
    assert "n_counts" not in lake.read("cells", version=1)


def test_a_key_that_has_grown_leaves_former_versions_readable(tmp_path: Path) -> None:
    """Rows of several data sets are put in the order of the key, of which a former version may lack a column."""
    old = pa.schema([field for field in TABLES["network_scores"].schema if field.name != "variant"])
    path = str(tmp_path / "lake" / "network_scores")
    DeltaTable.create(path, schema=old, partition_by=["dataset"])
    for name in ("b", "a"):
        row = {field.name: 1 for field in old} | {
            field.name: name for field in old if field.type == pa.string()
        }  # fmt: skip
        write_deltalake(path, pa.Table.from_pylist([row], schema=old), mode="append")
    lake = Lakehouse(tmp_path / "lake")
    lake.create()
    assert lake.read("network_scores")["variant"].isna().all()
    assert lake.read("network_scores", version=2)["dataset"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("drop", "lacks column mean_expression"),
        ("type", r"'genes.mean_expression' is double not null, not float not null"),
        ("extra", "unknown column colour"),
        ("partition", r"partitioned by \[\]"),
    ],
)
def test_create_refuses_a_lake_of_another_version(tmp_path: Path, change: str, problem: str) -> None:
    fields = {field.name: field for field in TABLES["genes"].schema}
    if change == "drop":
        del fields["mean_expression"]
    elif change == "type":
        fields["mean_expression"] = pa.field("mean_expression", pa.float64(), nullable=False)
    elif change == "extra":
        fields["colour"] = pa.field("colour", pa.string())
    partition_by = [] if change == "partition" else ["dataset"]
    root = tmp_path / "lake"
    DeltaTable.create(str(root / "genes"), schema=pa.schema(list(fields.values())), partition_by=partition_by)
    with pytest.raises(StorageError, match=f"{problem}.*Nothing was changed.*choose a new lake folder"):
        Lakehouse(root).create()
    assert [path.name for path in root.iterdir() if path.name != ".locks"] == ["genes"]


def test_create_merges_small_files_without_losing_rows(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [write_seed(lake, seed_network(1), seed=seed) for seed in range(6)]
    monkeypatch.setattr(module, "MANY_FILES", 5)
    lake.create()
    assert len(DeltaTable(str(lake.root / "lineage")).file_uris()) == 1
    assert set(lake.read("lineage")["materialization_id"]) == {one.materialization_id for one in made}
    newest = write_seed(lake, seed_network(2), seed=3)
    assert lake.current("seed_network", "x", 3) == newest
    assert lake.current("seed_network", "x", 4) == made[4]


def test_write_merges_small_files_as_it_goes(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY_FILES", 4)
    made = [write_seed(lake, seed_network(1), seed=seed) for seed in range(12)]
    for name in ("lineage", "table_versions"):
        assert len(DeltaTable(str(lake.root / name)).file_uris()) <= 4
    assert list((lake.root / "lineage" / "_delta_log").glob("*.checkpoint.parquet"))
    assert set(lake.read("lineage")["materialization_id"]) == {one.materialization_id for one in made}
    assert [lake.current("seed_network", "x", seed) for seed in range(12)] == made


def test_write_stands_where_merging_fails(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(module, "MANY_FILES", 1)
    monkeypatch.setattr(Lakehouse, "compact", fail)
    made = write_seed(lake, seed_network(1), seed=0)
    assert lake.current("seed_network", "x", 0) == made


# -------------------------------------------------------------------- write and read


def test_write_then_read_returns_the_same_values(lake: Lakehouse) -> None:
    rng = np.random.default_rng(0)
    n = 1000
    frame = pd.DataFrame(
        {
            "cell": [f"cell-{i:05d}" for i in range(n)],
            "pseudotime": rng.random(n),
            "lineage": pd.Categorical(rng.choice(["a", "b"], n)),
            "cluster": np.where(rng.random(n) < 0.5, "c", None),
            "sample": None,
            "n_counts": np.nan,
            "embedding_1": rng.random(n).astype("float32"),
            "embedding_2": rng.random(n),
        }
    )
    shuffled = frame.sample(frac=1, random_state=1)
    lake.write("dataset", "x", None, {"cells": shuffled, "genes": genes(3)}, {}, **MADE)
    stored = lake.read("cells", "x")
    assert list(stored.columns) == TABLES["cells"].schema.names
    assert (stored["dataset"] == "x").all()
    body = stored[frame.columns].replace({None: np.nan})
    expected = frame.astype({"lineage": object, "embedding_2": "float32"}).replace({None: np.nan})
    pd.testing.assert_frame_equal(body, expected, check_exact=True)
    assert lake.read("cells", "x", columns=["cell"]).columns.tolist() == ["cell"]


def test_read_gives_integers_with_nulls_back_as_they_are_declared(lake: Lakehouse) -> None:
    peaks = pd.DataFrame({"peak": ["a", "b"], "chrom": "1", "start": [1, 5], "end": [3, 7], "gc_content": np.nan})
    peaks["n_cells"] = pd.array([3, None], dtype="Int32")
    links = pd.DataFrame(columns=[column.name for column in TABLES["peak_gene_links"].body])
    lake.write("peak_gene_links", "x", None, {"peaks": peaks, "peak_gene_links": links}, {}, **MADE)
    stored = lake.read("peaks", "x").drop(columns=["dataset", "materialization_id"])
    assert TABLES["peaks"].validate(stored)["n_cells"].to_pylist() == [3, None]


def genes(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "gene": [f"g{i}" for i in range(n)], "n_cells": 5, "mean_expression": 0.5,
            "is_highly_variable": True, "is_eligible": False,
        }
    )  # fmt: skip


def test_write_refuses_a_bad_frame_and_leaves_everything_untouched(lake: Lakehouse) -> None:
    write_network(lake, 3)
    before = files_below(lake.root)
    tables = network(5, 2.0)
    tables["edges"]["score"] = np.inf
    with pytest.raises(SchemaError, match="column score is not float"):
        lake.write("multiscale_network", "x", None, tables, {"note.txt": b"new"}, **MADE)
    assert files_below(lake.root) == before


@pytest.mark.parametrize(
    ("asset", "seed", "tables", "match"),
    [
        ("multiscale_network", None, {"edge": network(1)["edges"]}, "which are no tables"),
        ("multiscale_network", 0, network(1), "seed is 0"),
        ("report", None, {}, "neither tables nor artefacts"),
    ],
)
def test_write_refuses_tables_that_are_not_the_assets(
    lake: Lakehouse, asset: str, seed: int | None, tables: dict[str, pd.DataFrame], match: str
) -> None:
    before = files_below(lake.root)
    with pytest.raises(ValueError, match=match):
        lake.write(asset, "x", seed, tables, {}, **MADE)
    assert files_below(lake.root) == before


def test_write_replaces_only_its_data_set_and_keeps_the_former_version(lake: Lakehouse) -> None:
    first = write_network(lake, 3, 1.0, "x")
    write_network(lake, 2, 5.0, "y")
    second = write_network(lake, 4, 2.0, "x")
    assert lake.read("edges", "x")["score"].tolist() == [2.0] * 4
    assert lake.read("edges", "y")["score"].tolist() == [5.0] * 2
    assert len(lake.read("edges")) == 6
    versions = lake.versions("edges", "x")
    assert versions["materialization_id"].tolist() == [first.materialization_id, second.materialization_id]
    assert versions["n_rows"].tolist() == [3, 4]
    assert lake.read("edges", "x", version=versions["version"][0])["score"].tolist() == [1.0] * 3
    former = lake.read("edges", "x", materialization_id=first.materialization_id)
    assert former["score"].tolist() == [1.0] * 3
    history = DeltaTable(str(lake.root / "edges")).history(1)[0]
    assert history["materialization_id"] == second.materialization_id


def test_write_replaces_only_its_seed(lake: Lakehouse) -> None:
    for seed in (0, 1, 10):
        write_seed(lake, seed_network(2, seed), seed=seed)
    write_seed(lake, seed_network(3, -7.0), seed=1)
    rows = lake.read("seed_network", "x")
    assert rows.groupby("seed")["weight"].agg(list).to_dict() == {0: [0, 0], 1: [-7.0] * 3, 10: [10, 10]}
    assert lake.read("seed_network", "x", 1)["weight"].tolist() == [-7.0] * 3
    assert rows["seed"].dtype == np.int16
    current = lake.current("seed_network", "x", 10)
    assert current is not None
    assert current.seed == 10


def test_write_of_an_empty_frame_removes_the_rows(lake: Lakehouse) -> None:
    write_network(lake, 3, dataset="x")
    write_network(lake, 3, dataset="y")
    empty = write_network(lake, 0, dataset="x")
    assert len(lake.read("edges", "x")) == 0
    assert len(lake.read("edges", "y")) == 3
    assert list(lake.read("edges", "x").columns) == TABLES["edges"].schema.names
    assert lake.current("multiscale_network", "x") == empty
    assert lake.sql("SELECT DISTINCT dataset FROM edges").to_pydict() == {"dataset": ["y"]}


def test_write_stores_floats_split_by_byte_and_everything_in_zstd(lake: Lakehouse) -> None:
    write_seed(lake, seed_network(200_000))
    (file,) = DeltaTable(str(lake.root / "seed_network")).file_uris()
    metadata = pq.ParquetFile(file).metadata
    assert metadata.row_group(0).num_rows == module.ROWS_PER_GROUP
    columns = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    split = {column.path_in_schema for column in columns if "BYTE_STREAM_SPLIT" in column.encodings}
    assert split == {"weight", "magnitude", "cv"}
    assert lake.read("seed_network", "x", 0)["target"].is_monotonic_increasing


def test_write_syncs_every_new_file_and_its_folders(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(files_below(lake.root))
    synced: set[Path] = set()
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_network(lake, 3)
    new = {Path(name) for name in set(files_below(lake.root)) - before if ".locks" not in name}
    assert len(new) == 3 + 3 + 6 + 1, "three data tables, three own tables, their log entries, one artefact"
    artefact = {path for path in new if "objects" in path.parts}
    assert new - artefact <= synced
    assert {path.parent for path in new} <= synced
    assert any(path.name.startswith(f".{next(iter(artefact)).name}") for path in synced)


def test_write_without_a_lake_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"There is no lake at .*`create` it first"):
        write_network(Lakehouse(tmp_path / "nowhere"), 1)


def test_read_names_what_exists_when_asked_for_something_else(lake: Lakehouse) -> None:
    with pytest.raises(InputError, match=r"Table 'edge'.*multiscale_network, edges"):
        lake.read("edge")
    with pytest.raises(InputError, match=r"Column 'weight' of 'edges'.*signed_score"):
        lake.read("edges", columns=["weight"])
    with pytest.raises(InputError, match="Version 7 of table 'edges': does not exist; 0 is newest"):
        lake.read("edges", version=7)
    with pytest.raises(StorageError, match="has not completed a write of table 'edges'"):
        lake.read("edges", materialization_id="nobody")


@pytest.mark.parametrize("name", ["", "a b", "../x", ".x", "x'y", "x" * 65, "é", "x\n"])
def test_check_name_refuses_what_could_not_be_a_folder_and_a_literal(name: str, lake: Lakehouse) -> None:
    with pytest.raises(InputError, match="Rename it"):
        check_name(name)
    with pytest.raises(InputError, match="Data set name"):
        write_seed(lake, seed_network(1), dataset=name)


def test_lakehouse_refuses_a_folder_that_the_engines_misread(tmp_path: Path) -> None:
    for name in ("100%", "l?ke", "l*"):
        with pytest.raises(InputError, match="misread in paths"):
            Lakehouse(tmp_path / name)
    with pytest.raises(InputError, match="'/dataset=x', which DuckDB takes for a partition"):
        Lakehouse(tmp_path / "dataset=x" / "lake")
    for name in ("it's a lake, é", "x=1"):
        odd = Lakehouse(tmp_path / name)
        odd.create()
        write_network(odd, 2)
        assert odd.sql("FROM edges").num_rows == 2


# -------------------------------------------------------------------- data and code versions


def test_write_refuses_to_leave_rows_of_an_earlier_write_behind(lake: Lakehouse) -> None:
    write_network(lake, 2)
    with pytest.raises(ValueError, match="seed_agreement.* before: their rows would stay behind"):
        lake.write("multiscale_network", "x", None, {"edges": network(1)["edges"]}, {}, **MADE)
    assert len(lake.read("edges", "x")) == 2


def test_write_without_a_seed_replaces_the_rows_of_all_seeds(lake: Lakehouse) -> None:
    both = pd.concat([seed_network(3).assign(seed=seed) for seed in (0, 1)])
    first = lake.write("scmagnify_model", "x", None, {"seed_network": both}, {}, **MADE)
    lake.write("scmagnify_model", "y", None, {"seed_network": both}, {}, **MADE)
    made = lake.write("scmagnify_model", "x", None, {"seed_network": both[both["seed"] == 1]}, {}, **MADE)
    assert set(lake.read("seed_network", "x")["seed"]) == {1}
    assert len(lake.read("seed_network", materialization_id=made.materialization_id)) == 3
    assert len(lake.read("seed_network", materialization_id=first.materialization_id)) == 6  # as it was
    assert len(lake.read("seed_network", "y")) == 6
    with pytest.raises(SchemaError, match="missing column seed"):
        lake.write("scmagnify_model", "x", None, {"seed_network": seed_network(1)}, {}, **MADE)


def test_assets_that_share_a_table_replace_only_their_own_rows(lake: Lakehouse) -> None:
    def ranked(method: str, n: int) -> dict[str, pd.DataFrame]:
        edges = seed_network(n)[["source", "target"]]
        edges = edges.assign(method=method, context="all", score=1.0, signed_score=1.0, rank=np.arange(1, n + 1))
        return {"networks": edges.reindex(columns=[column.name for column in TABLES["networks"].body])}

    first = lake.write("a_network", "x", None, ranked("a", 3), {}, **MADE)
    lake.write("b_network", "x", None, ranked("b", 2), {}, **MADE)
    again = lake.write("a_network", "x", None, ranked("a", 4), {}, **MADE)
    counts = lake.sql("SELECT asset, method, count(*) AS n FROM networks GROUP BY ALL ORDER BY asset").to_pylist()
    assert counts == [
        {"asset": "a_network", "method": "a", "n": 4}, {"asset": "b_network", "method": "b", "n": 2},
    ]  # fmt: skip
    for made, n in ((first, 3), (again, 4)):
        rows = lake.read("networks", materialization_id=made.materialization_id)
        assert (len(rows), set(rows["asset"])) == (n, {"a_network"})
    lake.write("a_network", "x", None, ranked("a", 0), {}, **MADE)
    assert set(lake.read("networks", "x")["asset"]) == {"b_network"}


def test_data_version_depends_on_content_alone(lake: Lakehouse) -> None:
    frame = seed_network(50)
    first = write_seed(lake, frame)
    again = write_seed(lake, frame.sample(frac=1, random_state=0), dataset="y", seed=3, run_id="other")
    assert again.data_version == first.data_version
    assert again.materialization_id != first.materialization_id
    process = start(lake.root, "print(write_seed(Lakehouse(root), seed_network(50), dataset='z').data_version)")
    go(process)
    assert finish(process) == [first.data_version]


def test_data_version_changes_with_any_content(lake: Lakehouse) -> None:
    frames = {
        "as is": seed_network(5),
        "value": seed_network(5).assign(weight=np.nextafter(np.float32(1), np.float32(2))),
        "null": seed_network(5).assign(cv=[0.0, *[np.nan] * 4]),
        "other null": seed_network(5).assign(cv=[np.nan, 0.0, *[np.nan] * 3]),
        "row": seed_network(6),
        "last row": seed_network(5).assign(magnitude=[1, 1, 1, 1, 2.0]),
        "name": seed_network(5).assign(target=[f"h{i}" for i in range(5)]),
    }
    versions = {name: write_seed(lake, frame).data_version for name, frame in frames.items()}
    assert len(set(versions.values())) == len(frames)

    def report(artifacts: dict[str, bytes | Path]) -> str:
        return lake.write("report", "x", None, {}, artifacts, **MADE).data_version

    assert len({report({"a": b"1"}), report({"a": b"2"}), report({"b": b"1"}), report({"a": b"1", "b": b"1"})}) == 4


def test_materialization_survives_its_row(lake: Lakehouse) -> None:
    parent = write_seed(lake, seed_network(2))
    source = Input("seed_network", "x", 0, parent.materialization_id, parent.data_version)
    made = write_network(lake, 2, seeds=[0, 1], inputs=[parent.to_input()])
    assert made.inputs == (source,)
    assert made.code_version == code_version()
    assert lake.current("multiscale_network", "x") == made
    assert '"duckdb": "1.5.5"' in lake.read("lineage", "x")["packages"].iloc[0]
    assert package_versions()["deltalake"] == "1.6.6"


def test_ancestry_is_all_that_a_materialization_goes_back_to(lake: Lakehouse) -> None:
    seeds = [write_seed(lake, seed_network(2), seed=seed) for seed in (0, 1)]
    network = write_network(lake, 2, inputs=[one.to_input() for one in seeds])
    write_network(lake, 2, dataset="y")
    inputs = [network.to_input(), seeds[0].to_input()]
    page = lake.write("report", "x", None, {}, {"a": b"1"}, **MADE | {"inputs": inputs})
    found = lake.ancestry(page)
    assert found[0] == page
    assert sorted(one.materialization_id for one in found) == sorted(
        one.materialization_id for one in (page, network, *seeds)
    )
    assert lake.ancestry(seeds[1]) == [seeds[1]]


def test_code_version_covers_code_and_templates_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_package"
    package.mkdir()
    for name in ("__init__.py", "page.html.j2", "page.css", "page.js", "notes.txt"):
        (package / name).write_text("a", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lineage, "SOURCE_PACKAGES", ("some_package",))
    seen = [code_version.__wrapped__()]
    for name in ("__init__.py", "page.html.j2", "page.css", "page.js"):
        (package / name).write_text("b", encoding="utf-8")
        seen.append(code_version.__wrapped__())
    assert len(set(seen)) == len(seen)
    (package / "notes.txt").write_text("b", encoding="utf-8")
    assert code_version.__wrapped__() == seen[-1]


def test_code_version_leaves_out_no_file_of_the_packages() -> None:
    for package in (scmagnify_assets, scmagnify_core):
        files = [path for path in Path(package.__path__[0]).rglob("*") if path.is_file()]
        suffixes = {path.suffix for path in files if path.parent.name != "__pycache__"}
        assert suffixes == set(lineage.SOURCE_SUFFIXES) & suffixes


# -------------------------------------------------------------------- artefacts


def test_artifact_path_finds_content_and_detects_damage(lake: Lakehouse, tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"weights" * 1000)
    made = lake.write("diffusion_operators", "x", None, {}, {"a.npz": source, "b.npz": b"b"}, **MADE)
    assert lake.current("diffusion_operators", "x") == made
    path = lake.artifact_path("diffusion_operators", "x", None, "a.npz", verify=True)
    assert path.read_bytes() == source.read_bytes()
    assert path.stem == lake.read("artifacts").set_index("name").loc["a.npz", "sha256"]

    path.write_bytes(b"Weights" + path.read_bytes()[7:])
    lake.artifact_path("diffusion_operators", "x", None, "a.npz")
    with pytest.raises(StorageError, match=r"is damaged \(its hash differs\)"):
        lake.artifact_path("diffusion_operators", "x", None, "a.npz", verify=True)
    os.truncate(path, 100)
    with pytest.raises(StorageError, match=r"'a.npz' of diffusion_operators for x is damaged \(100 of 7,000 bytes\)"):
        lake.artifact_path("diffusion_operators", "x", None, "a.npz")
    lake.write("diffusion_operators", "x", None, {}, {"a.npz": source}, **MADE)
    assert lake.artifact_path("diffusion_operators", "x", None, "a.npz", verify=True).stat().st_size == 7000
    path.unlink()
    with pytest.raises(StorageError, match="is missing"):
        lake.artifact_path("diffusion_operators", "x", None, "a.npz")
    with pytest.raises(StorageError, match=r"'b.npz' .* does not exist. It has 'a.npz'"):
        lake.artifact_path("diffusion_operators", "x", None, "b.npz")
    with pytest.raises(StorageError, match="There is no complete report for x"):
        lake.artifact_path("report", "x", None, "report.html")


def test_write_stores_the_same_artefact_once(lake: Lakehouse) -> None:
    for dataset in ("x", "y"):
        lake.write("report", dataset, None, {}, {"report.html": b"<html>"}, **MADE)
    assert len([path for path in (lake.root / "objects").rglob("*") if path.is_file()]) == 1
    assert len(lake.read("artifacts")) == 2


# -------------------------------------------------------------------- crashes


DIES_AFTER_ONE_TABLE = """
class Dying(Lakehouse):
    def _commit(self, table, data, key, predicate=None):
        if table.name == "edges":
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._commit(table, data, key, predicate)
write_network(Dying(root), 9, 9.0)
"""


def test_current_ignores_a_write_that_died_between_two_tables(lake: Lakehouse) -> None:
    whole = write_network(lake, 3)
    process = start(lake.root, DIES_AFTER_ONE_TABLE)
    go(process)
    assert process.wait(60) == -signal.SIGKILL
    assert len(lake.read("multiscale_network", "x")) == 9, "the dead write did replace one table"
    assert len(lake.read("edges", "x")) == 3
    assert lake.current("multiscale_network", "x") == whole
    for table, n_rows in whole.tables.items():
        assert len(lake.read(table, "x", materialization_id=whole.materialization_id)) == n_rows
    again = write_network(lake, 4)
    assert lake.current("multiscale_network", "x") == again
    assert len(lake.read("multiscale_network", "x")) == len(lake.read("edges", "x")) == 4


WRITES_FOR_EVER = """
lake, first = Lakehouse(root), int(args[0])
for i in range(first, 1000000):
    write_network(lake, 1 + i % 7, float(i))
    print("written", flush=True)
"""


def test_kill_at_any_moment_leaves_whole_partitions(lake: Lakehouse) -> None:
    processes = [start(lake.root, WRITES_FOR_EVER, 1000 * k) for k in range(8)]
    pause = random.Random(0)
    rest = write_network(lake, 2, dataset="bystander")
    for i, process in enumerate(processes):
        go(process)
        assert process.stdout is not None
        for _ in range(i % 3):
            assert process.stdout.readline() == "written\n"
        time.sleep(pause.uniform(0.05, 0.6))
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.communicate()[1]
        process.communicate()
        reopened = Lakehouse(lake.root)
        reopened.create()
        assert_whole(reopened, "x")
        assert_whole(reopened, "bystander")
    assert lake.current("multiscale_network", "bystander") == rest
    assert len(lake.versions("edges", "x")) >= 3, "the writers hardly wrote"
    final = write_network(lake, 5, 0.5)
    assert lake.current("multiscale_network", "x") == final
    assert lake.read("edges", "x")["score"].tolist() == [0.5] * 5


# -------------------------------------------------------------------- many writers, many readers


WRITES_A_SEED = """
for i in range(8):
    write_seed(Lakehouse(root), seed_network(20 + i, i), seed=int(args[0]))
"""


def test_write_from_four_processes_loses_no_partition(lake: Lakehouse) -> None:
    processes = [start(lake.root, WRITES_A_SEED, seed) for seed in range(4)]
    go(*processes)
    finish(*processes)
    rows = lake.read("seed_network", "x")
    assert not rows.duplicated(["seed", "source", "target", "lag"]).any()
    assert rows.groupby("seed").size().to_dict() == dict.fromkeys(range(4), 27)
    assert (rows["weight"] == 7).all()
    assert len(lake.read("lineage")) == 32
    assert len(lake.versions("seed_network", "x")) == 32


WRITES_ONE_PARTITION = """
class Dawdling(Lakehouse):  # so that two writers meet between any two commits
    def _commit(self, *args):
        time.sleep(random.uniform(0, 0.03))
        return super()._commit(*args)
class Unlocked(Dawdling):
    def _lock(self, name, shared=False):
        import contextlib
        return contextlib.nullcontext()
lake = Unlocked(root) if args[1] == "unlocked" else Dawdling(root)
for i in range(10):
    write_network(lake, 5 + i, float(args[0]))
"""


@pytest.mark.parametrize("locking", ["locked", "unlocked"])
def test_write_from_two_processes_to_one_partition_never_doubles_rows(lake: Lakehouse, locking: str) -> None:
    """Unlocked stands for a file system that ignores locks: Delta's conflict check and the retry must do."""
    processes = [start(lake.root, WRITES_ONE_PARTITION, k, locking) for k in range(2)]
    go(*processes)
    finish(*processes)
    edges = lake.read("edges", "x")
    assert not edges.duplicated(["source", "target"]).any()
    versions = lake.versions("edges", "x")
    assert len(versions) == versions["version"].nunique() == 20
    for made in versions.itertuples():
        rows = lake.read("edges", "x", version=made.version)
        assert set(rows["materialization_id"]) == {made.materialization_id}
        assert len(rows) == made.n_rows
    if locking == "locked":  # the writers took turns: each table saw them in the same order
        for table in (*NETWORK_TABLES, "artifacts", "lineage"):
            assert lake.versions(table, "x")["materialization_id"].equals(versions["materialization_id"]), table
        assert_whole(lake, "x")
        current = lake.current("multiscale_network", "x")
        assert current is not None
        assert set(edges["materialization_id"]) == {current.materialization_id}
        assert set(lake.read("seed_agreement", "x")["materialization_id"]) == {current.materialization_id}


def test_readers_see_one_whole_write_while_a_writer_rewrites(lake: Lakehouse) -> None:
    write_network(lake, 3, 3.0)
    stop = threading.Event()

    def rewrite() -> None:
        i = 0
        while not stop.is_set():
            n = 3 + i % 5
            write_network(lake, n, float(n))  # the score is the number of rows
            i += 1

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen: set[str] = set()
    try:
        lake.create()
        with lake.connect() as connection:
            end = time.monotonic() + 4
            while time.monotonic() < end:
                rows = lake.read("edges", "x")
                assert set(rows["score"]) == {len(rows)}
                (row,) = lake.sql(
                    "SELECT count(*), min(score), max(score), count(DISTINCT materialization_id), "
                    "count(*) FILTER (code_version IS NULL) FROM edge_provenance",
                    connection=connection,
                ).to_pylist()
                n, low, high, n_makers, n_without_story = row.values()
                assert (low, high, n_makers, n_without_story) == (n, n, 1, 0)
                current = lake.current("multiscale_network", "x")
                assert current is not None
                for table in ("edges", "multiscale_network"):
                    pinned = lake.read(table, "x", materialization_id=current.materialization_id)
                    assert len(pinned) == current.tables[table]
                seen.add(current.materialization_id)
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1, "the writer hardly wrote"


# -------------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def noise(n: int) -> pd.DataFrame:
    """A frame that does not compress."""
    return seed_network(n).assign(weight=np.random.default_rng(0).random(n).astype("float32"))


def test_write_to_a_full_disk_says_so_and_changes_nothing(small_disk: Path) -> None:
    lake = Lakehouse(small_disk / "lake")
    lake.create()
    made = write_seed(lake, noise(10))
    before = files_below(lake.root)
    with pytest.raises(StorageError, match=r"bytes are needed.*bytes are free there. Nothing visible changed"):
        write_seed(lake, noise(500_000))
    assert files_below(lake.root) == before
    with pytest.raises(StorageError, match=f"{small_disk}.*Nothing visible changed"):
        lake.write("report", "x", None, {}, {"report.html": bytes(20_000_000)}, **MADE)
    assert lake.current("seed_network", "x", 0) == made
    assert len(write_seed(lake, noise(20), dataset="y").tables) == 1


@pytest.mark.parametrize("what", ["table", "artefact"])
def test_write_survives_a_disk_that_fills_up_during_it(small_disk: Path, what: str) -> None:
    class Crowded(Lakehouse):
        def _check_space(self, n_bytes: int) -> None:
            free = shutil.disk_usage(self.root).free
            (small_disk / "somebody elses").write_bytes(bytes(free - 100_000))

    lake = Lakehouse(small_disk / "lake")
    lake.create()
    made = write_seed(lake, noise(10))
    crowded = Crowded(lake.root)
    match = r"No space left on device.*bytes are free there. Nothing visible changed"
    if what == "table":
        with pytest.raises(StorageError, match=match):
            write_seed(crowded, noise(100_000))
    else:
        with pytest.raises(StorageError, match=match):
            crowded.write("report", "x", None, {}, {"report.html": bytes(200_000)}, **MADE)
    (small_disk / "somebody elses").unlink()
    assert lake.current("seed_network", "x", 0) == made
    assert lake.current("report", "x") is None
    assert len(lake.read("seed_network", "x", 0)) == 10
    assert not list(lake.root.glob("objects/*/.*"))
    write_seed(lake, noise(1000))
    assert len(lake.read("seed_network", "x", 0)) == 1000


# Imported where used: each child process of these tests would import Dagster otherwise.
REGISTERS = """
from scmagnify_assets.datasets import registry
for i in range(4):
    registry.register(Lakehouse(root), {"name": "x", "file": args[0], "seeds": 1 + i}, replace=True)
"""


def test_register_on_a_full_disk_says_so_and_registers_nothing(small_disk: Path, tmp_path: Path) -> None:
    from scmagnify_assets.datasets import registry

    file = tmp_path / "x.h5ad"
    file.write_bytes(b"content")
    lake = Lakehouse(small_disk / "lake")
    lake.create()
    before = registry.register(lake, {"name": "x", "file": str(file)})
    (small_disk / "somebody elses").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    for name in ("x", "y"):
        with pytest.raises(StorageError, match=r"(No space left|bytes are needed).*Nothing visible changed"):
            registry.register(lake, {"name": name, "file": str(file), "seeds": 2}, replace=True)
    assert registry.names(lake) == ["x"]
    assert registry.find(lake, "x") == before
    (small_disk / "somebody elses").unlink()
    registry.register(lake, {"name": "y", "file": str(file)})
    assert registry.names(lake) == ["x", "y"]


def test_register_from_two_processes_leaves_one_whole_registration(lake: Lakehouse, tmp_path: Path) -> None:
    from scmagnify_assets.datasets import registry

    files = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    for file in files:
        file.write_bytes(file.name.encode())
    processes = [start(lake.root, REGISTERS, file) for file in files]
    go(*processes)
    finish(*processes)
    assert registry.names(lake) == ["x"]
    found = registry.find(lake, "x")
    assert found.files["file"] == hashlib.sha256(Path(found.raw["file"]).name.encode()).hexdigest()
    assert lake.current("raw_dataset", "x").materialization_id == found.materialization_id
    assert len(lake.versions("datasets", "x")) == 8


def waits_for_a_lock(pid: int) -> bool:
    """Whether the kernel has a process wait for a file lock."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(pid) in line.split() for line in lines)


def test_claim_lets_one_at_a_time_have_a_name(lake: Lakehouse) -> None:
    process = start(lake.root, "with Lakehouse(root).claim('BLOOD'): print('has it')")
    with lake.claim("blood"):
        go(process)
        while process.poll() is None and not waits_for_a_lock(process.pid):
            time.sleep(0.05)
        assert process.poll() is None, "it does not wait"
    assert finish(process) == ["has it"]


# -------------------------------------------------------------------- a read-only mount


@pytest.fixture
def read_only(small_disk: Path) -> Iterator[Lakehouse]:
    """A lake with a network and an artefact, on a mount that has become read-only."""
    lake = Lakehouse(small_disk / "lake")
    lake.create()
    write_network(lake, 3)
    command = ["mount", "-o", "remount,ro", str(small_disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("remounting read-only needs root")
    return lake


def test_a_read_only_lake_is_read_like_any_other(read_only: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Read-only file system"):
        (read_only.root / "x").touch()
    current = read_only.current("multiscale_network", "x")
    assert current is not None
    assert len(read_only.read("edges", "x", materialization_id=current.materialization_id)) == 3
    assert read_only.artifact_path("multiscale_network", "x", None, "note.txt", verify=True).is_file()
    assert len(read_only.versions("edges", "x")) == 1
    assert read_only.sql("FROM edge_provenance").num_rows == 3
    assert read_only.sql("SELECT bool_and(is_readable) AS r FROM time_travel")["r"].to_pylist() == [True]
    read_only.create()  # nothing is to be done
    monkeypatch.setattr(module.views, "VIEWS", {"edge_evidence": VIEWS["edge_evidence"]})
    read_only.create()  # its views are of another version of the product, which `connect` makes good
    assert read_only.sql("FROM edge_evidence").num_rows == 0


def test_commands_that_read_work_on_a_read_only_lake(read_only: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from scmagnify_assets.doors.cli.main import app

    monkeypatch.setenv("SCMAGNIFY_HOME", str(read_only.root.parent))
    for arguments, expected in ((["sql", "SELECT count(*) AS n FROM edges", "--format", "json"], '"n": 3'),
                                (["datasets"], "No data sets yet")):  # fmt: skip
        result = CliRunner().invoke(app, arguments)
        assert result.exception is None, result.output
        assert expected in result.output


def test_a_read_only_lake_says_that_it_is_when_written(read_only: Lakehouse) -> None:
    from scmagnify_assets.lake.maintenance import maintain

    before = files_below(read_only.root)
    match = "Read-only file system.*Nothing visible changed"
    with pytest.raises(StorageError, match=f"Writing multiscale_network for x .*{match}"):
        write_network(read_only, 5)
    with pytest.raises(StorageError, match=f"Maintaining the lake .*{match}"):
        maintain(read_only)
    with pytest.raises(StorageError, match=f"Claiming the name x .*{match}"), read_only.claim("x"):
        pass
    assert files_below(read_only.root) == before
    assert len(read_only.read("edges", "x")) == 3


def test_create_of_a_read_only_lake_of_an_older_product_says_what_to_do(small_disk: Path) -> None:
    lake = Lakehouse(small_disk / "lake")
    lake.create()
    write_network(lake, 3)
    shutil.rmtree(lake.root / "maintenance")
    (lake.root / "lake.duckdb").unlink()
    if subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True).returncode:
        pytest.skip("remounting read-only needs root")
    with pytest.raises(
        StorageError, match=r"cannot be written here and lacks .*'maintenance'.*`create` it once where"
    ):
        lake.create()
    assert lake.sql("SELECT bool_and(is_readable) AS r FROM time_travel")["r"].to_pylist() == [True]


# -------------------------------------------------------------------- SQL


def test_edge_provenance_answers_which_seeds_file_and_code_in_one_query(lake: Lakehouse) -> None:
    registered = pd.DataFrame(
        {
            "file": ["/in/x.h5ad"], "sha256": "a" * 64, "size_bytes": 1, "species": None, "spec": "{}", "files": "{}",
            "registered_at": pd.Timestamp.now("UTC"),
        }
    )  # fmt: skip
    made = MADE | {"file_sha256": "a" * 64, "parameters": {"file": "/in/x.h5ad"}}
    lake.write("raw_dataset", "x", None, {"datasets": registered}, {}, **made)
    first = write_network(lake, 2, dataset="x", seeds=[0, 1, 2], file_sha256="a" * 64, run_id="run-7")
    write_network(lake, 2, dataset="unregistered", seeds=[5])
    row = lake.sql("SELECT * FROM edge_provenance WHERE dataset = $name AND target = 'g0001'", {"name": "x"})
    assert row.num_rows == 1
    values = row.to_pylist()[0]
    assert values.pop("created_at") == first.created_at
    assert values == {
        "dataset": "x", "source": "TF", "target": "g0001", "score": 1.0, "seeds": [0, 1, 2], "file": "/in/x.h5ad",
        "file_sha256": "a" * 64, "is_file_current": True, "code_version": code_version(), "run_id": "run-7",
        "materialization_id": first.materialization_id,
    }  # fmt: skip
    made = MADE | {"file_sha256": "b" * 64, "parameters": {"file": "/in/other.h5ad"}}
    lake.write("raw_dataset", "x", None, {"datasets": registered.assign(sha256="b" * 64)}, {}, **made)
    assert set(lake.sql("SELECT file FROM edge_provenance WHERE dataset = 'x'")[0].to_pylist()) == {"/in/x.h5ad"}
    assert not any(lake.sql("SELECT is_file_current FROM edge_provenance WHERE dataset = 'x'")[0].to_pylist())
    assert lake.sql("FROM edge_provenance").num_rows == 4


@pytest.mark.skipif(extension_path() is None, reason="the delta extension is not installed")
def test_time_travel_view_leads_to_the_former_rows(lake: Lakehouse) -> None:
    write_network(lake, 3, 1.0)
    write_network(lake, 4, 2.0)
    states = lake.sql(
        "SELECT version, n_rows FROM time_travel WHERE table_name = 'edges' ORDER BY version"
    ).to_pylist()
    assert [state["n_rows"] for state in states] == [3, 4]
    former = lake.sql(f"SELECT score FROM delta_scan('{lake.root}/edges', version := {states[0]['version']})")
    assert former["score"].to_pylist() == [1.0] * 3


def test_sql_refuses_what_is_not_a_query(lake: Lakehouse, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'COPY' is not a query"):
        lake.sql(f"SELECT 1; COPY (SELECT 1) TO '{tmp_path}/x.csv'")
    assert not (tmp_path / "x.csv").exists()
    with pytest.raises(InputError, match="Table with name edge does not exist"):
        lake.sql("FROM edge")
    with lake.connect() as connection, pytest.raises(module.duckdb.Error, match="Can only delete from base table"):
        connection.execute("DELETE FROM edges")


def test_an_open_connection_sees_what_was_written_since(lake: Lakehouse) -> None:
    counts = "SELECT (SELECT count(*) FROM edges) AS edges, (SELECT count(*) FROM genes) AS genes"
    with lake.connect() as connection:
        assert lake.sql(counts, connection=connection).to_pylist() == [{"edges": 0, "genes": 0}]
        for n in (3, 2, 5):
            write_network(lake, n)
            assert lake.sql(counts, connection=connection).to_pylist() == [{"edges": n, "genes": 0}]


@pytest.fixture
def views(lake: Lakehouse) -> Iterator[module.Connection]:
    """``lake.duckdb`` as other programs open it, on a lake with two networks."""
    write_network(lake, 3, dataset="a")
    write_network(lake, 2, dataset="b", seeds=[1])
    write_seed(lake, seed_network(2), seed=4)
    lake.create()
    with module.duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension_path()}'; ATTACH '{lake.root}/lake.duckdb' AS l (READ_ONLY); USE l")
        yield connection


@pytest.mark.skipif(extension_path() is None, reason="the delta extension is not installed")
def test_other_programs_see_what_our_connections_see(lake: Lakehouse, views: module.Connection) -> None:
    for name in [*TABLES, *(view.name for view in VIEWS.values() if not view.parameters)]:
        theirs, ours = views.execute(f"FROM {name}").to_arrow_table(), lake.sql(f"FROM {name}")
        assert ours.schema.equals(theirs.schema), name
        assert sorted(map(str, ours.to_pylist())) == sorted(map(str, theirs.to_pylist())), name
    assert lake.sql("FROM edges").num_rows == 5


@pytest.mark.skipif(extension_path() is None, reason="the delta extension is not installed")
def test_views_carry_the_data_dictionary(views: module.Connection) -> None:
    query = "SELECT comment FROM duckdb_columns() WHERE table_name = 'receptor_tf' AND column_name = 'lag'"
    assert views.execute(query).fetchall() == [("lag of the strongest association; 0 is none [bins of pseudotime]",)]


def test_connect_works_in_a_lake_that_was_moved(lake: Lakehouse, tmp_path: Path) -> None:
    lake.create()
    write_network(lake, 3)
    shutil.move(lake.root, tmp_path / "elsewhere")
    moved = Lakehouse(tmp_path / "elsewhere")
    assert moved.sql("FROM edges").num_rows == 3
    moved.create()
    with module.duckdb.connect(moved.root / "lake.duckdb", read_only=True) as connection:
        (text,) = connection.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'edges'").fetchall()[0]
    assert str(moved.root) in text or extension_path() is None
    assert moved.sql("FROM edge_provenance").num_rows == 3


def test_connect_works_without_the_delta_extension(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    write_network(lake, 3)
    write_seed(lake, seed_network(2), seed=4)
    expected = lake.sql("FROM edge_provenance ORDER BY target").drop(["created_at"])
    monkeypatch.setattr(module, "extension_path", lambda: None)
    assert lake.sql("FROM edge_provenance ORDER BY target").drop(["created_at"]) == expected
    assert lake.sql("SELECT count(*) AS n FROM seed_network WHERE seed = 4")["n"].to_pylist() == [2]
    assert lake.sql("FROM genes").num_rows == 0
