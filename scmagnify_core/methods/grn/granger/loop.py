"""The training loop: batches of neighbours in pseudotime, a plateau schedule, early stop, the history of the loss.

Several runs, one a seed, go through it together: on a CPU each is a task of its own, an epoch long, and as many run
at a time as there are cores (``fused``); on CUDA one batched model holds them all (``stacked``). What is trained on
what, and what becomes of it, is the business of ``training``.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scmagnify_core.errors import ConvergenceError
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.fused import FusedAdam
from scmagnify_core.methods.grn.granger.model import GrangerModel
from scmagnify_core.methods.grn.granger.stacked import StackedAdam

Progress = Callable[[int, int, int, float], None]  # seed, epoch, upper bound on epochs, loss
HELD_OUT_BYTES = 2**26  # of coefficients at a time, when held-out cells are predicted
COLUMNS = ("loss", "prediction_loss", "sparsity", "smoothness")
MIN_FALL = 1e-4  # relative fall of the loss that the schedule takes for one, at least


@dataclass
class Run:
    """One seed on its way: its schedule, its early stop, and its best weights so far."""

    seed: int
    config: GrangerConfig
    model: GrangerModel
    generator: torch.Generator
    kept: Int[Tensor, " cell"]  # in order of pseudotime
    held_out: Int[Tensor, " cell"]
    observed: Float[Tensor, "cell target"]
    rows: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = np.inf
    best_epoch: int = 0
    best_weights: Mapping[str, Tensor] = field(default_factory=dict)
    # Patience counts from the last fall beyond the tolerance, the schedule's from the last fall or cut.
    patient_loss: float = np.inf
    patient_epoch: int = 0
    schedule_loss: float = np.inf
    schedule_epoch: int = 0
    runtime_s: float = 0.0
    stopped_by: Literal["patience", "max_epochs"] | None = None

    def __post_init__(self) -> None:
        """Start at the configured learning rate."""
        self.learning_rate = self.config.learning_rate

    def end_epoch(
        self,
        parts: Sequence[float],
        validation_loss: float,
        runtime_s: float,
        weights: Callable[[], dict[str, Tensor]],
    ) -> None:
        """Record an epoch, keep its weights if they are the best, cut the learning rate or stop.

        ``parts`` are the loss and its parts, averaged over the epoch.
        """
        config, epoch = self.config, len(self.rows) + 1
        watched = validation_loss if len(self.held_out) else parts[0]
        self.rows.append(
            dict(zip(COLUMNS, parts, strict=True))
            | {"epoch": epoch, "validation_loss": validation_loss, "learning_rate": self.learning_rate}
        )
        self.runtime_s += runtime_s
        if not (np.isfinite(parts[0]) and np.isfinite(watched)):
            raise ConvergenceError("The training loss", f"epoch {epoch}", "Lower scmagnify.learning_rate.")
        if watched < self.best_loss:
            self.best_loss, self.best_epoch, self.best_weights = watched, epoch, weights()
        if epoch == 1 or watched < self.patient_loss * (1 - config.tolerance):
            self.patient_loss, self.patient_epoch = watched, epoch
        if watched < self.schedule_loss * (1 - max(config.tolerance, MIN_FALL)):
            self.schedule_loss, self.schedule_epoch = watched, epoch
        elif epoch - self.schedule_epoch > config.scheduler_patience:
            self.learning_rate, self.schedule_epoch = self.learning_rate * config.scheduler_factor, epoch
        if epoch - self.patient_epoch >= config.patience:
            self.stopped_by = "patience"
        elif epoch == config.max_epochs:
            self.stopped_by = "max_epochs"

    def history(self) -> pd.DataFrame:
        """Body of the ``training_history`` table."""
        columns = ["epoch", *COLUMNS, "validation_loss", "learning_rate"]
        return pd.DataFrame(self.rows, columns=columns).astype({"epoch": np.int32})


def untrained_row(error: float) -> dict[str, float]:
    """History of a run in which nothing was trained: the error that there is, as that of an epoch 0."""
    row = dict.fromkeys(COLUMNS, 0.0) | {"loss": error, "prediction_loss": error}
    return row | {"epoch": 0, "validation_loss": float("nan"), "learning_rate": 0.0}


def train_side_by_side(runs: Sequence[Run], lagged: Tensor, n_threads: int, progress: Progress | None) -> None:
    """Train each seed on a core of its own; those that wait take turns, epoch by epoch, so that all end together."""

    def run_epoch(run: Run, optimizer: FusedAdam) -> None:
        started = time.perf_counter()
        sums, n_cells = np.zeros(len(COLUMNS)), 0
        for batch in successor_batches(run.kept, run.config.batch_size, run.generator):
            sums += optimizer.step(lagged[batch], run.observed[batch], run.learning_rate) * len(batch)
            n_cells += len(batch)
        validation_loss = _prediction_loss(run.model, lagged, run.observed, run.held_out)
        model = run.model
        run.end_epoch(
            (sums / n_cells).tolist(), validation_loss, time.perf_counter() - started,
            lambda: {name: value.detach().clone() for name, value in model.named_parameters()},
        )  # fmt: skip

    with ThreadPoolExecutor(n_threads, "train", one_thread) as pool:
        pending: dict[Future[None], tuple[Run, FusedAdam]] = {}
        try:
            for run in runs:
                optimizer = FusedAdam(run.model)
                pending[pool.submit(run_epoch, run, optimizer)] = run, optimizer
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    run, optimizer = pending.pop(future)
                    future.result()
                    if progress is not None:
                        progress(run.seed, len(run.rows), run.config.max_epochs, run.rows[-1]["loss"])
                    if run.stopped_by is None:
                        pending[pool.submit(run_epoch, run, optimizer)] = run, optimizer
        except BaseException:  # an interrupt, too: else the pool would first train what is left of this epoch
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def train_stacked(runs: Sequence[Run], lagged: Tensor, progress: Progress | None) -> None:
    """Train seeds of the same edges and targets as one batched model; those that stop leave it."""
    device, running = lagged.device, list(runs)
    observed = runs[0].observed.to(device)
    optimizer = StackedAdam([run.model.to(device) for run in runs])
    while running:
        started = time.perf_counter()
        rates = torch.tensor([run.learning_rate for run in running], device=device)
        epochs = [list(successor_batches(run.kept, run.config.batch_size, run.generator)) for run in running]
        sums = torch.zeros((len(COLUMNS), len(running)), device=device, dtype=torch.float64)
        # All batches of an epoch go to the device at once, and losses are read once an epoch: either would stall it.
        batches = [torch.stack(members).to(device, non_blocking=True) for members in zip(*epochs, strict=True)]
        for batch in batches:
            parts = optimizer.step(lagged[batch], observed[batch], rates)
            sums += parts.double() * batch.shape[1]
        averages = (sums / sum(batch.shape[1] for batch in batches)).T.tolist()
        for row, run in enumerate(running):
            run.model.load_state_dict(optimizer.weights(row))
            validation_loss = _prediction_loss(run.model, lagged, observed, run.held_out.to(device))
            seconds = (time.perf_counter() - started) / len(running)
            run.end_epoch(averages[row], validation_loss, seconds, partial(optimizer.weights, row))
            if progress is not None:
                progress(run.seed, len(run.rows), run.config.max_epochs, run.rows[-1]["loss"])
        going_on = [row for row, run in enumerate(running) if run.stopped_by is None]
        if len(going_on) < len(running):
            optimizer.keep(going_on)
            running = [running[row] for row in going_on]


def successor_batches(
    order: Int[Tensor, " cell"], batch_size: int, generator: torch.Generator
) -> Iterator[Int[Tensor, " member"]]:
    """Batches of an epoch: pairs of cells next to each other in pseudotime, first halves first.

    Cells are paired (1,2), (3,4), ... or, with even chance, (2,3), (4,5), ..., so that over epochs every step of the
    trajectory is seen; each cell occurs at most once an epoch. The pairs are shuffled. Every epoch has as many of them,
    so that seeds can train in step: of an even number of cells, one or two sit out.
    """
    n_pairs = max((len(order) - 1) // 2, 1)
    first = int(torch.randint(0, 2, (1,), generator=generator)) if len(order) > 2 else 0
    pairs = order[first : first + (len(order) - first) // 2 * 2].reshape(-1, 2)
    pairs = pairs[torch.randperm(len(pairs), generator=generator)[:n_pairs]]
    for start in range(0, n_pairs, batch_size // 2):
        yield pairs[start : start + batch_size // 2].T.reshape(-1)


def _prediction_loss(model: GrangerModel, lagged: Tensor, observed: Tensor, cells: Int[Tensor, " cell"]) -> float:
    """Mean squared error of the predictions for some cells; NaN for none."""
    return float(model_errors(model, lagged, observed, cells).mean()) if len(cells) else float("nan")


@torch.no_grad()
def model_errors(
    model: GrangerModel, lagged: Tensor, observed: Tensor, cells: Int[Tensor, " cell"]
) -> Float[Tensor, " target"]:
    """Mean squared error of each target over some cells."""
    at_a_time = max(1, HELD_OUT_BYTES // (4 * model.config.n_lags * max(1, len(model.source_index))))
    total = torch.zeros(model.n_targets, dtype=torch.float64, device=lagged.device)
    for some in cells.split(at_a_time):
        regulators = lagged[some]
        predicted = model.predict(model.coefficients(regulators), regulators)
        total += (predicted.T - observed[some]).square().sum(dim=0)
    return total / len(cells)


def one_thread() -> None:
    """One thread, and no denormal numbers: moments of Adam that fade make them, and they cost several times as much."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
