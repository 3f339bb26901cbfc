"""Recovery of planted modules by RegFactors, beside other decompositions of the same network.

    OMP_NUM_THREADS=1 python benchmarks/regfactor_recovery.py
    OMP_NUM_THREADS=1 python benchmarks/regfactor_recovery.py --seeds 2 --noise 1

A network of 5 lags x 40 TFs x 200 targets has coefficients on 30 % of its TF-target pairs, the candidates: a sum of
four modules, each a lag profile x TF loadings x target loadings, and noise. ``noise`` is its energy over that of the
modules. Modules are of equal strength or fall to a third. All coefficients are positive, or each TF of a module has a
sign. Every second module shares nothing, half of its TFs, or half of its TFs and targets with the one before.
Candidates are drawn at random, so that a module has 30 % of its own pairs, or hold all pairs of the modules and random
others.

ours                   RegFactors, as many as the network supports (``min_rank`` 1)
ours, rank given       the same with the true number for all three modes
columns of equal index Tucker with the true number for all three modes, read as published: column r of the TF factors
                       with column r of the target factors, without the core
non-negative CP        of absolute coefficients, true number
NMF                    of absolute coefficients summed over lags, true number
each module alone      leading pair of each planted module on the candidates, no noise and no others: what to hope for
chance                 random loadings, true number: the score that means nothing was found

Scored is the cosine of absolute loadings (half of the methods know no sign), mean over the planted modules after the
best matching to found ones; a module without a partner counts as 0. TF and target loadings are matched each by
themselves, ``joint`` matches a module's TF x target block: there one cosine is the product of the other two, of the
same found module. Writes docs/benchmarks/regfactor_recovery.json.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product

import numpy as np
import pandas as pd
from record import save
from scipy.optimize import linear_sum_assignment

from scmagnify_core.interpretation.regfactors import RegFactorConfig, count_supported, decompose
from scmagnify_core.network.network import Network

N_LAGS, N_SOURCES, N_TARGETS, N_MODULES = 5, 40, 200, 4
CANDIDATES = 0.3
MODULE_SOURCES, MODULE_TARGETS = 6, 30
CANDIDATE_PAIRS = ("at random", "whole modules")
STRENGTHS = {"equal": (1.0, 1.0, 1.0, 1.0), "unequal": (1.0, 0.7, 0.5, 0.33)}
KINDS = ("noise", "candidates", "strength", "sign", "shared")
VALUES = ["targets", "sources", "joint", "modules", "cpu_s"]
SHARED = ("nothing", "TFs", "TFs and targets")
SIGNS = ("positive", "signed")
Loadings = tuple[np.ndarray, np.ndarray]  # TF x module, target x module


@dataclass(frozen=True)
class Planted:
    """A network, the dense tensor of its coefficients, the loadings that made it, and each module without noise."""

    network: Network
    tensor: np.ndarray
    loadings: Loadings
    modules: np.ndarray  # module x lag x TF x target


def plant(seed: int, noise: float, candidates: str, strength: str, sign: str, shared: str) -> Planted:
    rng = np.random.default_rng(seed)
    sources = members(rng, N_SOURCES, MODULE_SOURCES, overlap=shared != "nothing")
    targets = members(rng, N_TARGETS, MODULE_TARGETS, overlap=shared == "TFs and targets")
    if sign == "signed":
        sources *= rng.choice([-1, 1], sources.shape)
    peaks = rng.integers(N_LAGS, size=N_MODULES)
    profiles = np.exp(-((np.arange(N_LAGS)[:, None] - peaks) ** 2))
    always = (sources != 0) @ (targets != 0).T & (candidates == "whole modules")
    mask = always | (rng.random(always.shape) < (CANDIDATES - always.mean()) / (1 - always.mean()))
    modules = np.einsum("kr,pr,qr->rkpq", profiles, sources, targets) * mask
    modules /= np.sqrt((modules**2).sum(axis=(1, 2, 3), keepdims=True))
    signal = np.tensordot(STRENGTHS[strength], modules, 1)
    error = rng.standard_normal(signal.shape) * mask
    tensor = signal + error * np.sqrt(noise * (signal**2).sum() / (error**2).sum())
    names = ([f"{kind}{i:03d}" for i in range(n)] for kind, n in (("TF", N_SOURCES), ("G", N_TARGETS)))
    return Planted(Network.from_tensor(tensor, *names), tensor, (sources, targets), modules)


def members(rng: np.random.Generator, n_names: int, size: int, overlap: bool) -> np.ndarray:
    """Positive loadings of disjoint sets; with ``overlap`` every second set takes half of the one before."""
    sets = rng.permutation(n_names)[: N_MODULES * size].reshape(N_MODULES, size)
    if overlap:
        sets[1::2, : size // 2] = sets[::2, : size // 2]
    loadings = np.zeros((n_names, N_MODULES))
    loadings[sets.T, np.arange(N_MODULES)] = rng.uniform(0.5, 1.5, (size, N_MODULES))
    return loadings


def ours(planted: Planted) -> Loadings:
    return by_regfactors(planted, RegFactorConfig(min_rank=1))


def ours_rank_given(planted: Planted) -> Loadings:
    return by_regfactors(planted, RegFactorConfig(rank=(N_MODULES, N_MODULES, N_MODULES)))


def by_regfactors(planted: Planted, config: RegFactorConfig) -> Loadings:
    found = decompose(planted.network, config)
    return found.source_loadings, found.target_factors


def columns_of_equal_index(planted: Planted) -> Loadings:
    from tensorly.decomposition import tucker

    _, (_, sources, targets) = tucker(planted.tensor, rank=[N_MODULES] * 3)
    return sources, targets


def nonnegative_cp(planted: Planted) -> Loadings:
    from tensorly.decomposition import non_negative_parafac_hals

    _, (_, sources, targets) = non_negative_parafac_hals(np.abs(planted.tensor), rank=N_MODULES, random_state=0)
    return sources, targets


def nmf(planted: Planted) -> Loadings:
    from sklearn.decomposition import NMF

    model = NMF(N_MODULES, init="nndsvda", max_iter=1000, random_state=0)
    return model.fit_transform(np.abs(planted.tensor).sum(axis=0)), model.components_.T


def each_module_alone(planted: Planted) -> Loadings:
    # All lags of a module have the same TFs and targets, and signs are not scored.
    left, _, right = np.linalg.svd(np.sqrt((planted.modules**2).sum(axis=1)))
    return left[:, :, 0].T, right[:, 0].T


def chance(planted: Planted) -> Loadings:
    rng = np.random.default_rng(0)
    return rng.standard_normal((N_SOURCES, N_MODULES)), rng.standard_normal((N_TARGETS, N_MODULES))


def shuffled(network: Network, seed: int) -> Network:
    """The network with the coefficients of its edges, lags together, exchanged: no modules are left."""
    order = np.random.default_rng(seed).permutation(network.n_edges)
    return replace(network, weight=network.weight[:, order])


METHODS: dict[str, Callable[[Planted], Loadings]] = {
    "ours": ours, "ours, rank given": ours_rank_given, "columns of equal index": columns_of_equal_index,
    "non-negative CP": nonnegative_cp, "NMF": nmf,
    "each module alone": each_module_alone, "chance": chance,
}  # fmt: skip


def cosines(planted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Cosine of the absolute loadings of each planted and each found module."""
    unit = [np.abs(x) / np.maximum(np.linalg.norm(x, axis=0), np.finfo(float).tiny) for x in (planted, found)]
    return unit[0].T @ unit[1]


