"""Are the edges right? The default, the published preset and every baseline on planted networks and on real data.

    python benchmarks/accuracy.py simulated    # 10 conditions x 4 networks that no setting was chosen on
    python benchmarks/accuracy.py published    # the published preset on some of both: minutes each
    python benchmarks/accuracy.py real         # BEELINE and paul15 sets, where the shared data are at hand
    python benchmarks/accuracy.py ablation     # what each choice of the default gives
    python benchmarks/accuracy.py stability    # agreement of seeds, of 80 % of the cells, of half of them
    python benchmarks/accuracy.py calibration  # p-values of edges where there are none

`accuracy_page.py` makes the tables and charts of docs/accuracy.md from what these leave in docs/benchmarks.

Settings were chosen on simulated networks with seeds 100 to 199; this reports on seeds from 200 on. Every method gets
the same candidates and, where it uses lags, the same lagged expression. Networks are made in this process: no lake, no
Dagster.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from record import save, saved
from scipy.stats import spearmanr

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.diffusion import DiffusionOperators, diffusion_operators, standardize
from scmagnify_core.evaluation.leaderboard import rank_baselines
from scmagnify_core.evaluation.scores import score_network
from scmagnify_core.methods.family import Inputs
from scmagnify_core.methods.grn.granger.family import FAMILY, trained_model
from scmagnify_core.methods.packing import unpack
from scmagnify_core.network.edge_tests import edge_pvalues
from scmagnify_core.network.network import Network, aggregate_seeds, top_edges
from scmagnify_core.numerics.group_elastic_net import group_elastic_net
from scmagnify_core.numerics.ridge import DENSE_STRENGTH, ridge_path
from scmagnify_core.prior import assemble_prior, read_base_network
from scmagnify_core.simulation.simulation import SimulationConfig, simulate
from scmagnify_core.specification import DatasetSpec, merge, parse_spec

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CONDITIONS: dict[str, dict[str, Any]] = {
    "standard": {},
    "400 cells": {"n_cells": 400},
    "4,000 cells": {"n_cells": 4000},
    "3 UMI a gene": {"mean_source_umi": 3.0, "mean_target_umi": 3.0},
    "0.3 UMI a gene": {"mean_source_umi": 0.3, "mean_target_umi": 0.3},
    "lag of .02": {"lag_step": 0.02, "relaxation": 0.01},
    "lag of .08": {"lag_step": 0.08, "relaxation": 0.04},
    "3 decoys an edge": {"n_decoys_per_edge": 3},
    "linear": {"steepness": 0.1},
    "saturating": {"steepness": 4.0},
}
FIRST_SEED = 200
LARGE = 50_000  # candidates from which a real set gets one seed
REAL = (
    ("beeline/mESC", ("lofgof",)),
    ("beeline/mESC", ("chip_specific", "chip_nonspecific", "string")),
    ("beeline/mDC", ("chip_specific",)),
    ("beeline/mDC", ("chip_nonspecific", "string")),  # 240,000 candidates
    ("beeline/mHSC-L", ("chip_specific", "chip_nonspecific", "string")),
    ("beeline/small_mEF", ("reference", "string_700")),
    ("demo/paul15_demo", ("chip_hsc", "chip_nonspecific", "string")),
    ("synthetic/GSD", ("simulated_truth",)),
    ("synthetic/HSC", ("simulated_truth",)),
    ("synthetic/mCAD", ("simulated_truth",)),
    ("synthetic/dyn-BF", ("simulated_truth",)),
    ("synthetic/dyn-LI", ("simulated_truth",)),
)
ABLATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "a lag is a step on the graph": {"diffusion": {"lag_step": None}},
    "published (cyclic) graph": {"diffusion": {"acyclic": "two_cycles"}},
    "lagged TFs not standardised": {"diffusion": {"standardize_lagged": False}},
    "no support from a dense model": {"network": {"dense_share": 0.0}},
    "score at the strongest lag": {"network": {"score": "peak"}},
    "lags weighted with their signs": {"network": {"lag_weights": "signed"}},
    "fit to all cells, not the mean over halves": {"one_fit": True},
    "backbone alone": {"scmagnify": {"state_dependence": "never"}},
    "cells' own coefficients always": {"scmagnify": {"state_dependence": "always"}},
    "no backbone (neural, smooth)": {"scmagnify": {"backbone": "none", "smoothness": 10.0}},
    "... and little smoothness": {"scmagnify": {"backbone": "none", "smoothness": 0.02}},
    "... smooth, published initial weights": {
        "scmagnify": {"backbone": "none", "smoothness": 10.0, "output_init": "xavier"}
    },
    "... smooth, free branch weights": {"scmagnify": {"backbone": "none", "smoothness": 10.0, "attention": "free"}},
    "... smooth, penalty averaged over all pairs": {
        "scmagnify": {"backbone": "none", "smoothness": 10.0, "penalty_scale": "pairs"}
    },
    "... smooth, cv filter": {"scmagnify": {"backbone": "none", "smoothness": 10.0}, "network": {"max_cv": 0.2}},
}


@dataclass(frozen=True)
class Problem:
    """A data set with its candidates and truth."""

    name: str
    path: Path
    dataset: Dataset
    prior: PriorNetwork
    truth: pd.DataFrame
    universe: str  # of `score_network`


def planted(condition: str, seed: int, folder: Path, **more: Any) -> tuple[Problem, Any]:
    """A simulated network; its candidates are true edges and decoys, and so is the universe."""
    simulation = simulate(SimulationConfig(seed=seed, **CONDITIONS[condition], **more))
    files = simulation.write(folder, "set")
    dataset = read_dataset(parse_spec({"name": "set", "file": str(files["data"])}).description)
    prior, _ = assemble_prior(read_base_network(files["prior"]), dataset)
    return Problem(f"{condition} {seed}", files["data"], dataset, prior, simulation.truth, "candidates"), simulation


def measured(name: str, kinds: tuple[str, ...]) -> Problem:
    """A real set; candidates are all pairs of a TF of its truths and a gene, or its own prior where it has one."""
    path = SHARED / f"{name}.h5ad"
    key = "dpt_pseudotime_derived" if name.endswith("mDC") else "pseudotime"
    dataset = read_dataset(
        parse_spec({"name": "set", "file": str(path), "time_key": key, "min_cells": 1}).description
    )
    truth = pd.read_parquet(SHARED / f"{name}.networks.parquet")
    truth = truth[truth["kind"].isin(kinds)].assign(kind=lambda frame: frame["kind"].astype(str))
    own = SHARED / f"{name}.prior.parquet"
    if own.exists():
        base = read_base_network(own)
    else:
        sources = sorted(set(truth["source"].astype(str)) & set(dataset.genes))
        pairs = pd.MultiIndex.from_product([sources, list(dataset.genes)], names=["source", "target"])
        base = pairs.to_frame(index=False).query("source != target").assign(weight=1.0)
        with tempfile.TemporaryDirectory() as folder:
            base.to_parquet(Path(folder) / "prior.parquet", index=False)
            base = read_base_network(Path(folder) / "prior.parquet")
    prior, _ = assemble_prior(base, dataset)
    return Problem(name, path, dataset, prior, truth, "truth")


def spec_of(preset: str, changes: dict[str, Any] | None = None) -> DatasetSpec:
    return parse_spec(merge({"name": "set", "file": "set.h5ad", "preset": preset}, changes or {}))


def operators_of(problem: Problem, spec: DatasetSpec) -> DiffusionOperators:
    return diffusion_operators(problem.dataset, problem.prior.sources, spec.scmagnify.n_lags, spec.diffusion)


def infer(
    problem: Problem, spec: DatasetSpec, operators: DiffusionOperators, n_seeds: int
) -> tuple[pd.DataFrame, dict[int, Network], list[Any]]:
    """Edges aggregated over seeds, the network of each, and what each says of its backbone."""
    inputs = Inputs(problem.dataset, problem.prior, operators)
    fits = FAMILY.fit(inputs, spec.scmagnify, range(n_seeds), lambda *told: None)
    networks = {seed: unpack(fit, inputs) for seed, fit in fits.items()}
    reports = [trained_model(fit).backbone for fit in fits.values()]
    return aggregate_seeds(networks, spec.network).edges, networks, reports


def score(problem: Problem, edges: pd.DataFrame, method: str, **more: Any) -> list[dict[str, Any]]:
    """Rows of figures, one a kind of truth."""
    prior = problem.prior.to_table() if problem.universe == "candidates" else None
    frame = score_network(
        edges, problem.truth, genes=problem.dataset.genes, prior=prior, universe=problem.universe, method=method
    )
    rows = frame.assign(set=problem.name, **more).to_dict("records")
    if problem.universe == "candidates":
        rows[0] |= _of_found(edges, problem.truth)
    return rows


def _of_found(edges: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Share of right signs and rank correlation of lags, of the true edges among the first K, K their number."""
    top = edges.nlargest(len(truth), "score").merge(truth, on=["source", "target"], suffixes=("", "_true"))
    known = top[top["signed_score"] != 0] if "signed_score" in top else top[:0]
    lags = top[["lag", "lag_true"]].dropna() if "lag" in edges else top[:0]
    return {
        "n_found": len(top),
        "sign_accuracy_top": float((np.sign(known["signed_score"]) == known["sign"]).mean())
        if len(known)
        else np.nan,
        "lag_spearman_top": float(spearmanr(lags["lag"], lags["lag_true"]).statistic) if len(lags) > 2 else np.nan,
    }


