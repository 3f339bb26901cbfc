"""Training: what is fitted to what, and what is kept of it.

Without a backbone a seed is a model trained on the targets (``loop``). With one it is a backbone (``backbone``), and a
model trained on what a backbone of some cells leaves over, which stays if it predicts the others better than a linear
model. Same seed, same kind of processor: the same weights, bit for bit on a CPU, whatever other seeds train beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import DiffusionOperators, standardize
from scmagnify_core.errors import InputError
from scmagnify_core.memory import check_fits, memory_in_use, resolve_budget
from scmagnify_core.methods.grn.granger.backbone import (
    choose_strength,
    earns_its_place,
    fit_backbone,
    fit_to_others,
)
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.loop import (
    HELD_OUT_BYTES,
    Progress,
    Run,
    model_errors,
    one_thread,
    train_side_by_side,
    train_stacked,
    untrained_row,
)
from scmagnify_core.methods.grn.granger.model import GrangerModel
from scmagnify_core.methods.grn.granger.result import BackboneReport, TrainingResult
from scmagnify_core.methods.grn.granger.sizes import seed_bytes, weight_bytes
from scmagnify_core.numerics.group_elastic_net import predict, squared_errors
from scmagnify_core.parallel import n_cores

JUDGES = 0.2  # of the cells, that decide whether coefficients beyond the backbone are kept


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
    n_sources, n_targets = len(prior.sources), len(prior.targets)
    weights = weight_bytes(n_sources, prior.n_edges, config)
    fixed = memory_in_use() + 8 * n_cells * n_targets + n_seeds * weights + 2 * HELD_OUT_BYTES
    per_seed = seed_bytes(n_cells, n_sources, n_targets, prior.n_edges, config)
    check_fits(
        f"training on {prior.n_edges:,} candidate edges with {config.n_lags} lags", fixed + per_seed, budget,
        "Take fewer candidates (a stricter prior), fewer lags (scmagnify.n_lags) or units (scmagnify.hidden)",
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
    n_threads = min(n_threads or n_cores(), len(seeds))
    inputs = torch.from_numpy(lagged).to(device)
    with _numerics(device):
        if config.backbone == "none":
            runs = [_prepare(seed, config, prior, torch.from_numpy(observed), order) for seed in seeds]
            _train([runs], inputs, n_threads, progress)
            return {run.seed: _result(run, dict(run.best_weights), device) for run in runs}
        with ThreadPoolExecutor(n_threads, "backbone", one_thread) as pool:
            jobs = [pool.submit(_prepare_residual, seed, config, prior, lagged, observed, order) for seed in seeds]
            fits = [job.result() for job in jobs]
        # Residual models differ in their edges and targets, so that they do not stack.
        _train([[fit.run] for fit in fits if fit.is_tried], inputs, n_threads, progress)
        return {fit.run.seed: fit.result(inputs, device) for fit in fits}


def _train(
    groups: Sequence[Sequence[Run]],
    lagged: Float[Tensor, "cell lag source"],
    n_threads: int,
    progress: Progress | None,
) -> None:
    """Train runs; those of a group have the same edges and targets."""
    if lagged.device.type == "cpu":
        train_side_by_side([run for group in groups for run in group], lagged, n_threads, progress)
    else:
        for group in groups:
            train_stacked(group, lagged, progress)


def _result(
    run: Run, weights: Mapping[str, Tensor], device: torch.device, report: BackboneReport | None = None
) -> TrainingResult:
    return TrainingResult(
        weights={name: value.detach().cpu().contiguous() for name, value in weights.items()},
        history=run.history(),
        seed=run.seed,
        best_epoch=run.best_epoch,
        stopped_by=run.stopped_by or "backbone",
        device=str(device),
        runtime_s=run.runtime_s,
        config=run.config,
        backbone=report,
    )


def _prepare(
    seed: int, config: GrangerConfig, prior: PriorNetwork, observed: Float[Tensor, "cell target"], order: Tensor
) -> Run:
    generator = torch.Generator().manual_seed(seed)
    held_out, kept = _hold_out(order, config.validation_fraction, generator)
    return Run(seed, config, build_model(prior, config, seed), generator, kept, held_out, observed)


@dataclass(frozen=True)
class _Residual:
    """A backbone, and the run of a model on what it leaves over.

    ``linear_errors`` are those of the best linear model on the ``judged`` cells, per target.
    """

    backbone: Float[np.ndarray, "lag edge"]
    strength: float
    held_out_error: float
    run: Run
    judged: Int[Tensor, " cell"]
    linear_errors: Float[np.ndarray, " target"]
    is_tried: bool

    def result(self, lagged: Float[Tensor, "cell lag source"], device: torch.device) -> TrainingResult:
        """The backbone, and the model's weights if they predict cells that nothing saw better than a linear model."""
        run, gain, error, keeps = self.run, float("nan"), float("nan"), False
        if self.is_tried:
            run.model.load_state_dict(dict(run.best_weights))
            errors = model_errors(run.model, lagged, run.observed.to(lagged.device), self.judged).cpu().numpy()
            gain, error, is_better = earns_its_place(self.linear_errors - errors)
            keeps = is_better or run.config.state_dependence == "always"
        report = BackboneReport(self.strength, self.held_out_error, gain, error, keeps)
        weights = dict(run.best_weights) if keeps else {}
        return _result(run, weights | {"backbone": torch.from_numpy(self.backbone)}, device, report)


