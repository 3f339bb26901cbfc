"""Training: batches of neighbours in pseudotime, a plateau schedule, early stop, and the history of the loss.

All seeds of a data set train together, on the same arrays: on a CPU each seed is a task of its own, an epoch long,
and as many run at a time as there are cores (``fused``); on CUDA one batched model holds them all (``stacked``). Same
seed, same kind of processor: the same weights, bit for bit on a CPU, whatever other seeds train beside it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scmagnify_core.diffusion import DiffusionOperators, standardize
from scmagnify_core.errors import ConvergenceError, InputError
from scmagnify_core.group_elastic_net import group_elastic_net, predict, squared_errors
from scmagnify_core.memory import check_fits, memory_in_use, resolve_budget
from scmagnify_core.methods.granger.backbone import (
    BackboneReport,
    best_linear_errors,
    choose_strength,
    earns_its_place,
    fit_backbone,
)
from scmagnify_core.methods.granger.config import GrangerConfig
from scmagnify_core.methods.granger.fused import FusedAdam
from scmagnify_core.methods.granger.model import GrangerModel, n_networks_of
from scmagnify_core.methods.granger.result import TrainingResult
from scmagnify_core.methods.granger.stacked import StackedAdam
from scmagnify_core.prior import PriorNetwork

Progress = Callable[[int, int, int, float], None]  # seed, epoch, upper bound on epochs, loss
HELD_OUT_BYTES = 2**26  # of coefficients at a time, when held-out cells are predicted
COLUMNS = ("loss", "prediction_loss", "sparsity", "smoothness")
JUDGES = 0.2  # of the cells, that decide whether coefficients beyond the backbone are kept
MIN_FALL = 1e-4  # relative fall of the loss that the schedule takes for one, at least


def choose_device(asked: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device to train on.

    Raises
    ------
    InputError
        CUDA is asked for and torch has none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device = 'cuda'", f"torch {torch.__version__} sees no CUDA device.",
            "Install a CUDA build of torch and a driver, or set device = 'auto'.",
        )  # fmt: skip
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def build_model(prior: PriorNetwork, config: GrangerConfig, seed: int) -> GrangerModel:
    """A model with the initial weights of ``seed``."""
    return GrangerModel(
        len(prior.sources), len(prior.targets), torch.as_tensor(prior.source_index),
        torch.as_tensor(prior.target_index), config, torch.Generator().manual_seed(seed),
    )  # fmt: skip


@dataclass(frozen=True)
class TrainingPlan:
    """How many seeds train at a time, the peak of that with what the process holds already, and the budget."""

    seeds_at_a_time: int
    needed_bytes: int
    budget_bytes: int


def plan_training(
    n_cells: int, prior: PriorNetwork, config: GrangerConfig, n_seeds: int, memory_budget: int | None = None
) -> TrainingPlan:
    """Fit training into a memory budget.

    Beside the targets, as they came and standardised, a seed has its weights, two moments of each, the best ones so
    far and those of the epoch that may replace them; a seed that has ended keeps its best.

    Raises
    ------
    InputError
        Not even one seed at a time fits.
    """
    budget = resolve_budget(memory_budget)
    n_networks = n_networks_of(config)
    weights = 4 * prior.n_edges * n_networks * (config.hidden[-1] + 1)
    weights += 4 * n_networks * sum(n_in * n_out for n_in, n_out in pairwise((len(prior.sources), *config.hidden)))
    fixed = memory_in_use() + 8 * n_cells * len(prior.targets) + n_seeds * weights + 2 * HELD_OUT_BYTES
    per_seed = 4 * weights
    if config.backbone != "none":  # inner products, and what the backbone leaves over of the targets, twice
        width = config.n_lags * len(prior.sources)
        per_seed += 24 * width**2 + 16 * width * len(prior.targets) + 8 * n_cells * len(prior.targets)
    check_fits(
        f"training on {prior.n_edges:,} candidate edges with {config.n_lags} lags", fixed + per_seed, budget,
        "Take fewer candidates (a stricter prior), fewer lags (granger.n_lags) or units (granger.hidden)",
    )  # fmt: skip
    seeds_at_a_time = min(n_seeds, (budget - fixed) // per_seed)
    return TrainingPlan(seeds_at_a_time, fixed + seeds_at_a_time * per_seed, budget)


def load_model(result: TrainingResult, prior: PriorNetwork) -> GrangerModel:
    """A trained model, on the CPU; with a backbone, the model of what that leaves over, over the edges it uses.

    Raises
    ------
    InputError
        The weights are of another prior or of an earlier version of this model.
    """
    weights = {name: value for name, value in result.weights.items() if name != "backbone"}
    if result.backbone is not None:
        prior = prior.subset((load_backbone(result, prior) != 0).any(axis=0))
    model = build_model(prior, result.config, result.seed)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if shapes != {name: tuple(value.shape) for name, value in weights.items()}:
        raise _does_not_fit(result)
    model.load_state_dict(weights)
    return model


def load_backbone(result: TrainingResult, prior: PriorNetwork) -> Float[np.ndarray, "lag edge"]:
    """The backbone of a trained model that has one.

    Raises
    ------
    InputError
        It is of another prior.
    """
    backbone: np.ndarray = result.weights["backbone"].numpy()
    if backbone.shape != (result.config.n_lags, prior.n_edges):
        raise _does_not_fit(result)
    return backbone


def _does_not_fit(result: TrainingResult) -> InputError:
    return InputError(
        f"the trained model of seed {result.seed}", "does not fit the prior network: one of them is older.",
        "Train again.",
    )  # fmt: skip


def train(
    operators: DiffusionOperators,
    targets: Float[np.ndarray, "cell target"],
    pseudotime: Float[np.ndarray, " cell"],
    prior: PriorNetwork,
    config: GrangerConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingResult:
    """Fit one seed: :func:`train_seeds` of a single one."""
    return train_seeds(operators, targets, pseudotime, prior, config, [seed], progress)[seed]


def train_seeds(
    operators: DiffusionOperators,
    targets: Float[np.ndarray, "cell target"],
    pseudotime: Float[np.ndarray, " cell"],
    prior: PriorNetwork,
    config: GrangerConfig | None = None,
    seeds: Sequence[int] = (0,),
    progress: Progress | None = None,
    n_threads: int | None = None,
) -> dict[int, TrainingResult]:
    """Fit several seeds together.

    Parameters
    ----------
    targets
        Normalised expression of ``prior.targets``; standardised and clipped here.
    pseudotime
        Its order decides which cells are successors; its unit does not matter.
    progress
        Called after every epoch of every seed, from the calling thread.
    n_threads
        Seeds that train at a time on a CPU; the usable cores when None.

    Raises
    ------
    InputError
        Operators and prior disagree on TFs, targets or lags, or cells are too few for a batch.
    ConvergenceError
        The loss became NaN or infinite.
    """
    config = config or GrangerConfig()
    _check_shapes(operators, targets, pseudotime, prior, config)
    device = choose_device(config.device)
    lagged, observed = operators.lagged, standardize(targets)
    order = torch.from_numpy(np.argsort(pseudotime, kind="stable"))
    n_threads = min(n_threads or len(os.sched_getaffinity(0)), len(seeds))
    with _numerics(device):
        if config.backbone == "none":
            runs = [_prepare(seed, config, prior, torch.from_numpy(observed), order) for seed in seeds]
        else:
            with ThreadPoolExecutor(n_threads, "backbone", _one_thread) as pool:
                jobs = [
                    pool.submit(_prepare_residual, seed, config, prior, lagged, observed, order) for seed in seeds
                ]
                runs = [job.result() for job in jobs]
        trained = [run for run in runs if run.stopped_by is None]
        inputs = torch.from_numpy(lagged)
        if trained and device.type == "cpu":
            _train_side_by_side(trained, inputs, n_threads, progress)
        elif trained:
            inputs = inputs.to(device)
            # Residual models differ in their edges and targets, so that they do not stack.
            for group in [trained] if config.backbone == "none" else [[run] for run in trained]:
                _train_stacked(group, inputs, progress)
        if config.backbone != "none":
            for run in runs:
                _judge(run, inputs, observed, prior)
    return {run.seed: run.result(str(device)) for run in runs}


def _prepare(
    seed: int, config: GrangerConfig, prior: PriorNetwork, observed: Float[Tensor, "cell target"], order: Tensor
) -> "_Run":
    generator = torch.Generator().manual_seed(seed)
    held_out, kept = _hold_out(order, config.validation_fraction, generator)
    return _Run(seed, config, build_model(prior, config, seed), generator, kept, held_out, observed)


def _prepare_residual(
    seed: int,
    config: GrangerConfig,
    prior: PriorNetwork,
    lagged: Float[np.ndarray, "cell lag source"],
    observed: Float[np.ndarray, "cell target"],
    order: Tensor,
) -> "_Run":
    """The backbone of a seed, and its model, to be trained on what the backbone of the other cells leaves over.

    ``JUDGES`` of the cells take no part: half of them decide when training stops, half what it was worth.
    """
    generator = np.random.default_rng(seed)
    strength, error = config.backbone_strength, float("nan")
    if strength is None:
        strength, error = choose_strength(lagged, observed, prior, config.l1_ratio, generator)
    backbone = fit_backbone(lagged, observed, prior, config, strength, generator)
    report = BackboneReport(strength, error, float("nan"), float("nan"), False)
    is_active = (backbone != 0).any(axis=0)
    torch_generator = torch.Generator().manual_seed(seed)
    apart, kept = _hold_out(order, JUDGES, torch_generator)
    tried = config.state_dependence != "never" and is_active.any() and len(apart) >= 2
    edges = prior.subset(is_active)
    model = build_model(edges, config, seed)
    rest = torch.from_numpy(observed)
    if tried:
        ends = prior.source_index, prior.target_index
        own = group_elastic_net(lagged, observed, *ends, strength, config.l1_ratio, kept.numpy())
        rest = torch.from_numpy(observed - predict(lagged, own, *ends, observed.shape[1]))
    run = _Run(seed, config, model, torch_generator, kept, apart[0::2], rest)
    run.backbone, run.report, run.judged = backbone, report, apart[1::2]
    if not tried:
        ends = prior.source_index, prior.target_index
        error = squared_errors(lagged, observed, backbone, *ends, np.arange(len(observed))).mean()
        run.skip(float(error))
    return run


def _judge(
    run: "_Run",
    lagged: Float[Tensor, "cell lag source"],
    observed: Float[np.ndarray, "cell target"],
    prior: PriorNetwork,
) -> None:
    """Keep what was trained beyond the backbone only if it predicts cells it never saw better than a linear model."""
    if run.stopped_by == "backbone":
        return
    assert run.report is not None
    assert run.judged is not None
    run.model.load_state_dict(dict(run.best_weights))
    errors = _squared_errors(run.model, lagged, run.observed.to(lagged.device), run.judged).cpu().numpy()
    linear = best_linear_errors(
        lagged.cpu().numpy(), observed, run.kept.numpy(), run.judged.numpy(), prior, run.config.l1_ratio
    )
    gain, error, is_better = earns_its_place(linear - errors)
    keeps = is_better or run.config.state_dependence == "always"
    run.report = replace(run.report, residual_gain=gain, residual_gain_se=error, is_state_dependent=keeps)


@dataclass
class _Run:
    """One seed on its way: its schedule, its early stop, and its best weights so far."""

    seed: int
    config: GrangerConfig
    model: GrangerModel
    generator: torch.Generator
    kept: Int[Tensor, " cell"]  # in order of pseudotime
    held_out: Int[Tensor, " cell"]
    observed: Float[Tensor, "cell target"]
    backbone: Float[np.ndarray, "lag edge"] | None = None
    report: BackboneReport | None = None
    judged: Int[Tensor, " cell"] | None = None  # cells that neither fitting nor stopping sees
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
    stopped_by: Literal["patience", "max_epochs", "backbone"] | None = None

    def __post_init__(self) -> None:
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
            raise ConvergenceError("The training loss", f"epoch {epoch}", "Lower granger.learning_rate.")
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

    def result(self, device: str) -> TrainingResult:
        columns = ["epoch", *COLUMNS, "validation_loss", "learning_rate"]
        assert self.stopped_by is not None
        weights = {name: value.detach().cpu().contiguous() for name, value in self.best_weights.items()}
        if self.backbone is not None:
            assert self.report is not None
            weights = weights if self.report.is_state_dependent else {}
            weights["backbone"] = torch.from_numpy(self.backbone)
        return TrainingResult(
            weights=weights,
            history=pd.DataFrame(self.rows, columns=columns, dtype=np.float64).astype({"epoch": np.int32}),
            seed=self.seed,
            best_epoch=self.best_epoch,
            stopped_by=self.stopped_by,
            device=device,
            runtime_s=self.runtime_s,
            config=self.config,
            backbone=self.report,
        )

    def skip(self, error: float) -> None:
        """Nothing is trained beyond the backbone: the history is its error, as that of an epoch 0."""
        self.stopped_by = "backbone"
        row = dict.fromkeys(COLUMNS, 0.0) | {"loss": error, "prediction_loss": error}
        self.rows.append(row | {"epoch": 0, "validation_loss": float("nan"), "learning_rate": 0.0})


def _train_side_by_side(runs: Sequence[_Run], lagged: Tensor, n_threads: int, progress: Progress | None) -> None:
    """Train each seed on a core of its own; those that wait take turns, epoch by epoch, so that all end together."""

    def run_epoch(run: _Run, optimizer: FusedAdam) -> None:
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

    with ThreadPoolExecutor(n_threads, "train", _one_thread) as pool:
        pending: dict[Future[None], tuple[_Run, FusedAdam]] = {}
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


def _train_stacked(runs: Sequence[_Run], lagged: Tensor, progress: Progress | None) -> None:
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
    return float(_squared_errors(model, lagged, observed, cells).mean()) if len(cells) else float("nan")


@torch.no_grad()
def _squared_errors(
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


def _hold_out(order: Tensor, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Held-out cells at random, and the rest in pseudotime order."""
    n_held = round(fraction * len(order))
    mask = torch.zeros(len(order), dtype=torch.bool)
    if n_held:
        mask[torch.randperm(len(order), generator=generator)[:n_held]] = True
    return order[mask], order[~mask]


