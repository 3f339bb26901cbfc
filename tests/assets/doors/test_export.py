"""What leaves the lake, on hand-made results; the tools that read it do so in the end-to-end tests."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from scmagnify_assets.doors.export import PROVENANCE, Choice, Format, export_results, take_snapshot
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.errors import InputError


@pytest.fixture(scope="module")
def lake(results: Home) -> Lakehouse:
    return Lakehouse(results.lake)


def test_a_list_of_edges_is_what_the_model_keeps_strongest_first(lake: Lakehouse, tmp_path: Path) -> None:
    done = export_results(lake, "blood", str(tmp_path / "net.csv"))
    assert done.format is Format.csv
    assert done.holds == "all 8 edges that the model keeps"
    assert done.size_bytes == (tmp_path / "net.csv").stat().st_size
    kept = lake.sql("SELECT source, target, signed_score FROM edges WHERE has_weight ORDER BY rank").to_pandas()
    read = pd.read_csv(tmp_path / "net.csv")
    assert read[["source", "target"]].equals(kept[["source", "target"]])
    assert read["weight"].to_numpy() == pytest.approx(kept["signed_score"].to_numpy(), rel=1e-6)


def test_a_choice_is_told_and_applied(lake: Lakehouse, tmp_path: Path) -> None:
    done = export_results(lake, "blood", str(tmp_path / "net.parquet"), choice=Choice(top=3), layout="scenic")
    assert done.holds == "3 of the 8 edges that the model keeps"
    assert pd.read_parquet(tmp_path / "net.parquet").columns.tolist() == ["TF", "target", "importance"]
    assert "pandas.read_parquet" in done.hint


def test_a_folder_gets_the_tables_with_meanings_and_where_they_come_from(lake: Lakehouse, tmp_path: Path) -> None:
    export_results(lake, "blood", f"{tmp_path / 'tables'}/")
    about = json.loads((tmp_path / "tables" / PROVENANCE).read_text())
    assert {f"{name}.parquet" for name in about["tables"]} | {PROVENANCE} == {
        path.name for path in (tmp_path / "tables").iterdir()
    }
    assert about["tables"]["edges"] == 12
    edges = pq.read_schema(tmp_path / "tables" / "edges.parquet")
    assert b"meaning" in edges.field("score").metadata
    with pytest.raises(InputError, match=r"holds .* already"):
        export_results(lake, "blood", str(tmp_path / "tables"))
    (tmp_path / "tables" / "mine.txt").touch()
    export_results(lake, "blood", str(tmp_path / "tables"), force=True)
    assert (tmp_path / "tables" / "mine.txt").exists()


@pytest.mark.parametrize(
    ("output", "options", "said"),
    [
        ("net.xyz", {}, "has no ending that says what to write"),
        ("net", {"format": "xyz"}, "--format xyz: is not known"),
        ("net.csv", {"layout": "xyz"}, "--layout xyz: is not known"),
        ("net.graphml", {"layout": "scenic"}, "is for lists of edges, not for graphml"),
        ("tables/", {"choice": Choice(top=1)}, "choose edges, but a folder gets whole tables"),
        ("no/folder/net.csv", {}, "there is no folder"),
        ("there.csv", {}, "exists already"),
        (".", {"format": "csv"}, "is a folder, and csv is one file"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    lake: Lakehouse, tmp_path: Path, output: str, options: dict, said: str
) -> None:
    (tmp_path / "there.csv").write_text("former")
    with pytest.raises(InputError, match=said):
        export_results(lake, "blood", f"{tmp_path}/{output}", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "former"


def test_a_snapshot_is_of_results_that_are_there(lake: Lakehouse, results: Home, tmp_path: Path) -> None:
    snapshot = take_snapshot(lake, "blood", ["multiscale_network", "regfactors"])
    assert set(snapshot.made) == {"multiscale_network"}
    assert len(snapshot.body("edges")) == 12
    assert snapshot.body("regfactors").empty
    assert snapshot.about()["dataset"] == "blood"
    with pytest.raises(InputError, match="has no regfactors yet. Run it: scmagnify run blood"):
        take_snapshot(lake, "blood", ["regfactors"])


def test_results_that_do_not_belong_together_are_refused(results: Home, tmp_path: Path) -> None:
    shutil.copytree(results.lake, tmp_path / "lake")
    lake = Lakehouse(tmp_path / "lake")
    former = lake.current("multiscale_network", "blood")
    assert former is not None
    made = {"run_id": "none", "parameters": {}, "file_sha256": "f" * 64}
    scores = lake.read("network_scores", "blood").drop(columns=["dataset", "materialization_id"])
    lake.write("network_scores", "blood", None, {"network_scores": scores}, {}, inputs=(former.to_input(),), **made)
    take_snapshot(lake, "blood", ["multiscale_network", "network_scores"])
    tables = {
        name: lake.read(name, "blood").drop(columns=["dataset", "materialization_id"]) for name in former.tables
    }
    tables["edges"]["lag"] = 3.0
    lake.write("multiscale_network", "blood", None, tables, {}, inputs=(), **made)
    with pytest.raises(InputError, match="'network_scores' of 'blood': was made from a former multiscale_network"):
        take_snapshot(lake, "blood", ["multiscale_network", "network_scores"])
