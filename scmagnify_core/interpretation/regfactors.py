"""RegFactors: the K x P x Q network, decomposed into target modules with their TFs and lags.

Tucker decomposition (tensorly, higher-order orthogonal iteration), its rank, and how a RegFactor is read off it.
Activities of RegFactors in cells live in ``activity``.

Definition
----------
RegFactor ``r`` is target component ``r``. All that the model says about it is its core slice, contracted with the
lag and TF factors: the K x P matrix ``M_r = A core[:, :, r] B'``. The leading singular pair of ``M_r`` is the
RegFactor's lag profile and TF loading: the network holds the block ``sigma * profile[k] * loading[p] * target[q]``.
``link_share`` = sigma_1^2 / sum(sigma^2) says how much of ``M_r`` that one pair holds. ``energy_share`` =
``|core[:, :, r]|^2 / |core|^2``: target loadings are orthonormal, so that the slices share out the squared norm of
the reconstructed network, and sum to 1. Times ``explained_share`` it is the share of the network that was put in.

The public package joins the columns of equal index of the three factor matrices and ignores the core. A Tucker core
is not diagonal, so that this couples TFs with targets they do not regulate: the core's superdiagonal held 26 % of
the energy where it was measured. It also needs three equal ranks.

Decisions
---------
* Tucker fixes subspaces only: factors may be rotated and the core turned back. The target factors are rotated by
  varimax, so that each RegFactor is a module of few targets: principal axes mix modules of nearly equal energy, and
  held as little as 38 % of a planted module where varimax holds 98 %. The lag and TF factors are the principal
  axes of the core. RegFactors are ordered by energy. A lag or TF *component* of the same number has nothing to do
  with RegFactor ``r``: only the core links them.
* Signs are free too. The largest entry of each target loading and lag profile is positive, so that the TF loading
  carries the sign of regulation, seen from the target of largest loading.
* TFs and targets without any non-zero weight take no part and get no row: they would add rows of zeros.
* The number of RegFactors is chosen by parallel analysis (Horn 1965), one component at a time: those found so far
  are taken out, and the next must hold a larger share of what is left than in random networks (deflation, Dobriban
  and Owen 2019: without it one strong module hides all weaker ones). Two kinds of random networks have to be beaten.
  *Permuted*: candidate edges exchange their coefficients. *Flipped*: coefficients stay in place with random signs
  (Hong, Sheng and Dobriban 2020), because where the candidates are, and which genes have large coefficients, makes
  large singular values of its own. An edge keeps its lags together in both: they are alike, and permuted one by one
  they made up to ten RegFactors of networks whose edges had been shuffled.
* Components are taken out in two ways, of random networks always by projection, and it is enough that the next stands
  out after one of them. *Projected out*: then a strong module leaves behind which of its pairs are no candidates, and
  that hides modules of half its strength. *Fitted to the candidates alone* and subtracted, as if nothing were known of
  other pairs: then that is gone, but the fit takes noise along, and what it leaves of a noisy network looks emptier
  than it is. On planted modules (``docs/accuracy.md``) the two together came nearest to the true number.
* That number is ``n_supported``. A sparse prior often supports one RegFactor only, the mean of the network. At least
  ``min_rank`` are made, as a description that one can look at.
* The lag and TF ranks follow: the fewest components that keep 95 % of the energy after projection onto the chosen
  target components, each of which weighs the same. A test of their own would not see modules that each have another
  lag or TF, and cutting those loses modules. A rank too large costs little, as one pair is read off each slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from scipy import sparse

from scmagnify_core.errors import InputError, shorten
from scmagnify_core.network.network import Network

TOLERANCE = 1e-8  # change of the relative reconstruction error at which the iteration stops
MAX_ITERATIONS = 200
NEGLIGIBLE = 1e-6  # singular value, relative to the largest, below which a component is rounding error
KEPT = 0.95  # share of the projected network's energy that lag and TF components keep
MAX_SWEEPS = 100  # of varimax over all pairs of columns
RIDGE = 0.05  # of the fit to candidates: the weight of a loading of 0, in mean candidates of a row or column
N_ALTERNATIONS = 10  # of that fit, which starts from the one with a component less
ROUNDING = 1e-12  # angle, and moment of unit columns, below which varimax sees rounding error
MODES: tuple[Literal["lag", "source", "target"], ...] = ("lag", "source", "target")


class RegFactorConfig(BaseModel):
    """How the network is decomposed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="Components of the lag, TF and target mode (RegFactors); chosen from the network when "
        "omitted. A rank beyond what the network allows is lowered."
    )  # fmt: skip
    min_rank: int = Field(
        3, ge=1, description="Smallest number of RegFactors that is made, also where the network supports fewer."
    )
    max_rank: int = Field(10, ge=1, description="Largest number of RegFactors that is chosen.")
    n_permutations: int = Field(20, ge=1, description="Random networks of each kind that make the null.")
    null_quantile: float = Field(
        0.95, ge=0, le=1, description="A component is kept if it exceeds this quantile of the null."
    )
    seed: int = Field(0, ge=0, description="Seed of the random networks.")
    n_top: int = Field(10, ge=1, description="TFs and targets listed per RegFactor.")


