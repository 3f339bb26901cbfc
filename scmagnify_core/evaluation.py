"""How well a ranked network recovers a known one: AUPRC, early precision, signs and lags.

One protocol for every method and truth, so that rows of ``network_scores`` may be compared:

* The truth is cut to edges whose two ends were measured, without self-regulation and repeats. ``T`` are its sources,
  ``G`` all its genes, and the *universe* is T x G without self pairs: a TF that the truth knows nothing of is neither
  rewarded nor punished. For planted networks the universe may instead be the candidate edges.
* A pair that was not predicted scores 0; of a pair that was predicted twice the higher score counts.
* AUPRC is the average precision. Pairs of equal score are one group: the precision is taken after all of them, and
  the early hits are those expected when ties are broken at random. A constant score thus gives exactly the ratio 1,
  and the order of rows never matters.
* AUPRC ratio = AUPRC / density. EPR = hits among the first K pairs * |universe| / K^2, with K the number of true
  edges; random is 1 and 1 / density is the most that is possible.

This is the protocol of BEELINE (Pratapa et al. 2020) with DeepSEM's early precision ratio (Shu et al. 2021),
restricted to the TFs of the truth. Figures differ by a few per cent from implementations that keep self pairs or all
genes as sources.

Cost follows the number of predicted and true edges; the universe itself is only counted.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from scmagnify_core.errors import InputError, MissingColumnError, shorten

DEFAULT_KIND = "truth"  # where the truth has no column `kind`
ENDS = ["source", "target"]


def score_network(
    edges: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    genes: Iterable[str] | None = None,
    prior: pd.DataFrame | None = None,
    prior_edges: Literal["kept", "removed"] = "kept",
    universe: Literal["truth", "candidates"] = "truth",
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
    method
        Name for the ``method`` column.

    Returns
    -------
    pd.DataFrame
        One row per kind of truth, with the body columns of table ``network_scores``. ``sign_accuracy`` is over true
        edges of known sign and nonzero ``signed_score``; ``lag_spearman`` over true edges of known lag and positive
        score, NaN if fewer than three or all alike. ``frame.attrs['notes']`` says in words what was assumed on the
        way, such as a match of names by ignoring case, or a kind that had no measured edge.

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

    names = _names(edges, prior) if genes is None else pd.Index(dict.fromkeys(str(gene) for gene in genes))
    truth, notes = _match_truth(truth, names)
    predicted = _predictions(edges, names)
    candidates = np.unique(_pairs(edges[:0] if prior is None else prior, names))
    candidates = candidates[candidates >= 0]
    rows = []
    for kind, known in truth.groupby("kind", sort=True):
        true = _true_edges(known, names)
        if universe == "candidates":
            n_universe = len(candidates)
            true, ranked = true[true.index.isin(candidates)], predicted[predicted.index.isin(candidates)]
        else:
            is_inside, n_universe = _grid(predicted.index, true.index, len(names))
            ranked = predicted[is_inside]
        if prior_edges == "removed":  # T and G stay those of the whole truth
            n_universe -= int(_grid(candidates, true.index, len(names))[0].sum())
            true, ranked = true[~true.index.isin(candidates)], ranked[~ranked.index.isin(candidates)]
        if true.empty:
            notes.append(f"truth '{kind}' has no edge in the universe and was left out")
            continue
        label = "only" if universe == "candidates" else prior_edges
        rows.append({"method": method, "truth": str(kind), "prior_edges": label, **_scores(ranked, true, n_universe)})
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
    pairs: Int[np.ndarray, " pair"] | pd.Index, true: pd.Index, n_names: int
) -> tuple[Bool[np.ndarray, " pair"], int]:
    """Which pairs lie in T x G of the true pairs, and how many pairs T x G has without self pairs."""
    sources = np.unique(true // n_names)
    genes = np.union1d(sources, true % n_names)
    is_inside = np.isin(pairs // n_names, sources) & np.isin(pairs % n_names, genes)
    return is_inside, len(sources) * (len(genes) - 1)


# ---------------------------------------------------------------- scores


def _scores(ranked: pd.DataFrame, true: pd.DataFrame, n_universe: int) -> dict[str, float]:
    """All figures of one row of the table."""
    n_true = len(true)
    size, hits = _tie_groups(ranked["score"].to_numpy(), ranked.index.isin(true.index), n_true, n_universe)
    density = n_true / n_universe
    auprc = average_precision(size, hits)
    found = true.join(ranked, how="inner", lsuffix="_true", rsuffix="_estimated")
    return {
        "n_true": n_true,
        "n_universe": n_universe,
        "density": density,
        "auprc": auprc,
        "auprc_ratio": auprc / density,
        "epr": early_hits(size, hits, n_true) * n_universe / n_true**2,
        "epr_ceiling": 1 / density,
        "sign_accuracy": _sign_accuracy(found["sign"].to_numpy(), found["signed_score"].to_numpy()),
        "lag_spearman": _lag_spearman(found[found["score"] > 0]),
    }


def _tie_groups(
    score: Float[np.ndarray, " edge"], is_true: Bool[np.ndarray, " edge"], n_true: int, n_universe: int
) -> tuple[Int[np.ndarray, " group"], Int[np.ndarray, " group"]]:
    """Sizes and hits of the groups of equal score, best first; the last holds all pairs that score 0."""
    is_positive = score > 0
    _, group = np.unique(-score[is_positive], return_inverse=True)
    size = np.bincount(group, minlength=0)
    hits = np.bincount(group, weights=is_true[is_positive], minlength=0).astype(np.int64)
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