def compare(problem: Problem, n_seeds: int, **more: Any) -> list[dict[str, Any]]:
    """The default and every baseline, on the same operators."""
    spec = spec_of("recommended")
    operators = operators_of(problem, spec)
    started = time.perf_counter()
    edges, _, reports = infer(problem, spec, operators, n_seeds)
    took = time.perf_counter() - started
    kept = [one.is_state_dependent for one in reports]
    rows = score(
        problem, edges, "scmagnify", runtime_s=took, strength=float(np.mean([one.strength for one in reports])),
        state_dependent=float(np.mean(kept)), residual_gain=float(np.mean([one.residual_gain for one in reports])),
        **more,
    )  # fmt: skip
    for ranking in rank_baselines(Inputs(problem.dataset, problem.prior, operators)):
        if isinstance(ranking, str):
            print(f"  {ranking}")
        elif ranking.method not in {"prior", "shuffled_prior"}:
            rows += score(problem, ranking.edges, ranking.method, runtime_s=ranking.runtime_s, **more)
    return rows


def run_published(problem: Problem, **more: Any) -> list[dict[str, Any]]:
    """The published preset, one seed; and the same network without the filter on coefficients of variation."""
    spec = spec_of("published")
    operators = operators_of(problem, spec)
    started = time.perf_counter()
    edges, networks, _ = infer(problem, spec, operators, 1)
    more["runtime_s"] = time.perf_counter() - started
    unfiltered = aggregate_seeds(networks, spec.network.model_copy(update={"max_cv": None})).edges
    return [
        *score(problem, edges, "published preset", n_scored=int((edges["score"] > 0).sum()), **more),
        *score(problem, unfiltered, "published, no filter", **more),
    ]


