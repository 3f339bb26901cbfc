"""Activities per cell: how far a cell's expression follows the targets of a TF, or of a RegFactor.

Both are one multivariate linear model per cell (MLM of decoupler, Badia-i-Mompel et al. 2022): over the G targets of
the net, the cell's expression is regressed on an intercept and the weights of all sources together. The activity of a
source is the t-statistic of its coefficient, G - S - 1 degrees of freedom. Where the net comes from is not decided
here.

Decisions
---------
* Expression is z-scored per gene over all cells first. In raw expression a TF whose targets are abundant in every
  cell would be active in every cell; after it, activity says where targets are above their own mean.
* The model is solved here, by one QR decomposition: importing decoupler takes longer (3 s) than all else that the
  activities of 3,000 cells do. A test holds the two together.
* decoupler's p-values are 2 (1 - cdf), which is 0 where t is beyond 8 or so and which it labels adjusted although MLM's
  are not; ours are ``2 sf(|t|)`` of the same t, and ``padj`` is Benjamini-Hochberg over all cells and sources.
* Genes of a cell are treated as independent. Targets are correlated beyond what the sources explain, so p-values are
  optimistic: they rank, they do not prove.
* Sources enter in a fixed order: most targets first, then by name. A source whose weights are a linear combination
  of those before it (and the intercept) has no coefficient of its own and is dropped, as is one that would leave
  fewer than three degrees of freedom. Dropping is reported, never silent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import standardize
from scmagnify_core.errors import InputError, shorten
from scmagnify_core.numerics.statistics import adjust_pvalues

MIN_FREEDOM = 3  # residual degrees of freedom; below it a t-statistic has no finite variance
# Share of a source's norm that earlier sources must leave: the solution then loses about four of sixteen digits.
MIN_OWN_PART = 1e-4
GENE_BLOCK = 256  # genes standardised at once


class ActivityConfig(BaseModel):
    """How activities are estimated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_targets: int = Field(5, ge=1, description="Targets with expression that a TF or RegFactor needs.")
    batch_size: int = Field(5000, ge=1, description="Cells fitted at once; bounds memory, not the result.")


@dataclass(frozen=True)
class Activity:
    """Body of the ``tf_activity`` or ``regfactor_activity`` table, and what is not in it: name -> reason."""

    table: pd.DataFrame
    dropped: Mapping[str, str] = field(default_factory=dict)


def tf_activity(dataset: Dataset, net: pd.DataFrame, config: ActivityConfig | None = None) -> Activity:
    """Activity of each TF in each cell.

    Parameters
    ----------
    net
        ``source``, ``target``, ``weight`` (signed), one row per edge. Weights of 0 count as no edge, targets
        that the data set lacks or that do not vary over cells are ignored.

    Returns
    -------
    ``table`` has ``cell, source, activity, pvalue, padj``, N x S rows in cell order, none if no TF can be
    estimated (``dropped`` says why). Positive activity: targets
    that the TF activates are above their mean, those it represses below. Cost is one least-squares problem of G x S
    with N right-hand sides; the same input gives the same result.

    Raises
    ------
    InputError
        An edge repeats, a weight is not a number, or no target is a gene of the data set.
    """
    return _activity(dataset, net, "source", config or ActivityConfig())


def regfactor_activity(dataset: Dataset, loadings: pd.DataFrame, config: ActivityConfig | None = None) -> Activity:
    """Activity of each RegFactor in each cell, from its target loadings.

    Parameters
    ----------
    loadings
        Body of the ``regfactor_loadings`` table; only rows of mode ``target`` enter.

    Returns
    -------
    ``table`` has ``cell, regfactor, activity, pvalue, padj``; all else as in :func:`tf_activity`.

    Raises
    ------
    InputError
        As :func:`tf_activity`.
    """
    net = loadings.loc[loadings["mode"] == "target", ["regfactor", "name", "loading"]]
    net = net.rename(columns={"regfactor": "source", "name": "target", "loading": "weight"})
    return _activity(dataset, net, "regfactor", config or ActivityConfig())


def _activity(dataset: Dataset, net: pd.DataFrame, name: str, config: ActivityConfig) -> Activity:
    """Fit the model of all sources of ``net``; ``name`` is the name of their column in the result."""
    weights, values = _design(dataset, net)
    dropped = _too_few_targets(net, weights, name, config)
    weights = weights.drop(columns=list(dropped))
    weights, dependent = _independent(weights)
    dropped |= dependent
    if weights.empty:  # a small network: its other results stand without activities
        return Activity(pd.DataFrame(columns=["cell", name, "activity", "pvalue", "padj"]), dropped)
    score = _mlm(values, weights, config.batch_size)
    freedom = len(weights) - weights.shape[1] - 1
    pvalue = 2 * special.stdtr(freedom, -np.abs(score))
    table = pd.DataFrame(
        {
            "cell": np.repeat(dataset.cells.to_numpy(dtype=object), weights.shape[1]),
            name: np.tile(weights.columns.to_numpy(dtype=object), len(score)),
            "activity": score.reshape(-1),
            "pvalue": pvalue.reshape(-1),
            "padj": adjust_pvalues(pvalue).reshape(-1),
        }
    )
    return Activity(table, dropped)


