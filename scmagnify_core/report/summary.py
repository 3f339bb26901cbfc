"""The results in figures and sentences, computed from the tables.

Sentences are meant to be quoted, so each says what its number is, and names what weakens it (few seeds that agree, a
baseline that does as well) in the same breath.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from scmagnify_core.methods.families import FAMILIES, MAIN
from scmagnify_core.report.inputs import ReportInput

MAX_FDR = 0.05
N_SOURCES = 6
BASELINES: Mapping[str, str] = {name: one.title for name, one in FAMILIES.items() if one.role == "baseline"}
CONTROLS: Mapping[str, str] = {name: one.title for name, one in FAMILIES.items() if one.role == "control"}
ASKED: Mapping[str, str] = {"only": "order of the candidates", "kept": "whole truth"}
WELL, IN_PART = 2 / 3, 1 / 3  # Jaccard index: 4 in 5 and half of each top list are shared


@dataclass(frozen=True)
class Fact:
    """One number on top of the page, and what it is."""

    label: str
    value: str
    note: str = ""


def facts(given: ReportInput) -> list[Fact]:
    """The figures on top of the page."""
    edges, prior = given.edges, given.prior_network
    groups = given.cells["cluster"].nunique()
    of_data = [
        Fact("cells", f"{len(given.cells):,}", f"{groups} groups" if groups else ""),
        Fact("genes", f"{len(given.genes):,}", f"{int(given.genes['is_eligible'].sum()):,} may enter the model"),
    ]
    if given.method is None:
        return of_data
    n_sources, n_targets = prior["source"].nunique(), prior["target"].nunique()
    n_selected = int(edges["is_selected"].astype(bool).sum())
    n_below = int((edges["padj"] <= MAX_FDR).sum())
    found = [
        *of_data,
        Fact("TFs × targets", f"{n_sources:,} × {n_targets:,}", "with any candidate edge"),
        Fact("candidate edges", f"{len(prior):,}", f"{len(prior) / max(1, n_sources * n_targets):.1%} of all pairs"),
        Fact("selected edges", f"{n_selected:,}", "the top of the ranking"),
        Fact(f"edges at FDR ≤ {MAX_FDR:.0%}", f"{n_below:,}", "of all candidates"),
        Fact("RegFactors", f"{len(given.regfactors):,}", "modules of TFs and targets"),
    ]
    if (jaccard := _mean(given.seed_agreement, "jaccard")) is not None:
        found.append(Fact("agreement of seeds", f"{jaccard:.2f}", "Jaccard index of top edges; 1 is all"))
    own = _own(given.network_scores, given.method)
    if len(own):
        low, high = own["auprc_ratio"].min(), own["auprc_ratio"].max()
        truths = str(own["truth"].iloc[0]) if len(own) == 1 else f"{len(own)} ground truths"
        value = f"{low:.2f}" if len(own) == 1 else f"{low:.2f} to {high:.2f}"
        found.append(Fact("AUPRC ratio", value, f"{truths}; 1 is a random order"))
    return found


def sentences(given: ReportInput) -> list[str]:
    """The results in words, a paragraph each."""
    if given.method is None:
        return [f"The expression of {len(given.genes):,} genes was measured in {len(given.cells):,} cells."]
    return [
        _about_data(given),
        _about_network(given.edges, given.prior_network),
        _about_sources(given.edges),
        _about_seeds(given),
        *_about_truths(given.network_scores, given.method),
    ]


def strongest_sources(edges: pd.DataFrame, n_top: int = N_SOURCES) -> pd.DataFrame:
    """TFs by the summed score of their selected edges: columns ``source``, ``n_targets``, ``score``."""
    selected = edges[edges["is_selected"].astype(bool)]
    found = selected.groupby("source", observed=True)["score"].agg(n_targets="size", score="sum").reset_index()
    return found.sort_values(["score", "source"], ascending=[False, True], kind="stable").head(n_top)


def verdicts(scores: pd.DataFrame, method: str | None = MAIN) -> list[str]:
    """What each ground truth says of the network beside its best baseline; intervals are over TFs."""
    said = []
    for truth, rows in _canonical(scores, "only").groupby("truth", sort=True):
        of = rows.set_index("method")
        if method not in of.index:
            continue
        own = of[of.index == method].iloc[0]
        text = (
            f"Against the ground truth “{truth}” ({int(own['n_true']):,} true edges among {int(own['n_universe']):,} "
            f"candidates) the AUPRC of the network is {_ratio(own)} times that of a random order"
        )
        low = float(own["auprc_ratio_low"])
        text += "; by this measure it cannot be told from chance." if math.isfinite(low) and low <= 1 else "."
        rivals = of[of.index.isin(BASELINES)].sort_values("auprc_ratio", ascending=False, kind="stable")
        if len(rivals):
            text += " " + _beside(own, rivals.iloc[0], BASELINES[str(rivals.index[0])])
        said.append(text)
    return said


@dataclass(frozen=True)
class ScoreRow:
    """A method's scores as they read; ``asked`` names the truth and the question."""

    asked: str
    method: str
    kind: str
    numbers: Sequence[str]


