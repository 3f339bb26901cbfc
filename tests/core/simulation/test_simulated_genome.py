"""The simulated genome: every motif hit can be found, files read back, and the simulation stays as it was."""

import gzip
import hashlib
import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyfaidx
import pytest

from scmagnify_core.errors import InputError
from scmagnify_core.simulation import simulated_genome as module
from scmagnify_core.simulation.simulated_genome import reverse_complement, simulate_genome
from scmagnify_core.simulation.simulation import SimulationConfig, simulate

SMALL = SimulationConfig(seed=7, n_cells=50, n_sources=12, n_targets=10, n_background=10, n_silent_receptors=2)


@pytest.fixture(scope="module")
def simulation():
    return simulate(SMALL)


@pytest.fixture(scope="module")
def genome(simulation):
    return simulate_genome(simulation)


@pytest.fixture(scope="module")
def files(genome, tmp_path_factory):
    return genome.write(tmp_path_factory.mktemp("genome"), "small")


def log_odds(matrix):
    return np.log2((matrix + 1e-4) / 1.0004 / 0.25)


def score(matrix, sequence):
    return sum(log_odds(matrix)[i, "ACGT".index(base)] for i, base in enumerate(sequence))


def sequence_of(genome, peak):
    return genome.peaks.set_index("peak").loc[peak, "sequence"]


def content_hash(simulation):
    tables = (simulation.prior, simulation.truth, simulation.peak_gene_links, simulation.motif_hits)
    data = [pd.util.hash_pandas_object(table).to_numpy().tobytes() for table in tables]
    data += [simulation.mudata[name].X.data.tobytes() for name in ("rna", "atac")]
    data.append(pd.util.hash_pandas_object(simulation.mudata["atac"].var).to_numpy().tobytes())
    return hashlib.sha256(b"".join(data)).hexdigest()


# ---------------------------------------------------------------- motifs


def test_simulate_genome_gives_each_tf_a_strong_but_imperfect_motif(genome, simulation):
    assert list(genome.motif_to_tf["tf"]) == list(simulation.mudata["rna"].var_names[:12])
    assert list(genome.motif_to_tf["motif"]) == list(genome.motifs)
    assert not set(genome.motif_to_tf["motif"]) & set(genome.motif_to_tf["tf"])
    for matrix in genome.motifs.values():
        assert 8 <= len(matrix) <= 14
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
        assert 14 <= (matrix * log_odds(matrix)).sum() <= 17
        assert (matrix.max(axis=1) < 1).sum() >= 3


def test_simulate_genome_motifs_do_not_match_each_other(genome):
    for first, second in itertools.permutations(genome.motifs.values(), 2):
        consensus = "".join("ACGT"[i] for i in second.argmax(axis=1))
        for text in (consensus, reverse_complement(consensus)):
            for i in range(len(text) - len(first) + 1):
                assert (
                    score(first, text[i : i + len(first)]) < module._threshold(log_odds(first)) + module.ROUNDING_BITS
                )


def test_threshold_equals_counting_all_words():
    """All 4 ** 9 words of a motif: the share of those that reach the threshold."""
    rng = np.random.default_rng(0)
    odds = log_odds(rng.dirichlet([0.1] * 4, 9))
    scores = np.zeros(1)
    for row in odds:
        scores = np.add.outer(scores, row).ravel()
    threshold = module._threshold(odds)
    assert np.mean(scores >= threshold) <= 5e-5 < np.mean(scores >= threshold - 0.011)  # ten bins and rounding


# ---------------------------------------------------------------- planted instances


def test_simulate_genome_plants_every_motif_hit_once(genome, simulation):
    assert not genome.sites.duplicated(["peak", "source"]).any()
    planted = set(zip(genome.sites["peak"], genome.sites["source"], strict=True))
    assert planted == set(zip(simulation.motif_hits["peak"], simulation.motif_hits["source"], strict=True))


