"""How well a ranked network recovers a known one: AUPRC, early precision, signs and lags.

One protocol for every method and truth, so that rows of ``network_scores`` may be compared:

* The truth is cut to edges whose two ends were measured, without self-regulation and repeats. ``T`` are its sources,
  ``G`` all its genes, and the *universe* is T x G without self pairs: a TF that the truth knows nothing of is neither
  rewarded nor punished. For planted networks the universe may instead be the candidate edges.
* A pair that was not predicted scores 0; of a pair that was predicted twice the higher score counts.
* AUPRC is the average precision. Pairs of equal score are one group: the precision is taken after all of them, and
  the early hits are those expected when ties are broken at random. A constant score thus gives exactly the ratio 1,
  and the order of rows never matters.
* AUPRC ratio = AUPRC / density. EPR = hits among the first K pairs * size of the universe / K^2, with K the number of
  true edges; random is 1 and 1 / density is the most that is possible.

This is the protocol of BEELINE (Pratapa et al. 2020) with DeepSEM's early precision ratio (Shu et al. 2021),
restricted to the TFs of the truth. Their own code differs in details that move figures by a few per cent; to compare
with what was published, ``variant`` asks for

* ``deepsem``: the average precision over T x G *with* self pairs, which are never true, and a pair that was predicted
  with score 0 before one that was not predicted. EPR is the canonical one.
* ``beeline``: every gene of the truth is a source. The area is that of trapezoids, which joins the points of the
  precision-recall curve by straight lines. Early precision is that of the first K pairs *and all that
  tie with the last*.

How much of a figure is chance
------------------------------
* ``auprc_z`` and ``epr_z``: distance from the mean under random labels, in standard deviations, both exact (the labels
  of the universe are permuted, the ranking stays as it is). What can be gained by chance grows as true edges get fewer.
* The interval (95 %) is a percentile bootstrap over the TFs of the universe: edges of one TF stand or fall together, so
  edges are no independent observations. A TF that is drawn twice brings its pairs twice. All methods share the draws.
* ``auprc_ratio_folds`` and ``epr_folds`` are means over disjoint folds of TFs, each with the pairs of its own TFs as
  universe: what a method that learns from known edges can be compared with, when it is tested on TFs it never saw.

Cost follows the number of predicted and true edges; the universe itself is only counted.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import sparse

from scmagnify_core.errors import InputError, MissingColumnError, shorten

DEFAULT_KIND = "truth"  # where the truth has no column `kind`
ENDS = ["source", "target"]
N_DRAWS = 500
N_FOLDS = 5
LEAST_SOURCES = 5  # TFs that an interval or folds need: fewer say nothing of other TFs
BLOCK_VALUES = 2**22

Variant = Literal["canonical", "deepsem", "beeline"]


def score_network(
    edges: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    genes: Iterable[str] | None = None,
    prior: pd.DataFrame | None = None,
    prior_edges: Literal["kept", "removed"] = "kept",
    universe: Literal["truth", "candidates"] = "truth",
    variant: Variant = "canonical",
    method: str = "scmagnify",
) -> pd.DataFrame:
    """Score a ranked network against each kind of ground truth.

    Parameters
    ----------
    edges
        ``source, target, score`` with ``score`` >= 0, higher is more certain; optional ``signed_score`` (negative
        represses, 0 or NaN is unknown) and ``lag``.
    truth
        ``source, target``; optional ``sign`` (its sign counts, 0 or NaN is unknown), ``lag`` and ``kind``.
    genes
        Names of the measured genes. By default all names in ``edges`` and ``prior``, which is right only if these
        name every gene that could have been predicted.
    prior
        Candidate edges ``source, target``; needed to remove them or to be the universe.
    prior_edges
        ``removed`` drops prior edges from truth and universe: what is found beyond the prior. T and G stay
        those of the whole truth.
    universe
        ``truth``: T x G as above. ``candidates``: the measured prior edges, and the true edges among them. This
        asks how well the model ranks within the prior, as is fit for planted networks, whose decoys are in the
        prior. Rows then read ``prior_edges = 'only'``.
    variant
        Whose definition of the figures; see the module's docstring. Others than the canonical one are defined for the
        whole truth, and give no z, interval or folds.
    method
        Name for the ``method`` column.

    Returns
    -------
    pd.DataFrame
        One row per kind of truth, with the columns of table ``network_scores`` that concern the ranking.
        ``sign_accuracy`` is over true edges of known sign and nonzero ``signed_score``; ``lag_spearman`` over true
        edges of known lag and positive score, NaN if fewer than three or all alike. Intervals and folds are NaN for
        fewer than five TFs, z where chance leaves no choice, as for a constant score. ``frame.attrs['notes']``
        says in words what was assumed on the way, such as a match of names by ignoring case, or a kind that had no
        measured edge.

    Raises
    ------
    MissingColumnError
        A column is absent.
    InputError
        No gene name of the truth was measured, no true edge is left, scores are negative or not finite, or the
        prior is missing where it is needed.
    """
    _require(edges, "edges", ("source", "target", "score"))
    _require(truth, "truth", ("source", "target"))
    if prior is not None:
        _require(prior, "prior", ("source", "target"))
    elif prior_edges == "removed" or universe == "candidates":
        asked = "prior_edges='removed'" if prior_edges == "removed" else "universe='candidates'"
        raise InputError("prior", f"is missing, but {asked} needs the candidate edges.", "Pass `prior=`.")
    if prior_edges == "removed" and universe == "candidates":
        raise InputError(
            "prior_edges", "'removed' leaves nothing of universe='candidates'.", "Pass `universe='truth'`."
        )

    if variant != "canonical" and (prior_edges == "removed" or universe == "candidates"):
        raise InputError(
            "variant", f"'{variant}' is defined for the whole truth only.", "Leave out prior_edges and universe."
        )

    names = _names(edges, prior) if genes is None else pd.Index(dict.fromkeys(str(gene) for gene in genes))
    truth, notes = _match_truth(truth, names)
    predicted = _predictions(edges, names)
    candidates = np.unique(_pairs(edges[:0] if prior is None else prior, names))
    candidates = candidates[candidates >= 0]
    rows = []
    for kind, known in truth.groupby("kind", sort=True):
        true = _true_edges(known, names)
        if universe == "candidates":
            n_pairs = pd.Series(candidates // len(names)).value_counts()
            true, ranked = true[true.index.isin(candidates)], predicted[predicted.index.isin(candidates)]
        else:
            is_inside, n_pairs = _grid(predicted.index, true.index, len(names), variant)
            ranked = predicted[is_inside]
        if prior_edges == "removed":  # T and G stay those of the whole truth
            is_inside, _ = _grid(candidates, true.index, len(names), variant)
            n_pairs = n_pairs.sub(pd.Series(candidates[is_inside] // len(names)).value_counts(), fill_value=0)
            true, ranked = true[~true.index.isin(candidates)], ranked[~ranked.index.isin(candidates)]
        if true.empty:
            notes.append(f"truth '{kind}' has no edge in the universe and was left out")
            continue
        label = "only" if universe == "candidates" else prior_edges
        n_pairs = n_pairs.astype(np.int64).iloc[np.argsort(names[n_pairs.index])]  # draws go by name
        figures = _scores(ranked, true, n_pairs, len(names), variant)
        rows.append({"method": method, "truth": str(kind), "prior_edges": label, "variant": variant, **figures})
    if not rows:
        raise InputError(
            "truth",
            f"none of its {len(truth)} edges is left in the universe of {len(names)} measured genes "
            f"(universe='{universe}', prior_edges='{prior_edges}').",
            "Check that both ends of its edges were measured, and how many of them the prior holds.",
        )
    frame = pd.DataFrame(rows).astype({"n_true": np.int32, "n_universe": np.int64})
    frame.attrs["notes"] = tuple(notes)
    return frame


def match_names(names: Iterable[str], measured: Sequence[str] | pd.Index) -> tuple[dict[str, str], str | None]:
    """Map names of a truth to measured names: exactly or, only if nothing matches exactly, ignoring case.

    Returns the mapping (names without a partner are absent) and a sentence where case was ignored. A name that fits
    several measured names ignoring case is left out.

    Raises
    ------
    InputError
        Nothing matches either way; the message shows both styles of naming.
    """
    wanted, have = pd.Index(dict.fromkeys(names)), pd.Index(dict.fromkeys(measured))
    exact = wanted.intersection(have, sort=False)
    if len(exact):
        return {name: name for name in exact}, None
    folded = pd.Series(have, index=[str(name).casefold() for name in have])
    folded = folded[~folded.index.duplicated(keep=False)]
    mapping = {name: folded[name.casefold()] for name in wanted if name.casefold() in folded.index}
    if not mapping:
        raise InputError(
            "truth",
            f"none of its {len(wanted)} gene names is among the {len(have)} measured ones, with or without case. "
            f"The truth has {shorten(wanted, 3)}; measured are {shorten(have, 3)}.",
            "Use the same species and the same kind of identifier (symbols or Ensembl) in both.",
        )
    example = next(iter(mapping))
    return mapping, (
        f"{len(mapping)} of {len(wanted)} truth names matched measured genes only when case was ignored, "
        f"as '{example}' and '{mapping[example]}'"
    )


# ---------------------------------------------------------------- pairs


def _require(frame: pd.DataFrame, where: str, columns: Sequence[str]) -> None:
    for name in columns:
        if name not in frame.columns:
            raise MissingColumnError(where, name, list(frame.columns), "Rename or add the column.")


def _names(edges: pd.DataFrame, prior: pd.DataFrame | None) -> pd.Index:
    """Every gene that the edges and the prior name."""
    frames = [edges] if prior is None else [edges, prior]
    return pd.Index(pd.concat([frame[end].astype(str) for frame in frames for end in ENDS]).unique())


def _pairs(frame: pd.DataFrame, names: pd.Index) -> Int[np.ndarray, " edge"]:
    """Each row's pair as one integer; -1 where an end was not measured or both are the same gene."""
    source, target = (names.get_indexer(pd.Index(frame[end].astype(str))) for end in ENDS)
    is_valid = (source >= 0) & (target >= 0) & (source != target)
    return np.where(is_valid, source.astype(np.int64) * len(names) + target, -1)


