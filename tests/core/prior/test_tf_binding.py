"""The motif scan against a plain one over all positions, p-values against all words, and CTCF in its own peaks."""

import itertools

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from scmagnify_core.errors import InputError
from scmagnify_core.plots.tf_binding import plot_hits
from scmagnify_core.prior.genome import Genome
from scmagnify_core.prior.motifs import Motif, read_motifs
from scmagnify_core.prior.tf_binding import (
    STEP,
    TFBindingConfig,
    base_frequencies,
    scan_regions,
    scan_sequences,
    score_matrix,
    score_tail,
)

UNIFORM = np.full(4, 0.25)
KEY = ["peak", "motif", "start", "strand"]


def random_motifs(n=12, seed=0, widths=(6, 16)):
    rng = np.random.default_rng(seed)
    return [Motif(f"M{i}", f"TF{i}", rng.dirichlet([0.25] * 4, int(rng.integers(*widths))), None) for i in range(n)]


def random_sequences(n=30, seed=1, longest=400, letters="ACGT"):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), int(rng.integers(0, longest)))) for _ in range(n)]


def reverse_complement(sequence):
    return sequence[::-1].translate(str.maketrans("ACGTacgt", "TGCAtgca"))


def brute_force(names, sequences, motifs, thresholds, matrices):
    """Every window of every sequence on both strands, in double precision."""
    rows = []
    for name, sequence in zip(names, sequences, strict=True):
        codes = np.array(["ACGT".find(base) for base in sequence.upper()], dtype=int)
        for motif, threshold, matrix in zip(motifs, thresholds, matrices, strict=True):
            width = len(matrix)
            for start in range(len(codes) - width + 1):
                window = codes[start : start + width]
                if (window < 0).any():
                    continue
                for strand, oriented in (("+", window), ("-", 3 - window[::-1])):
                    score = matrix[np.arange(width), oriented].sum()
                    if score >= threshold:
                        rows.append((name, motif.motif, start, start + width, strand, score))
    return pd.DataFrame(rows, columns=["peak", "motif", "start", "end", "strand", "score"])


def plain(hits):
    """Hits as a frame of plain columns in an order of their own."""
    frame = hits.astype({"peak": str, "motif": str, "strand": str})
    return frame.sort_values(KEY).reset_index(drop=True)


def scan(sequences, motifs, **settings):
    chunk = {"chunk": settings.pop("chunk")} if "chunk" in settings else {}
    names = [f"s{i}" for i in range(len(sequences))]
    return scan_sequences(names, sequences, motifs, TFBindingConfig(**settings), **chunk)


@pytest.mark.parametrize("background", ["uniform", "regions"])
@pytest.mark.parametrize("letters", ["ACGT", "ACGTN", "AACGTTT"])
def test_scan_sequences_finds_just_what_a_plain_scan_finds(background, letters):
    motifs, sequences = random_motifs(), random_sequences(letters=letters)
    found = scan(sequences, motifs, max_pvalue=2e-3, background=background)
    frequencies = UNIFORM if background == "uniform" else base_frequencies(sequences)
    matrices = [score_matrix(motif.probabilities, frequencies, 1e-4) * STEP for motif in motifs]
    names = [f"s{i}" for i in range(len(sequences))]
    truth = brute_force(names, sequences, motifs, found.motifs["threshold"], matrices)
    assert len(truth) > 20
    pd.testing.assert_frame_equal(plain(found.hits).drop(columns="pvalue"), plain(truth), check_dtype=False)
    assert (found.hits["pvalue"] <= 2e-3).all()
    counts = truth["motif"].value_counts()
    assert found.motifs.set_index("motif")["n_hits"].to_dict() == {
        motif.motif: counts.get(motif.motif, 0) for motif in motifs
    }


def test_scan_sequences_scores_are_log_odds_up_to_the_rounding():
    motifs, sequences = random_motifs(), random_sequences()
    for hit in scan(sequences, motifs, max_pvalue=1e-3).hits.itertuples():
        probabilities = next(motif.probabilities for motif in motifs if motif.motif == hit.motif) + 1e-4
        word = sequences[int(hit.peak[1:])][hit.start : hit.end]
        word = word if hit.strand == "+" else reverse_complement(word)
        odds = np.log2(probabilities / (1 + 4e-4) / 0.25)
        exact = sum(odds[i, "ACGT".index(base)] for i, base in enumerate(word))
        assert abs(hit.score - exact) <= len(word) * STEP / 2 + 1e-9