def _prepare_residual(
    seed: int,
    config: GrangerConfig,
    prior: PriorNetwork,
    lagged: Float[np.ndarray, "cell lag source"],
    observed: Float[np.ndarray, "cell target"],
    order: Tensor,
) -> _Residual:
    """The backbone of a seed, and its model, to be trained on what the backbone of the other cells leaves over.

    ``JUDGES`` of the cells take no part: half of them decide when training stops, half what it was worth.
    """
    generator = np.random.default_rng(seed)
    strength, held_out_error = config.backbone_strength, float("nan")
    if strength is None:
        strength, held_out_error = choose_strength(lagged, observed, prior, config.l1_ratio, generator)
    backbone = fit_backbone(lagged, observed, prior, config, strength, generator)
    is_active = (backbone != 0).any(axis=0)
    torch_generator = torch.Generator().manual_seed(seed)
    apart, kept = _hold_out(order, JUDGES, torch_generator)
    stopping, judged = apart[0::2], apart[1::2]
    is_tried = config.state_dependence != "never" and bool(is_active.any()) and len(judged) > 0
    ends, rest, linear_errors = (prior.source_index, prior.target_index), observed, np.empty(0)
    if is_tried:
        own, linear_errors = fit_to_others(
            lagged, observed, prior, config.l1_ratio, strength, kept.numpy(), judged.numpy()
        )
        rest = observed - predict(lagged, own, *ends, observed.shape[1])
    model = build_model(prior.subset(is_active), config, seed)
    run = Run(seed, config, model, torch_generator, kept, stopping, torch.from_numpy(rest))
    if not is_tried:
        error = squared_errors(lagged, observed, backbone, *ends, np.arange(len(observed))).mean()
        run.rows.append(untrained_row(float(error)))
    return _Residual(backbone, strength, held_out_error, run, judged, linear_errors, is_tried)


def _hold_out(order: Tensor, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Held-out cells at random, and the rest in pseudotime order."""
    n_held = round(fraction * len(order))
    mask = torch.zeros(len(order), dtype=torch.bool)
    if n_held:
        mask[torch.randperm(len(order), generator=generator)[:n_held]] = True
    return order[mask], order[~mask]


@contextmanager
def _numerics(device: torch.device) -> Iterator[None]:
    """On a CPU one thread a matrix product, whose result is then the same on any number of cores (these serve other
    seeds); on CUDA ordered sums, where those over edges are atomic otherwise."""
    # Not `use_deterministic_algorithms`, which does the same and imports the compiler for it: seconds for nothing.
    before, n_threads = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.set_deterministic_debug_mode("warn")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
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
