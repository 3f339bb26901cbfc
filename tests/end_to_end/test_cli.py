"""The command line as users type it: add, run, query, add again; and what it says when something is wrong."""

import json
import shutil

import pytest

FAST = ["--set", "scmagnify.max_epochs=4", "--set", "scmagnify.n_lags=3", "--set", "communication.n_permutations=50"]
VIEWS = {
    "edges": {"dataset", "source", "target", "score", "signed_score", "lag", "n_seeds", "stability"},
    "multiscale_network": {"dataset", "source", "target", "lag", "weight"},
    "regfactor_loadings": {"dataset", "regfactor", "mode", "name", "loading"},
    "tf_activity": {"dataset", "cell", "source", "activity", "pvalue", "padj"},
    "regfactor_activity": {"dataset", "cell", "regfactor", "activity"},
    "communication_scores": {"dataset", "ligand", "receptor", "tf", "score", "pvalue", "padj"},
    "training_history": {"dataset", "seed", "epoch", "loss"},
    "lineage": {"materialization_id", "run_id", "code_version", "file_sha256", "inputs"},
    "datasets": {"dataset", "file", "sha256"},
}


@pytest.fixture(scope="module")
def shell(new_shell, tmp_path_factory, simulated):
    """A home in which the small planted data set was added and run with two seeds."""
    shell = new_shell(tmp_path_factory.mktemp("cli") / "home")
    said = shell.run(
        "add", simulated["data"], "--name", "small", "--prior", simulated["prior"], "--truth", simulated["truth"],
        "--time-key", "pseudotime", "--cluster-key", "cell_type", "--ligand-receptor", simulated["ligand_receptor"],
        "--receptor-tf", simulated["receptor_tf"],
    )  # fmt: skip
    assert "300 cells" in said
    assert "scmagnify run small" in said
    said = shell.run("run", "small", "--seeds", "2", *FAST)
    assert "Strongest edges of small" in said
    assert "Against the ground truth" in said
    assert said.rstrip().endswith("report small --open")
    return shell


@pytest.mark.e2e
def test_every_view_is_filled_with_the_promised_columns(shell):
    for view, columns in VIEWS.items():
        rows = shell.sql(f"FROM {view} LIMIT 5")
        assert rows, view
        assert columns <= set(rows[0]), view
    edges = shell.sql("SELECT min(n_seeds) AS low, max(n_seeds) AS high, count(*) AS n FROM edges")
    candidates = shell.sql("SELECT count(*) AS n FROM prior_network")
    assert (edges[0]["low"], edges[0]["high"], edges[0]["n"]) == ("2", "2", candidates[0]["n"])
    lags = shell.sql("SELECT DISTINCT lag FROM multiscale_network ORDER BY 1")
    assert [row["lag"] for row in lags] == ["1", "2", "3"]


@pytest.mark.e2e
def test_one_query_tells_seeds_file_code_and_run_of_an_edge(shell, simulated):
    from scmagnify_assets.lake.lineage import code_version
    from scmagnify_core.data.reading import file_sha256

    said = shell.run("sql", "FROM edge_provenance ORDER BY score DESC LIMIT 1", "--format", "json")
    (row,) = json.loads(said)
    assert row["seeds"] == [0, 1]
    assert row["file_sha256"] == file_sha256(simulated["data"])
    assert row["file"] == str(simulated["data"])
    assert row["code_version"] == code_version()
    assert len(row["run_id"]) == 36
    inputs = shell.sql(
        "SELECT inputs FROM lineage WHERE asset = 'multiscale_network' ORDER BY created_at DESC LIMIT 1"
    )
    assert {one["asset"] for one in json.loads(inputs[0]["inputs"])} == {
        "scmagnify_model", "dataset", "prior_network", "diffusion_operators",
    }  # fmt: skip


