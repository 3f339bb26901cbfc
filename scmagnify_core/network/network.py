"""The network as a value: coefficients per lag and candidate edge, and its aggregation over seeds.

A network is kept edge-wise, K x E, because only candidate edges carry a coefficient; the dense K x P x Q
tensor is made on request. Reading a model's coefficients off its cells belongs to the method, not here.

Decisions
---------
* The score of an edge is the absolute sum of its weights over lags: its total effect. Neighbouring lags are strongly
  correlated and share an effect between them, so that the largest of them alone is too small (``docs/accuracy.md``).
  ``score='peak'`` is the published one, the largest median absolute coefficient over lags.
* A fifth of a dense model's coefficients is added for score and lag. Candidates that a sparse model leaves out would
  else all score 0, like pairs that are no candidates, although evidence made them candidates.
* The signed score is that sum, or for ``peak`` the weight at the lag where it is largest in absolute value. The
  published maximum over signed lags gives a repressor its *least* negative lag and recovers 16-35 % of repressors
  (measured).
* The estimated lag averages lags by absolute coefficients; ``lag_weights='signed'`` is the published formula, in
  which lags of opposite sign cancel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field

from scmagnify_core.errors import InputError


class NetworkConfig(BaseModel):
    """How coefficients become a ranked network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_cv: float | None = Field(
        None, gt=0, description="Set coefficients to 0 whose coefficient of variation over cells is not below this "
        "(published: 0.2, which drops half of the true edges on planted data)."
    )  # fmt: skip
    score: Literal["total", "peak"] = Field(
        "total", description="Strength of an edge: its effect summed over lags, or at its strongest lag (published)."
    )
    dense_share: float = Field(
        0.2, ge=0, description="Share of the effects of a dense model in total scores: it orders the candidates that a "
        "sparse one leaves out (published: 0).",
    )  # fmt: skip
    top_fraction: float = Field(
        0.1, gt=0, le=1, description="Share of the candidate edges that counts as the top of the ranking."
    )
    min_score: float = Field(0.0, ge=0, description="Smallest score of a selected edge.")
    lag_weights: Literal["absolute", "signed"] = Field("absolute", description="Weights of the estimated lag.")


