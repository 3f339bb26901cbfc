"""CPU-seconds of training to a given error on cells that training never saw: our side of the comparison.

    OMP_NUM_THREADS=1 python benchmarks/training.py S                   # 1,000 cells x 20 TFs x 200 targets
    OMP_NUM_THREADS=1 python benchmarks/training.py M --bar 0.9         # also: seconds until the error is 0.9 or less
    OMP_NUM_THREADS=1 python benchmarks/training.py S --preset published --set smoothness=1.0

`benchmarks/public/` trains the public package on the same file, with the same cells held out; its `run.py` calls both.

The problem is a simulated, branching trajectory with a planted network; the prior has all planted edges of the
targets and random others up to a density. A tenth of the cells, drawn once, is held out: their TFs take part in the
diffusion (inputs of neighbours pass through them), their targets never do. Targets are in standard deviations of the
other cells, so 1 is about the error of predicting the mean.

The clock is the CPU time of this process (one thread), from the call of `train` on. After each epoch it stands still
while the model, as it is then, is evaluated on the held-out cells; the public package is measured in the same way.
The model is had by standing between `train` and `build_model`; that the weights which `train` returns have the error
seen at their epoch is checked.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.diffusion import DiffusionOperators, diffusion_operators
from scmagnify_core.methods.grn.granger import training
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.model import GrangerModel
from scmagnify_core.methods.grn.granger.training import build_model, train
from scmagnify_core.simulation.simulation import SimulationConfig, simulate
from scmagnify_core.specification import DatasetSpec, parse_spec

SIZES = {"S": (1_000, 20, 200), "M": (3_000, 50, 500), "L": (10_000, 100, 1_000)}  # cells, TFs, targets
DENSITY, HELD_OUT = 0.3, 0.1
FOLDER = Path("build/public")


class Problem(NamedTuple):
    """What both sides train on; ``held_out`` are indices of cells."""

    operators: DiffusionOperators
    targets: np.ndarray  # cell, target: standard deviations of the cells that are not held out
    pseudotime: np.ndarray
    prior: PriorNetwork
    held_out: np.ndarray


@lru_cache(maxsize=1)
def simulated(size: str) -> tuple[Dataset, pd.DataFrame, DatasetSpec]:
    """Data set, planted edges and recommended settings."""
    n_cells, n_sources, n_targets = SIZES[size]
    config = SimulationConfig(
        seed=1, n_cells=n_cells, n_sources=n_sources, n_targets=n_targets, n_decoys_per_edge=0, n_signals=0
    )
    simulation = simulate(config)
    with tempfile.TemporaryDirectory() as folder:
        spec = parse_spec({"name": "planted", "file": str(simulation.write(Path(folder))["data"])})
        return read_dataset(spec.description), simulation.truth, spec


def make_problem(size: str, density: float = DENSITY) -> Problem:
    """Operators of the recommended settings, targets, pseudotime, prior and held-out cells of a size."""
    dataset, truth, spec = simulated(size)
    sources = tuple(gene for gene in dataset.genes if gene.startswith("TF"))
    targets = tuple(gene for gene in dataset.genes if gene.startswith("G"))
    rng = np.random.default_rng(0)
    planted = truth[truth["target"].isin(targets)]
    mask = np.zeros((len(targets), len(sources)), dtype=bool)
    mask[pd.Index(targets).get_indexer(planted["target"]), pd.Index(sources).get_indexer(planted["source"])] = True
    free = np.flatnonzero(~mask)
    mask.flat[rng.choice(free, round(density * mask.size) - int(mask.sum()), replace=False)] = True
    # A lag is a step on the graph, as in the public package.
    diffusion = spec.diffusion.model_copy(update={"lag_step": None})
    operators = diffusion_operators(dataset, sources, spec.scmagnify.n_lags, diffusion)
    n_cells = len(dataset.cells)
    held_out = np.sort(rng.choice(n_cells, round(HELD_OUT * n_cells), replace=False))
    values = dataset.expression(targets).astype(np.float64)
    kept = np.delete(values, held_out, axis=0)
    scaled = (values - kept.mean(axis=0)) / np.maximum(kept.std(axis=0), 1e-8)
    return Problem(
        operators,
        np.clip(scaled, -5, 5).astype(np.float32),
        dataset.pseudotime,
        _prior(mask, sources, targets),
        held_out,
    )


def _prior(mask: np.ndarray, sources: tuple[str, ...], targets: tuple[str, ...]) -> PriorNetwork:
    """The candidate edges of a target x source mask."""
    target_index, source_index = np.nonzero(mask)
    return PriorNetwork(
        sources,
        targets,
        source_index,
        target_index,
        np.ones(len(source_index), np.float32),
        pd.DataFrame(index=range(len(source_index))),
    )


def write_problem(size: str, path: Path, density: float = DENSITY) -> None:
    """Write the exchange file; it also has the counts, which the public package's constructor wants."""
    problem = make_problem(size, density)
    genes = problem.prior.sources + problem.prior.targets
    dataset, _, _ = simulated(size)
    counts = dataset.rna[:, list(genes)].layers["counts"].toarray()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, lagged=problem.operators.lagged, targets=problem.targets, pseudotime=problem.pseudotime,
        mask=problem.prior.mask(), held_out=problem.held_out, sources=np.array(problem.prior.sources),
        target_names=np.array(problem.prior.targets), counts=counts.astype(np.uint16),
    )  # fmt: skip


def read_problem(path: Path) -> Problem:
    """Inverse of :func:`write_problem`; the transition, which training does not use, is left empty."""
    with np.load(path) as file:
        sources, targets = (tuple(map(str, file[key])) for key in ("sources", "target_names"))
        operators = DiffusionOperators(sparse.csr_matrix((len(file["lagged"]),) * 2), file["lagged"], sources)
        prior = _prior(file["mask"].T, sources, targets)
        return Problem(operators, file["targets"], file["pseudotime"], prior, file["held_out"])