@pytest.mark.e2e
def test_same_data_and_settings_give_the_same_results_bit_for_bit_under_any_name(shell, simulated, without_report):
    shell.run(
        "add", simulated["data"], "--name", "other", "--prior", simulated["prior"], "--truth", simulated["truth"],
        "--time-key", "pseudotime", "--cluster-key", "cell_type", "--ligand-receptor", simulated["ligand_receptor"],
        "--receptor-tf", simulated["receptor_tf"],
    )  # fmt: skip
    shell.run("run", "other", "--seeds", "2", *without_report, *FAST)
    # These hold their name; the report tells of the runs that it shows, too.
    query = """SELECT asset, seed, data_version FROM lineage
               WHERE dataset = '{}' AND asset NOT IN ('raw_dataset', 'dataset', 'report') ORDER BY ALL"""
    first = shell.sql(query.format("small"))
    assert len(first) > 14
    assert shell.sql(query.format("other")) == first


@pytest.mark.e2e
def test_rerun_replaces_its_own_rows_and_keeps_former_versions(shell, network_only):
    from scmagnify_assets.lake.lakehouse import Lakehouse

    lake = Lakehouse(shell.home / "lake")
    before = {name: lake.read("edges", name) for name in ("small", "other")}
    shell.run("run", "other", "--seeds", "2", *network_only, *FAST, "--set", "scmagnify.backbone_strength=0.4")

    after = {name: lake.read("edges", name) for name in ("small", "other")}
    assert after["small"].equals(before["small"])
    assert len(after["other"]) == len(before["other"])
    assert not after["other"]["score"].equals(before["other"]["score"])
    version = int(lake.versions("edges", "other")["version"].iloc[-2])
    assert lake.read("edges", "other", version=version).equals(before["other"])
    path = shell.home / "lake" / "edges"
    rows = shell.sql(
        f"SELECT sum(score) AS total FROM delta_scan('{path}', version := {version}) WHERE dataset = 'other'"
    )
    assert float(rows[0]["total"]) == pytest.approx(before["other"]["score"].sum(), rel=1e-5)


