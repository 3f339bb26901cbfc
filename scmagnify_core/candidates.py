"""The candidate edges of a data set: the mask that every method of network inference shares.

The mask B is P x Q and mostly zero, so it is kept as its non-zero entries, sorted by target and then source:
the models sum over the candidates of a target, and a sorted list makes that one contiguous segment. How evidence
becomes candidates is the business of `prior`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

# What speaks for an edge, where it comes from chromatin.
SUPPORT = ("n_peaks", "best_peak", "link_correlation", "best_motif", "motif_score", "motif_pvalue")


@dataclass(frozen=True)
class PriorNetwork:
    """Candidate edges of a data set: the non-zero entries of the P x Q mask, sorted by target, then source."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    source_index: Int[np.ndarray, " edge"]
    target_index: Int[np.ndarray, " edge"]
    weight: Float[np.ndarray, " edge"]
    evidence: pd.DataFrame  # one row per edge: evidence, origin, and the best peak and motif where there are any

    @property
    def n_edges(self) -> int:
        """Number of candidate edges, E."""
        return len(self.source_index)

    @property
    def density(self) -> float:
        """Share of the P x Q pairs that are candidates."""
        return self.n_edges / (len(self.sources) * len(self.targets))

    def mask(self) -> Bool[np.ndarray, "source target"]:
        """The dense mask; P x Q booleans."""
        dense = np.zeros((len(self.sources), len(self.targets)), dtype=bool)
        dense[self.source_index, self.target_index] = True
        return dense

    def edges_of_targets(self) -> Iterator[tuple[int, slice]]:
        """Each target that has candidates, and where they are among the edges."""
        bounds = np.searchsorted(self.target_index, np.arange(len(self.targets) + 1))
        for target in np.flatnonzero(np.diff(bounds)):
            yield int(target), slice(int(bounds[target]), int(bounds[target + 1]))

    def subset(self, edges: Bool[np.ndarray, " edge"]) -> "PriorNetwork":
        """Some of the edges, over the same TFs and targets."""
        evidence = self.evidence[edges].reset_index(drop=True)
        return replace(
            self, source_index=self.source_index[edges], target_index=self.target_index[edges],
            weight=self.weight[edges], evidence=evidence,
        )  # fmt: skip

    def to_table(self) -> pd.DataFrame:
        """Body of the ``prior_network`` table."""
        names = {
            "source": np.asarray(self.sources, dtype=object)[self.source_index],
            "target": np.asarray(self.targets, dtype=object)[self.target_index],
            "weight": self.weight,
        }
        return pd.concat([pd.DataFrame(names), self.evidence], axis=1)

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> "PriorNetwork":
        """Inverse of :meth:`to_table`, whatever the order of rows; support by peaks and motifs may be left out."""
        ordered = table.sort_values(["target", "source"], kind="stable", ignore_index=True)
        source_index, sources = pd.factorize(ordered["source"], sort=True)
        target_index, targets = pd.factorize(ordered["target"], sort=True)
        evidence = ordered.reindex(columns=["evidence", "origin", *SUPPORT])
        evidence["n_peaks"] = evidence["n_peaks"].fillna(0).astype(np.int64)
        return cls(
            tuple(sources), tuple(targets), source_index.astype(np.int64), target_index.astype(np.int64),
            ordered["weight"].to_numpy(dtype=np.float32), evidence,
        )  # fmt: skip