@dataclass(frozen=True)
class RegFactors:
    """A Tucker decomposition in canonical form; ``rank`` is (rK, rP, rQ) and there are R = rQ RegFactors.

    Columns of the factors are orthonormal. ``core`` times the factors reconstructs the weights of ``sources`` and
    ``targets``; ``explained_share`` is the share of their squared norm that it holds. ``lag_profiles`` and
    ``source_loadings`` are the leading pair of each RegFactor, ``link_share`` its share (module docstring).
    ``n_supported`` is the number of RegFactors that random networks do not explain, None where the rank was given.
    """

    core: Float[np.ndarray, "lag_component source_component target_component"]
    lag_factors: Float[np.ndarray, "lag lag_component"]
    source_factors: Float[np.ndarray, "source source_component"]
    target_factors: Float[np.ndarray, "target target_component"]
    lag_profiles: Float[np.ndarray, "lag regfactor"]
    source_loadings: Float[np.ndarray, "source regfactor"]
    link_share: Float[np.ndarray, " regfactor"]
    explained_share: float
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    n_top: int = 10
    n_supported: int | None = None

    @property
    def rank(self) -> tuple[int, int, int]:
        """Components of the lag, TF and target mode."""
        n_lag, n_source, n_target = self.core.shape
        return n_lag, n_source, n_target

    @property
    def energy_share(self) -> Float[np.ndarray, " regfactor"]:
        """Share of the reconstructed network's squared norm in each RegFactor; sums to 1 (module docstring)."""
        energy = (self.core**2).sum(axis=(0, 1))
        return energy / energy.sum()

    @property
    def names(self) -> tuple[str, ...]:
        """RF1, RF2, ... by falling energy."""
        return tuple(f"RF{r + 1}" for r in range(self.rank[2]))

    def tables(self) -> dict[str, pd.DataFrame]:
        """Bodies of ``regfactors``, ``regfactor_loadings``, ``regfactor_components`` and ``regfactor_core``."""
        labels = (tuple(str(lag + 1) for lag in range(len(self.lag_factors))), self.sources, self.targets)
        loadings = (self.lag_profiles, self.source_loadings, self.target_factors)
        factors = (self.lag_factors, self.source_factors, self.target_factors)
        summary = pd.DataFrame(
            {
                "regfactor": self.names,
                "energy_share": self.energy_share,
                "link_share": self.link_share,
                "peak_lag": (np.abs(self.lag_profiles).argmax(axis=0) + 1).astype(np.int16),
                "top_sources": [_top(loading, self.sources, self.n_top) for loading in self.source_loadings.T],
                "top_targets": [_top(loading, self.targets, self.n_top) for loading in self.target_factors.T],
            }
        )
        profiles, components = [], []
        for mode, names, loading, factor in zip(MODES, labels, loadings, factors, strict=True):
            profiles.append(_long(loading, mode, names, "regfactor", self.names))
            components.append(_long(factor, mode, names, "component", range(1, factor.shape[1] + 1)))
        index = np.indices(self.core.shape).reshape(3, -1) + 1
        summary["n_supported"] = pd.array([self.n_supported] * len(summary), dtype="Int16")
        core = pd.DataFrame(index.T.astype(np.int16), columns=[f"{mode}_component" for mode in MODES])
        return {
            "regfactors": summary,
            "regfactor_loadings": pd.concat(profiles, ignore_index=True),
            "regfactor_components": pd.concat(components, ignore_index=True).astype({"component": np.int16})[
                ["mode", "component", "name", "loading"]
            ],
            "regfactor_core": core.assign(value=self.core.reshape(-1)),
        }