def oracle(problem: Problem, simulation: Any) -> pd.DataFrame:
    """A group elastic net on the noise-free past of the TFs: what their measurement and the graph cost all methods."""
    names = [f"TF{number:02d}" for number in range(1, simulation.config.n_sources + 1)]
    columns = [names.index(source) for source in problem.prior.sources]
    levels = simulation.source_levels[1:, :, columns]
    features = np.stack([standardize(one.astype(np.float32)) for one in levels], axis=1)
    targets = standardize(problem.dataset.expression(problem.prior.targets))
    prior = problem.prior
    found = group_elastic_net(features, targets, prior.source_index, prior.target_index, 0.1, 0.5)
    size = np.abs(found)
    return prior.to_table()[["source", "target"]].assign(
        score=np.abs(found.sum(axis=0)), signed_score=found.sum(axis=0),
        lag=np.arange(1, len(size) + 1) @ size / np.maximum(size.sum(axis=0), 1e-12),
    )  # fmt: skip


# ---------------------------------------------------------------- what is measured


def simulated(options: argparse.Namespace) -> None:
    seeds = range(options.first, FIRST_SEED + options.networks)
    rows = [row for row in saved("accuracy_simulated") if row["seed"] not in seeds]
    for seed in seeds:
        for condition in CONDITIONS:
            with tempfile.TemporaryDirectory() as folder:
                problem, simulation = planted(condition, seed, Path(folder))
                rows += compare(problem, options.seeds, condition=condition, seed=seed)
                rows += score(problem, oracle(problem, simulation), "oracle", condition=condition, seed=seed)
            show(rows, problem.name)
            save("accuracy_simulated", rows, n_seeds=options.seeds)