def score_rows(scores: pd.DataFrame, interpreted: str | None = MAIN) -> list[ScoreRow]:
    """Each method under each question, best first; ``numbers`` in the order of the page's columns."""
    if scores.empty:
        return []
    rows = pd.concat([_canonical(scores, asked).assign(asked=asked) for asked in ASKED])
    rows = rows.sort_values("auprc_ratio", ascending=False, kind="stable")
    found = []
    for row in rows.to_dict("records"):
        method = str(row["method"])
        role = FAMILIES[method].role if method in FAMILIES else "made elsewhere"
        kind = "this network" if method == interpreted else role
        interval = _plain(row["auprc_ratio_low"], row["auprc_ratio_high"])
        others = (_plain(row[column]) for column in ("epr", "sign_accuracy", "lag_spearman", "runtime_s"))
        numbers = (_plain(row["auprc_ratio"]), interval, *others, _plain(row["peak_memory_mib"], digits=0))
        found.append(ScoreRow(f"{row['truth']}: {ASKED[row['asked']]}", method, kind, numbers))
    return found


def _plain(*values: float, digits: int = 2) -> str:
    """Numbers as they read in a table; nothing where there are none."""
    return "" if pd.isna(values[0]) else " to ".join(f"{value:,.{digits}f}" for value in values)


def _about_truths(scores: pd.DataFrame, method: str) -> list[str]:
    """The verdict of the ground truth; of several what they have in common, as each has its verdict further down."""
    said = verdicts(scores, method)
    if len(said) < 2:
        return said
    own, rivals = _own(scores, method), _canonical(scores, "only")
    best = rivals[rivals["method"].isin(BASELINES)].groupby("truth")["auprc_ratio"].max()
    n_ahead = int((own.set_index("truth")["auprc_ratio"] > best.reindex(own["truth"].to_numpy())).sum())
    n_chance = int((own["auprc_ratio_low"] <= 1).sum())
    low, high = own["auprc_ratio"].min(), own["auprc_ratio"].max()
    text = (
        f"Against {len(own)} ground truths ({_join([str(one) for one in own['truth']])}) the AUPRC of the network is "
        f"{low:.2f} to {high:.2f} times that of a random order"
    )
    text += f"; against {n_chance} of them it cannot be told from chance. " if n_chance else ". "
    ahead = {0: "In none of them is it", len(own): "In all of them it is"}.get(n_ahead, f"In {n_ahead} of them it is")
    return [text + (f"{ahead} ahead of every baseline." if len(best) else "")]


def _own(scores: pd.DataFrame, method: str | None) -> pd.DataFrame:
    """How the network orders the candidates: a row per truth."""
    rows = _canonical(scores, "only")
    return rows[rows["method"] == method].sort_values("truth", kind="stable")


