"""The whole method at 10,000 cells x 100 TFs x 1,000 targets, one seed, one process: seconds and memory by step.

    OMP_NUM_THREADS=1 python benchmarks/large.py                # 30 % of the pairs are candidates
    OMP_NUM_THREADS=1 python benchmarks/large.py --density 0.03

The data set is simulated (`training.py`) and read from memory; what comes before the prior network is not counted. The
time of this process is that of one thread, except where a library takes the cores it finds.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from record import peak_gib, save
from training import make_problem, simulated

from scmagnify_core.diffusion import diffusion_operators, standardize
from scmagnify_core.interpretation.activity import regfactor_activity, tf_activity
from scmagnify_core.interpretation.regfactors import decompose
from scmagnify_core.methods.grn.granger.inference import read_network
from scmagnify_core.methods.grn.granger.training import train
from scmagnify_core.network.edge_tests import edge_pvalues
from scmagnify_core.network.network import aggregate_seeds
from scmagnify_core.numerics.ridge import DENSE_STRENGTH, ridge_path

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["S", "M", "L"], default="L")
    parser.add_argument("--density", type=float, default=0.3)
    arguments = parser.parse_args()
    dataset, _, spec = simulated(arguments.size)
    prior = make_problem(arguments.size, arguments.density).prior
    rows: list[dict[str, Any]] = []

    def step(name: str, call: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        value = call()
        rows.append(
            {
                "step": name, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu,
                "peak_gib": peak_gib(),
            }
        )  # fmt: skip
        print("{step:20s} {wall_s:7.1f} s {cpu_s:7.1f} CPU-s {peak_gib:6.2f} GiB".format(**rows[-1]), flush=True)
        return value

    operators = step(
        "diffusion operators",
        lambda: diffusion_operators(dataset, prior.sources, spec.scmagnify.n_lags, spec.diffusion),
    )
    result = step(
        "training",
        lambda: train(operators, dataset.expression(prior.targets), dataset.pseudotime, prior, spec.scmagnify),
    )
    network = step("reading the network", lambda: read_network(result, operators, prior))
    targets = standardize(dataset.expression(prior.targets))
    dense = step("dense model", lambda: ridge_path(operators.lagged, targets, prior, (DENSE_STRENGTH,))[0])
    edges = step("ranking", lambda: aggregate_seeds({0: replace(network, dense=dense)}, spec.network)).edges
    lineages = dataset.labels("lineage")
    step("p-values", lambda: edge_pvalues(operators.lagged, targets, dataset.pseudotime, lineages, prior))
    factors = step("RegFactors", lambda: decompose(network, spec.regfactors))
    net = edges.loc[edges["has_weight"], ["source", "target", "signed_score"]]
    step("TF activity", lambda: tf_activity(dataset, net.rename(columns={"signed_score": "weight"}), spec.activity))
    loadings = factors.tables()["regfactor_loadings"]
    step("RegFactor activity", lambda: regfactor_activity(dataset, loadings, spec.activity))
    total = {name: sum(row[name] for row in rows) for name in ("wall_s", "cpu_s")}
    print("{:20s} {wall_s:7.1f} s {cpu_s:7.1f} CPU-s {peak:6.2f} GiB".format("all", peak=peak_gib(), **total))
    save(
        f"large_{arguments.density:g}", rows, n_cells=dataset.rna.n_obs, n_sources=len(prior.sources),
        n_targets=len(prior.targets), n_edges=prior.n_edges, epochs=len(result.history), peak_gib=peak_gib(), **total,
    )  # fmt: skip
