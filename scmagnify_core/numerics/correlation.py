"""Correlation of chosen pairs of columns, block by block: a P x Q matrix of a whole genome never exists."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from scmagnify_core.errors import InputError

BLOCK = 256  # genes per side of a block: 2 x 256 columns are dense at any time
CONSTANT = 1e-10  # a gene whose sd is below this share of its largest value is constant up to rounding


def correlate(
    first: Float[np.ndarray, "cell source"] | sparse.csc_matrix,
    then: Float[np.ndarray, "cell target"] | sparse.csc_matrix,
    source: Int[np.ndarray, " edge"],
    target: Int[np.ndarray, " edge"],
    method: Literal["pearson", "spearman"] = "pearson",
) -> Float[np.ndarray, " edge"]:
    """Correlation of column ``source`` of ``first`` with column ``target`` of ``then``, for each edge."""
    # number the sources and the targets on their own, so that blocks are full of candidates
    sources, source_rank = np.unique(source, return_inverse=True)
    targets, target_rank = np.unique(target, return_inverse=True)
    correlation = np.zeros(len(source))
    for first_source in range(0, len(sources), BLOCK):
        in_sources = source_rank // BLOCK == first_source // BLOCK
        left = _standardise(first, sources[first_source : first_source + BLOCK], method)
        for first_target in range(0, len(targets), BLOCK):
            edges = np.flatnonzero(in_sources & (target_rank // BLOCK == first_target // BLOCK))
            if len(edges):
                right = _standardise(then, targets[first_target : first_target + BLOCK], method)
                block = left.T @ right
                correlation[edges] = block[source_rank[edges] - first_source, target_rank[edges] - first_target]
    return np.clip(correlation, -1.0, 1.0)  # rounding may pass 1 by an ulp


def _standardise(
    columns: Float[np.ndarray, "cell gene"] | sparse.csc_matrix, which: np.ndarray, method: str
) -> Float[np.ndarray, "cell block"]:
    """Columns, or their ranks, centred and of unit length; constant columns become 0."""
    block = columns[:, which]
    values = np.asarray(block if isinstance(block, np.ndarray) else block.toarray(), dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("expression", "has values that are not finite.", "Remove NaN and infinite values.")
    if method == "spearman":
        from scipy import stats  # heavy

        values = stats.rankdata(values, axis=0)
    centred = values - values.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    is_constant = length <= CONSTANT * np.sqrt(len(values)) * np.abs(values).max(axis=0, initial=0)
    return np.where(is_constant, 0.0, centred / np.where(is_constant, 1.0, length))
