"""Training: batches of neighbours in pseudotime, a plateau schedule, early stop, and the history of the loss.

Same seed, same kind of CPU: the same weights, bit for bit.
"""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scmagnify_core.diffusion import DiffusionOperators, standardize
from scmagnify_core.errors import ConvergenceError, InputError
from scmagnify_core.methods.granger.config import GrangerConfig
from scmagnify_core.methods.granger.model import GrangerModel, granger_loss
from scmagnify_core.methods.granger.result import TrainingResult
from scmagnify_core.prior import PriorNetwork

Progress = Callable[[int, int, float], None]  # epoch, upper bound on epochs, loss


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


def train(
    operators: DiffusionOperators,
    targets: Float[np.ndarray, "cell target"],
    pseudotime: Float[np.ndarray, " cell"],
    prior: PriorNetwork,
    config: GrangerConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingResult:
    """Fit one seed.

    Parameters
    ----------
    targets
        Normalised expression of ``prior.targets``; standardised and clipped here.
    pseudotime
        Its order decides which cells are successors; its unit does not matter.
    progress
        Called after every epoch.

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
    generator = torch.Generator().manual_seed(seed)
    model = build_model(prior, config, seed).to(device)
    lagged = torch.from_numpy(operators.lagged).to(device)
    observed = torch.from_numpy(standardize(targets)).to(device)

    order = torch.from_numpy(np.argsort(pseudotime, kind="stable"))
    held_out, kept = _hold_out(order, config.validation_fraction, generator)
    held_out = held_out.to(device)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=config.scheduler_factor,
        patience=config.scheduler_patience,
        threshold=max(config.tolerance, 1e-4),
    )
    started = time.perf_counter()
    rows: list[dict[str, float]] = []
    best_loss, best_epoch, best_weights = np.inf, 0, copy.deepcopy(model.state_dict())
    # The best weights are those of the lowest loss; patience counts from the last fall beyond the tolerance.
    patient_loss, patient_epoch = np.inf, 0
    stopped_by: Literal["patience", "max_epochs"] = "max_epochs"
    with _numerics(device):
        for epoch in range(1, config.max_epochs + 1):
            row = _run_epoch(model, optimizer, lagged, observed, kept, generator)
            row |= {"epoch": epoch, "learning_rate": optimizer.param_groups[0]["lr"], "validation_loss": np.nan}
            if len(held_out):
                row["validation_loss"] = _validation_loss(model, lagged, observed, held_out)
            rows.append(row)
            watched = row["validation_loss"] if len(held_out) else row["loss"]
            if not np.isfinite(row["loss"]):
                raise ConvergenceError("The training loss", f"epoch {epoch}", "Lower granger.learning_rate.")
            schedule.step(watched)
            if epoch == 1 or watched < patient_loss * (1 - config.tolerance):
                patient_loss, patient_epoch = watched, epoch
            if watched < best_loss:
                best_loss, best_epoch, best_weights = watched, epoch, copy.deepcopy(model.state_dict())
            if progress is not None:
                progress(epoch, config.max_epochs, row["loss"])
            if epoch - patient_epoch >= config.patience:
                stopped_by = "patience"
                break
    columns = ["epoch", "loss", "prediction_loss", "sparsity", "smoothness", "validation_loss", "learning_rate"]
    return TrainingResult(
        weights={name: value.detach().cpu().contiguous() for name, value in best_weights.items()},
        history=pd.DataFrame(rows)[columns].astype({"epoch": np.int32}),
        seed=seed,
        best_epoch=best_epoch,
        stopped_by=stopped_by,
        device=str(device),
        runtime_s=time.perf_counter() - started,
        config=config,
    )


def successor_batches(
    order: Int[Tensor, " cell"], batch_size: int, generator: torch.Generator
) -> Iterator[Int[Tensor, " member"]]:
    """Batches of an epoch: pairs of cells next to each other in pseudotime, first halves first.

    Cells are paired (1,2), (3,4), ... or, with even chance, (2,3), (4,5), ..., so that over epochs every step of the
    trajectory is seen; each cell occurs at most once an epoch. The pairs are shuffled.
    """
    first = int(torch.randint(0, 2, (1,), generator=generator))
    n_pairs = (len(order) - first) // 2
    if not n_pairs:
        first, n_pairs = 0, len(order) // 2
    pairs = order[first : first + 2 * n_pairs].reshape(n_pairs, 2)
    pairs = pairs[torch.randperm(n_pairs, generator=generator)]
    for start in range(0, n_pairs, batch_size // 2):
        yield pairs[start : start + batch_size // 2].T.reshape(-1)


def _run_epoch(
    model: GrangerModel,
    optimizer: torch.optim.Optimizer,
    lagged: Tensor,
    observed: Tensor,
    order: Tensor,
    generator: torch.Generator,
) -> dict[str, float]:
    sums = torch.zeros(4, device=lagged.device, dtype=torch.float64)
    n_cells = 0
    for members in successor_batches(order, model.config.batch_size, generator):
        batch = members.to(lagged.device)
        loss = granger_loss(model, lagged[batch], observed[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        optimizer.step()
        # Summed on the device and read once an epoch: reading each batch would stall the GPU.
        parts = torch.stack([loss.total, loss.prediction, loss.sparsity, loss.smoothness]).detach()
        sums += parts.double() * len(members)
        n_cells += len(members)
    total, prediction, sparsity, smoothness = (sums / n_cells).tolist()
    return {"loss": total, "prediction_loss": prediction, "sparsity": sparsity, "smoothness": smoothness}


@torch.no_grad()
def _validation_loss(model: GrangerModel, lagged: Tensor, observed: Tensor, held_out: Tensor) -> float:
    total = 0.0
    for batch in held_out.split(512):
        predicted = model.predict(model.coefficients(lagged[batch]), lagged[batch])
        total += float(((predicted.T - observed[batch]) ** 2).sum())
    return total / (len(held_out) * model.n_targets)


def _hold_out(order: Tensor, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Held-out cells at random, and the rest in pseudotime order."""
    n_held = round(fraction * len(order))
    mask = torch.zeros(len(order), dtype=torch.bool)
    if n_held:
        mask[torch.randperm(len(order), generator=generator)[:n_held]] = True
    return order[mask], order[~mask]


@contextmanager
def _numerics(device: torch.device) -> Iterator[None]:
    """One thread and no denormal numbers on CPU; ordered sums on CUDA, where those over edges are atomic otherwise.

    One thread makes the result independent of the machine's cores, and batches are too small to gain from more; the
    cores serve other seeds (``ensemble``). Coefficients that the penalties push to zero make denormal moments in
    Adam, which cost several times as much.
    """
    before, n_threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_flush_denormal(False)
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
