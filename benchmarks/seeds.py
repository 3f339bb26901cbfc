"""Five seeds: one after another, and together (wall seconds, because cores are what it is about; peak memory).

    OMP_NUM_THREADS=1 python benchmarks/seeds.py                  # 3,000 cells x 50 TFs x 500 targets
    OMP_NUM_THREADS=1 python benchmarks/seeds.py S --repeats 5

Both ways take turns in one process, so that a busy machine slows them alike; the median of their ratio counts. Results
are the same bit for bit, which is checked.
"""

import argparse
import statistics
import time

import torch
from record import save
from training import SIZES, make_problem, simulated

from scmagnify_core.methods.grn.granger.training import train_seeds

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", choices=list(SIZES), default="M")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    problem = make_problem(arguments.size)
    config = simulated(arguments.size)[2].granger
    inputs = (problem.operators, problem.targets, problem.pseudotime, problem.prior, config)
    seeds = range(arguments.seeds)
    train_seeds(*inputs[:4], config.model_copy(update={"max_epochs": 1}))  # compiles
    rows = []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        alone = {seed: train_seeds(*inputs, [seed])[seed] for seed in seeds}
        middle = time.perf_counter()
        together = train_seeds(*inputs, seeds)
        ended = time.perf_counter()
        for seed in seeds:
            for name, value in alone[seed].weights.items():
                assert torch.equal(value, together[seed].weights[name]), (seed, name)
        rows.append((middle - started, ended - middle))
        print(f"{rows[-1][0]:7.1f} s one after another, {rows[-1][1]:7.1f} s together", flush=True)
    share = statistics.median(together / apart for apart, together in rows)
    # In units of one seed's time, as the mean of the seeds that ran alone.
    print(f"one seed takes 1, {arguments.seeds} together {share * arguments.seeds:.2f}")
    save(
        "seeds",
        [{"one_after_another_s": apart, "together_s": joint} for apart, joint in rows],
        size=arguments.size, n_seeds=arguments.seeds, n_edges=problem.prior.n_edges,
        epochs=[len(result.history) for result in together.values()], in_units_of_one_seed=share * arguments.seeds,
    )  # fmt: skip
