"""Ways to lay out one training step, on one thread: milliseconds, and the share of the processor's matrix-product rate.

    python benchmarks/layouts.py                # 50 TFs x 500 targets, 30 % of the pairs are candidates
    python benchmarks/layouts.py 100 1000 0.3 --batch 128

All steps compute the same loss (checked) of the same model and update its weights with Adam. They differ in how the
contributions of a target's edges are summed and in who writes the gradient:

index_add        autograd; contributions scattered to their targets (``granger_loss`` as it stands)
segment_reduce   autograd; a segment of neighbouring edges per target
sparse product   autograd; a sparse matrix targets x edges times the contributions
padded           autograd; as many edges for each target as the largest one has, the spare ones masked
compiled         autograd; ``granger_loss`` through ``torch.compile`` (needs a C++ compiler)
fused            blocks of edges that stay in cache, gradient written by hand (``fused``)

The rate counts the three matrix products of the output layer (forward, weights, hidden units); the reference is a
product of two 1,024 x 1,024 matrices in the same process.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from record import save

from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.fused import FusedAdam
from scmagnify_core.methods.grn.granger.model import GrangerModel, granger_loss
from scmagnify_core.specification import parse_spec


def make_model(config: GrangerConfig, n_sources: int, n_targets: int, density: float) -> GrangerModel:
    mask = np.random.default_rng(0).random((n_targets, n_sources)) < density
    target_index, source_index = (torch.as_tensor(index) for index in np.nonzero(mask))
    return GrangerModel(n_sources, n_targets, source_index, target_index, config, torch.Generator().manual_seed(0))


class SegmentReduce(GrangerModel):
    def predict(self, coefficients, lagged):
        regulators = lagged.permute(1, 2, 0).index_select(1, self.source_index)
        lengths = torch.bincount(self.target_index, minlength=self.n_targets)
        return torch.segment_reduce((coefficients * regulators).sum(dim=0), "sum", lengths=lengths)


class SparseProduct(GrangerModel):
    def predict(self, coefficients, lagged):
        regulators = lagged.permute(1, 2, 0).index_select(1, self.source_index)
        n_edges = len(self.target_index)
        index = torch.stack([self.target_index, torch.arange(n_edges)])
        membership = torch.sparse_coo_tensor(index, torch.ones(n_edges), (self.n_targets, n_edges))
        return torch.sparse.mm(membership, (coefficients * regulators).sum(dim=0))


class Padded(GrangerModel):
    def predict(self, coefficients, lagged):
        regulators = lagged.permute(1, 2, 0).index_select(1, self.source_index)
        contributions = (coefficients * regulators).sum(dim=0)
        counts = torch.bincount(self.target_index, minlength=self.n_targets)
        first = torch.cumsum(counts, 0) - counts
        place = first[:, None] + torch.arange(int(counts.max()))
        inside = torch.arange(int(counts.max())) < counts[:, None]
        padded = contributions[torch.where(inside, place, 0).reshape(-1)].view(*place.shape, -1)
        return (padded * inside[:, :, None]).sum(dim=1)


def autograd_step(model: GrangerModel, loss: Callable = granger_loss) -> Callable:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step(lagged, observed):
        parts = loss(model, lagged, observed)
        optimizer.zero_grad(set_to_none=True)
        parts.total.backward()
        optimizer.step()
        return float(parts.total.detach())

    return step


def seconds(call: Callable[[], object], repeats: int) -> float:
    """CPU-seconds of one call: the median, after one to warm up."""
    call()
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=int, nargs="?", default=50)
    parser.add_argument("targets", type=int, nargs="?", default=500)
    parser.add_argument("density", type=float, nargs="?", default=0.3)
    parser.add_argument("--batch", type=int, help="cells in a batch; the preset's by default")
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    config = parse_spec({"name": "benchmark", "file": "none"}).granger
    if arguments.batch:
        config = config.model_copy(update={"batch_size": arguments.batch})
    size = (arguments.sources, arguments.targets, arguments.density)
    generator = torch.Generator().manual_seed(1)
    lagged = torch.randn((config.batch_size, config.n_lags, arguments.sources), generator=generator)
    observed = torch.randn((config.batch_size, arguments.targets), generator=generator)

    layouts = {"index_add": GrangerModel, "segment_reduce": SegmentReduce, "sparse product": SparseProduct}
    steps = {}
    for name, kind in (layouts | {"padded": Padded}).items():
        model = make_model(config, *size)
        model.__class__ = kind
        steps[name] = autograd_step(model)
    compiled = torch.compile(granger_loss)
    steps["compiled"] = autograd_step(make_model(config, *size), compiled)
    fused = FusedAdam(make_model(config, *size))
    steps["fused"] = lambda lagged, observed: fused.step(lagged, observed, 1e-3)[0]

    square = torch.randn((1024, 1024), generator=generator)
    reference = 2 * 1024**3 / seconds(lambda: square @ square, arguments.repeats) / 1e9
    weights = fused.model.output_weight
    n_flops = 6 * weights.numel() * config.batch_size
    rows, first_losses = [], []
    for name, step in steps.items():
        first_losses.append(step(lagged, observed))
        taken = seconds(lambda step=step: step(lagged, observed), arguments.repeats)
        rate = n_flops / taken / 1e9
        rows.append({"layout": name, "ms": taken * 1e3, "gflops": rate, "share_of_matrix_product": rate / reference})
        print(f"{name:15s} {taken * 1e3:8.1f} ms {rate:6.1f} GFLOP/s {rate / reference:6.0%}", flush=True)
    assert np.allclose(first_losses, first_losses[0], rtol=1e-4), first_losses
    print(f"{'1,024 x 1,024':15s} {'':11s} {reference:6.1f} GFLOP/s")
    save(
        "layouts", rows, n_edges=weights.shape[0], batch_size=config.batch_size, hidden=config.hidden,
        n_lags=config.n_lags, matrix_product_gflops=reference,
    )  # fmt: skip