def decompose(network: Network, config: RegFactorConfig | None = None) -> RegFactors:
    """Decompose a network's signed weights.

    The dense tensor of TFs and targets with weights is held once; an iteration costs about K x P x Q x rank
    multiplications and at most 200 are made. The same network gives the same result bit for bit on the same machine.

    Raises
    ------
    InputError
        A weight is NaN or infinite, or none differs from 0.

    References
    ----------
    De Lathauwer, De Moor and Vandewalle (2000), SIAM J. Matrix Anal. Appl. 21, 1253 (HOSVD) and 1324 (HOOI).
    Horn (1965), Psychometrika 30, 179; Dobriban and Owen (2019), J. R. Stat. Soc. B 81, 163; Hong, Sheng and
    Dobriban (2020), arXiv:2012.02985 (parallel analysis, its deflation, and random signs).
    """
    config = config or RegFactorConfig()
    _check(network)
    network = _without_empty(network)
    tensor = network.tensor().astype(np.float64)
    rank, n_supported = config.rank, None
    if rank is None:
        components, n_supported = _target_components(network, config)
        rank = *_ranks_that_keep(tensor @ components), components.shape[1]
    rank = _feasible(rank, tensor.shape)
    core, factors = _tucker(tensor, rank)
    core, factors = _canonical(core, factors)
    profiles, loadings, share = _links(core, factors)
    return RegFactors(
        core, factors[0], factors[1], factors[2], profiles, loadings, share,
        explained_share=float((core**2).sum() / (tensor**2).sum()),
        sources=network.sources, targets=network.targets, n_top=config.n_top, n_supported=n_supported,
    )  # fmt: skip


def count_supported(network: Network, config: RegFactorConfig | None = None) -> int:
    """How many RegFactors random networks do not explain, 1 at least (module docstring).

    Cost is that of the leading singular value of 4 x ``n_permutations`` sparse matrices for each RegFactor tested.
    """
    return _target_components(_without_empty(network), config or RegFactorConfig())[1]


def _target_components(
    network: Network, config: RegFactorConfig
) -> tuple[Float[np.ndarray, "target component"], int]:
    """Leading target components, ``min_rank`` at least, and how many stand out against random networks."""
    matrix, place = _unfold(network)
    left, energy, right = _leading_svd(matrix, max(config.min_rank, config.max_rank))
    total, fitted = matrix.data @ matrix.data, left[:, :1]
    # The first is kept untested: it may be the mean of the weights, which permuted networks share, and hide the rest.
    for k in range(1, min(len(energy), config.max_rank)):
        fitted, fitted_right, rest = _fit_to_candidates(matrix, fitted)
        share = energy[k] / (total - energy[:k].sum())
        next_left, stands_out = left[:, k], _stands_out(matrix, place, share, left[:, :k], right[:, :k], config)
        if (left_over := rest.data @ rest.data) > NEGLIGIBLE**2 * total:
            next_left, next_energy = _leading_pair(rest)
            stands_out = stands_out or _stands_out(rest, place, next_energy / left_over, fitted, fitted_right, config)
        if not stands_out:
            return right[:, : max(k, config.min_rank)], k
        fitted = np.linalg.qr(np.column_stack([fitted, next_left]))[0]
    return right[:, : max(config.max_rank, config.min_rank)], min(len(energy), config.max_rank)