@pytest.mark.e2e
def test_report_is_written_where_it_is_wanted(shell, tmp_path):
    page = tmp_path / "any name.html"
    said = shell.run("report", "small", "--output", page)
    assert said.strip() == str(page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "Gene-regulatory network of small" in text
    assert len(page.read_bytes()) < 8e6
    shell.run("report", "small", "-o", tmp_path)
    assert (tmp_path / "small.html").read_bytes() == page.read_bytes()


def test_report_that_is_not_to_be_had_says_what_to_do(shell, simulated, tmp_path):
    assert "'nobody': is not registered" in shell.run("report", "nobody", status=1)
    shell.run("add", simulated["data"], "--name", "idle", "--prior", simulated["prior"])
    said = shell.run("report", "idle", status=1)
    assert "report of 'idle': has not been made yet." in said
    assert "run idle" in said
    said = shell.run("report", "small", "--output", tmp_path / "no" / "such" / "folder.html", status=1)
    assert "there is no folder" in said
    assert "Traceback" not in said


@pytest.mark.e2e
def test_published_preset_runs_and_is_recorded(shell, simulated, network_only):
    shell.run("add", simulated["data"], "--name", "published", "--prior", simulated["prior"])
    shell.run(
        "run", "published", "--seeds", "1", "--preset", "published", *network_only, "--set", "scmagnify.max_epochs=3"
    )
    rows = shell.sql("SELECT asset, parameters FROM lineage WHERE dataset = 'published'")
    parameters = {row["asset"]: json.loads(row["parameters"]) for row in rows}
    assert parameters["scmagnify_model"]["preset"] == "published"
    assert parameters["scmagnify_model"]["scmagnify"]["output_init"] == "xavier"
    assert parameters["multiscale_network"]["network"]["max_cv"] == 0.2
    assert "scmagnify" not in parameters["multiscale_network"]  # each result records what it depends on itself


@pytest.mark.e2e
def test_select_reruns_only_what_is_named(shell):
    count = "SELECT count(*) AS n FROM lineage WHERE dataset = 'small' AND asset = '{}'"
    before = {asset: shell.sql(count.format(asset))[0]["n"] for asset in ("regfactors", "dataset")}
    shell.run("run", "small", "--seeds", "2", "--select", "regfactors", "--set", "regfactors.rank=[1,2,2]")
    assert int(shell.sql(count.format("regfactors"))[0]["n"]) == int(before["regfactors"]) + 1
    assert shell.sql(count.format("dataset"))[0]["n"] == before["dataset"]
    assert len(shell.sql("FROM regfactors WHERE dataset = 'small'")) == 2


def test_same_name_with_other_content_is_refused(shell, simulated, tmp_path):
    shell.run("add", simulated["data"], "--name", "taken", "--prior", simulated["prior"])
    shell.run("add", simulated["data"], "--name", "taken", "--prior", simulated["prior"])  # the same again is fine
    said = shell.run("add", simulated["data"], "--name", "taken", status=1)
    assert "name 'taken'" in said
    assert "--replace" in said
    shell.run("add", simulated["data"], "--name", "taken", "--replace")


def test_wrong_input_is_refused_before_anything_is_registered(shell, simulated, tmp_path):
    before = shell.sql("SELECT count(*) AS n FROM datasets")
    prior = ["--prior", simulated["prior"]]
    said = shell.run("add", simulated["data"], "--name", "bad", "--time-key", "nope", *prior, status=1)
    assert "obs['nope']" in said
    assert "pseudotime" in said  # what there is instead
    toml = tmp_path / "typo.toml"
    toml.write_text(f'name = "bad"\nfile = "{simulated["data"]}"\ntime_kye = "pseudotime"\n')
    said = shell.run("add", toml, status=1)
    assert "did you mean 'time_key'?" in said
    truncated = tmp_path / "bad.h5mu"
    truncated.write_bytes(simulated["data"].read_bytes()[:20_000])
    said = shell.run("add", truncated, *prior, status=1)
    assert "may be truncated" in said
    ensembl = tmp_path / "ensembl.csv"
    ensembl.write_text("source,target\nENSG00000139618,ENSG00000141510\n")
    said = shell.run("add", simulated["data"], "--name", "bad", "--prior", ensembl, status=1)
    assert "Ensembl" in said
    assert shell.sql("SELECT count(*) AS n FROM datasets") == before
    assert "Traceback" not in said


def test_unknown_names_say_what_there_is(shell):
    assert "is not registered. Registered: " in shell.run("run", "nobody", status=1)
    assert "is no asset. Assets: dataset" in shell.run("run", "small", "--select", "nothing", status=1)
    assert "is not a query" in shell.run("sql", "DELETE FROM edges", status=1)
    assert "nosuch" in shell.run("sql", "FROM nosuch", status=1)


def test_a_failed_step_names_its_asset_and_the_remedy(shell, simulated):
    shell.run("add", simulated["data"], "--name", "bare", "--time-key", "pseudotime")
    said = shell.run("run", "bare", status=1)
    assert "prior: there is no evidence for any edge" in said
    assert "prior_network" in said
    assert "Traceback" not in said


def test_a_changed_file_must_be_registered_again(shell, simulated, tmp_path):
    copy = tmp_path / "moving.h5mu"
    shutil.copy(simulated["data"], copy)
    shell.run("add", copy, "--prior", simulated["prior"])
    with copy.open("ab") as stream:
        stream.write(b"\0")
    assert "has changed since it was registered" in shell.run("run", "moving", status=1)


def test_listing_and_examination_work_on_any_home(shell, new_shell, tmp_path):
    said = shell.run("datasets")
    assert "small" in said
    assert "lake" in shell.run("doctor")
    empty = new_shell(tmp_path / "nothing here")
    assert "lake" in empty.run("doctor")
    assert "holds no results yet. Try `scmagnify demo`" in empty.run("datasets", status=1)
    assert "'x': is not registered" in empty.run("run", "x", status=1)


def test_help_teaches_by_example(shell):
    for command in ("add", "run", "sql", "export", "report", "datasets", "demo", "doctor", "ui"):
        assert "scmagnify " in shell.run(command, "--help"), command