@pytest.mark.parametrize("width", [1, 4, 7])
@pytest.mark.parametrize("background", [UNIFORM, np.array([0.3, 0.2, 0.2, 0.3])])
@pytest.mark.parametrize("max_pvalue", [1e-4, 0.01, 0.3, 1.0])
def test_score_tail_equals_the_count_over_all_words(width, background, max_pvalue):
    rng = np.random.default_rng(width)
    matrix = score_matrix(rng.dirichlet([0.5] * 4, width), background, 1e-4)
    words = np.array(list(itertools.product(range(4), repeat=width)))
    scores, chances = matrix[np.arange(width), words].sum(axis=1), background[words].prod(axis=1)
    best = scores.max()
    tail = score_tail(matrix, background, max_pvalue)
    exact = np.array([chances[scores >= best - deficit].sum() for deficit in range(len(tail))])
    np.testing.assert_allclose(tail, exact, rtol=1e-9)
    # The lowest score that is a hit: it exists, it is rare enough, and the next lower one is not.
    lower = scores[scores < best - len(tail) + 1]
    if len(tail):
        assert best - len(tail) + 1 in scores
        assert tail[-1] <= max_pvalue
    if len(lower):
        assert chances[scores >= lower.max()].sum() > max_pvalue * (1 - 1e-12)


def test_score_tail_agrees_with_lightmotif():
    import lightmotif

    for motif in random_motifs(5, seed=4, widths=(9, 14)):
        matrix = score_matrix(motif.probabilities, UNIFORM, 1e-4)
        tail = score_tail(matrix, UNIFORM, 1e-3)
        theirs = lightmotif.ScoringMatrix({base: (matrix[:, i] * STEP).tolist() for i, base in enumerate("ACGT")})
        best = matrix.max(axis=1).sum()
        for deficit in np.linspace(0, len(tail) - 1, 5).astype(int):
            score = float((best - deficit) * STEP)
            assert theirs.pvalue(score - 1e-4, "tfmpvalue") == pytest.approx(tail[deficit], rel=0.02)


def test_scan_sequences_finds_as_many_hits_by_chance_as_p_values_say():
    rng = np.random.default_rng(5)
    sequence = "".join(rng.choice(list("ACGT"), 300_000))
    motifs = random_motifs(10, seed=6, widths=(9, 14))
    found = scan([sequence], motifs, max_pvalue=5e-4)
    expected = sum(
        2 * len(sequence) * score_tail(score_matrix(motif.probabilities, UNIFORM, 1e-4), UNIFORM, 5e-4)[-1]
        for motif in motifs
    )
    assert abs(len(found.hits) - expected) < 6 * np.sqrt(expected)


# ---------------------------------------------------------------- what must not matter


def test_scan_sequences_mirrors_its_hits_on_the_other_strand():
    motifs, sequences = random_motifs(), random_sequences(letters="AACGTTTN")
    for background in ("uniform", "regions"):
        forward = scan(sequences, motifs, max_pvalue=1e-3, background=background).hits
        mirrored = scan(
            [reverse_complement(one) for one in sequences], motifs, max_pvalue=1e-3, background=background
        ).hits
        length = mirrored["peak"].astype(str).str[1:].astype(int).map(lambda i: len(sequences[i]))
        back = mirrored.assign(
            start=length - mirrored["end"], end=length - mirrored["start"],
            strand=mirrored["strand"].astype(str).map({"+": "-", "-": "+"}),
        )  # fmt: skip
        pd.testing.assert_frame_equal(plain(forward), plain(back))


@pytest.mark.parametrize("chunk", [1, 100, 1500])
def test_scan_sequences_does_not_depend_on_the_chunk(chunk):
    motifs, sequences = random_motifs(), random_sequences(letters="ACGTN")
    whole, parts = (scan(sequences, motifs, max_pvalue=1e-3, chunk=size) for size in (10**9, chunk))
    pd.testing.assert_frame_equal(whole.hits, parts.hits)  # the order of rows included
    pd.testing.assert_frame_equal(whole.motifs, parts.motifs)


def test_scan_sequences_does_not_depend_on_order_or_case():
    motifs, sequences = random_motifs(), random_sequences()
    given = scan(sequences, motifs, max_pvalue=1e-3)
    pd.testing.assert_frame_equal(plain(given.hits), plain(scan(sequences, motifs[::-1], max_pvalue=1e-3).hits))
    lower = scan([one.lower() for one in sequences], motifs, max_pvalue=1e-3)
    pd.testing.assert_frame_equal(given.hits, lower.hits)
    order = np.random.default_rng(0).permutation(len(sequences))
    shuffled = scan_sequences(
        [f"s{i}" for i in order], [sequences[i] for i in order], motifs, TFBindingConfig(max_pvalue=1e-3)
    )
    pd.testing.assert_frame_equal(plain(given.hits), plain(shuffled.hits))


