"""Where steps run is a matter of the environment; what they need is said to every executor alike."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._config import process_config

from scmagnify_assets.steps.executors import (
    EXECUTORS,
    PRELOADED,
    Needs,
    executor,
    needs_of,
    op_tags,
    refuse_unknown_assets,
    training_needs,
)
from scmagnify_core.errors import InputError

VARIABLES = ("EXECUTOR", "MAX_CONCURRENT", "TRAINING_GPUS", "NEEDS")
GIB = 2**30


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"SCMAGNIFY_{name}", raising=False)


def config_of(definition: dg.ExecutorDefinition) -> dict[str, Any]:
    config: dict[str, Any] = definition.config_schema.resolve_config({}).value["config"]
    return config


def test_default_forks_steps_from_a_server_that_has_imported_the_graph() -> None:
    config = config_of(executor())
    assert config["max_concurrent"] == 2
    assert config["start_method"] == {"forkserver": {"preload_modules": list(PRELOADED)}}


def test_a_forked_step_imports_next_to_nothing_before_its_work(tmp_path: Path) -> None:
    """Dagster's records alone took a second in every step, until they were preloaded. Torch must stay out."""
    program = f"""
import importlib, pathlib, sys
for name in {PRELOADED}:
    importlib.import_module(name)
assert "torch" not in sys.modules
before = set(sys.modules)
import dagster as dg
from scmagnify_assets.home import Home
home = Home(pathlib.Path({str(tmp_path / "home")!r}))
home.create()
with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
    instance.get_runs()
print(len(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60


@pytest.mark.parametrize(
    ("name", "expected"),
    [("multiprocess", "multiprocess"), ("in_process", "in_process"), ("ray", "ray"), ("kubernetes", "k8s")],
)
def test_executor_is_what_the_environment_names(name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_EXECUTOR", name)
    assert executor().name == expected
    assert set(EXECUTORS) == {"multiprocess", "in_process", "ray", "kubernetes"}


@pytest.mark.parametrize("name", ["multiprocess", "kubernetes"])
def test_steps_at_a_time_come_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_EXECUTOR", name)
    monkeypatch.setenv("SCMAGNIFY_MAX_CONCURRENT", "7")
    assert config_of(executor())["max_concurrent"] == 7


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_steps_at_a_time_must_be_a_positive_integer(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_MAX_CONCURRENT", value)
    with pytest.raises(InputError, match=f"SCMAGNIFY_MAX_CONCURRENT={value}: is no positive integer"):
        executor()


def test_unknown_executor_is_refused_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_EXECUTOR", "slurm")
    with pytest.raises(InputError, match="SCMAGNIFY_EXECUTOR=slurm.*multiprocess, in_process, ray, kubernetes"):
        executor()


@pytest.mark.parametrize(("name", "package"), [("ray", "dagster_ray"), ("kubernetes", "dagster_k8s")])
def test_missing_package_is_named_with_what_installs_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCMAGNIFY_EXECUTOR", name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "scmagnify_assets.steps.ray_steps", raising=False)
    with pytest.raises(InputError, match=rf"pip install 'scmagnify-platform\[{name}\]'"):
        executor()


def test_ray_leaves_cores_and_gpus_to_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """dagster-ray prefers the executor's numbers to those of a step, so that one of its own would win everywhere."""
    monkeypatch.setenv("SCMAGNIFY_EXECUTOR", "ray")
    config = config_of(executor())["ray"]
    assert [config[name] for name in ("num_cpus", "num_gpus", "memory", "resources")] == [None] * 4
    assert {"SCMAGNIFY_HOME", "SCMAGNIFY_EXECUTOR"} <= set(config["env_vars"])
    assert not [name for name in config["env_vars"] if "PASSWORD" in name]


def test_tags_are_what_dagster_ray_reads() -> None:
    from dagster_ray.configs import RayExecutionConfig

    tags = {name: json.dumps(value) for name, value in op_tags(Needs(cpus=2, memory_gib=3, gpus=1)).items()}
    read = RayExecutionConfig.from_tags(tags)
    assert (read.num_cpus, read.num_gpus, read.memory) == (2, 1, 3 * GIB)


def test_step_without_gpus_asks_for_none() -> None:
    tags = op_tags(Needs(gpus=0))
    assert "num_gpus" not in tags["dagster-ray/config"]
    assert "nvidia.com/gpu" not in json.dumps(tags)


@pytest.mark.parametrize(("gpus", "devices"), [(1, "1"), (2, "2"), (0.5, "1")])
def test_kubernetes_job_of_a_step_limits_gpus_and_memory(gpus: float, devices: str) -> None:
    """The job that dagster-k8s would create, down to the container."""
    from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job, get_user_defined_k8s_config

    tags = {name: json.dumps(value) for name, value in op_tags(Needs(cpus=1.5, memory_gib=0.5, gpus=gpus)).items()}
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image="scmagnify", dagster_home="/srv"), ["step"], "step",
        get_user_defined_k8s_config(tags),
    )  # fmt: skip
    (container,) = job.spec.template.spec.containers
    assert container.resources.limits == {"memory": "512Mi", "nvidia.com/gpu": devices}
    assert container.resources.requests == {"cpu": "1500m", "memory": "512Mi"}
    assert {"SCMAGNIFY_CORES": "1", "OMP_NUM_THREADS": "1"}.items() <= {
        one.name: one.value for one in container.env
    }.items()