def published(options: argparse.Namespace) -> None:
    """Real sets by size, then planted networks; what was measured before stays, so that this can be stopped."""
    rows = saved("accuracy_published")
    done = {(row["set"], row["truth"]) for row in rows}
    sets = [(measured(name, kinds), name) for name, kinds in REAL if (name, kinds[0]) not in done]
    sizes = [problem.prior.n_edges * len(problem.dataset.pseudotime) for problem, _ in sets]
    for number in np.argsort(sizes):
        if sizes[number] < options.largest:
            problem, name = sets[number]
            rows += run_published(problem, condition=name)
            show(rows, name)
            save("accuracy_published", rows)
    for seed in range(FIRST_SEED, FIRST_SEED + options.networks):
        for condition in ("400 cells", "3 decoys an edge"):  # others train for hours
            if (f"{condition} {seed}", "simulated_truth") in done:
                continue
            with tempfile.TemporaryDirectory() as folder:
                problem, _ = planted(condition, seed, Path(folder))
                rows += run_published(problem, condition=condition, seed=seed)
            show(rows, problem.name)
            save("accuracy_published", rows)


def real(options: argparse.Namespace) -> None:
    """What was measured before stays."""
    rows = saved("accuracy_real")
    done = {(row["set"], row["truth"]) for row in rows}
    for name, kinds in REAL:
        if (name, kinds[0]) in done:
            continue
        problem = measured(name, kinds)
        rows += compare(problem, options.seeds if problem.prior.n_edges < LARGE else 1, condition=name)
        show(rows, name)
        save("accuracy_real", rows, n_seeds=options.seeds)


def ablation(options: argparse.Namespace) -> None:
    """What was measured before stays."""
    rows = saved("accuracy_ablation")
    done = {(row["set"], row["method"]) for row in rows}
    for condition, seed in (("standard", 210), ("400 cells", 210), ("lag of .08", 210)):
        with tempfile.TemporaryDirectory() as folder:
            problem, _ = planted(condition, seed, Path(folder))
            for name, changes in ABLATIONS.items():
                if (problem.name, name) in done:
                    continue
                spec = spec_of("recommended", {key: value for key, value in changes.items() if key != "one_fit"})
                operators = operators_of(problem, spec)
                started = time.perf_counter()
                if "one_fit" in changes:
                    edges = _one_fit(problem, operators)
                else:
                    edges, _, _ = infer(problem, spec, operators, 1)
                took = time.perf_counter() - started
                rows += score(problem, edges, name, runtime_s=took, condition=condition, seed=seed)
        show(rows, problem.name)
        save("accuracy_ablation", rows)


def _one_fit(problem: Problem, operators: DiffusionOperators) -> pd.DataFrame:
    """The backbone's strength, but a single fit to all cells."""
    from scmagnify_core.methods.grn.granger.backbone import choose_strength

    targets, prior = standardize(problem.dataset.expression(problem.prior.targets)), problem.prior
    strength, _ = choose_strength(operators.lagged, targets, prior, 0.5, np.random.default_rng(0))
    found = group_elastic_net(operators.lagged, targets, prior.source_index, prior.target_index, strength, 0.5)
    network = Network(
        prior.sources,
        prior.targets,
        prior.source_index,
        prior.target_index,
        found,
        np.abs(found),
        np.zeros_like(found),
        dense=ridge_path(operators.lagged, targets, prior, (DENSE_STRENGTH,))[0],
    )
    return aggregate_seeds({0: network}).edges


def stability(options: argparse.Namespace) -> None:
    rows = []
    # The published preset trains for a quarter of an hour on these 400 cells, so it gets less of everything.
    for preset, n_seeds, draws in (("recommended", 3, {0.8: 3, 0.5: 3}), ("published", 2, {0.8: 1})):
        spec = spec_of(preset)
        with tempfile.TemporaryDirectory() as folder:
            problem, _ = planted("400 cells", 220, Path(folder))
        operators = operators_of(problem, spec)
        whole = list(infer(problem, spec, operators, n_seeds)[1].values())
        pairs = {"two seeds": list(combinations(whole, 2))}
        for share, n_draws in draws.items():
            parts = [subsample(problem, share, draw) for draw in range(n_draws)]
            found = [infer(part, spec, operators_of(part, spec), 1)[1][0] for part in parts]
            pairs[f"all cells and {share:.0%} of them"] = [(whole[0], one) for one in found]
        filters = {preset: spec.network.max_cv} | ({"published, no filter": None} if preset == "published" else {})
        for name, max_cv in filters.items():
            for what, networks in pairs.items():
                tops = [
                    [top_edges(one.filtered(max_cv).score(spec.network.score), 0.1) for one in two]
                    for two in networks
                ]
                rows.append({"preset": name, "what": what, "jaccard": np.mean([jaccard(a, b) for a, b in tops])})
        print(pd.DataFrame(rows).to_string(), flush=True)
        save("accuracy_stability", rows)


