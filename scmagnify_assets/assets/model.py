"""The trained model of each seed."""

import dagster as dg

from scmagnify_assets.describe import definition_metadata, figure_metadata
from scmagnify_assets.partitions import DATASET_SEEDS, split_key
from scmagnify_assets.progress import report
from scmagnify_assets.resources import Specs
from scmagnify_core.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.methods.granger.training import TrainingResult
from scmagnify_core.plots.training import plot_history
from scmagnify_core.prior import PriorNetwork


@dg.asset(
    partitions_def=DATASET_SEEDS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="gpu",
    group_name="model",
    kinds={"pytorch"},
    metadata=definition_metadata("trained_model"),
)
def trained_model(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prior_network: PriorNetwork,
    diffusion_operators: DiffusionOperators,
    specs: Specs,
) -> dict[int, TrainingResult]:
    """Weights and loss curves; all seeds that one run asks for train side by side."""
    from scmagnify_core.methods.granger.ensemble import train_seeds

    partitions = [split_key(key) for key in context.partition_keys]
    (name,) = {name for name, _ in partitions}
    seeds = sorted(seed for _, seed in partitions if seed is not None)
    config = specs.get(name).granger

    def progress(seed: int, epoch: int, n_epochs: int, loss: float) -> None:
        # Early stop decides when it ends: a bar towards the bound on epochs would mislead.
        report("trained_model", 0, 0, f"seed {seed}, epoch {epoch}, loss {loss:.4f}")
        if epoch % 25 == 0:
            context.log.info(f"Seed {seed}: epoch {epoch}, loss {loss:.4f}")

    results = train_seeds(
        diffusion_operators, dataset.expression(prior_network.targets), dataset.pseudotime, prior_network, config,
        seeds, progress,
    )  # fmt: skip
    histories = {seed: result.history for seed, result in results.items()}
    context.add_output_metadata(
        {
            "n_edges": prior_network.n_edges,
            "device": next(iter(results.values())).device,
            "epochs": {str(seed): len(history) for seed, history in histories.items()},
            "final_loss": float(min(history["loss"].min() for history in histories.values())),
            "stopped_by": {str(seed): result.stopped_by for seed, result in results.items()},
            "runtime_s": {str(seed): round(result.runtime_s, 2) for seed, result in results.items()},
            "figure": figure_metadata(plot_history(histories)),
        }
    )
    return results