def test_simulate_genome_instances_are_where_they_are_said_to_be_and_score_as_said(genome):
    tf_of = dict(genome.motif_to_tf.itertuples(index=False))
    threshold = {name: module._threshold(log_odds(matrix)) for name, matrix in genome.motifs.items()}
    for site in genome.sites.itertuples():
        assert tf_of[site.motif] == site.source
        found = sequence_of(genome, site.peak)[site.start : site.start + len(site.sequence)]
        assert (found if site.strand == "+" else reverse_complement(found)) == site.sequence
        assert len(site.sequence) == len(genome.motifs[site.motif])
        assert score(genome.motifs[site.motif], site.sequence) == pytest.approx(site.score)
        assert site.score >= threshold[site.motif]


def test_simulate_genome_instances_vary_in_place_strand_and_sequence(genome):
    sites = genome.sites
    assert 0.3 < (sites["strand"] == "+").mean() < 0.7
    assert sites["start"].nunique() > 50
    assert sites.groupby("motif")["sequence"].nunique().min() > 3
    ends = sites["start"] + sites["sequence"].str.len()
    ordered = sites.assign(end=ends).sort_values(["peak", "start"])
    after = ordered.groupby("peak")["start"].shift(-1)
    assert (after.isna() | (ordered["end"] <= after)).all()  # none overlap
    assert (ends <= 500).all()


@pytest.mark.parametrize(
    ("with_chance_matches", "low", "high"),
    [(False, 0, 0.005), (True, 0.02, 0.1)],  # by chance 1 - (1 - 5e-5) ** (2 * 490), 0.05
)
def test_simulate_genome_instances_are_found_by_a_scan_where_few_others_are(
    simulation, with_chance_matches, low, high
):
    """Brute force over both strands: all that are planted; others hardly ever, or as often as the p-value says."""
    genome = simulate_genome(simulation, with_chance_matches=with_chance_matches)
    planted = set(zip(genome.sites["peak"], genome.sites["motif"], strict=True))
    found = set()
    for name, matrix in genome.motifs.items():
        odds = log_odds(matrix)
        threshold = module._threshold(odds)
        for peak, sequence in zip(genome.peaks["peak"], genome.peaks["sequence"], strict=True):
            for text in (sequence, reverse_complement(sequence)):
                codes = np.searchsorted(module.BASES, np.frombuffer(text.encode(), dtype=np.uint8))
                windows = np.lib.stride_tricks.sliding_window_view(codes, len(matrix))
                if (odds[np.arange(len(matrix)), windows].sum(axis=1) >= threshold).any():
                    found.add((peak, name))
    assert planted <= found
    n_free = len(genome.peaks) * len(genome.motifs) - len(planted)
    assert low <= len(found - planted) / n_free < high


# ---------------------------------------------------------------- determinism


def test_simulate_genome_is_deterministic_and_follows_the_seed(genome, simulation):
    again, other = simulate_genome(simulation), simulate_genome(simulation, seed=8)
    pd.testing.assert_frame_equal(again.peaks, genome.peaks)
    pd.testing.assert_frame_equal(again.sites, genome.sites)
    pd.testing.assert_frame_equal(again.genes, genome.genes)
    assert not again.peaks["sequence"].equals(other.peaks["sequence"])
    assert set(zip(other.sites["peak"], other.sites["source"], strict=True)) == set(
        zip(genome.sites["peak"], genome.sites["source"], strict=True)
    )


def test_simulate_genome_leaves_the_simulation_as_it_is():
    simulation = simulate(SMALL)
    before = content_hash(simulation)
    simulate_genome(simulation)
    assert content_hash(simulation) == before == content_hash(simulate(SMALL))


def test_simulate_genome_refuses_more_motifs_than_a_peak_can_hold():
    crowded = simulate(SMALL.model_copy(update={"n_sources": 80, "n_decoys_per_edge": 76}))
    with pytest.raises(InputError, match=r"n_decoys_per_edge: gives peak 'chr1:\d+-\d+' of 500 bp \d+ motifs.*Lower"):
        simulate_genome(crowded)


# ---------------------------------------------------------------- files


