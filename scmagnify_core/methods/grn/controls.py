"""Controls: what a network is worth without a model. Random, the prior alone or shuffled, and plain correlation.

Each takes the candidate edges and returns ``source, target, score, signed_score`` in the same row order, so that a
control is scored exactly as the network is; the shuffled prior alone has other edges. ``signed_score`` is 0 where a
control says nothing of the sign. Scoring itself belongs to ``evaluation``.

"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from scmagnify_core.errors import InputError, MissingColumnError, shorten
from scmagnify_core.methods.family import About, Family, Fit, Input, Inputs, Kind, NoSettings, Progress
from scmagnify_core.methods.packing import fit_of_scores, unpack
from scmagnify_core.numerics.correlation import BLOCK, correlate

N_TRADES = 10  # per source: the shuffled prior has then forgotten where it began


def random_network(candidates: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Uniform random scores in [0, 1).

    An edge's score depends on the seed and the set of candidates, not on the order of rows.

    Raises
    ------
    MissingColumnError, InputError
        ``candidates`` lacks ``source`` or ``target``, or repeats an edge.
    """
    _check_candidates(candidates)
    order = np.lexsort((candidates["target"].astype(str), candidates["source"].astype(str)))
    score = np.empty(len(candidates))
    score[order] = np.random.default_rng(seed).random(len(candidates))
    return _network(candidates, score, np.zeros(len(candidates)))


def prior_network(candidates: pd.DataFrame) -> pd.DataFrame:
    """The absolute weight of each candidate edge in the prior; constant where the prior gives none.

    Raises
    ------
    MissingColumnError, InputError
        ``candidates`` lacks ``source``, ``target`` or ``weight``, repeats an edge, or has a weight that is no
        finite number.
    """
    _check_candidates(candidates, "weight")
    weight = _weights(candidates)
    return _network(candidates, np.abs(weight), np.zeros(len(weight)))


