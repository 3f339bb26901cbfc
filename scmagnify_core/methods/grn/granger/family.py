"""scMagnify as a family: its record, and how its fits are stored and read.

A fit holds the weights of the model and, beside them, what they say over all cells (`inference`): whoever reads a
network off a stored fit needs neither the cells nor torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from scmagnify_core.diffusion import standardize
from scmagnify_core.memory import check_fits, resolve_budget
from scmagnify_core.methods.family import About, Family, Fit, Input, Inputs, Kind, Progress, Size
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.result import BackboneReport, TrainingResult
from scmagnify_core.methods.grn.granger.sizes import fit_bytes
from scmagnify_core.methods.packing import pack, unpack
from scmagnify_core.network.network import Network
from scmagnify_core.numerics.ridge import DENSE_STRENGTH, ridge_path
from scmagnify_core.tables.network import SEED_NETWORK, TRAINING_HISTORY

WEIGHTS = "weights."  # prefix of the model's own arrays within a fit


def fit(inputs: Inputs, config: GrangerConfig, seeds: Sequence[int], progress: Progress) -> dict[int, Fit]:
    """Train the seeds together and read their networks.

    Raises
    ------
    InputError
        Not even one seed at a time fits into memory, or the inputs do not belong together.
    ConvergenceError
        The loss or a coefficient became NaN or infinite.
    """
    from scmagnify_core.methods.grn.granger.inference import read_network, reading_bytes
    from scmagnify_core.methods.grn.granger.training import plan_training, train_seeds

    dataset, prior, operators = inputs.dataset, inputs.prior, inputs.lags
    budget = resolve_budget(inputs.memory_budget)
    plan = plan_training(dataset.rna.n_obs, prior, config, len(seeds), budget)

    def tell(seed: int, epoch: int, n_epochs: int, loss: float) -> None:
        # Early stop decides when it ends: a bar towards the bound on epochs would mislead.
        progress(0, 0, f"seed {seed}, epoch {epoch}, loss {loss:.4f}")

    targets = inputs.targets()
    results: dict[int, TrainingResult] = {}
    for start in range(0, len(seeds), plan.seeds_at_a_time):
        some = seeds[start : start + plan.seeds_at_a_time]
        results |= train_seeds(operators, targets, dataset.pseudotime, prior, config, some, tell)
    dense = ridge_path(operators.lagged, standardize(targets), prior, (DENSE_STRENGTH,))[0]
    measured = {
        "seeds_at_a_time": plan.seeds_at_a_time,
        "memory_estimated_mib": plan.needed_bytes / 2**20,
        "memory_budget_mib": plan.budget_bytes / 2**20,
    }
    fits = {}
    for done, (seed, result) in enumerate(sorted(results.items()), start=1):
        check_fits(
            f"coefficients of {prior.n_edges:,} candidate edges", reading_bytes(result, operators), budget,
            "Take fewer candidates (a stricter prior), fewer lags (scmagnify.n_lags) or units (scmagnify.hidden)",
        )  # fmt: skip
        network = read_network(result, operators, prior)
        fits[seed] = to_fit(result, network, dense, measured)
        progress(done, len(results), f"network of seed {seed}")
    return fits


def to_fit(
    result: TrainingResult, network: Network, dense: np.ndarray | None, measured: Mapping[str, object] | None = None
) -> Fit:
    """A trained model and its network as a fit; `trained_model` is the inverse of its first part."""
    about = {
        "config": result.config.model_dump(mode="json"),
        "seed": result.seed,
        "best_epoch": result.best_epoch,
        "stopped_by": result.stopped_by,
        "backbone": None if result.backbone is None else asdict(result.backbone),
    }
    weights = {f"{WEIGHTS}{name}": value.numpy() for name, value in result.weights.items()}
    arrays = weights | pack(network) | ({} if dense is None else {"dense": dense})
    shown = {"device": result.device, "training_s": round(result.runtime_s, 2)}
    return Fit(arrays, result.history, about, shown | dict(measured or {}))


def trained_model(fit: Fit) -> TrainingResult:
    """The trained model of a stored fit, for whoever runs it on."""
    import torch

    about = fit.notes
    return TrainingResult(
        weights={
            name.removeprefix(WEIGHTS): torch.from_numpy(np.array(value))
            for name, value in fit.arrays.items()
            if name.startswith(WEIGHTS)
        },
        history=fit.history,
        seed=about["seed"],
        best_epoch=about["best_epoch"],
        stopped_by=about["stopped_by"],
        device="stored",
        runtime_s=float("nan"),
        config=GrangerConfig.model_validate(about["config"]),
        backbone=BackboneReport(**about["backbone"]) if about["backbone"] else None,
    )


def rows(fits: Mapping[int, Fit], inputs: Inputs) -> dict[str, pd.DataFrame]:
    """The loss curves and the edges per lag of every seed."""
    histories = [fit.history.assign(seed=np.int16(seed)) for seed, fit in sorted(fits.items())]
    edges = [unpack(fit, inputs).to_table().assign(seed=np.int16(seed)) for seed, fit in sorted(fits.items())]
    return {
        TRAINING_HISTORY.name: pd.concat(histories, ignore_index=True),
        SEED_NETWORK.name: pd.concat(edges, ignore_index=True),
    }


def _work(size: Size, config: GrangerConfig) -> float:
    """Inner products of the lagged features, descent over each half of the cells, and the epochs of the rest."""
    width = config.n_lags * size.n_sources
    products = float(size.n_cells) * width * (width + size.n_targets)
    return (config.n_subsamples + 2) * products + 100.0 * config.n_lags * size.n_cells * size.n_edges


FAMILY = Family(
    name="scmagnify",
    title="scMagnify",
    reference="https://doi.org/10.64898/2026.02.03.703669",
    colour="#D55E00",
    role="method",
    kind=Kind.NETWORK,
    reads=frozenset({Input.EXPRESSION, Input.CANDIDATES, Input.LAGS, Input.PSEUDOTIME}),
    config=GrangerConfig,
    fit=fit,
    read=unpack,
    work=_work,
    memory=lambda size, config: float(fit_bytes(size.n_cells, size.n_sources, size.n_targets, size.n_edges, config)),
    presets={
        "recommended": {
            # A linear model with exact zeros recovers planted edges better than the published neural one, in a tenth
            # of the time; what depends on the state of a cell is added where held-out cells say so.
            "backbone": "group_elastic_net",
            # Coefficients start at zero: the noise of the published initial output layer outlasts training.
            "output_init": "zero",
            # Positive branch weights: free ones flip signs between lags.
            "attention": "softmax",
            # Shrinkage per coefficient that depends neither on the number of TFs nor on the prior's density.
            "penalty_scale": "targets",
            "sparsity": 0.15,
            # Beside a backbone, cells need not share their coefficients: with ten times as much, what was left over
            # predicted held-out cells worse than the best linear model.
            "smoothness": 0.1,
            # Chosen by time to the same recovery, on 200 to 1,500 cells. Two things decide it: fewer and larger steps,
            # and a rate that falls as soon as the loss stalls, because what then remains of the loss is noise of the
            # steps themselves. With less patience 200 cells stopped before they had learned.
            "hidden": (8,),
            "batch_size": 128,
            "learning_rate": 0.006,
            "tolerance": 0.01,
            "scheduler_patience": 1,
            "patience": 10,
        }
    },
    tables=(TRAINING_HISTORY, SEED_NETWORK),
    rows=rows,
    about=About(
        assumes="Cells lie on a trajectory with a known order, and what a TF does to a gene shows some time later. "
        "Only candidate edges can carry an effect.",
        formula=r"\hat X_{Q} = \sum_k \alpha_k \sum_{l \le k} \left(\Psi_k^l(\tilde T^l X_P) \odot B\right) \cdot "
        r"\tilde T^l X_P",
        use_when="The data are a differentiation, a response or another process in time, and there is a prior.",
        avoid_when="Cells have no order, such as a mature tissue: choose a method without lags.",
        measured="See [Accuracy](../accuracy.md).",
    ),
)