def consensus(word, name="M"):
    return Motif(name, name, np.eye(4)[["ACGT".index(base) for base in word]], None)


def test_scan_sequences_reports_a_palindrome_on_both_strands():
    hits = scan(["TTT" + "ACCTAGGT" + "TTT"], [consensus("ACCTAGGT")]).hits
    assert hits[["start", "end", "strand"]].to_numpy().tolist() == [[3, 11, "+"], [3, 11, "-"]]
    assert hits["pvalue"].tolist() == [0.25**8] * 2
    np.testing.assert_allclose(hits["score"], 16, atol=0.01)


def test_scan_sequences_joins_no_sequences_and_passes_no_unknown_base():
    motif = consensus("ACCTAGGA")
    assert scan(["ACCT", "AGGA"], [motif]).hits.empty
    assert scan(["ACCTNAGGA", "ACCNAGGA", "RCCTAGGA", "ACCT-GGA"], [motif]).hits.empty
    # A motif that does not care about some positions still needs to know their bases.
    vague = Motif(
        "v", "v", np.vstack([np.eye(4)[[0, 1, 1, 3]], np.full((2, 4), 0.25), np.eye(4)[[0, 2, 2, 0]]]), None
    )
    found = scan(["ACCTNNAGGA", "ACCTCGAGGA"], [vague]).hits
    assert found["peak"].astype(str).tolist() == ["s1"]
    assert scan(["", "ACC", "ACCTAGGA"], [motif]).hits["peak"].astype(str).tolist() == ["s2"]


def test_scan_sequences_searches_a_short_motif_for_its_best_word_alone():
    """Seven bases cannot reach 5e-5 (4**-7 is 6.1e-5): the best word is found, a word beside it is not."""
    motif = consensus("ACCTACG", "seven")
    found = scan(["TTACCTACGTTACCTACATT", "TTCCTACGTTT"], [motif])
    assert found.hits[["start", "strand"]].to_numpy().tolist() == [[2, "+"]]
    assert found.hits["pvalue"].iloc[0] == pytest.approx(4.0**-7)
    assert (
        "1 of 1 motifs are too short for a p-value of 5e-05 and were searched for their best word" in found.notes[0]
    )
    none = scan(["TTACCTACGTTACCTACATT"], [motif], max_pvalue_short=0)
    assert none.hits.empty


def test_scan_sequences_notes_motifs_that_are_too_short():
    found = scan(["ACCTAGGACCTAGG"], [consensus("ACCTA", "short"), consensus("ACCTAGGA", "long")])
    assert found.motifs["n_hits"].tolist() == [0, 1]
    assert found.motifs["threshold"].iloc[0] > 10  # above its best score
    assert "1 of 2 motifs are too short or too vague" in found.notes[0]
    assert "'short'" in found.notes[0]


def test_scan_sequences_says_how_far_it_is():
    calls = []
    scan_sequences(
        list("abc"),
        ["ACGT" * 20] * 3,
        random_motifs(2),
        TFBindingConfig(),
        lambda *call: calls.append(call),
        chunk=90,
    )
    assert [call[:2] for call in calls] == [(1, 3), (2, 3), (3, 3)]
    assert "hits of 2 motifs" in calls[-1][2]


# ---------------------------------------------------------------- regions of a genome


def test_scan_regions_gives_positions_on_the_chromosome(tmp_path):
    rng = np.random.default_rng(2)
    chromosomes = {name: "".join(rng.choice(list("ACGTacgt"), 3000)) for name in ("chr1", "chr2")}
    path = tmp_path / "g.fa"
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in chromosomes.items()))
    regions = pd.DataFrame(
        {"peak": ["b", "a", "c", "d"], "chrom": ["2", "1", "1", "Un"], "start": [100, 2000, 0, 5],
         "end": [900, 3000, 1500, 60]}
    )  # fmt: skip
    motifs = random_motifs()
    with Genome(path) as genome:
        found = scan_regions(regions, genome, motifs, TFBindingConfig(max_pvalue=1e-3))
    assert "1 of 4 regions are on chromosomes that the genome file lacks: no hits." in found.notes
    assert len(found.hits) > 20
    assert found.hits["start"].dtype == found.hits["end"].dtype == np.int64
    assert found.hits["score"].dtype == np.float32
    whole = scan_sequences(["1", "2"], list(chromosomes.values()), motifs, TFBindingConfig(max_pvalue=1e-3))
    expected = []
    for region in regions.itertuples():
        hits = plain(whole.hits)
        inside = (hits["peak"] == region.chrom) & (hits["start"] >= region.start) & (hits["end"] <= region.end)
        expected.append(hits[inside].assign(peak=region.peak))
    pd.testing.assert_frame_equal(plain(found.hits), plain(pd.concat(expected)))