def _stands_out(
    matrix: sparse.csr_matrix,
    place: Int[np.ndarray, "lag edge"],
    share: float,
    left: np.ndarray,
    right: np.ndarray,
    config: RegFactorConfig,
) -> bool:
    """Whether a component's share is larger than in random matrices of each kind, projected by ``left, right``."""
    rng = np.random.default_rng(config.seed)
    edges = matrix.data[place]
    for kind in ("permuted", "flipped"):
        shares = []
        for _ in range(config.n_permutations):
            data = np.empty(matrix.nnz)
            data[place] = (
                rng.permutation(edges, axis=1)
                if kind == "permuted"
                else edges * rng.choice([-1.0, 1.0], edges.shape[1])
            )
            random = sparse.csr_matrix((data, matrix.indices, matrix.indptr), matrix.shape)
            shares.append(_leading_share(random, left, right))
        # The margin keeps rounding from deciding where share and null are both 1.
        if share <= np.quantile(shares, config.null_quantile) * (1 + 1e-9):
            return False
    return True


def _fit_to_candidates(
    matrix: sparse.csr_matrix, start: Float[np.ndarray, "row component"]
) -> tuple[Float[np.ndarray, "row component"], Float[np.ndarray, "column component"], sparse.csr_matrix]:
    """Left and right vectors of the best fit of as many components to the candidates, and what it leaves of these.

    Alternating ridge regressions, of each column and of each row on its candidates; orthonormal vectors in between,
    so that the penalty means the same for every component.
    """
    known = sparse.csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), matrix.shape)
    fill, k, left = matrix.nnz / np.prod(matrix.shape), start.shape[1], start

    def regress(
        values: sparse.spmatrix, known: sparse.spmatrix, other: Float[np.ndarray, "other component"], ridge: float
    ) -> Float[np.ndarray, "own component"]:
        products = (other[:, :, None] * other[:, None, :]).reshape(len(other), -1)
        own = (known @ products).reshape(-1, k, k) + ridge * fill * np.eye(k)
        return np.linalg.solve(own, (values @ other)[:, :, None])[:, :, 0]

    for _ in range(N_ALTERNATIONS):
        right = np.linalg.qr(regress(matrix.T, known.T, left, RIDGE))[0]
        left = np.linalg.qr(regress(matrix, known, right, RIDGE))[0]
    right = regress(matrix.T, known.T, left, NEGLIGIBLE)  # else a strong component is left over in part
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    rest = matrix.data - np.einsum("ek,ek->e", left[row], right[matrix.indices])
    rest = sparse.csr_matrix((rest, matrix.indices, matrix.indptr), matrix.shape)
    return left, np.linalg.qr(right)[0], rest


def _leading_pair(matrix: sparse.csr_matrix) -> tuple[Float[np.ndarray, " row"], float]:
    """Leading left vector and squared singular value."""
    from scipy.sparse.linalg import svds

    start = np.random.default_rng(0).normal(size=min(matrix.shape))  # a fixed start makes ARPACK deterministic
    left, values, _ = svds(matrix, k=1, v0=start, tol=1e-3)
    return left[:, 0], float(values[0] ** 2)


def _ranks_that_keep(projected: Float[np.ndarray, "lag source component"]) -> tuple[int, int]:
    """Lag and TF components that keep ``KEPT`` of the energy of target components which weigh the same."""
    projected = projected / np.linalg.norm(projected, axis=(0, 1))
    n_lag, n_source = (_n_that_keep(np.moveaxis(projected, mode, 0)) for mode in (0, 1))
    return n_lag, n_source


def _n_that_keep(tensor: np.ndarray) -> int:
    """Smallest number of components of the first mode that keep ``KEPT`` of the energy."""
    matrix = tensor.reshape(len(tensor), -1)
    energy = np.linalg.eigvalsh(matrix @ matrix.T)[::-1].cumsum()
    return int(np.searchsorted(energy, KEPT * energy[-1]) + 1)


