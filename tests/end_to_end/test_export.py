"""Results on their way out, and networks on their way in, as users type it; read by the tools that they are for."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from scmagnify_assets.datasets import registry
from scmagnify_assets.doors.export import Choice, export_results
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.errors import InputError
from scmagnify_core.tables.catalogue import tables_of

mpl.use("Agg")
pytestmark = pytest.mark.e2e
FAST = ["--set", "scmagnify.max_epochs=4", "--set", "scmagnify.n_lags=3", "--set", "communication.n_permutations=20"]
SCMAGNIFY = str(Path(sys.executable).with_name("scmagnify"))
EDGES = "FROM edges WHERE dataset = 'small' AND has_weight ORDER BY rank"


@pytest.fixture(scope="module")
def shell(new_shell, tmp_path_factory, simulated, without_report):
    """A home in which the small planted data set was run beside two networks that were made elsewhere."""
    folder = tmp_path_factory.mktemp("export")
    shell = new_shell(folder / "home")
    truth = pd.read_parquet(simulated["truth"])
    oracle = truth[["source", "target"]].assign(coef_mean=truth["sign"] * 1.0, p=0.001)
    oracle.to_csv(folder / "links.csv")  # with its index, as pandas writes by default
    rng = np.random.default_rng(0)
    prior = pd.read_parquet(simulated["prior"])
    adjacencies = prior[["source", "target"]].assign(importance=rng.uniform(size=len(prior)))
    adjacencies.columns = ["TF", "target", "importance"]
    adjacencies.to_csv(folder / "adjacencies.tsv", sep="\t", index=False)
    said = shell.run(
        "add", simulated["data"], "--name", "small", "--prior", simulated["prior"], "--truth", simulated["truth"],
        "--time-key", "pseudotime", "--cluster-key", "cell_type", "--network", f"celloracle={folder / 'links.csv'}",
        "--network", f"SCENIC+={folder / 'adjacencies.tsv'}",
    )  # fmt: skip
    assert "edges of celloracle are between measured genes" in said
    shell.run("run", "small", "--seeds", "1", *without_report, *FAST)
    return shell


@pytest.fixture(scope="module")
def lake(shell):
    return Lakehouse(shell.home / "lake")


@pytest.fixture(scope="module")
def sql(lake):
    """Rows of a query, without a process of their own."""
    return lambda query: lake.sql(query).to_pylist()


# ---------------------------------------------------------------- out


def test_h5mu_is_read_by_mudata_and_scanpy_plots_its_activities(shell, sql, tmp_path):
    import mudata
    import scanpy

    said = shell.run("export", "small", tmp_path / "small.h5mu")
    (n_edges,) = sql("SELECT count(*) AS n FROM edges WHERE has_weight")
    assert f"300 cells, {len(sql('SELECT DISTINCT source FROM tf_activity'))} TF activities" in said
    assert f"all {n_edges['n']:,} edges that the model keeps" in said
    data = mudata.read_h5mu(tmp_path / "small.h5mu")
    assert list(data.mod) == ["rna", "atac", "tf_activity", "regfactor_activity"]
    assert len(data.uns["edges"]) == int(n_edges["n"])
    about = data.uns["scmagnify"]
    (story,) = sql(
        "FROM lineage WHERE materialization_id IN (SELECT materialization_id FROM edges WHERE dataset = 'small')"
    )
    assert about["materialization_ids"]["multiscale_network"] == story["materialization_id"]
    assert (about["code_version"], about["file_sha256"]) == (story["code_version"], story["file_sha256"])
    for name in ("tf_activity", "regfactor_activity"):
        activity = data[name]
        figure = scanpy.pl.embedding(
            activity, "embedding", color=[activity.var_names[0], "cluster"], show=False, return_fig=True
        )
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    rows = sql("SELECT cell, source, activity FROM tf_activity ORDER BY random() LIMIT 20")
    wide = data["tf_activity"].to_df()
    for row in rows:
        assert wide.loc[row["cell"], row["source"]] == pytest.approx(float(row["activity"]), rel=1e-5)


def test_h5ad_goes_through_decoupler(lake, sql, tmp_path):
    import anndata
    import decoupler

    export_results(lake, "small", f"{tmp_path}/small.h5ad", choice=Choice(top=200))
    data = anndata.read_h5ad(tmp_path / "small.h5ad")
    activities = decoupler.pp.get_obsm(data, "score_mlm")
    ranked = decoupler.tl.rankby_group(activities, groupby="cluster", reference="rest", method="t-test_overestim_var")
    assert set(ranked["name"]) == set(activities.var_names)
    decoupler.mt.ulm(data, data.uns["edges"], tmin=3)  # the network that came along is taken as it is
    assert data.obsm["score_ulm"].shape[0] == 300
    assert len(data.uns["edges"]) == min(200, len(sql(EDGES)))


def test_graphml_and_gexf_hold_the_edges_of_sql(shell, lake, sql, tmp_path):
    import networkx

    expected = {(row["source"], row["target"]): row for row in sql(EDGES)}
    said = shell.run("export", "small", tmp_path / "net.graphml")
    assert f"all {len(expected):,} edges that the model keeps, between " in said
    export_results(lake, "small", f"{tmp_path}/net.gexf")
    kinds = {"score": float, "signed_score": float, "lag": float, "padj": float, "rank": int, "is_selected": bool}
    for graph in (networkx.read_graphml(tmp_path / "net.graphml"), networkx.read_gexf(tmp_path / "net.gexf")):
        assert set(graph.edges) == set(expected)
        for pair, found in graph.edges.items():
            assert {name: type(found[name]) for name in kinds} == kinds
            for name in kinds:
                assert found[name] == pytest.approx(expected[pair][name], rel=1e-5)
        assert {type(found["is_tf"]) for found in graph.nodes.values()} == {bool}
        assert all(found["regfactor"].startswith("RF") for found in graph.nodes.values())


def test_csv_goes_through_decoupler_and_comes_back_as_a_network(shell, lake, sql, simulated, tmp_path):
    import decoupler
    import mudata

    from scmagnify_core.exchange import read_network

    said = shell.run("export", "small", tmp_path / "net.csv", "--max-padj", "0.2")
    (n,) = sql("SELECT count(*) AS n FROM edges WHERE has_weight AND padj <= 0.2")
    assert f"{n['n']} of the {len(sql(EDGES)):,} edges that the model keeps" in said
    net = pd.read_csv(tmp_path / "net.csv")
    rna = mudata.read_h5mu(simulated["data"])["rna"]
    decoupler.mt.ulm(rna, net, tmin=3)
    assert set(rna.obsm["score_ulm"]) <= set(net["source"])
    again, _ = read_network("again", tmp_path / "net.csv", rna.var_names)
    pd.testing.assert_frame_equal(again[["source", "target", "weight"]], net)
    for layout, columns in (
        ("celloracle", ["source", "target", "coef_mean", "coef_abs", "p", "-logp"]),
        ("scenic", ["TF", "target", "importance"]),
    ):
        export_results(lake, "small", f"{tmp_path}/{layout}.tsv", layout=layout, choice=Choice(selected=True))
        assert list(pd.read_csv(tmp_path / f"{layout}.tsv", sep="\t")) == columns


def test_a_folder_gets_every_table_and_where_it_comes_from(shell, lake, sql, tmp_path):
    import pyarrow.parquet as pq

    shell.run("export", "small", f"{tmp_path}/tables/")
    folder = tmp_path / "tables"
    about = json.loads((folder / "provenance.json").read_text())
    assert {path.stem for path in folder.glob("*.parquet")} == set(about["tables"])
    assert {"edges", "cells", "seed_network", "network_scores", "imported_networks", "lineage"} <= set(
        about["tables"]
    )
    for table, n_rows in about["tables"].items():
        (counted,) = sql(f"SELECT count(*) AS n FROM {table} WHERE dataset = 'small'")
        if table != "lineage":
            assert n_rows == len(pd.read_parquet(folder / f"{table}.parquet")) == int(counted["n"]), table
    ids = set(pd.read_parquet(folder / "lineage.parquet")["materialization_id"])
    assert ids == set(about["materialization_ids"].values())
    assert pq.read_schema(folder / "edges.parquet").field("score").metadata[b"meaning"].startswith(b"strength")
    with pytest.raises(InputError, match=r"holds 'provenance.json', 'datasets.parquet'.* pass --force"):
        export_results(lake, "small", str(folder))
    (folder / "mine.txt").write_text("kept")
    (folder / "receptor_tf.parquet").write_text("of a former export")
    export_results(lake, "small", str(folder), force=True)
    assert (folder / "mine.txt").read_text() == "kept"
    assert not (folder / "receptor_tf.parquet").exists()


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("x.docx", {}, "'x.docx': has no ending that says what to write. Give it one of .h5mu, .h5ad"),
        ("x.csv", {"format": "doc"}, "--format doc: is not known. Choose one of h5mu"),
        ("x.csv", {"layout": "pando"}, "--layout pando: is not known. Choose one of decoupler, "),
        ("x.h5ad", {"layout": "scenic"}, "--layout scenic: is for lists of edges, not for h5ad"),
        ("x.csv", {"choice": Choice(max_padj=0)}, "edges that the model keeps passes; the smallest padj is"),
        ("x/", {"choice": Choice(top=3)}, "options: choose edges, but a folder gets whole tables"),
        ("no/x.csv", {}, "there is no folder '"),
        ("", {"format": "csv"}, "is a folder, and csv is one file"),
        ("there.csv", {}, "exists already. Choose another name, or pass --force"),
        ("there.csv", {"format": "tables"}, "is a file. Name a folder"),
        ("there.csv/x.csv", {}, "there is no folder"),
        ("/proc/x.csv", {}, "'/proc/x.csv': cannot be written (No such file or directory). Choose a folder"),
    ],
)
def test_exports_that_cannot_be_are_refused_in_words(lake, tmp_path, output, options, message):
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(InputError, match=re.escape(message)):
        export_results(lake, "small", f"{tmp_path}/{output}" if output[:1] != "/" else output, **options)
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


def test_the_command_says_what_is_wrong(shell, tmp_path):
    said = shell.run("export", "nobody", tmp_path / "x.csv", status=1)
    assert "is not registered. Registered: 'small'" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("suffix", ["h5mu", "csv"])
def test_a_full_disk_leaves_what_was_there(shell, tmp_path, suffix):
    """The kernel refuses to let the file grow, as it does on a full disk."""
    path = tmp_path / f"net.{suffix}"
    path.write_text("former")
    done = subprocess.run(
        [SCMAGNIFY, "export", "small", str(path), "--force"], env=shell.environment, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "could not be written" in done.stderr
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text() == "former"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_killed_export_leaves_what_was_there(shell, tmp_path):
    path = tmp_path / "small.h5mu"
    path.write_text("former")
    process = subprocess.Popen(
        [SCMAGNIFY, "export", "small", str(path), "--force"], env=shell.environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".*.part/staged/*")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.read_text() == "former"
    shell.run("export", "small", path, "--force")
    import mudata

    assert mudata.read_h5mu(path)["rna"].n_obs == 300


def test_results_that_do_not_belong_together_are_not_exported(lake, tmp_path):
    shutil.copytree(lake.root, tmp_path / "lake")
    lake = Lakehouse(tmp_path / "lake")
    made = lake.current("multiscale_network", "small")
    tables = {
        table.name: lake.read(table.name, "small", columns=[column.name for column in table.body])
        for table in tables_of("multiscale_network")
    }
    same = {"run_id": "none", "inputs": made.inputs, "parameters": made.parameters, "file_sha256": made.file_sha256}
    lake.write("multiscale_network", "small", None, tables, {}, **same, seeds=made.seeds)
    export_results(lake, "small", f"{tmp_path}/same.h5ad")  # made again, to the same content
    tables["edges"] = tables["edges"].assign(is_selected=False)
    lake.write("multiscale_network", "small", None, tables, {}, **same, seeds=made.seeds)
    for output in ("x.h5ad", "x.graphml", "x/"):
        with pytest.raises(InputError, match=r"' of 'small': was made from a former multiscale_network. Let the run"):
            export_results(lake, "small", f"{tmp_path}/{output}")
    export_results(lake, "small", f"{tmp_path}/x.csv")  # of one table, hence of one piece
    assert not list(tmp_path.glob(".*"))


def test_a_data_set_without_results_says_what_to_run(lake, tmp_path, simulated):
    shutil.copytree(lake.root, tmp_path / "lake")
    lake = Lakehouse(tmp_path / "lake")
    registry.register(lake, {"name": "bare", "file": str(simulated["data"])})
    for output, missing in (("x.csv", "multiscale_network"), ("x/", "results")):
        with pytest.raises(InputError, match=f"'bare': has no {missing} yet. Run it: scmagnify run bare"):
            export_results(lake, "bare", f"{tmp_path}/{output}")


# ---------------------------------------------------------------- in


def test_networks_made_elsewhere_are_tables_and_stand_beside_ours(sql):
    counts = {
        row["method"]: int(row["n"])
        for row in sql("SELECT method, count(*) FILTER (is_candidate) AS n FROM imported_networks GROUP BY 1")
    }
    (candidates,) = sql("SELECT count(*) AS n FROM prior_network WHERE dataset = 'small'")
    assert counts["SCENIC+"] == int(candidates["n"]) > counts["celloracle"] > 0
    query = "FROM network_scores WHERE dataset = 'small' AND prior_edges = 'only' AND variant = 'canonical'"
    scores = {row["method"]: row for row in sql(query)}
    assert float(scores["celloracle"]["auprc"]) == pytest.approx(1)  # it was made of the truth
    assert float(scores["celloracle"]["sign_accuracy"]) == 1
    assert scores["SCENIC+"]["sign_accuracy"] is None  # importances have no sign
    assert {scores[name]["n_universe"] for name in ("scmagnify", "celloracle", "SCENIC+", "ridge")} == {
        scores["random"]["n_universe"]
    }
    compared = sql(
        """SELECT i.method, count(*) AS n, corr(i.rank, e.rank) AS agreement
           FROM imported_networks i JOIN edges e USING (dataset, source, target) GROUP BY 1"""
    )
    assert len(compared) == 2
    (board,) = sql("SELECT count(DISTINCT method) AS n FROM leaderboard WHERE method IN ('celloracle', 'SCENIC+')")
    assert board["n"] == 2


def test_what_an_imported_network_was_read_from_is_in_the_lineage(sql):
    (row,) = sql("SELECT parameters FROM lineage WHERE asset = 'imported_networks' AND dataset = 'small'")
    parameters = json.loads(row["parameters"])
    assert set(parameters["sha256"]) == {"networks.celloracle", "networks.SCENIC+"}
    assert set(parameters["networks"]) == {"celloracle", "SCENIC+"}


def test_networks_that_cannot_be_compared_are_refused_at_the_door(shell, sql, simulated, tmp_path):
    links = tmp_path / "links.csv"
    links.write_text("source,target,weight\nENSG00000139618,ENSG00000141510,1\n")
    for given, message in (
        (f"mine={links}", "network 'mine' ('links.csv'): shares no edge with the data: the network uses Ensembl ids"),
        (str(links), "is not of the form NAME=FILE"),
    ):
        said = shell.run("add", simulated["data"], "--name", "bad", "--network", given, status=1)
        assert message in said
    assert not sql("FROM datasets WHERE dataset = 'bad'")
