"""Memory follows candidate edges and non-zeros, never cells squared or TFs x targets x cells."""

import subprocess
import sys

SCRIPT = """
import resource
import numpy as np, pandas as pd, torch
from scmagnify_core.diffusion import DiffusionOperators, cell_graph, lagged_expression, transition_matrix
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.inference import read_network
from scmagnify_core.methods.grn.granger.training import train
from scmagnify_core.candidates import PriorNetwork

torch.set_num_threads(1)
n_cells, n_sources, n_targets, density = 10_000, 100, 1_000, 0.02
rng = np.random.default_rng(0)
time = rng.random(n_cells)
transition = transition_matrix(cell_graph(np.column_stack([time, rng.random((n_cells, 4))]).astype("f4"), 30), time)
lagged = lagged_expression(transition, rng.random((n_cells, n_sources), dtype="f4"), (1, 2, 3, 4, 5))
target_index, source_index = np.nonzero(rng.random((n_targets, n_sources)) < density)
names = ("x",) * len(source_index)
prior = PriorNetwork(
    tuple(f"TF{i}" for i in range(n_sources)), tuple(f"G{i}" for i in range(n_targets)), source_index, target_index,
    np.ones(len(names), "f4"), pd.DataFrame({"evidence": names, "origin": names}),
)
operators = DiffusionOperators(transition, lagged, prior.sources)
result = train(operators, rng.random((n_cells, n_targets), dtype="f4"), time, prior, GrangerConfig(max_epochs=1))
network = read_network(result, operators, prior)
assert network.n_edges == len(names) and np.isfinite(network.weight).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def test_ten_thousand_cells_train_and_aggregate_below_two_gib():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=300)
    peak_gib = float(done.stdout)
    assert 0.1 < peak_gib < 2, peak_gib