@pytest.mark.parametrize(("cpus", "threads"), [(0, "1"), (0.5, "1"), (1, "1"), (1.5, "1"), (3, "3"), (8.0, "8")])
def test_a_step_is_told_its_whole_cores_by_every_executor_that_places_it(cpus: float, threads: str) -> None:
    """Seen from a Ray job or a container, the machine has all its cores, and libraries would start a thread on each."""
    tags = op_tags(Needs(cpus=cpus))
    expected = {"SCMAGNIFY_CORES": threads, "OMP_NUM_THREADS": threads}
    assert tags["dagster-ray/config"]["runtime_env"] == {"env_vars": expected}
    env = tags["dagster-k8s/config"]["container_config"]["env"]
    assert {one["name"]: one["value"] for one in env} == expected


def test_a_step_of_one_core_computes_on_one_thread() -> None:
    """In a process with the step's variables: our own threads, and those of BLAS, torch and faiss."""
    told = op_tags(Needs(cpus=1))["dagster-ray/config"]["runtime_env"]["env_vars"]
    program = """
import json, faiss, numpy, torch
from threadpoolctl import threadpool_info
from scmagnify_core.parallel import n_cores
numpy.ones((2, 2)) @ numpy.ones((2, 2))
print(json.dumps([n_cores(), torch.get_num_threads(), faiss.omp_get_max_threads(),
                  *(pool["num_threads"] for pool in threadpool_info())]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | told, capture_output=True, text=True, check=True
    )
    n_threads = json.loads(done.stdout)
    assert len(n_threads) > 4
    assert set(n_threads) == {1}


def test_tags_are_valid_on_an_asset() -> None:
    @dg.asset(op_tags=op_tags(Needs(gpus=1)))
    def one() -> None: ...

    job = dg.Definitions(assets=[one], executor=executor()).resolve_implicit_global_asset_job_def()
    assert json.loads(job.get_node_named("one").definition.tags["dagster-ray/config"])["num_gpus"] == 1


def test_training_takes_the_gpus_that_the_environment_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_needs().gpus == 0
    monkeypatch.setenv("SCMAGNIFY_TRAINING_GPUS", "2")
    assert training_needs().gpus == 2
    monkeypatch.setenv("SCMAGNIFY_TRAINING_GPUS", "0.5")
    assert training_needs().gpus == 0.5


@pytest.mark.parametrize("value", ["-1", "all", "nan", "inf"])
def test_number_of_gpus_must_be_a_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_TRAINING_GPUS", value)
    with pytest.raises(InputError, match=f"SCMAGNIFY_TRAINING_GPUS={value}"):
        training_needs()


def test_needs_of_an_asset_override_the_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = Needs(cpus=1, memory_gib=4, gpus=1)
    assert needs_of("scmagnify_model", declared) == declared
    assert needs_of("dataset") == Needs()
    monkeypatch.setenv("SCMAGNIFY_NEEDS", '{"scmagnify_model": {"memory_gib": 32}, "dataset": {"cpus": 4}}')
    assert needs_of("scmagnify_model", declared) == Needs(cpus=1, memory_gib=32, gpus=1)
    assert needs_of("dataset") == Needs(cpus=4)
    assert needs_of("regfactors", declared) == declared


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("scmagnify_model=1", "is not JSON of needs by asset"),
        ('["scmagnify_model"]', "is not JSON of needs by asset"),
        ('{"scmagnify_model": 1}', "is not JSON of needs by asset"),
        ('{"scmagnify_model": {"memory": 1}}', "'scmagnify_model': has no need 'memory'.*cpus, memory_gib, gpus"),
        ('{"scmagnify_model": {"gpus": "many"}}', "'scmagnify_model', gpus=many: is no number"),
    ],
)
def test_unreadable_needs_are_refused(value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_NEEDS", value)
    with pytest.raises(InputError, match=message):
        needs_of("scmagnify_model")


def test_needs_of_a_misspelt_asset_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_NEEDS", '{"scmagnify_modell": {"gpus": 1}}')
    with pytest.raises(InputError, match="names 'scmagnify_modell'.*Assets: dataset, scmagnify_model"):
        refuse_unknown_assets(["dataset", "scmagnify_model"])
    refuse_unknown_assets(["scmagnify_modell"])


def test_configured_executors_are_valid_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXECUTORS:
        monkeypatch.setenv("SCMAGNIFY_EXECUTOR", name)
        schema = executor().config_schema
        assert process_config(schema.config_type, {}).success, name
