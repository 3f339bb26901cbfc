"""The trained model of each seed."""

from dataclasses import asdict

import dagster as dg

from scmagnify_assets.datasets.partitions import join_key, split_key
from scmagnify_assets.graph.declare import add_partition_metadata, asset
from scmagnify_assets.graph.describe import figure_metadata
from scmagnify_assets.graph.resources import Specs
from scmagnify_assets.steps.executors import training_needs
from scmagnify_assets.steps.progress import report
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.methods.grn.granger.result import TrainingResult
from scmagnify_core.plots.training import plot_history


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
    """Weights and loss curves; the seeds that one run asks for train together."""
    from scmagnify_core.methods.grn.granger.training import plan_training, train_seeds

    partitions = [split_key(key) for key in context.partition_keys]
    (name,) = {name for name, _ in partitions}
    seeds = sorted(seed for _, seed in partitions if seed is not None)
    spec = specs.get(name)
    plan = plan_training(len(dataset.cells), prior_network, spec.granger, len(seeds), spec.memory_budget)

    def progress(seed: int, epoch: int, n_epochs: int, loss: float) -> None:
        # Early stop decides when it ends: a bar towards the bound on epochs would mislead.
        report("trained_model", 0, 0, f"seed {seed}, epoch {epoch}, loss {loss:.4f}")
        if epoch % 25 == 0:
            context.log.info(f"Seed {seed}: epoch {epoch}, loss {loss:.4f}")

    targets = dataset.expression(prior_network.targets)
    results: dict[int, TrainingResult] = {}
    for start in range(0, len(seeds), plan.seeds_at_a_time):
        some = seeds[start : start + plan.seeds_at_a_time]
        results |= train_seeds(
            diffusion_operators, targets, dataset.pseudotime, prior_network, spec.granger, some, progress
        )
    histories = {seed: result.history for seed, result in results.items()}
    context.add_output_metadata(
        {
            "n_edges": prior_network.n_edges,
            "device": next(iter(results.values())).device,
            "seeds_at_a_time": plan.seeds_at_a_time,
            "memory_estimated_mib": plan.needed_bytes / 2**20,
            "memory_budget_mib": plan.budget_bytes / 2**20,
            "figure": figure_metadata(plot_history(histories)),
        }
    )
    # Numbers of each seed's own partition, so that the UI plots them over time.
    for seed, result in results.items():
        numbers: dict[str, object] = {
            "epochs": len(result.history),
            "final_loss": float(result.history["loss"].min()) if len(result.history) else float("nan"),
            "training_s": round(result.runtime_s, 2),
            "stopped_by": result.stopped_by,
        }
        if result.backbone is not None:
            numbers |= {f"backbone_{name}": value for name, value in asdict(result.backbone).items()}
            verdict = "predict unseen cells better" if result.backbone.is_state_dependent else "predict no better"
            context.log.info(
                f"Seed {seed}: coefficients of each cell's own {verdict} than a linear model (gain "
                f"{result.backbone.residual_gain:.4f}, standard error {result.backbone.residual_gain_se:.4f})."
            )
        add_partition_metadata(context, join_key(name, seed), numbers)
    return results