def _check(network: Network) -> None:
    """Refuse what no decomposition can be made of."""
    finite = np.isfinite(network.weight)
    if not finite.all():
        bad = network.edge_names()[~finite.all(axis=0)]
        names = shorten(bad["source"] + " → " + bad["target"], 3)
        raise InputError(
            "network weights",
            f"are NaN or infinite for {len(bad)} edges: {names}.",
            "Train the model again, or take these edges out.",
        )
    if not network.weight.any():
        raise InputError(
            "network weights", f"are 0 for all {network.n_edges} edges, so there is nothing to decompose.",
            "Lower the sparsity penalty of the model, or raise `max_cv` of the network.",
        )  # fmt: skip


def _without_empty(network: Network) -> Network:
    """The network without edges, TFs and targets that have no weight at any lag."""
    keep = network.weight.any(axis=0)
    sources, targets = np.unique(network.source_index[keep]), np.unique(network.target_index[keep])
    # Edges without weight stay candidates of the null where both ends stay.
    is_source, is_target = np.isin(network.source_index, sources), np.isin(network.target_index, targets)
    stay = is_source & is_target
    return Network(
        tuple(network.sources[i] for i in sources),
        tuple(network.targets[i] for i in targets),
        np.searchsorted(sources, network.source_index[stay]),
        np.searchsorted(targets, network.target_index[stay]),
        network.weight[:, stay], network.magnitude[:, stay], network.cv[:, stay],
    )  # fmt: skip


def _unfold(network: Network) -> tuple[sparse.csr_matrix, Int[np.ndarray, "lag edge"]]:
    """Weights of the candidates, one row per lag and TF, one column per target; and where in its data each one is."""
    n_lags, n_sources = network.n_lags, len(network.sources)
    row = np.arange(n_lags)[:, None] * n_sources + network.source_index
    column = np.broadcast_to(network.target_index, row.shape)
    shape = (n_lags * n_sources, len(network.targets))
    order = sparse.csr_matrix((np.arange(row.size), (row.ravel(), column.ravel())), shape)
    data = network.weight.astype(np.float64).ravel()[order.data]
    return sparse.csr_matrix((data, order.indices, order.indptr), shape), np.argsort(order.data).reshape(row.shape)


def _leading_svd(matrix: sparse.csr_matrix, n_values: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading left vectors, squared singular values and right vectors, from the smaller Gram matrix."""
    from scipy.linalg import eigh

    tall = matrix.shape[0] > matrix.shape[1]
    rows = matrix.toarray().T if tall else matrix.toarray()
    size = len(rows)
    energy, left = eigh(rows @ rows.T, subset_by_index=(max(0, size - n_values), size - 1))
    keep = energy[::-1] > NEGLIGIBLE**2 * energy[-1]
    energy, left = energy[::-1][keep], left[:, ::-1][:, keep]
    right = rows.T @ left / np.sqrt(energy)
    return (right, energy, left) if tall else (left, energy, right)


def _leading_share(matrix: sparse.csr_matrix, left: np.ndarray, right: np.ndarray) -> float:
    """Share of its energy that the leading component of ``(I - left left') matrix (I - right right')`` holds."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    def product(vector: np.ndarray) -> np.ndarray:
        vector = matrix @ (vector - right @ (right.T @ vector))
        vector = matrix.T @ (vector - left @ (left.T @ vector))
        return vector - right @ (right.T @ vector)

    through = matrix @ right
    total = matrix.data @ matrix.data
    energy = total - ((matrix.T @ left) ** 2).sum() - (through**2).sum() + ((left.T @ through) ** 2).sum()
    if energy <= NEGLIGIBLE**2 * total:
        return 1.0  # a network so small that nothing is left after projection cannot be beaten
    size = matrix.shape[1]
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=size)  # a fixed start makes ARPACK deterministic
    return float(eigsh(operator, k=1, v0=start, tol=1e-3, return_eigenvectors=False)[0] / energy)


def _feasible(rank: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int]:
    """``rank`` lowered to the shape and to r_n <= product of the others, beyond which components are empty."""
    ranks = [min(r, size) for r, size in zip(rank, shape, strict=True)]
    for _ in range(3):  # lowering one rank may bind another
        for mode in range(3):
            ranks[mode] = min(ranks[mode], int(np.prod(ranks[:mode] + ranks[mode + 1 :])))
    n_lag, n_source, n_target = ranks
    return n_lag, n_source, n_target


