"""What all tests share: one thread each (they run in parallel), the public data where they are, small data sets."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before any numerical library starts its threads

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


# What runs the whole method, longest first, so that no worker is left with one of them at the end.
LONG = ("browser", "docs", "end_to_end", "test_runner", "test_arrivals", "test_lakehouse", "test_automation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(LONG) if name in (item.path.parent.name, item.path.stem)), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of public data sets beside the repository; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"public data sets are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of a small planted data set: data, prior, truth, ligand_receptor, receptor_tf, and those of its genome."""
    from scmagnify_core.simulation.simulated_genome import simulate_genome
    from scmagnify_core.simulation.simulation import SimulationConfig, simulate

    config = SimulationConfig(n_cells=300, n_sources=12, n_targets=30, n_background=40, seed=7)
    simulation, folder = simulate(config), tmp_path_factory.mktemp("simulated")
    return simulation.write(folder, "small") | simulate_genome(simulation).write(folder, "small")