def _match_truth(truth: pd.DataFrame, names: pd.Index) -> tuple[pd.DataFrame, list[str]]:
    """The truth in measured names, with every optional column; unmatched names stay as they are."""
    truth = truth.dropna(subset=ENDS)
    ends = {end: truth[end].astype(str) for end in ENDS}
    mapping, note = match_names(pd.concat(ends.values()).tolist(), names)
    matched = pd.DataFrame({end: values.map(lambda name: mapping.get(name, name)) for end, values in ends.items()})
    for optional in ("sign", "lag"):
        matched[optional] = _numbers(truth, "truth", optional) if optional in truth.columns else np.nan
    matched["kind"] = truth["kind"].astype(str) if "kind" in truth.columns else DEFAULT_KIND
    return matched, [] if note is None else [note]


def _numbers(frame: pd.DataFrame, where: str, column: str) -> Float[np.ndarray, " edge"]:
    try:
        return pd.to_numeric(frame[column]).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}['{column}']", f"is not numeric ({error}).", "Give numbers.") from error


def _predictions(edges: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    """Scores by pair: ``score, signed_score, lag``; the highest score of a pair that occurs twice."""
    score = _numbers(edges, "edges", "score")
    if not np.isfinite(score).all() or (score < 0).any():
        n_bad = int((~np.isfinite(score) | (score < 0)).sum())
        raise InputError(
            "edges['score']",
            f"{n_bad} of {len(score)} scores are negative or not finite; a pair without a prediction scores 0.",
            "Pass the strength as `score` and its sign as `signed_score`.",
        )
    table = pd.DataFrame({"score": score}, index=_pairs(edges, names))
    for optional in ("signed_score", "lag"):
        table[optional] = _numbers(edges, "edges", optional) if optional in edges.columns else np.nan
    table = table[table.index >= 0].sort_values(["score", "signed_score", "lag"], ascending=False)
    return table[~table.index.duplicated()]


def _true_edges(known: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    """Measured true edges of one kind by pair, with ``sign`` and ``lag``.

    Repeats that disagree have an unknown sign, and the median lag.
    """
    table = pd.DataFrame({"sign": np.sign(known["sign"]).to_numpy(), "lag": known["lag"].to_numpy()})
    table["pair"] = _pairs(known, names)
    grouped = table[table["pair"] >= 0].groupby("pair")
    sign = grouped["sign"].mean()
    return pd.DataFrame({"sign": sign.where(sign.abs() == 1), "lag": grouped["lag"].median()})


def _grid(
    pairs: Int[np.ndarray, " pair"] | pd.Index, true: pd.Index, n_names: int, variant: Variant
) -> tuple[Bool[np.ndarray, " pair"], "pd.Series[int]"]:
    """Which pairs lie in T x G of the true pairs, and how many pairs of each source do."""
    sources = np.unique(true // n_names)
    genes = np.union1d(sources, true % n_names)
    if variant == "beeline":
        sources = genes
    is_inside = np.isin(pairs // n_names, sources) & np.isin(pairs % n_names, genes)
    return is_inside, pd.Series(len(genes) - (variant != "deepsem"), index=sources)


# ---------------------------------------------------------------- scores


def _scores(
    ranked: pd.DataFrame, true: pd.DataFrame, n_pairs: "pd.Series[int]", n_names: int, variant: Variant
) -> dict[str, float]:
    """All figures of one row of the table; ``n_pairs`` of the universe by source."""
    n_true, n_universe = len(true), int(n_pairs.sum())
    ordered = ranked if variant == "deepsem" else ranked[ranked["score"] > 0]
    score, is_true = ordered["score"].to_numpy(), ordered.index.isin(true.index)
    size, hits = _tie_groups(score, is_true, n_true, n_universe)
    density = n_true / n_universe
    n_early = n_universe - len(n_pairs) * (variant == "deepsem")  # DeepSEM's EPR has no self pairs
    if variant == "beeline":
        auprc, epr = trapezoid_area(size, hits), _tied_precision(size, hits, n_true) / density
    else:
        auprc, epr = average_precision(size, hits), early_hits(size, hits, n_true) * n_early / n_true**2
    found = true.join(ranked, how="inner", lsuffix="_true", rsuffix="_estimated")
    figures = {
        "n_true": n_true,
        "n_universe": n_universe,
        "density": density,
        "auprc": auprc,
        "auprc_ratio": auprc / density,
        "epr": epr,
        "epr_ceiling": n_early / n_true,
        "sign_accuracy": _sign_accuracy(found["sign"].to_numpy(), found["signed_score"].to_numpy()),
        "lag_spearman": _lag_spearman(found[found["score"] > 0]),
    }
    if variant != "canonical":
        return figures | dict.fromkeys(UNCERTAINTY, float("nan"))
    chance = _chance(size, n_true)
    for (name, (mean, deviation)), value in zip(chance.items(), (auprc, early_hits(size, hits, n_true)), strict=True):
        # Relative to the mean: rounding must not make a constant score differ from chance.
        figures[name] = (value - mean) / deviation if deviation > 1e-6 * mean else float("nan")
    return figures | _spread(ordered, true, is_true, n_pairs, n_names)


UNCERTAINTY = (
    "auprc_z", "epr_z", "auprc_ratio_low", "auprc_ratio_high", "epr_low", "epr_high", "auprc_ratio_folds", "epr_folds",
)  # fmt: skip


def _tie_groups(
    score: Float[np.ndarray, " edge"], is_true: Bool[np.ndarray, " edge"], n_true: int, n_universe: int
) -> tuple[Int[np.ndarray, " group"], Int[np.ndarray, " group"]]:
    """Sizes and hits of the groups of equal score, best first; the last holds all pairs that are not given."""
    _, group = np.unique(-score, return_inverse=True)
    size = np.bincount(group, minlength=0)
    hits = np.bincount(group, weights=is_true, minlength=0).astype(np.int64)
    rest, missed = n_universe - size.sum(), n_true - hits.sum()
    return np.append(size, rest).astype(np.int64), np.append(hits, missed).astype(np.int64)


def average_precision(size: Int[np.ndarray, " group"], hits: Int[np.ndarray, " group"]) -> float:
    """Average precision of tied groups, best first: the sum over groups of recall gained times precision after it."""
    n, n_hits = np.cumsum(size), np.cumsum(hits)
    return float(np.sum(hits / n_hits[-1] * n_hits / np.maximum(n, 1)))


def early_hits(size: Int[np.ndarray, " group"], hits: Int[np.ndarray, " group"], k: int) -> float:
    """Expected hits among the first ``k`` pairs when ties are broken at random."""
    taken = np.clip(k - (np.cumsum(size) - size), 0, size)
    return float(np.sum(hits * taken / np.maximum(size, 1)))


def trapezoid_area(size: Int[np.ndarray, " group"], hits: Int[np.ndarray, " group"]) -> float:
    """Area under straight lines between the points of tied groups; it begins at recall 0 with precision 1."""
    recall = np.append(0, np.cumsum(hits) / hits.sum())
    precision = np.append(1, np.cumsum(hits) / np.maximum(np.cumsum(size), 1))
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2))


def _tied_precision(size: Int[np.ndarray, " group"], hits: Int[np.ndarray, " group"], k: int) -> float:
    """Precision of the first ``k`` predicted pairs and all that tie with the last; the last group is not predicted."""
    n, n_hits = np.cumsum(size[:-1]), np.cumsum(hits[:-1])
    if not len(n):
        return 0.0
    last = min(int(np.searchsorted(n, k)), len(n) - 1)
    return float(n_hits[last] / n[last])


def _chance(size: Int[np.ndarray, " group"], n_true: int) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of the average precision, and of the early hits, under permuted labels.

    With labels y of the pairs (0 or 1), the average precision times K is a quadratic form,
    sum_i d_i y_i + sum_(i<j) c_ij y_i y_j: d_i = 1 / n(i) for n(i) pairs at least as high as i, and c_ij is 1 / n of
    the lower of both, twice that if they tie. Early hits are linear, sum_i w_i y_i. The moments follow from the
    probabilities p_m that m given pairs are all true, by cumulative sums over groups.
    """
    size = size[size > 0].astype(np.float64)
    n, k = size.sum(), float(n_true)
    p1, p2, p3, p4 = np.cumprod([(k - m) / (n - m) if n > m else 0.0 for m in range(4)])
    through = np.cumsum(size)
    diagonal, before = 1 / through, through - size
    after = np.cumsum((size / through)[::-1])[::-1] - size / through
    row = before / through + 2 * (size - 1) / through + after  # sum over j of c_ij, for i in each group
    square = size * before / through**2 + 2 * size * (size - 1) / through**2  # sum over i < j of c_ij^2
    d, dd, dr = (size * diagonal).sum(), (size * diagonal**2).sum(), (size * diagonal * row).sum()
    c, cc, rr = (size * row).sum() / 2, square.sum(), (size * row**2).sum()
    mean = p1 * d + p2 * c
    second = p1 * dd + p2 * (d**2 - dd) + 2 * (p2 * dr + p3 * (d * c - dr))
    second += p2 * cc + p3 * (rr - 2 * cc) + p4 * (c**2 - rr + cc)
    weight = np.clip(k - before, 0, size) / size
    mean_hits = p1 * (size * weight).sum()
    variance_hits = (p1 - p2) * (size * weight**2).sum() + (p2 - p1**2) * (size * weight).sum() ** 2
    return {
        "auprc_z": (mean / k, np.sqrt(max(second - mean**2, 0)) / k),
        "epr_z": (mean_hits, np.sqrt(max(variance_hits, 0))),
    }


def _spread(
    ordered: pd.DataFrame,
    true: pd.DataFrame,
    is_true: Bool[np.ndarray, " edge"],
    n_pairs: "pd.Series[int]",
    n_names: int,
) -> dict[str, float]:
    """Interval by a bootstrap over sources, and means over folds of sources."""
    n_sources = len(n_pairs)
    if n_sources < LEAST_SOURCES:
        return dict.fromkeys(UNCERTAINTY[2:], float("nan"))
    random = np.random.default_rng(0)
    draws = random.multinomial(n_sources, np.full(n_sources, 1 / n_sources), size=N_DRAWS)
    folds = random.permutation(n_sources) % N_FOLDS == np.arange(N_FOLDS)[:, None]
    n_true = pd.Series(true.index // n_names).value_counts().reindex(n_pairs.index, fill_value=0)
    source = n_pairs.index.get_indexer(ordered.index // n_names)
    _, group = np.unique(-ordered["score"].to_numpy(), return_inverse=True)
    weights = np.vstack([draws, folds]).astype(np.float64)
    ratio, epr = _weighted_scores(weights, group, source, is_true, n_true.to_numpy(), n_pairs.to_numpy())
    figures = {}
    for name, values in (("auprc_ratio", ratio), ("epr", epr)):
        drawn, of_folds = values[:N_DRAWS], values[N_DRAWS:]
        figures[f"{name}_low"], figures[f"{name}_high"] = np.nanquantile(drawn, (0.025, 0.975))
        figures[f"{name}_folds"] = float(np.nanmean(of_folds))
    return figures


def _weighted_scores(
    weights: Float[np.ndarray, "draw source"],
    group: Int[np.ndarray, " edge"],
    source: Int[np.ndarray, " edge"],
    is_true: Bool[np.ndarray, " edge"],
    n_true: Int[np.ndarray, " source"],
    n_pairs: Int[np.ndarray, " source"],
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """AUPRC ratio and EPR where the pairs of each source count so many times; NaN where no true edge counts.

    Only groups with hits matter. Pairs are counted in bins, two for each such group: between it and the one before,
    and in it.
    """
    with_hits = np.unique(group[is_true])
    at = np.searchsorted(with_hits, group)
    inside = np.isin(group, with_hits)
    shape = (2 * len(with_hits) + 1, len(n_pairs))
    counts = sparse.csr_matrix((np.ones(len(group)), (2 * at + inside, source)), shape=shape)
    hits = sparse.csr_matrix((np.ones(is_true.sum()), (at[is_true], source[is_true])), (len(with_hits) + 1, shape[1]))
    ratio, epr = np.empty(len(weights)), np.empty(len(weights))
    step = max(1, BLOCK_VALUES // shape[0])
    for start in range(0, len(weights), step):
        block = weights[start : start + step]
        n, k = block @ n_pairs, block @ n_true
        through = np.cumsum(counts @ block.T, axis=0)
        before, end = through[::2], np.vstack([through[1::2], n])  # the last group: what was not predicted
        found = hits @ block.T
        found[-1] = k - found.sum(axis=0)
        size = end - before
        with np.errstate(invalid="ignore"):
            taken = np.divide(np.clip(k - before, 0, size), size, out=np.zeros_like(size), where=size > 0)
            ratio[start : start + step] = (
                (found * np.cumsum(found, axis=0) / np.maximum(end, 1)).sum(axis=0) * n / k**2
            )
            epr[start : start + step] = (found * taken).sum(axis=0) * n / k**2
    return ratio, epr


def _sign_accuracy(true: Float[np.ndarray, " edge"], estimated: Float[np.ndarray, " edge"]) -> float:
    """Share of right signs among edges whose true and estimated sign are both known."""
    is_known = np.isfinite(true) & np.isfinite(estimated) & (true != 0) & (estimated != 0)
    if not is_known.any():
        return float("nan")
    return float(np.mean(np.sign(true[is_known]) == np.sign(estimated[is_known])))


def _lag_spearman(found: pd.DataFrame) -> float:
    """Rank correlation of true and estimated lag; NaN if undefined."""
    lags = found[["lag_true", "lag_estimated"]].dropna()
    if len(lags) < 3 or (lags.nunique() < 2).any():
        return float("nan")
    from scipy import stats  # heavy, and only for truths with lags

    return float(stats.spearmanr(lags["lag_true"], lags["lag_estimated"]).statistic)