def _one_thread() -> None:
    """One thread, and no denormal numbers: moments of Adam that fade make them, and they cost several times as much."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@contextmanager
def _numerics(device: torch.device) -> Iterator[None]:
    """On a CPU one thread a matrix product, whose result is then the same on any number of cores (these serve other
    seeds); on CUDA ordered sums, where those over edges are atomic otherwise."""
    before, n_threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_num_threads(n_threads)


def _check_shapes(
    operators: DiffusionOperators,
    targets: np.ndarray,
    pseudotime: np.ndarray,
    prior: PriorNetwork,
    config: GrangerConfig,
) -> None:
    n_cells, n_lags, _ = operators.lagged.shape
    if operators.sources != prior.sources:
        raise InputError("operators", "were made for other TFs than the prior's.", "Make them again for this prior.")
    if n_lags != config.n_lags:
        raise InputError("n_lags", f"is {config.n_lags}, the operators have {n_lags}.", "Make the operators again.")
    if targets.shape != (n_cells, len(prior.targets)) or pseudotime.shape != (n_cells,):
        raise InputError(
            "targets", f"have shape {targets.shape} and pseudotime {pseudotime.shape}; "
            f"({n_cells}, {len(prior.targets)}) and ({n_cells},) were expected.", "Pass the same cells to all three.",
        )  # fmt: skip
    if n_cells * (1 - config.validation_fraction) < 2:
        raise InputError("cells", f"{n_cells} are too few to train on.", "Give a data set with more cells.")