def _tucker(tensor: np.ndarray, rank: tuple[int, int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    import tensorly
    from tensorly.decomposition import tucker

    with tensorly.backend_context("numpy"):
        core, factors = tucker(
            tensor, rank=rank, init="svd", n_iter_max=MAX_ITERATIONS, tol=TOLERANCE, random_state=0
        )  # fmt: skip
    return core, list(factors)


def _canonical(core: np.ndarray, factors: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rotate the factors and turn the core back (module docstring); components without energy are dropped."""
    rotations = []
    for mode in range(3):
        unfolding = np.moveaxis(core, mode, 0).reshape(core.shape[mode], -1)
        left, values, _ = np.linalg.svd(unfolding, full_matrices=False)
        rotations.append(left[:, values > NEGLIGIBLE * values[0]])
    principal = factors[2] @ rotations[2]
    rotations[2] = rotations[2] @ (principal.T @ _varimax(principal))
    energy = ((core @ rotations[2]) ** 2).sum(axis=(0, 1))
    rotations[2] = rotations[2][:, np.argsort(-energy, kind="stable")]
    rotations = [r * _leading_signs(factor @ r) for factor, r in zip(factors, rotations, strict=True)]
    rotated = [factor @ r for factor, r in zip(factors, rotations, strict=True)]
    return np.einsum("abc,ai,bj,cl->ijl", core, *rotations, optimize=True), rotated


def _varimax(loadings: Float[np.ndarray, "name component"]) -> Float[np.ndarray, "name component"]:
    """The orthogonal rotation of raw varimax (Kaiser 1958), by planar steps.

    Each step is the exact optimum of a pair of columns, so that it also leaves an even mixture of two modules, where
    the gradient that other algorithms follow is 0.
    """
    rotated = loadings.copy()
    for _ in range(MAX_SWEEPS):
        largest = 0.0
        for i, j in combinations(range(loadings.shape[1]), 2):
            pair = rotated[:, i] + 1j * rotated[:, j]
            moment = ((pair**2 - (pair**2).mean()) ** 2).sum()
            if abs(moment) < ROUNDING:  # no angle is better than another
                continue
            angle = np.angle(moment) / 4
            pair = pair * np.exp(-1j * angle)
            rotated[:, i], rotated[:, j] = pair.real, pair.imag
            largest = max(largest, abs(angle))
        if largest < ROUNDING:
            break
    return rotated


def _links(core: np.ndarray, factors: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lag profile, TF loading and link share of each target component."""
    profiles, loadings, shares = [], [], []
    for r in range(core.shape[2]):
        # The factors are orthonormal, so that the small core slice has the singular values of the K x P matrix.
        left, values, right = np.linalg.svd(core[:, :, r], full_matrices=False)
        profile, loading = factors[0] @ left[:, 0], factors[1] @ right[0]
        sign = _leading_signs(profile[:, None])[0]
        profiles.append(profile * sign)
        loadings.append(loading * sign)
        shares.append(values[0] ** 2 / (values**2).sum())
    return np.stack(profiles, axis=1), np.stack(loadings, axis=1), np.array(shares)


def _leading_signs(matrix: np.ndarray) -> np.ndarray:
    """Sign of the entry of largest absolute value in each column."""
    peak = np.abs(matrix).argmax(axis=0)
    return np.where(matrix[peak, np.arange(matrix.shape[1])] < 0, -1.0, 1.0)


def _top(loading: np.ndarray, names: Sequence[str], n_top: int) -> str:
    return ", ".join(names[i] for i in np.argsort(-np.abs(loading), kind="stable")[:n_top])


def _long(matrix: np.ndarray, mode: str, names: Sequence[str], column: str, labels: Sequence[object]) -> pd.DataFrame:
    """One row per entry of a names x labels matrix."""
    return pd.DataFrame(
        {
            column: np.repeat(np.array(labels, dtype=object), len(names)),
            "mode": mode,
            "name": np.tile(np.array(names, dtype=object), len(labels)),
            "loading": matrix.T.reshape(-1),
        }
    )