def _beside(own: "pd.Series[float]", best: "pd.Series[float]", name: str) -> str:
    lead = float(own["auprc_ratio"]) - float(best["auprc_ratio"])
    ends = [float(one[end]) for one in (own, best) for end in ("auprc_ratio_low", "auprc_ratio_high")]
    if not all(map(math.isfinite, ends)):
        weight = "There is no interval to weigh the difference by."
    elif ends[0] > ends[3] or ends[2] > ends[1]:
        weight = "Their intervals do not overlap."
    else:
        weight = "Their intervals overlap, so the difference may be chance."
    if lead > 0:
        return f"The best baseline, {name}, reaches {_ratio(best)}. {weight}"
    return f"A baseline does {'better' if lead < 0 else 'as well'}: {name} reaches {_ratio(best)}. {weight}"


def _ratio(row: "pd.Series[float]") -> str:
    low, high = float(row["auprc_ratio_low"]), float(row["auprc_ratio_high"])
    interval = f" (95 % interval {low:.2f} to {high:.2f})" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{float(row['auprc_ratio']):.2f}{interval}"


def _about_data(given: ReportInput) -> str:
    cells = given.cells
    lineages = cells["lineage"].nunique()
    along = f" along {lineages} lineages" if lineages > 1 else ""
    kinds = sorted({one for kinds in given.prior_network["evidence"].astype(str) for one in kinds.split("+")})
    told = {
        "motif_atac": "motifs in peaks that follow the gene",
        "motif_promoter": "motifs in promoters",
        "imported": "an imported network",
        "curated": "a curated list",
        "all_pairs": "no evidence at all (every pair)",
    }
    return (
        f"The expression of {len(given.genes):,} genes in {len(cells):,} cells was followed through pseudotime{along}. "
        f"Candidate edges come from {_join([told.get(kind, kind) for kind in kinds])}; the model can find no others."
    )


def _about_network(edges: pd.DataFrame, prior: pd.DataFrame) -> str:
    selected = edges[edges["is_selected"].astype(bool)]
    n_kept = int(edges["has_weight"].eq(True).sum())
    n_below = int((edges["padj"] <= MAX_FDR).sum())
    text = (
        f"Of {len(prior):,} candidate edges the model keeps {n_kept:,}, and {len(selected):,} are selected as the top "
        f"of the ranking: {(selected['signed_score'] >= 0).mean():.0%} of them activate. "
        if len(selected)
        else f"Of {len(prior):,} candidate edges the model keeps {n_kept:,}; none is selected. "
    )
    if len(selected):
        text += f"Their median lag is {selected['lag'].median():.1f} steps. "
    if n_below:
        return text + f"{n_below:,} candidates have a false discovery rate of at most {MAX_FDR:.0%}."
    return text + f"None has a false discovery rate of at most {MAX_FDR:.0%}: the ranking is a list of hypotheses."


def _about_sources(edges: pd.DataFrame) -> str:
    top = strongest_sources(edges)
    if top.empty:
        return "No TF has a selected edge."
    names = [f"{row.source} ({row.n_targets:,} targets)" for row in top.itertuples()]
    return f"The strongest TFs, by the summed score of their selected edges, are {_join(names)}."


def _about_seeds(given: ReportInput) -> str:
    n_seeds = int(given.edges["n_seeds"].max()) if len(given.edges) else len(given.histories)
    jaccard, spearman = _mean(given.seed_agreement, "jaccard"), _mean(given.seed_agreement, "spearman")
    if jaccard is None:
        return "One seed was trained, so nothing is known of the stability of the network; set seeds = 3 or more."
    how = "well" if jaccard >= WELL else "in part" if jaccard >= IN_PART else "poorly"
    rank = "" if spearman is None else f", rank correlation of all scores {spearman:.2f}"
    text = f"The {n_seeds} seeds agree {how}: mean Jaccard index of their top edges {jaccard:.2f}{rank}."
    return text + (" The ranking says more of the seed than of the cells." if how == "poorly" else "")


def _canonical(scores: pd.DataFrame, prior_edges: str) -> pd.DataFrame:
    """Rows of one question by our own definition of the figures; scores of an older product name no definition."""
    if scores.empty:
        return scores
    return scores[(scores["variant"].fillna("canonical") == "canonical") & (scores["prior_edges"] == prior_edges)]


def _mean(table: pd.DataFrame, column: str) -> float | None:
    known = table[column].dropna() if column in table else pd.Series(dtype=float)
    return float(known.mean()) if len(known) else None


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