def subsample(problem: Problem, share: float, seed: int) -> Problem:
    """The data set with some of its cells, in their order; genes and candidates stay."""
    n_cells = problem.dataset.rna.n_obs
    chosen = np.sort(np.random.default_rng(seed).permutation(n_cells)[: round(share * n_cells)])
    atac = problem.dataset.atac
    part = replace(
        problem.dataset, rna=problem.dataset.rna[chosen].copy(), atac=None if atac is None else atac[chosen].copy()
    )
    return replace(problem, dataset=part)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum()) if (a | b).any() else float("nan")  # no edges at all


def calibration(options: argparse.Namespace) -> None:
    """p-values of the TFs of one simulation with the targets of another, and of the planted edges and decoys."""
    spec = spec_of("recommended")
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(230, 230 + 6):
            problems.append(planted("standard", seed, Path(folder))[0])
    unrelated, true, decoys = [], [], []
    for number, problem in enumerate(problems):
        lagged = operators_of(problem, spec).lagged
        lineages = problem.dataset.labels("lineage")
        time_, prior = problem.dataset.pseudotime, problem.prior
        own = edge_pvalues(lagged, standardize(problem.dataset.expression(prior.targets)), time_, lineages, prior)
        planted_pairs = pd.MultiIndex.from_frame(problem.truth[["source", "target"]])
        is_true = pd.MultiIndex.from_frame(prior.to_table()[["source", "target"]]).isin(planted_pairs)
        true.append(own[is_true])
        decoys.append(own[~is_true])
        other = problems[(number + 1) % len(problems)]
        names = [f"G{i:03d}" for i in range(1, 1 + sum(target.startswith("G") for target in prior.targets))]
        foreign = other.dataset.expression([name for name in names if name in other.dataset.genes])
        # Cells of the same rank in pseudotime stand for one another.
        aligned = np.empty_like(foreign)
        aligned[np.argsort(time_, kind="stable")] = foreign[np.argsort(other.dataset.pseudotime, kind="stable")]
        keep = np.isin(prior.target_index, [i for i, name in enumerate(prior.targets) if name in names])
        values = np.zeros((len(time_), len(prior.targets)), dtype=np.float32)
        for column, name in enumerate(names):
            if name in prior.targets:
                values[:, prior.targets.index(name)] = aligned[:, column]
        unrelated.append(edge_pvalues(lagged, standardize(values), time_, lineages, prior)[keep])
    rows = []
    for name, parts in (("unrelated", unrelated), ("decoys", decoys), ("planted", true)):
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        rows.append(
            {"pairs": name, "n": len(values), "below_05": (values < 0.05).mean(), "below_01": (values < 0.01).mean(),
             "below_001": (values < 0.001).mean(),
             "histogram": (np.histogram(values, 20, (0, 1))[0] / len(values)).round(4).tolist()}
        )  # fmt: skip
        print(rows[-1], flush=True)
    save("accuracy_calibration", rows)


def show(rows: list[dict[str, Any]], name: str) -> None:
    frame = pd.DataFrame(rows)
    columns = [
        one
        for one in ("auprc_ratio", "epr", "sign_accuracy_top", "lag_spearman", "lag_spearman_top", "runtime_s")
        if one in frame
    ]
    shown = frame[frame["set"] == name].set_index(["method", "truth"])[columns].round(3)
    print(f"\n{name}\n{shown.to_string()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulated", "published", "real", "ablation", "stability", "calibration"])
    parser.add_argument("--networks", type=int, default=4, help="planted networks of each condition")
    parser.add_argument(
        "--first", type=int, default=FIRST_SEED, help="seed of the first that is measured; others stay as they are"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the default")
    parser.add_argument(
        "--largest", type=float, default=2e6, help="cells x candidates of a real set, for the published preset"
    )
    options = parser.parse_args()
    globals()[options.what](options)


if __name__ == "__main__":
    main()