def shuffled_prior_network(candidates: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The prior with each source given other targets, while every source and target keeps its number of edges.

    What is left of the prior's score is that of hubs: TFs and targets with many candidates also have many true edges.
    Weights stay with their sources.

    The edges are others than the candidates. Among the candidates alone this control says nothing: the few that it
    happens to hold again are a random choice.

    Targets are traded between random pairs of sources, which reaches all networks of these degrees alike often. No gene
    becomes its own target. The result depends on the seed and the set of candidates, not on the order of rows.

    Raises
    ------
    MissingColumnError, InputError
        As :func:`prior_network`.

    References
    ----------
    Strona et al. (2014), Nat. Commun. 5, 4114.
    """
    _check_candidates(candidates, "weight")
    weight = np.abs(_weights(candidates))
    n_edges, random = len(candidates), np.random.default_rng(seed)
    ends = pd.concat([candidates[end].astype(str) for end in ("source", "target")])
    genes, code = np.unique(ends.to_numpy(dtype=object), return_inverse=True)
    order = np.lexsort((code[n_edges:], code[:n_edges]))
    source, target = code[:n_edges][order], code[n_edges:][order]
    names, starts = np.unique(source, return_index=True)
    targets = np.split(target, starts[1:])
    for _ in range(N_TRADES * len(names) if len(names) > 1 else 0):
        a, b = random.choice(len(names), 2, replace=False)
        only_a = np.setdiff1d(targets[a], [*targets[b], names[b]])
        only_b = np.setdiff1d(targets[b], [*targets[a], names[a]])
        pool = random.permutation(np.concatenate([only_a, only_b]))
        for one, own, given in ((a, only_a, pool[: len(only_a)]), (b, only_b, pool[len(only_a) :])):
            targets[one] = np.concatenate([np.setdiff1d(targets[one], own), given])
    edges = pd.DataFrame({"source": genes[source], "target": genes[np.concatenate(targets)]})
    return edges.assign(score=weight[order], signed_score=0.0)


def _weights(candidates: pd.DataFrame) -> Float[np.ndarray, " edge"]:
    weight = pd.to_numeric(candidates["weight"], errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(weight).all():
        raise InputError(
            "candidates['weight']",
            f"{int((~np.isfinite(weight)).sum())} of {len(weight)} weights are no finite numbers.",
            "Give every edge a weight, 1 where nothing is known.",
        )
    return weight


def correlation_network(
    expression: Float[np.ndarray, "cell gene"] | sparse.spmatrix | sparse.sparray,
    genes: Sequence[str],
    candidates: pd.DataFrame,
    method: Literal["pearson", "spearman"] = "pearson",
) -> pd.DataFrame:
    """Correlation of source and target over cells.

    Parameters
    ----------
    expression
        Log-normalised expression, dense or sparse; never modified.
    genes
        Names of the columns.
    candidates
        Edges to score: ``source``, ``target``.
    method
        ``spearman`` correlates ranks, tied values sharing their mean rank.

    Returns
    -------
    pd.DataFrame
        ``score`` is the absolute correlation, ``signed_score`` the correlation. A constant gene correlates with
        nothing and gives 0.

    Raises
    ------
    MissingColumnError, InputError
        ``candidates`` lacks a column or repeats an edge; a candidate is no column of ``expression``; names and
        columns do not match; values are not finite.

    Notes
    -----
    Time is cells x P x Q multiplications for P sources and Q targets, in blocks without candidates none; memory is
    two blocks of cells x 256.
    """
    _check_candidates(candidates)
    names = pd.Index([str(gene) for gene in genes])
    if expression.shape[1] != len(names):
        raise InputError(
            "genes",
            f"{len(names)} names for {expression.shape[1]} columns of expression.",
            "Pass one name per column.",
        )
    if not names.is_unique:
        raise InputError(
            "genes", f"names repeat: {shorten(names[names.duplicated()].unique())}.", "Make gene names unique."
        )
    source = names.get_indexer(pd.Index(candidates["source"].astype(str)))
    target = names.get_indexer(pd.Index(candidates["target"].astype(str)))
    if (source < 0).any() or (target < 0).any():
        absent = pd.unique(np.concatenate([candidates["source"][source < 0], candidates["target"][target < 0]]))
        raise InputError(
            "candidates",
            f"{len(absent)} genes are no column of expression: {shorten(absent)}.",
            "Drop edges of genes that were not measured.",
        )
    columns = sparse.csc_matrix(expression) if sparse.issparse(expression) else np.asarray(expression)
    correlation = correlate(columns, columns, source, target, method)
    return _network(candidates, np.abs(correlation), correlation)


def _check_candidates(candidates: pd.DataFrame, *further: str) -> None:
    """Refuse candidates without the columns a control needs, or with an edge twice."""
    for name in ("source", "target", *further):
        if name not in candidates.columns:
            raise MissingColumnError(
                "candidates", name, list(candidates.columns), "Pass a table with source, target and weight."
            )
    repeats = candidates.duplicated(["source", "target"])
    if repeats.any():
        first = candidates[repeats].iloc[0]
        raise InputError(
            "candidates",
            f"{int(repeats.sum())} edges occur more than once, first {first['source']} -> {first['target']}.",
            "Keep one row per edge.",
        )


def _network(
    candidates: pd.DataFrame, score: Float[np.ndarray, " edge"], signed_score: Float[np.ndarray, " edge"]
) -> pd.DataFrame:
    """The scored candidates as an edge table with a fresh index."""
    edges = candidates[["source", "target"]].reset_index(drop=True)
    return edges.assign(score=score, signed_score=signed_score)


def _control(
    name: str, title: str, colour: str, rank: Callable[[Inputs, int], pd.DataFrame], about: About,
    *, role: Literal["baseline", "control"] = "control", multiplies: float = 0.0,
) -> Family:  # fmt: skip
    def fit(inputs: Inputs, config: NoSettings, seeds: Sequence[int], progress: Progress) -> dict[int, Fit]:
        prior = inputs.prior
        return {seed: fit_of_scores(rank(inputs, seed), prior) for seed in seeds}

    return Family(
        name=name, title=title, reference="", colour=colour, role=role, kind=Kind.NETWORK,
        reads=frozenset({Input.CANDIDATES} | ({Input.EXPRESSION} if multiplies else set())),
        fit=fit, read=unpack,
        work=lambda size, config: multiplies * size.n_cells * size.n_sources * size.n_targets + 100.0 * size.n_edges,
        memory=lambda size, config: 32.0 * BLOCK * size.n_cells + 200.0 * size.n_edges + 2**26, about=about,
    )  # fmt: skip


def _correlation(method: Literal["pearson", "spearman"]) -> Callable[[Inputs, int], pd.DataFrame]:
    def rank(inputs: Inputs, seed: int) -> pd.DataFrame:
        dataset = inputs.dataset
        return correlation_network(dataset.rna.X, list(dataset.genes), inputs.prior.to_table(), method)

    return rank


_YARDSTICK = "You want to know how much of a score is not the model's doing."
_NOT_ALONE = "You want an estimate of regulation: it is none."
FAMILIES = (
    _control(
        "correlation", "correlation", "#3D3D3D", _correlation("pearson"),
        About(
            "A regulator and its target go up and down together, in the same cells.",
            r"\lvert \operatorname{cor}(x_p, y) \rvert", "You want the simplest answer there is.",
            "A sign or a direction matters: two genes under one regulator correlate as well.",
        ),
        role="baseline", multiplies=1.0,
    ),
    _control(
        "spearman", "rank correlation", "#6E6E6E", _correlation("spearman"),
        About(
            "As correlation, of ranks: outliers and the scale of expression do not matter.",
            r"\lvert \operatorname{cor}(\operatorname{rank} x_p, \operatorname{rank} y) \rvert",
            "Counts are few, or expression is skewed.", "As correlation.",
        ),
        role="baseline", multiplies=2.0,
    ),
    _control(
        "prior", "the prior's own weights", "#9A9A9A", lambda inputs, seed: prior_network(inputs.prior.to_table()),
        About("The evidence for an edge is its strength.", r"\lvert w_{pq} \rvert", _YARDSTICK, _NOT_ALONE),
    ),
    _control(
        "shuffled_prior", "a prior shuffled at the same degrees", "#BDBDBD",
        lambda inputs, seed: shuffled_prior_network(inputs.prior.to_table(), seed),
        About(
            "TFs and genes with many candidates have many true edges, whichever they are.",
            r"\text{random bipartite graph of the prior's degrees}", _YARDSTICK, _NOT_ALONE,
        ),
    ),
    _control(
        "random", "a random order", "#DADADA", lambda inputs, seed: random_network(inputs.prior.to_table(), seed),
        About("Nothing.", r"U(0, 1)", _YARDSTICK, _NOT_ALONE),
    ),
)  # fmt: skip