def test_write_genome_reads_back_and_is_n_between_peaks(genome, files):
    fasta = pyfaidx.Fasta(str(files["genome"]))
    assert {name: len(fasta[name]) for name in fasta.keys()} == dict(genome.chrom_sizes)  # noqa: SIM118
    for peak in genome.peaks.itertuples():
        assert fasta[peak.chrom][peak.start : peak.end].seq == peak.sequence
        assert set(fasta[peak.chrom][peak.start - 50 : peak.start].seq) == {"N"}
        assert set(fasta[peak.chrom][peak.end : peak.end + 50].seq) == {"N"}
    with gzip.open(files["genome"], "rt") as stream:
        lines = stream.read().split("\n")
    assert {len(line) for line in lines[1:-2]} == {module.LINE_BP}
    bases = "".join(lines[1:])
    assert sum(map(bases.count, "ACGT")) == 500 * len(genome.peaks)
    assert set(bases) == set("ACGTN")


def test_write_genome_keeps_peaks_that_cross_a_line_and_a_piece(genome, tmp_path):
    """Lines of 70 bp: every peak spans several, and most several pieces of the file."""
    cut = replace(genome, peaks=genome.peaks[genome.peaks["start"] < 1_000_000], chrom_sizes={"chr1": 1_000_030})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LINE_BP", 70)
        path = cut.write(tmp_path, "narrow")["genome"]
    fasta = pyfaidx.Fasta(str(path))
    assert len(fasta["chr1"]) == 1_000_030
    assert len(cut.peaks)
    for peak in cut.peaks.itertuples():
        assert fasta["chr1"][peak.start : peak.end].seq == peak.sequence


def test_write_annotation_gives_the_distances_of_the_simulation(simulation, files):
    with gzip.open(files["annotation"], "rt") as stream:
        rows = pd.read_csv(stream, sep="\t", header=None)
    assert rows[2].value_counts().to_dict() == dict.fromkeys(
        ("gene", "transcript", "exon"), simulation.mudata.mod["rna"].n_vars
    )
    genes = rows[rows[2] == "gene"]
    assert set(genes[6]) == {"+"}
    names = genes[8].str.extract(r'gene_name "([^"]+)"')[0]
    assert list(names) == list(simulation.mudata["rna"].var_names)
    tss = pd.Series(genes[3].to_numpy() - 1, index=names)  # GTF counts from 1
    links = simulation.peak_gene_links
    start = simulation.mudata["atac"].var["start"].loc[links["peak"]].to_numpy()
    np.testing.assert_array_equal(start - tss[links["gene"]].to_numpy(), links["distance_bp"])
    np.testing.assert_array_equal(tss, 500_000 * (1 + np.arange(len(tss))))
    assert (genes[4] - genes[3]).between(2_000, 10_000).all()


def test_write_motifs_are_those_of_the_genome(genome, files):
    parts = files["motifs"].read_text().split("\nMOTIF ")
    assert parts[0].startswith("MEME version 4")
    for (motif, tf), part in zip(genome.motif_to_tf.itertuples(index=False), parts[1:], strict=True):
        lines = part.strip().split("\n")
        assert lines[0] == f"{motif} {tf}"
        assert re.search(r"w= (\d+)", lines[1]).group(1) == str(len(lines) - 2)
        np.testing.assert_allclose(np.loadtxt(lines[2:]), genome.motifs[motif], atol=1e-9)
    pd.testing.assert_frame_equal(pd.read_parquet(files["motif_to_tf"]), genome.motif_to_tf)
    assert files["tf_list"].read_text().split() == list(genome.motif_to_tf["tf"])


def test_write_gives_the_same_bytes_and_drops_an_old_index(genome, files, tmp_path):
    pyfaidx.Fasta(str(genome.write(tmp_path, "a")["genome"]))
    assert (tmp_path / "a.fa.gz.fai").is_file()
    again = genome.write(tmp_path, "a")
    assert not (tmp_path / "a.fa.gz.fai").is_file()
    assert not (tmp_path / "a.fa.gz.gzi").is_file()
    for key, path in files.items():
        assert again[key].read_bytes() == path.read_bytes()
        assert again[key].name == path.name.replace("small", "a")