@dataclass(frozen=True)
class Network:
    """Edges of one seed or of an aggregate: ``E`` candidate edges with ``K`` lags each.

    ``weight`` is the signed median coefficient over cells, ``magnitude`` the median absolute coefficient
    (never negative) and ``cv`` the coefficient of variation over cells (NaN where the mean is zero).
    Index ``k`` of the lag axis is lag ``k + 1``. A method without lags has one, K = 1.

    The other arrays are None where a method does not say so much. ``dense`` are the coefficients of a dense model, of
    which a share orders the candidates that a sparse model leaves out. ``strength`` is the score where that is not the
    absolute total weight, ``lag`` the estimated lag where that does not follow from the weights, ``probability`` that
    of the edge, and ``posterior_sd`` the standard deviation of its total weight.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    source_index: Int[np.ndarray, " edge"]
    target_index: Int[np.ndarray, " edge"]
    weight: Float[np.ndarray, "lag edge"]
    magnitude: Float[np.ndarray, "lag edge"]
    cv: Float[np.ndarray, "lag edge"]
    dense: Float[np.ndarray, "lag edge"] | None = None
    strength: Float[np.ndarray, " edge"] | None = None
    lag: Float[np.ndarray, " edge"] | None = None
    probability: Float[np.ndarray, " edge"] | None = None
    posterior_sd: Float[np.ndarray, " edge"] | None = None

    @property
    def n_lags(self) -> int:
        """Number of lags, K."""
        return int(self.weight.shape[0])

    @property
    def n_edges(self) -> int:
        """Number of candidate edges, E."""
        return int(self.weight.shape[1])

    def tensor(self) -> Float[np.ndarray, "lag source target"]:
        """Dense signed weights; zero where an edge is no candidate. Memory is K x P x Q floats."""
        dense = np.zeros((self.n_lags, len(self.sources), len(self.targets)), dtype=self.weight.dtype)
        dense[:, self.source_index, self.target_index] = self.weight
        return dense

    @classmethod
    def from_tensor(
        cls, tensor: Float[np.ndarray, "lag source target"], sources: Sequence[str], targets: Sequence[str]
    ) -> "Network":
        """The edges with a non-zero weight at any lag; magnitude is the absolute weight, cv unknown (NaN)."""
        if tensor.shape[1:] != (len(sources), len(targets)):
            raise InputError(
                "tensor", f"has shape {tensor.shape} for {len(sources)} TFs and {len(targets)} targets.",
                "Its axes are lag, source, target.",
            )  # fmt: skip
        target_index, source_index = np.nonzero((tensor != 0).any(axis=0).T)
        weight = tensor[:, source_index, target_index]
        return cls(
            tuple(sources), tuple(targets), source_index, target_index,
            weight, np.abs(weight), np.full_like(weight, np.nan),
        )  # fmt: skip

    def edge_names(self) -> pd.DataFrame:
        """``source`` and ``target`` of each edge, in edge order."""
        return pd.DataFrame(
            {
                "source": np.asarray(self.sources, dtype=object)[self.source_index],
                "target": np.asarray(self.targets, dtype=object)[self.target_index],
            }
        )

    def to_table(self) -> pd.DataFrame:
        """One row per edge and lag: ``source, target, lag, weight, magnitude, cv``."""
        names = self.edge_names()
        return pd.concat(
            [
                names.assign(lag=lag + 1, weight=self.weight[lag], magnitude=self.magnitude[lag], cv=self.cv[lag])
                for lag in range(self.n_lags)
            ],
            ignore_index=True,
        ).astype({"lag": np.int16})

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> "Network":
        """Inverse of :meth:`to_table` for any order of rows; names are sorted.

        Raises
        ------
        InputError
            Some edge lacks a lag or has one twice.
        """
        ordered = table.sort_values(["lag", "target", "source"], kind="stable")
        n_lags = int(ordered["lag"].max())
        first = ordered[ordered["lag"] == 1]
        if len(first) * n_lags != len(ordered) or (ordered.groupby("lag", sort=False).size() != len(first)).any():
            raise InputError(
                "edge table", f"does not hold every edge at lags 1 to {n_lags} once.", "Pass all its rows."
            )
        source_index, sources = pd.factorize(first["source"], sort=True)
        target_index, targets = pd.factorize(first["target"], sort=True)
        return cls(
            tuple(sources), tuple(targets), source_index, target_index,
            *(ordered[name].to_numpy(dtype=np.float32).reshape(n_lags, -1) for name in ("weight", "magnitude", "cv")),
        )  # fmt: skip

    def filtered(self, max_cv: float | None) -> "Network":
        """Coefficients whose coefficient of variation is not below ``max_cv`` set to 0; None keeps all."""
        if max_cv is None or np.isnan(self.cv).all():  # a method whose coefficients are the same in all cells
            return self
        with np.errstate(invalid="ignore"):
            keep = self.cv < max_cv
        return replace(self, weight=np.where(keep, self.weight, 0), magnitude=np.where(keep, self.magnitude, 0))

    def score(self, kind: Literal["total", "peak"] = "total") -> Float[np.ndarray, " edge"]:
        """Strength of each edge: its absolute total weight, or the largest magnitude over lags."""
        if self.strength is not None:
            return self.strength
        return np.abs(self.weight.sum(axis=0)) if kind == "total" else self.magnitude.max(axis=0)

    def signed_score(self, kind: Literal["total", "peak"] = "total") -> Float[np.ndarray, " edge"]:
        """Total weight of each edge, or that at the lag where it is largest in absolute value."""
        if kind == "total":
            return self.weight.sum(axis=0)
        peak = np.abs(self.weight).argmax(axis=0)
        return np.take_along_axis(self.weight, peak[None], axis=0)[0]

    def estimated_lag(self, weights: Literal["absolute", "signed"] = "absolute") -> Float[np.ndarray, " edge"]:
        """Mean lag of each edge, weighted by coefficients; 0 for an edge without any."""
        if self.lag is not None:
            return self.lag
        lags = np.arange(1, self.n_lags + 1, dtype=np.float64)
        total = np.abs(self.weight).sum(axis=0, dtype=np.float64)
        moment = lags @ (np.abs(self.weight) if weights == "absolute" else self.weight).astype(np.float64)
        return np.abs(np.divide(moment, total, out=np.zeros_like(total), where=total > 0)).astype(np.float32)


@dataclass(frozen=True)
class MultiscaleNetwork:
    """The aggregate over seeds.

    ``network`` holds medians over seeds; ``edges`` is the body of the ``edges`` table, ``agreement`` that of
    ``seed_agreement``.
    """

    network: Network
    weight_sd: Float[np.ndarray, "lag edge"]
    edges: pd.DataFrame
    agreement: pd.DataFrame

    def to_table(self) -> pd.DataFrame:
        """Body of the ``multiscale_network`` table."""
        table = self.network.to_table().drop(columns="cv")
        return table.assign(weight_sd=self.weight_sd.reshape(-1))

    def ranked_table(self, method: str) -> pd.DataFrame:
        """Body of the ``networks`` table under the name of a method.

        The lag is null for a method without lags, ``probability`` and ``weight_sd`` for one that does not know them.
        """
        own, edges = self.network, self.edges
        has_lag = own.n_lags > 1 or own.lag is not None
        return edges[["source", "target", "score", "signed_score", "stability", "n_seeds", "rank"]].assign(
            method=method,
            context="all",
            lag=edges["lag"] if has_lag else np.nan,
            probability=np.nan if own.probability is None else own.probability,
            weight_sd=np.nan if own.posterior_sd is None else own.posterior_sd,
        )


def aggregate_seeds(networks: dict[int, Network], config: NetworkConfig | None = None) -> MultiscaleNetwork:
    """Combine the networks of several seeds: medians, spread, and how far the seeds agree.

    Parameters
    ----------
    networks
        One network per seed, all over the same candidate edges. Of a network with ``dense`` coefficients,
        ``dense_share`` of them is added to what scores and estimated lags are made of; weights stay as they are.

    Returns
    -------
    An edge is in a seed's top list if its score is positive and among the ``top_fraction`` largest of that seed.
    ``stability`` is the share of seeds whose top list has the edge, ``sign_agreement`` the share of seeds whose
    signed score has the sign of the majority (0 counts as no sign).

    Raises
    ------
    InputError
        There is no network, or the networks differ in their edges or lags.
    """
    config = config or NetworkConfig()
    if not networks:
        raise InputError("networks", "there are none to aggregate.", "Train at least one seed.")
    seeds = sorted(networks)
    first = networks[seeds[0]]
    for seed in seeds[1:]:
        other = networks[seed]
        if not (
            other.sources == first.sources
            and other.targets == first.targets
            and other.weight.shape == first.weight.shape
            and np.array_equal(other.source_index, first.source_index)
            and np.array_equal(other.target_index, first.target_index)
        ):
            raise InputError(
                f"seed {seed}", f"has other candidate edges or lags than seed {seeds[0]}.",
                "The prior or the settings changed in between: train all seeds again.",
            )  # fmt: skip
    filtered = [networks[seed].filtered(config.max_cv) for seed in seeds]
    weights = np.stack([network.weight for network in filtered])
    with np.errstate(invalid="ignore"):
        cv = np.median(np.stack([network.cv for network in filtered]), axis=0)
    median = replace(
        first,
        weight=np.median(weights, axis=0),
        magnitude=np.median(np.stack([network.magnitude for network in filtered]), axis=0),
        cv=cv,
        strength=_mean_of([network.strength for network in filtered]),
        lag=_mean_of([network.lag for network in filtered]),
        probability=_mean_of([network.probability for network in filtered]),
        posterior_sd=_pooled_sd(filtered),
    )
    rated = [_with_support(network, config) for network in filtered]
    scores = np.stack([network.score(config.score) for network in rated])
    signs = np.sign(np.stack([network.signed_score(config.score) for network in rated]))
    tops = np.stack([top_edges(score, config.top_fraction) for score in scores])

    edges = median.edge_names()
    supported = _with_support(median, config)
    edges["score"] = supported.score(config.score)
    edges["signed_score"] = supported.signed_score(config.score)
    edges["lag"] = supported.estimated_lag(config.lag_weights)
    edges["peak_lag"] = (supported.magnitude.argmax(axis=0) + 1).astype(np.int16)
    edges["n_seeds"] = np.int16(len(seeds))
    edges["stability"] = tops.mean(axis=0).astype(np.float32)
    edges["sign_agreement"] = (np.maximum((signs > 0).sum(0), (signs < 0).sum(0)) / len(seeds)).astype(np.float32)
    edges["score_sd"] = scores.std(axis=0)
    # Ties are broken by name, so that a rerun ranks alike.
    order = np.lexsort((edges["target"], edges["source"], -edges["score"]))
    rank = np.empty(len(edges), dtype=np.int32)
    rank[order] = np.arange(1, len(edges) + 1)
    edges["rank"] = rank
    edges["is_selected"] = top_edges(edges["score"].to_numpy(), config.top_fraction) & (
        edges["score"] >= config.min_score
    )
    edges["has_weight"] = (median.weight != 0).any(axis=0) | (median.magnitude != 0).any(axis=0)
    agreement = pd.DataFrame(
        [_agreement(a, b, scores, tops, seeds) for a, b in combinations(range(len(seeds)), 2)],
        columns=["seed_a", "seed_b", "n_top", "jaccard", "spearman"],
    ).astype({"seed_a": np.int16, "seed_b": np.int16, "n_top": np.int32})
    return MultiscaleNetwork(median, weights.std(axis=0), edges, agreement)


def _with_support(network: Network, config: NetworkConfig) -> Network:
    """The network with a share of the dense model's coefficients, where it has one, added to its weights."""
    if network.dense is None or config.dense_share == 0 or config.score == "peak":
        return network
    weight = network.weight + np.float32(config.dense_share) * network.dense
    return replace(network, weight=weight, magnitude=np.abs(weight))