def matched(cosine: np.ndarray) -> float:
    """Mean over the planted modules after the matching that makes it largest."""
    return float(cosine[linear_sum_assignment(cosine, maximize=True)].sum() / len(cosine))


def score(planted: Planted, method: str) -> dict[str, float]:
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations that end before they converge
        found = METHODS[method](planted)
    seconds = time.process_time() - start
    sources, targets = (cosines(true, own) for true, own in zip(planted.loadings, found, strict=True))
    return {
        "targets": matched(targets), "sources": matched(sources), "joint": matched(sources * targets),
        "modules": found[1].shape[1], "cpu_s": seconds,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="networks of each kind")
    parser.add_argument("--noise", type=float, nargs="*", default=[0.25, 1.0, 4.0], help="energy over the modules'")
    arguments = parser.parse_args()
    rows: list[dict] = []
    of_shuffled: list[int] = []
    for kind in product(arguments.noise, CANDIDATE_PAIRS, STRENGTHS, SIGNS, SHARED):
        for seed in range(arguments.seeds):
            planted = plant(seed, *kind)
            known = dict(zip(KINDS, kind, strict=True))
            rows += [{"method": method, **known, **score(planted, method)} for method in METHODS]
            of_shuffled.append(count_supported(shuffled(planted.network, seed)))
    table = pd.DataFrame(rows)
    print(f"{len(table) // len(METHODS)} networks of {N_MODULES} modules\n")
    results: list[dict] = []
    for grouping in ([], *([kind] for kind in KINDS), ["candidates", "strength"]):
        mean = table.groupby(["method", *grouping], sort=False)[VALUES].mean()
        results += mean.reset_index().to_dict("records")
        shown = mean["joint"].unstack(grouping).loc[list(METHODS)] if grouping else mean
        print(f"{'joint by ' + ' and '.join(grouping) if grouping else 'all'}\n{shown.round(2).to_string()}\n")
    chosen = table[table["method"] == "ours"].groupby(["candidates", "strength", "shared"], sort=False)["modules"]
    print(f"modules that ours chose of {N_MODULES}\n{chosen.agg(['mean', 'min', 'max']).round(1).to_string()}")
    supported = {str(n): int(count) for n, count in zip(*np.unique(of_shuffled, return_counts=True), strict=True)}
    print(f"\nnetworks whose edges were shuffled, by the number of RegFactors they support: {supported}")
    save(
        "regfactor_recovery", results, networks=len(table) // len(METHODS), planted_modules=N_MODULES,
        supported_by_shuffled_edges=supported,
        tensorly=version("tensorly"),
    )  # fmt: skip