def training_cells(problem: Problem) -> Problem:
    """The problem without the held-out cells."""
    kept = np.delete(np.arange(len(problem.targets)), problem.held_out)
    operators = DiffusionOperators(
        problem.operators.transition[kept][:, kept], problem.operators.lagged[kept], problem.operators.sources
    )
    return Problem(
        operators, problem.targets[kept], problem.pseudotime[kept], problem.prior, np.empty(0, dtype=np.int64)
    )


@torch.no_grad()
def held_out_error(model: GrangerModel, problem: Problem) -> float:
    """Mean squared error of a model on the held-out cells, in the file's unit."""
    kept = np.delete(problem.targets, problem.held_out, axis=0).astype(np.float64)
    scale, centre = kept.std(axis=0), kept.mean(axis=0)  # training standardises once more
    total = 0.0
    for cells in np.array_split(problem.held_out, max(len(problem.held_out) // 32, 1)):
        lagged = torch.from_numpy(problem.operators.lagged[cells])
        predicted = model.predict(model.coefficients(lagged), lagged).T.numpy()
        total += float(((predicted * scale + centre - problem.targets[cells]) ** 2).sum())
    return total / (len(problem.held_out) * problem.targets.shape[1])


class Clock:
    """The progress callback: notes CPU time and held-out error of every epoch, and stands still meanwhile."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.models = problem, list[GrangerModel]()
        self.rows: list[dict[str, Any]] = []
        self.cpu_s, self.since = 0.0, time.process_time()
        self.peak_mib = peak_mib()

    def build_model(self, prior: PriorNetwork, config: GrangerConfig, seed: int) -> GrangerModel:
        self.models.append(build_model(prior, config, seed))
        return self.models[-1]

    def stop(self) -> None:
        self.cpu_s += time.process_time() - self.since
        self.since = time.process_time()

    def __call__(self, seed: int, epoch: int, bound: int, loss: float) -> None:
        self.stop()
        self.peak_mib = peak_mib()  # before the evaluation
        error = held_out_error(self.models[-1], self.problem)
        self.rows.append({"epoch": epoch, "cpu_s": round(self.cpu_s, 3), "loss": loss, "held_out_mse": error})
        self.since = time.process_time()


def measure(problem: Problem, config: GrangerConfig, seed: int, bar: float | None) -> dict[str, Any]:
    """Train to the end with a clock."""
    subset = training_cells(problem)
    begin = time.process_time()
    # The step compiles or is loaded at first use; the public package's constructor is not timed either.
    brief = config.model_copy(update={"max_epochs": 1})
    train(subset.operators, subset.targets, subset.pseudotime, subset.prior, brief, seed)
    warm_up_s, peak_mib_before = time.process_time() - begin, peak_mib()

    clock = Clock(problem)
    with patch.object(training, "build_model", clock.build_model):
        result = train(subset.operators, subset.targets, subset.pseudotime, subset.prior, config, seed, clock)
    clock.stop()
    model = build_model(problem.prior, config, seed)
    model.load_state_dict(result.weights)
    final = held_out_error(model, problem)
    if not np.isclose(final, clock.rows[result.best_epoch - 1]["held_out_mse"], rtol=1e-5):
        raise RuntimeError("The model seen during training is not the one that training returned.")
    best = min(clock.rows, key=lambda row: row["held_out_mse"])
    reached = next((row for row in clock.rows if bar is not None and row["held_out_mse"] <= bar), None)
    return {
        "seed": seed,
        "epochs": len(clock.rows),
        "stopped_by": result.stopped_by,
        "warm_up_cpu_s": round(warm_up_s, 3),
        "cpu_s": round(clock.cpu_s, 3),
        "cpu_s_per_epoch": round(clock.cpu_s / len(clock.rows), 4),
        "peak_mib_before": peak_mib_before,
        "peak_mib": clock.peak_mib,
        "returned_held_out_mse": final,
        "best_held_out_mse": best["held_out_mse"],
        "best_epoch": best["epoch"],
        "cpu_s_to_best": best["cpu_s"],
        "bar": bar,
        "epoch_at_bar": reached and reached["epoch"],
        "cpu_s_to_bar": reached and reached["cpu_s"],
        "trajectory": clock.rows,
    }


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def problem_file(size: str, folder: Path) -> Path:
    """Path of the exchange file; made, where it is absent, by another process, whose memory does not count."""
    path = folder / f"{size}.npz"
    if not path.exists():
        subprocess.run([sys.executable, __file__, size, "--folder", str(folder), "--write"], check=True)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bar", type=float, help="held-out error to reach")
    parser.add_argument("--preset", choices=["recommended", "published"], default="recommended")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="other settings than the preset's")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the exchange files are")
    parser.add_argument("--write", action="store_true", help="only write the exchange file")
    arguments = parser.parse_args()
    if arguments.write:
        write_problem(arguments.size, arguments.folder / f"{arguments.size}.npz")
    else:
        given = read_problem(problem_file(arguments.size, arguments.folder))
        changes = {key: json.loads(value) for key, value in (setting.split("=") for setting in arguments.set)}
        description = {"name": "planted", "file": "none.h5mu", "preset": arguments.preset, "scmagnify": changes}
        # The neural model alone, which is what the public package trains.
        settings = parse_spec(description).scmagnify.model_copy(update={"backbone": "none"})
        result = measure(given, settings, arguments.seed, arguments.bar)
        print(json.dumps({"preset": arguments.preset, "changes": changes, **result}, indent=1))