def _mean_of(values: Sequence[Float[np.ndarray, " edge"] | None]) -> Float[np.ndarray, " edge"] | None:
    known = [one for one in values if one is not None]
    return np.mean(known, axis=0) if known else None


def _pooled_sd(networks: Sequence[Network]) -> Float[np.ndarray, " edge"] | None:
    """Standard deviation of the mixture of the seeds' posteriors: the spread within seeds and between them."""
    known = [one for one in networks if one.posterior_sd is not None]
    if not known:
        return None
    within = np.mean([np.square(np.asarray(one.posterior_sd)) for one in known], axis=0)
    between = np.var([one.signed_score() for one in known], axis=0)
    return np.sqrt(within + between)


def top_edges(score: Float[np.ndarray, " edge"], fraction: float) -> np.ndarray:
    """Flags of the edges with a positive score among the ``fraction`` largest (at least one); ties all enter."""
    n_top = max(1, round(fraction * len(score)))
    threshold = np.partition(score, len(score) - n_top)[len(score) - n_top]
    return (score >= threshold) & (score > 0)


def _agreement(a: int, b: int, scores: np.ndarray, tops: np.ndarray, seeds: list[int]) -> tuple[float, ...]:
    from scipy.stats import rankdata

    union = int((tops[a] | tops[b]).sum())
    jaccard = float((tops[a] & tops[b]).sum() / union) if union else 1.0
    ranks = rankdata(scores[a]), rankdata(scores[b])
    spread = ranks[0].std() * ranks[1].std()
    spearman = float(np.cov(*ranks, bias=True)[0, 1] / spread) if spread > 0 else np.nan
    return seeds[a], seeds[b], int(tops[a].sum()), jaccard, spearman
