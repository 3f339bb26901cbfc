"""From FASTA to SQL: a prior built from chromatin, and the evidence of an edge down to its peak and motif."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

FAST = ["--set", "scmagnify.max_epochs=4", "--set", "scmagnify.n_lags=3"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A planted data set of 900 cells with its genome, annotation and motifs."""
    from scmagnify_core.simulation.simulated_genome import simulate_genome
    from scmagnify_core.simulation.simulation import SimulationConfig, simulate

    folder = tmp_path_factory.mktemp("genome")
    config = SimulationConfig(n_cells=900, n_sources=12, n_targets=30, n_background=40, seed=7)
    simulation = simulate(config)
    return simulation.write(folder, "small") | simulate_genome(simulation).write(folder, "small")


@pytest.fixture(scope="module")
def shell(new_shell, tmp_path_factory, files, network_only):
    """A home that declares the genome, with the data set run on the prior that was built from it."""
    shell = new_shell(tmp_path_factory.mktemp("chromatin") / "home")
    keys = ("genome", "annotation", "motifs", "motif_to_tf", "tf_list")
    shell.home.mkdir()
    (shell.home / "references.toml").write_text(
        "[simulated]\n" + "".join(f"{key} = {json.dumps(str(files[key]))}\n" for key in keys)
    )
    said = shell.run(
        "add", files["data"], "--name", "built", "--references", "simulated", "--truth", files["truth"],
        "--time-key", "pseudotime",
    )  # fmt: skip
    assert "Motifs in peaks whose accessibility follows the gene." in said
    shell.run("run", "built", "--seeds", "1", *network_only, *FAST)
    return shell


def test_prior_from_fasta_recovers_the_planted_candidates(shell, files):
    import pandas as pd

    given = pd.read_parquet(files["prior"])
    built = shell.sql("SELECT source, target, evidence, n_peaks FROM prior_network WHERE dataset = 'built'")
    assert {row["evidence"] for row in built} == {"motif_atac"}
    assert all(int(row["n_peaks"]) >= 1 for row in built)
    found = {(row["source"], row["target"]) for row in built}
    planted = set(zip(given["source"], given["target"], strict=True))
    assert len(found & planted) / len(planted) > 0.8
    assert len(found & planted) / len(found) > 0.75


def test_evidence_leads_from_an_edge_to_its_peak_and_motif(shell):
    rows = shell.sql(
        """SELECT v.*, p.n_peaks, p.best_peak, p.best_motif, p.link_correlation
           FROM edge_evidence v JOIN prior_network p USING (dataset, source, target)
           WHERE (v.source, v.target) IN (SELECT (source, target) FROM edges ORDER BY score DESC LIMIT 1)"""
    )
    assert rows
    assert len({row["peak"] for row in rows}) == int(rows[0]["n_peaks"])
    best = [row for row in rows if (row["peak"], row["motif"]) == (row["best_peak"], row["best_motif"])]
    assert best
    assert float(best[0]["correlation"]) == pytest.approx(float(rows[0]["link_correlation"]))
    for row in rows:
        assert int(row["peak_start"]) <= int(row["motif_start"]) < int(row["motif_end"]) <= int(row["peak_end"])
        assert row["strand"] in ("+", "-")
        assert float(row["motif_pvalue"]) <= 5e-5
        assert float(row["correlation"]) > 0.1
    every = shell.sql("SELECT count(DISTINCT (source, target)) AS n FROM edge_evidence WHERE peak IS NOT NULL")
    edges = shell.sql("SELECT count(*) AS n FROM edges")
    assert every[0]["n"] == edges[0]["n"]


def test_lineage_holds_the_hashes_of_the_reference_files(shell, files):
    from scmagnify_core.data.reading import file_sha256

    rows = shell.sql("SELECT asset, parameters FROM lineage WHERE asset IN ('tf_binding', 'dataset')")
    parameters = {row["asset"]: json.loads(row["parameters"]) for row in rows}
    assert parameters["tf_binding"]["sha256"] == {
        f"references.{key}": file_sha256(files[key])
        for key in ("genome", "annotation", "motifs", "motif_to_tf", "tf_list")
    }


def test_a_changed_reference_file_is_refused(shell, files):
    original = files["motifs"].read_text()
    files["motifs"].write_text(original + "\n")
    try:
        said = shell.run("run", "built", "--select", "tf_binding", status=1)
    finally:
        files["motifs"].write_text(original)
    assert "has changed since it was registered as references.motifs" in said


def test_promoters_stand_in_where_there_is_no_atac(shell, files, tmp_path):
    import mudata

    rna = mudata.read_h5mu(files["data"])["rna"]
    rna.write_h5ad(tmp_path / "rna.h5ad")
    said = shell.run(
        "add", tmp_path / "rna.h5ad", "--name", "promoters", "--references", "simulated", "--prior", files["prior"],
    )  # fmt: skip
    assert "There is no ATAC: motifs in promoters stand in" in said
    # The simulated genome has no sequence outside peaks: some promoters have motifs where a peak lies at the TSS.
    shell.run(
        "run", "promoters", "--select", "dataset", "--select", "gene_association", "--select", "peak_gene_links"
    )
    rows = shell.sql("SELECT DISTINCT kind, correlation FROM peak_gene_links WHERE dataset = 'promoters'")
    assert rows == [{"kind": "promoter", "correlation": ""}]


def test_references_command_lists_files_and_says_what_is_missing(shell, new_shell, files, tmp_path):
    assert "small.fa.gz" in shell.run("references")
    other = new_shell(tmp_path / "home")
    said = other.run("references")
    assert "No references are declared yet" in said
    assert "https://jaspar.elixir.no" in said
    said = other.run("add", files["data"], "--references", "hg38", status=1)
    assert "no references are declared" in said
