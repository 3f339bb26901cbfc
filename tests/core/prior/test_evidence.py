"""Evidence of candidate edges: what motifs in linked regions imply, and how several kinds are put together."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scmagnify_core.data.references import References
from scmagnify_core.errors import InputError, PriorError
from scmagnify_core.prior.evidence import (
    EVIDENCE_COLUMNS,
    PriorConfig,
    all_pairs_evidence,
    combine_evidence,
    motif_evidence,
    motif_kinds,
    plan_evidence,
)

MOTIF_FILES = References(genome=Path("g.fa"), annotation=Path("a.gtf"), motifs=Path("m.meme"))


def random_case(seed=0, n_peaks=30, n_genes=8, n_motifs=6):
    """Links, hits and motifs of which some TFs share a motif and some have several."""
    rng = np.random.default_rng(seed)
    links = pd.DataFrame(
        [
            (f"p{peak}", f"g{gene}", "atac", rng.uniform(-1, 1))
            for peak, gene in product(range(n_peaks), range(n_genes))
            if rng.random() < 0.2
        ],
        columns=["peak", "target", "kind", "correlation"],
    )
    links["is_linked"] = links["correlation"] > 0.1
    hits = pd.DataFrame(
        [
            (f"p{peak}", f"m{motif}", start, rng.uniform(5, 15), rng.uniform(0, 5e-5))
            for peak, motif, start in product(range(n_peaks), range(n_motifs), (10, 50))
            if rng.random() < 0.15
        ],
        columns=["peak", "motif", "start", "score", "pvalue"],
    )
    motifs = pd.DataFrame(
        [("m0", "A"), ("m0", "B"), ("m1", "A"), ("m2", "C"), ("m3", "D"), ("m4", "E"), ("m5", "E")],
        columns=["motif", "source"],
    )
    return links, hits, motifs


def brute_force(links, hits, motifs):
    """Every edge with its supporting peaks and hits, by loops."""
    support = {}
    for link in links[links["is_linked"]].itertuples():
        for hit in hits[hits["peak"] == link.peak].itertuples():
            for source in motifs.loc[motifs["motif"] == hit.motif, "source"]:
                support.setdefault((source, link.target), []).append(
                    (-link.correlation, hit.pvalue, link.peak, hit.motif, hit.score)
                )
    return support


def test_motif_evidence_equals_a_loop_over_links_hits_and_motifs():
    links, hits, motifs = random_case()
    edges = motif_evidence(links, hits, motifs, "m.meme")
    expected = brute_force(links, hits, motifs)
    assert set(zip(edges["source"], edges["target"], strict=True)) == set(expected)
    for edge in edges.itertuples():
        support = expected[edge.source, edge.target]
        minus_correlation, pvalue, peak, motif, score = min(support)
        assert edge.n_peaks == len({one[2] for one in support})
        assert (edge.best_peak, edge.best_motif) == (peak, motif)
        assert (edge.link_correlation, edge.motif_pvalue, edge.motif_score) == (-minus_correlation, pvalue, score)
        assert edge.weight == edge.link_correlation
    assert set(edges["evidence"]) == {"motif_atac"}
    assert set(edges["origin"]) == {"m.meme"}
    assert tuple(edges.columns) == EVIDENCE_COLUMNS


def test_motif_evidence_does_not_depend_on_row_order_or_categories():
    links, hits, motifs = random_case(1)
    first = motif_evidence(links, hits, motifs, "m")
    shuffled = [frame.sample(frac=1, random_state=5) for frame in (links, hits, motifs)]
    shuffled[1] = shuffled[1].astype({"peak": "category", "motif": "category"})
    pd.testing.assert_frame_equal(first, motif_evidence(*shuffled, "m"))


def test_motif_evidence_of_promoters_has_no_correlation_and_weight_one():
    links, hits, motifs = random_case(2)
    links = links.assign(kind="promoter", correlation=np.nan, is_linked=True)
    edges = motif_evidence(links, hits, motifs, "m")
    assert set(edges["evidence"]) == {"motif_promoter"}
    assert edges["link_correlation"].isna().all()
    assert (edges["weight"] == 1).all()
    best = edges.merge(hits, left_on="best_peak", right_on="peak").groupby(["source", "target"])
    assert len(best) == len(edges)


def frame(edges, evidence, origin="o", weight=1.0, **more):
    source, target = zip(*edges, strict=True)
    columns = {"source": source, "target": target, "weight": weight, "evidence": evidence, "origin": origin}
    return pd.DataFrame(columns | more)


A, B, C, D = ("A", "x"), ("B", "x"), ("C", "y"), ("D", "y")


def test_combine_evidence_union_has_each_edge_once_with_all_that_speaks_for_it():
    motif = frame([A, B], "motif_atac", "m", [0.3, 0.4], n_peaks=[2, 1], best_peak=["p1", "p2"])
    imported = frame([B, C], "imported", "net", [-1.0, 1.0])
    merged = combine_evidence({"motif": motif, "net": imported}, "union").set_index(["source", "target"])
    assert list(merged.index) == [A, B, C]
    assert merged.loc[B, "evidence"] == "imported+motif_atac"
    assert merged.loc[B, "origin"] == "net,m"
    assert merged.loc[B, "weight"] == -1  # the imported weight, sign included
    assert merged.loc[B, "best_peak"] == "p2"
    assert merged["n_peaks"].tolist() == [2, 1, 0]
    assert merged.loc[A, "weight"] == 0.3


def test_combine_evidence_intersection_keeps_common_and_curated_edges():
    frames = {
        "one": frame([A, B, C], "imported", "one"),
        "two": frame([B, C], "imported", "two"),
        "motif": frame([A, B], "motif_atac"),
        "mine": frame([D], "curated"),
    }
    merged = combine_evidence(frames, "intersection")
    assert list(zip(merged["source"], merged["target"], strict=True)) == [B, D]
    assert merged.loc[0, "origin"] == "one,two,o"


@pytest.mark.parametrize("combine", ["union", "intersection"])
def test_combine_evidence_of_one_frame_is_that_frame(combine):
    edges = frame([B, A, C], "imported", weight=[3.0, 1.0, 2.0])
    merged = combine_evidence({"net": edges}, combine)
    assert merged["weight"].tolist() == [1.0, 3.0, 2.0]
    reordered = combine_evidence({"net": edges[::-1]}, combine)
    pd.testing.assert_frame_equal(merged, reordered)


def test_combine_evidence_refuses_what_supports_nothing():
    with pytest.raises(PriorError, match=r"evidence 'motif_atac': supports no edge.*tf_binding"):
        combine_evidence({"motif_atac": frame([A], "motif_atac").iloc[:0]}, "union")
    with pytest.raises(PriorError, match=r"no edge is in all of a, b.*combine = 'union'"):
        combine_evidence({"a": frame([A], "imported"), "b": frame([B], "imported")}, "intersection")


def test_all_pairs_evidence_is_the_product():
    edges = all_pairs_evidence(["A", "B"], ["x", "y", "z"], "tfs.txt")
    assert len(edges) == 6
    assert set(edges["evidence"]) == {"all_pairs"}


@pytest.mark.parametrize(
    ("references", "has_atac", "n_imported", "kinds"),
    [
        (MOTIF_FILES, True, 0, ("motif_atac",)),
        (MOTIF_FILES, True, 1, ("motif_atac", "imported")),
        (MOTIF_FILES, False, 0, ("motif_promoter",)),
        (None, True, 1, ("imported",)),
        (References(annotation=Path("a.gtf")), True, 2, ("imported",)),
        (References(tf_list=Path("tfs.txt")), False, 0, ("all_pairs",)),
    ],
)
def test_plan_evidence_takes_the_best_at_hand_and_says_so(references, has_atac, n_imported, kinds):
    plan = plan_evidence(PriorConfig(), references, has_atac=has_atac, n_imported=n_imported, has_curated=False)
    assert plan.kinds == kinds
    assert len(plan.reasons) >= len(kinds)
    expected = tuple(kind for kind in kinds if kind.startswith("motif"))
    assert motif_kinds(PriorConfig(), references, has_atac=has_atac) == expected


def test_plan_evidence_says_why_atac_is_not_used():
    references = References(annotation=Path("a.gtf"), genome=Path("g.fa"))
    plan = plan_evidence(PriorConfig(), references, has_atac=True, n_imported=1, has_curated=False)
    assert any("do not declare motifs" in reason for reason in plan.reasons)


def test_plan_evidence_follows_the_users_choice():
    config = PriorConfig(evidence=("motif_promoter", "imported"))
    plan = plan_evidence(config, MOTIF_FILES, has_atac=True, n_imported=1, has_curated=False)
    assert plan.kinds == ("motif_promoter", "imported")
    assert motif_kinds(config, MOTIF_FILES, has_atac=True) == ("motif_promoter",)


@pytest.mark.parametrize(
    ("evidence", "references", "message"),
    [
        ((), None, r"no evidence for any edge.*--prior FILE.*scmagnify references"),
        (("motif_atac",), MOTIF_FILES, r"asks for motif_atac, but the data set has no ATAC"),
        (("motif_promoter",), References(), r"references.genome: is not declared.*Download the genome.*FASTA"),
        (("imported",), MOTIF_FILES, r"asks for imported, but no prior is set"),
        (("all_pairs",), MOTIF_FILES, r"references.tf_list: is not declared.*one name a line"),
    ],
)
def test_plan_evidence_refuses_what_is_not_there(evidence, references, message):
    with pytest.raises(InputError, match=message):
        plan_evidence(PriorConfig(evidence=evidence), references, has_atac=False, n_imported=0, has_curated=False)
