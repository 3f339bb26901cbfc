"""The graph as Dagster sees it: what depends on what, how it is partitioned, and that the code location loads."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from scmagnify_assets.datasets.partitions import DATASETS, partitions_of
from scmagnify_assets.definitions import defs
from scmagnify_assets.graph.checks.all import CHECKS
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.waves import OVER_DATASETS
from scmagnify_assets.home import Home
from scmagnify_assets.steps.executors import PRELOADED
from scmagnify_core.tables.catalogue import TABLES

ROOT = Path(__file__).resolve().parents[2]
DEPENDENCIES = {
    "raw_dataset": set(),
    "dataset": {"raw_dataset"},
    "gene_association": {"dataset"},
    "peak_gene_links": {"dataset"},
    "tf_binding": {"dataset", "peak_gene_links"},
    "prior_network": {"dataset", "gene_association", "peak_gene_links", "tf_binding"},
    "diffusion_operators": {"dataset", "prior_network"},
    "scmagnify_model": {"dataset", "prior_network", "diffusion_operators"},
    "scmagnify_network": {"dataset", "scmagnify_model", "diffusion_operators", "prior_network"},
    "multiscale_network": {"scmagnify_model", "dataset", "prior_network", "diffusion_operators"},
    "regfactors": {"multiscale_network"},
    "tf_activity": {"dataset", "multiscale_network"},
    "regfactor_activity": {"dataset", "regfactors"},
    "communication_scores": {"dataset", "tf_activity"},
    "imported_networks": {"dataset", "prior_network"},
    "baseline_networks": {"dataset", "prior_network", "diffusion_operators"},
    "network_scores": {
        "dataset", "prior_network", "scmagnify_network", "imported_networks", "baseline_networks",
    },
    "report": {
        "dataset", "prior_network", "scmagnify_model", "scmagnify_network", "multiscale_network", "regfactors",
        "tf_activity", "regfactor_activity", "communication_scores", "network_scores",
    },
    "leaderboard": {"network_scores"},
}  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> Any:
    return defs.resolve_asset_graph()


def test_dependencies(graph: Any) -> None:
    found = {
        node.key.to_user_string(): {parent.to_user_string() for parent in node.parent_keys}
        for node in graph.asset_nodes
    }
    assert found == DEPENDENCIES


def test_partitions(graph: Any) -> None:
    for node in graph.asset_nodes:
        if node.key.to_user_string() in OVER_DATASETS:
            assert node.partitions_def is None
            continue
        is_of_family = node.key.to_user_string() in ("scmagnify_model", "scmagnify_network")
        assert node.partitions_def == (partitions_of("scmagnify") if is_of_family else DATASETS), node.key
    assert partitions_of("scmagnify") != DATASETS


def test_every_asset_has_a_record_with_its_inputs() -> None:
    assert set(RECORDS) == set(DEPENDENCIES) - {"raw_dataset"}
    for name, record in RECORDS.items():
        assert set(record.inputs) == DEPENDENCIES[name], name


def test_every_asset_says_what_it_is(graph: Any) -> None:
    for node in graph.asset_nodes:
        assert node.description, node.key
        assert node.group_name != "default", node.key


def test_checks_belong_to_assets_and_block() -> None:
    specs = [spec for check in CHECKS for spec in check.check_specs]
    assert {spec.asset_key.to_user_string() for spec in specs} <= set(DEPENDENCIES)
    assert {spec.name for spec in specs if not spec.blocking} == {
        "links_exceed_chance", "loss_fell", "edge_counts_are_usual", "seeds_agree_as_usual",
        "results_are_of_current_file",
    }  # fmt: skip
    covered = {spec.name for spec in specs}
    for table in TABLES.values():
        is_of_other_kind = table.asset in ("<method>_programs", "<method>_samples")  # no such family yet
        if table.mode == "replace" and table.asset != "raw_dataset" and not is_of_other_kind:
            assert f"schema_of_{table.name}" in covered


def test_checks_of_an_asset_are_one_step() -> None:
    assets = [{spec.asset_key for spec in check.check_specs} for check in CHECKS]
    assert all(len(one) == 1 for one in assets)
    assert len(set().union(*assets)) == len(assets)


def test_every_asset_explains_itself_in_the_graph(graph: Any) -> None:
    for node in graph.asset_nodes:
        assert node.kinds, node.key
        assert node.owners, node.key
        assert node.metadata, node.key


def test_steps_are_forked_from_a_server_that_has_imported_the_graph() -> None:
    assert isinstance(defs.executor, dg.ExecutorDefinition)
    config = defs.executor.config_schema.resolve_config({}).value
    assert config["config"]["max_concurrent"] == 2
    assert config["config"]["start_method"] == {"forkserver": {"preload_modules": list(PRELOADED)}}


def test_importing_the_graph_touches_neither_cuda_nor_a_lake(tmp_path: Path) -> None:
    """What the fork server does; a CUDA context or the threads of Delta's runtime would not survive the fork."""
    program = f"import sys, {', '.join(PRELOADED)}; assert 'torch' not in sys.modules"
    environment = {"SCMAGNIFY_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=120)
    # Libraries may keep caches there; nothing else may appear.
    assert {path.name for path in tmp_path.iterdir()} <= {".cache", ".config"}


@pytest.mark.parametrize("arguments", [("-m", "scmagnify_assets.definitions"), ("-w", "workspace.yaml")])
def test_dagster_validates_the_code_location(arguments: tuple[str, ...], tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    command = [str(Path(sys.executable).with_name("dagster")), "definitions", "validate", *arguments]
    environment = {
        "DAGSTER_HOME": str(home.dagster), "SCMAGNIFY_HOME": str(home.root), "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Validation successful" in done.stdout + done.stderr