# ---------------------------------------------------------------- CTCF in CTCF peaks


def best_scores(sequences, motif):
    """Best score over both strands of each sequence."""
    import lightmotif

    striped = lightmotif.stripe("N".join(sequences) + "N" * len(motif.probabilities))
    starts = np.cumsum([0, *(len(sequence) + 1 for sequence in sequences[:-1])])
    matrix = score_matrix(motif.probabilities, UNIFORM, 1e-4) * STEP
    best = []
    for oriented in (matrix, matrix[::-1, ::-1]):
        columns = dict(zip("ACGT", oriented.T.tolist(), strict=True)) | {"N": [-1e4] * len(matrix)}
        scores = lightmotif.ScoringMatrix(columns).calculate(striped)
        best.append(np.maximum.reduceat(np.asarray(memoryview(scores)).ravel()[: len(scores)], starts))
    return np.maximum(*best)


def test_scan_sequences_ranks_ctcf_first_in_ctcf_peaks(shared_data):
    from sklearn.metrics import roc_auc_score

    text = (shared_data / "sequence" / "ctcf_gm12878_top500_w200.fa").read_text()
    records = [record.split("\n", 1) for record in text.split(">")[1:]]
    names, sequences = [head for head, _ in records], [body.replace("\n", "") for _, body in records]
    motifs = read_motifs(shared_data / "resources" / "jaspar2024_core_vertebrates.meme.gz")
    rng = np.random.default_rng(0)
    shuffled = ["".join(rng.permutation(list(sequence))) for sequence in sequences]
    is_peak = np.repeat([1, 0], len(sequences))

    both = [one.upper() for one in sequences + shuffled]
    auc = pd.Series({motif.motif: roc_auc_score(is_peak, best_scores(both, motif)) for motif in motifs})
    assert auc.idxmax() == next(motif.motif for motif in motifs if motif.motif.startswith("MA0139"))
    assert auc.max() > 0.95

    found = scan_sequences(names, sequences, motifs, TFBindingConfig())
    assert found.motifs.loc[found.motifs["n_hits"].idxmax(), "motif"] == auc.idxmax()
    some = [motif for motif in motifs if motif.motif.startswith(("MA0139", "MA1102", "MA0079"))]
    thresholds = found.motifs.set_index("motif").loc[[motif.motif for motif in some], "threshold"]
    matrices = [score_matrix(motif.probabilities, UNIFORM, 1e-4) * STEP for motif in some]
    truth = brute_force(names[:60], sequences[:60], some, thresholds, matrices)
    hits = found.hits[found.hits["motif"].isin(thresholds.index) & found.hits["peak"].isin(names[:60])]
    assert len(truth) > 60
    pd.testing.assert_frame_equal(plain(hits).drop(columns="pvalue"), plain(truth), check_dtype=False)


# ---------------------------------------------------------------- failures and the figure


def test_scan_sequences_refuses_what_cannot_be_searched():
    config, motifs = TFBindingConfig(), random_motifs(2)
    with pytest.raises(InputError, match="motifs: there is none to search"):
        scan_sequences(["a"], ["ACGT"], [], config)
    with pytest.raises(InputError, match="regions: there is none to search"):
        scan_sequences([], [], motifs, config)
    with pytest.raises(InputError, match="have no known base"):
        scan_sequences(["a"], ["NNNN"], motifs, TFBindingConfig(background="regions"))
    with pytest.raises(ValueError, match="a name of its own"):
        scan_sequences(["a", "a"], ["ACGT", "ACGT"], motifs, config)
    for wrong in ({"max_pvalue": 0}, {"max_pvalue": 2}, {"pseudocount": 0}, {"threshold": 1}):
        with pytest.raises(ValidationError):
            TFBindingConfig(**wrong)


def test_plot_hits_shows_what_the_tables_say(tmp_path):
    found = scan(random_sequences(), random_motifs(), max_pvalue=1e-3)
    table = pd.concat([found.motifs, found.motifs.head(3)]).assign(motif_name="X")
    figure = plot_hits(found.hits, table)
    left, middle, right = figure.axes
    n_found = int((found.motifs["n_hits"] > 0).sum())
    assert left.get_title().startswith(f"{n_found} of 12 motifs have hits")
    assert sum(patch.get_height() for patch in left.patches) == 12
    assert max(patch.get_width() for patch in middle.patches) == found.motifs["n_hits"].max()
    assert sum(patch.get_height() for patch in right.patches) == found.hits["peak"].nunique()
    figure.savefig(tmp_path / "hits.png")
    nothing = scan(["AC"], random_motifs())
    assert "none has a hit" in plot_hits(nothing.hits, nothing.motifs).axes[2].get_title()