def _design(dataset: Dataset, net: pd.DataFrame) -> tuple[pd.DataFrame, Float[np.ndarray, "cell target"]]:
    """Weights (targets x sources) and z-scored expression of the net's targets that vary over cells."""
    twice = net.duplicated(["source", "target"])
    if twice.any():
        pairs = net.loc[twice, "source"].astype(str) + " → " + net.loc[twice, "target"].astype(str)
        raise InputError(
            "net", f"{int(twice.sum())} edges repeat: {shorten(pairs, 3)}.", "Give each edge one row and one weight."
        )
    weight = net["weight"].to_numpy(dtype=np.float64)
    if not np.isfinite(weight).all():
        raise InputError(
            "net['weight']", f"{int((~np.isfinite(weight)).sum())} values are NaN or infinite.",
            "Take these edges out, or train the model again.",
        )  # fmt: skip
    edges = net.assign(weight=weight)[weight != 0]
    targets = sorted(set(edges["target"]) & set(dataset.genes))
    if not targets:
        raise InputError(
            "net", f"none of its {edges['target'].nunique()} targets is a gene of the data set: "
            f"{shorten(edges['target'].unique(), 3)} against {shorten(dataset.genes, 3)}.",
            "Use the same kind of gene names in both.",
        )  # fmt: skip
    values = np.empty((len(dataset.cells), len(targets)), dtype=np.float32)
    for start in range(0, len(targets), GENE_BLOCK):
        block = slice(start, start + GENE_BLOCK)
        values[:, block] = standardize(dataset.expression(targets[block]))
    varying = np.flatnonzero(values.any(axis=0))
    known = [targets[i] for i in varying]
    matrix = edges.pivot(index="target", columns="source", values="weight").fillna(0.0)
    return matrix.reindex(index=known), values[:, varying]


def _too_few_targets(net: pd.DataFrame, weights: pd.DataFrame, name: str, config: ActivityConfig) -> dict[str, str]:
    """Reasons to drop sources for want of targets."""
    counts = (weights != 0).sum().reindex(sorted(set(net["source"])), fill_value=0)
    few = counts[counts < config.min_targets]
    return {str(who): f"{int(n)} targets, fewer than min_targets={config.min_targets}" for who, n in few.items()}


def _independent(weights: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """The sources that a linear model can tell apart, in name order, and why the others cannot be.

    Gram-Schmidt in the order of the module docstring. A pivoted QR would order by norm, so that a rescaled weight
    could decide which of two equal sources stays.
    """
    n_targets = len(weights)
    counts = (weights != 0).sum()
    order = sorted(weights.columns, key=lambda who: (-counts[who], who))
    most = max(0, n_targets - 1 - MIN_FREEDOM)
    basis = np.full((n_targets, 1), n_targets**-0.5)
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for who in order:
        column = weights[who].to_numpy()
        column = column / np.linalg.norm(column)
        own = column
        for _ in range(2):  # the second pass removes what rounding left of the first
            own = own - basis @ (basis.T @ own)
        part = float(np.linalg.norm(own))
        if part < MIN_OWN_PART:
            constant = np.ptp(column) <= MIN_OWN_PART * np.abs(column).max()
            dropped[str(who)] = (
                "its weight is the same for all targets of the net, which the intercept already holds"
                if constant
                else _dependence(who, kept, weights)
            )
        elif len(kept) == most:
            dropped[str(who)] = f"{n_targets} targets can tell at most {most} apart; it has fewest targets of its own"
        else:
            kept.append(who)
            basis = np.column_stack([basis, own / part])
    return weights[sorted(kept)], dropped


def _dependence(who: str, kept: list[str], weights: pd.DataFrame) -> str:
    """Name the source that ``who`` repeats, if it is a single one."""
    column = weights[who].to_numpy()
    others = weights[kept].to_numpy()
    cosine = np.abs(column @ others) / (np.linalg.norm(column) * np.linalg.norm(others, axis=0))
    twin = int(cosine.argmax())
    if cosine[twin] > 1 - MIN_OWN_PART**2:
        return f"collinear: its weights are those of {kept[twin]}, up to a factor"
    return f"collinear: its weights are a linear combination of the intercept and {len(kept)} sources before it"


def _mlm(
    values: Float[np.ndarray, "cell target"], weights: pd.DataFrame, batch_size: int
) -> Float[np.ndarray, "cell source"]:
    """t-statistics of all cells, in batches; sources have been checked to give a well-posed problem."""
    n_targets, n_sources = weights.shape
    # t does not depend on the scale of a column, but the conditioning does.
    design = np.column_stack([np.ones(n_targets), weights / np.linalg.norm(weights.to_numpy(), axis=0)])
    q, r = np.linalg.qr(design)
    inverse = np.linalg.inv(r)
    unit_error = np.linalg.norm(inverse, axis=1)[1:]  # of each coefficient where the residual variance is 1
    freedom = n_targets - n_sources - 1
    score = np.zeros((len(values), n_sources))
    for start in range(0, len(values), batch_size):
        batch = values[start : start + batch_size].astype(np.float64)
        # A cell whose targets all have one value is explained by the intercept without rest: 0 / 0, hence 0.
        varying = np.ptp(batch, axis=1) > 0
        batch = batch[varying]
        projection = batch @ q
        deviation = np.linalg.norm(batch - projection @ q.T, axis=1) / np.sqrt(freedom)
        score[start : start + batch_size][varying] = projection @ inverse[1:].T / (deviation[:, None] * unit_error)
    return score
