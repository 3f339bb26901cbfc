"""What lies in `deploy/` is valid: every configuration loads, every path exists, no secret is in a file."""

import configparser
import importlib.metadata
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import PoolGranularity, dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator import QueuedRunCoordinator
from packaging.requirements import Requirement

from scmagnify_assets import home
from scmagnify_assets.service.launcher import LocalRunLauncher
from scmagnify_assets.steps.executors import FORWARDED, Needs, op_tags

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DEPLOYMENTS = ("laptop", "gpu-server", "ray", "kubernetes")
RESUMES = ("ray", "kubernetes")  # where a new worker takes a run over


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"HOST": "postgres.example.org", "PORT": "5432", "DB": "d", "USERNAME": "u", "PASSWORD": "p"}
    for name, value in values.items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    monkeypatch.setenv("SCMAGNIFY_RAY_ADDRESS", "http://127.0.0.1:8265")


def load(deployment: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / deployment / "dagster.yaml").read_text("utf-8"))
    return loaded


def test_laptop_is_what_a_new_home_gets() -> None:
    assert (DEPLOY / "laptop" / "dagster.yaml").read_text("utf-8") == home.DAGSTER_YAML


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_configuration_is_what_dagster_accepts(deployment: str, environment: None) -> None:
    config, _ = dagster_instance_config(str(DEPLOY / deployment))
    assert config["telemetry"] == {"enabled": False}
    assert config["nux"] == {"enabled": False}
    assert config["freshness"] == {"enabled": True}
    assert config["run_retries"] == {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False}
    monitoring = config["run_monitoring"]
    assert monitoring["enabled"]
    assert monitoring["poll_interval_seconds"] <= 15
    assert monitoring["free_slots_after_run_end_seconds"] <= 60
    assert ("max_resume_run_attempts" in monitoring) == (deployment in RESUMES)
    assert config["concurrency"]["pools"]["default_limit"] == 1
    assert config["concurrency"]["pools"]["granularity"] == PoolGranularity.OP.value
    assert config["concurrency"]["runs"]["max_concurrent_runs"] >= 2


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_classes_that_a_configuration_names_can_be_made(
    deployment: str, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each class checks its own part, which Dagster's schema leaves open."""
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    reference = InstanceRef.from_dir(str(DEPLOY / deployment))
    assert isinstance(reference.run_coordinator, QueuedRunCoordinator)
    launcher = reference.run_launcher
    expected = {"ray": "RayRunLauncher", "kubernetes": "K8sRunLauncher"}.get(deployment, "LocalRunLauncher")
    assert type(launcher).__name__ == expected
    assert launcher.supports_check_run_worker_health
    assert launcher.supports_resume_run == (deployment in RESUMES)


def test_laptop_opens(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "laptop" / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_server_keeps_records_in_postgres(
    postgres: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in postgres.items():
        monkeypatch.setenv(name, value)
    shutil.copy(DEPLOY / "gpu-server" / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run_id = instance.create_run_for_job(_job()).run_id
        instance.add_dynamic_partitions("dataset", ["blood"])
        instance.event_log_storage.set_concurrency_slots("gpu", 4)
    shutil.rmtree(tmp_path / "storage", ignore_errors=True)  # nothing of it was on this machine
    with dg.DagsterInstance.from_config(str(tmp_path)) as again:
        run = again.get_run_by_id(run_id)
        assert run is not None
        assert run.job_name == "nothing"
        assert again.get_dynamic_partitions("dataset") == ["blood"]
        assert again.event_log_storage.get_concurrency_info("gpu").slot_count == 4


def _job() -> dg.JobDefinition:
    @dg.op
    def one() -> None: ...

    @dg.job
    def nothing() -> None:
        one()

    return nothing


def test_ray_launcher_and_executor_forward_the_same_settings() -> None:
    config = load("ray")["run_launcher"]["config"]["ray"]
    assert tuple(config["env_vars"]) == FORWARDED
    assert not {"num_cpus", "num_gpus", "memory"} & set(config)  # workers that wait must not take what steps need


def test_kubernetes_run_has_what_its_steps_need(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job of a step, as launcher, executor and the asset's tags make it together."""
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job

    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    launcher = InstanceRef.from_dir(str(DEPLOY / "kubernetes")).run_launcher
    tag = op_tags(Needs(cpus=2, memory_gib=8, gpus=1))["dagster-k8s/config"]
    context = K8sContainerContext.create_for_run(dg.DagsterRun("job"), launcher, include_run_tags=False)
    whole = context.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(tag)))
    job = construct_dagster_k8s_job(
        whole.get_k8s_job_config("scmagnify", launcher), ["step"], "step",
        user_defined_k8s_config=whole.run_k8s_config,
    )  # fmt: skip
    pod = job.spec.template.spec
    (container,) = pod.containers
    assert container.resources.limits == {"memory": "8192Mi", "nvidia.com/gpu": "1"}
    assert pod.service_account_name == "scmagnify"
    assert pod.security_context.fs_group == 1000
    # No dagster.yaml: a run is told of the instance in its arguments.
    assert [mount.mount_path for mount in container.volume_mounts] == ["/srv/scmagnify"]
    secrets = {one.name: one.value_from.secret_key_ref for one in container.env if one.value_from is not None}
    assert secrets["DAGSTER_PG_PASSWORD"].name == "scmagnify-postgres"
    assert [one.config_map_ref.name for one in container.env_from] == ["scmagnify-environment"]


def manifests() -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((DEPLOY / "kubernetes" / "platform.yaml").read_text("utf-8")) if one]


def test_kubernetes_manifests_are_valid() -> None:
    """No unknown field, none missing, at any depth."""
    import kubernetes.client
    from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

    kinds = [one["kind"] for one in manifests()]
    assert kinds.count("Deployment") == 3
    for manifest in manifests():
        model = getattr(kubernetes.client, f"V1{manifest['kind']}")
        k8s_model_from_dict(model, k8s_snake_case_dict(model, _without_subjects(manifest)))


def _without_subjects(manifest: dict[str, Any]) -> dict[str, Any]:
    # The client's model of a subject has another name (RbacV1Subject), which dagster-k8s does not look up.
    return {key: value for key, value in manifest.items() if key != "subjects"}


def test_kubernetes_manifests_name_only_what_exists() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text("utf-8"))
    maps = {one["name"]: one for one in kustomization["configMapGenerator"]}
    literals = dict(line.split("=", 1) for line in maps["scmagnify-environment"]["literals"])
    launcher = load("kubernetes")["run_launcher"]["config"]
    (image,) = kustomization["images"]
    assert literals["DAGSTER_CURRENT_IMAGE"] == f"{image['newName']}:{image['newTag']}"
    assert literals["DAGSTER_HOME"] == launcher["dagster_home"]
    assert literals["DAGSTER_HOME"] == f"{literals['SCMAGNIFY_HOME']}/dagster"
    assert literals["SCMAGNIFY_EXECUTOR"] == "kubernetes"
    assert launcher["instance_config_map"] in maps
    assert launcher["job_namespace"] == kustomization["namespace"]
    assert kustomization["generatorOptions"]["disableNameSuffixHash"]
    for name in (*kustomization["resources"], *maps["scmagnify-dagster"]["files"]):
        assert (DEPLOY / "kubernetes" / name).is_file(), name
    claims = {one["metadata"]["name"] for one in manifests() if one["kind"] == "PersistentVolumeClaim"}
    assert launcher["volumes"][0]["persistentVolumeClaim"]["claimName"] in claims
    accounts = {one["metadata"]["name"] for one in manifests() if one["kind"] == "ServiceAccount"}
    assert launcher["service_account_name"] in accounts
    workspace = yaml.safe_load((DEPLOY / "kubernetes" / "workspace.yaml").read_text("utf-8"))
    services = {one["metadata"]["name"] for one in manifests() if one["kind"] == "Service"}
    assert workspace["load_from"][0]["grpc_server"]["host"] in services
    for manifest in manifests():
        if manifest["kind"] != "Deployment":
            continue
        pod = manifest["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == image["name"]
        assert _program(container["args"][0]).exists()
        assert pod["serviceAccountName"] in accounts
        secret = container["env"][0]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": launcher["postgres_password_secret"], "key": "postgresql-password"}
        for volume in pod["volumes"]:
            assert volume.get("configMap", {}).get("name", "scmagnify-dagster") in maps
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "scmagnify-home") in claims


def test_units_start_what_exists_and_start_it_again() -> None:
    units = sorted((DEPLOY / "gpu-server").glob("*.service"))
    assert [unit.stem for unit in units] == ["scmagnify-code", "scmagnify-daemon", "scmagnify-webserver"]
    for unit in units:
        parsed = configparser.ConfigParser()
        parsed.optionxform = str  # type: ignore[assignment, method-assign]
        parsed.read_string(unit.read_text("utf-8"))
        service = parsed["Service"]
        assert service["Restart"] == "always"
        assert service["User"] == "scmagnify"
        program, *arguments = service["ExecStart"].split()
        assert program.startswith("/opt/scmagnify/.venv/bin/")
        assert _program(Path(program).name).exists()
        for argument in arguments:
            if argument.startswith("/opt/scmagnify/"):
                assert (ROOT / Path(argument).relative_to("/opt/scmagnify")).is_file(), argument
        if "-h" in arguments:  # no users, no passwords: never beyond this machine
            assert arguments[arguments.index("-h") + 1] == "127.0.0.1"


def _program(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def test_password_comes_from_the_environment_and_is_in_no_file() -> None:
    for deployment in ("gpu-server", "ray", "kubernetes"):
        assert load(deployment)["storage"]["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_PG_PASSWORD"}
    filled = re.compile(r"(?:PASSWORD|TOKEN|SECRET)=[^\s$\"']")
    assert filled.search("DAGSTER_PG_PASSWORD=x")
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            assert not filled.search(file.read_text("utf-8")), file


def test_image_is_built_of_files_that_exist() -> None:
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert {"requirements.lock", "pyproject.toml", "scmagnify_core", "scmagnify_assets"} <= set(copied)
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in kept, name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for name in (project["readme"], *project["license-files"]):
        assert name in copied, name  # the build of the package reads them
    (base,) = [line for line in lines if line.startswith("FROM")]
    assert base.split(":")[1].startswith("3.11")
    pins = [
        line for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if line.startswith("torch==")
    ]
    assert len(pins) == 1


def test_lock_holds_every_package_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    extras = project["optional-dependencies"]
    for extra in ("ray", "kubernetes", "postgres"):
        for requirement in map(Requirement, extras[extra]):
            assert pins[requirement.name] in requirement.specifier, requirement
    dagster = Requirement(next(one for one in project["dependencies"] if one.startswith("dagster=="))).specifier
    assert importlib.metadata.version("dagster") in dagster


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_instructions_fit_a_screen_and_link_to_what_exists(deployment: str) -> None:
    folder = DEPLOY / deployment
    text = (folder / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 70
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (folder / link).exists(), link
    for name in re.findall(r"deploy/[\w./-]*\w", text):
        assert (ROOT / name).exists(), name
