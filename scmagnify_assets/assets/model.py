"""The trained model of each seed."""

import dagster as dg

from scmagnify_assets.declare import add_partition_metadata, asset
from scmagnify_assets.describe import figure_metadata
from scmagnify_assets.executors import training_needs
from scmagnify_assets.partitions import join_key, split_key
from scmagnify_assets.progress import report
from scmagnify_assets.resources import Specs
from scmagnify_core.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.methods.granger.result import TrainingResult
from scmagnify_core.plots.training import plot_history
from scmagnify_core.prior import PriorNetwork


@asset(
    group="model", kinds=("pytorch", "safetensors", "deltalake"), per_seed=True, pool="gpu", needs=training_needs()
)
def trained_model(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prior_network: PriorNetwork,
    diffusion_operators: DiffusionOperators,
    specs: Specs,
) -> dict[int, TrainingResult]:
    """Weights and loss curves; all seeds that one run asks for train side by side."""
    from scmagnify_core.methods.granger.training import train_seeds

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
            "figure": figure_metadata(plot_history(histories)),
        }
    )
    # Numbers of each seed's own partition, so that the UI plots them over time.
    for seed, result in results.items():
        numbers = {
            "epochs": len(result.history),
            "final_loss": float(result.history["loss"].min()),
            "training_s": round(result.runtime_s, 2),
            "stopped_by": result.stopped_by,
        }
        add_partition_metadata(context, join_key(name, seed), numbers)
    return results
