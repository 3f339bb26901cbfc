"""What is added to dagster-ray's executor, against a job server that only writes down what it is asked."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("dagster_ray", reason="dagster-ray is not installed: pip install 'scmagnify-platform[ray]'")

from dagster_ray.core.executor import RayStepHandler
from ray.job_submission import JobStatus

from scmagnify_assets.steps.executors import Needs, op_tags
from scmagnify_assets.steps.ray_steps import Steps, steps_of

JOB = "dagster-step-x"


class Server:
    """Jobs by name, as Ray keeps them: a name is taken until its ended job is deleted."""

    def __init__(self, **jobs: JobStatus) -> None:
        self.jobs = {name.replace("_", "-"): status for name, status in jobs.items()}
        self.asked: list[dict[str, Any]] = []

    def submit_job(self, submission_id: str, **asked: Any) -> None:
        if submission_id in self.jobs:
            raise RuntimeError(f"Job with submission_id {submission_id} already exists.")
        self.jobs[submission_id] = JobStatus.PENDING
        self.asked.append(asked)

    def delete_job(self, job_id: str) -> None:
        if not self.get_job_status(job_id).is_terminal():
            raise RuntimeError("Attempted to delete a job that is running.")
        del self.jobs[job_id]

    def get_job_status(self, job_id: str) -> JobStatus:
        if job_id not in self.jobs:
            raise RuntimeError("No such job")
        return self.jobs[job_id]

    def get_job_info(self, job_id: str) -> Any:
        return SimpleNamespace(error_type=None, message=None)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    monkeypatch.setattr(Steps, "_get_ray_job_submission_id", lambda self, context: JOB)
    monkeypatch.setattr("dagster_ray.core.executor.DagsterEvent.step_worker_starting", lambda *a, **k: "starting")
    made = steps_of(
        RayStepHandler(
            client=Server(),
            env_vars=[],
            runtime_env=None,
            num_cpus=None,
            num_gpus=None,
            memory=None,
            resources=None,  # type: ignore[arg-type]
        )
    )
    assert isinstance(made, Steps)
    return made


def context(tags: dict[str, str]) -> Any:
    arguments = SimpleNamespace(
        step_keys_to_execute=["one"], run_id="r", known_state=None, get_command_env=list,
        get_command_args=lambda **_: ["dagster", "api", "execute_step"],
    )  # fmt: skip
    return SimpleNamespace(
        execute_step_args=arguments, step_tags={"one": tags}, get_step_context=lambda key: None,
        dagster_run=SimpleNamespace(job_name="job", remote_job_origin=None),
    )  # fmt: skip


def tagged(needs: Needs) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in op_tags(needs).items()}


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.STOPPED, JobStatus.SUCCEEDED])
def test_lost_step_is_launched_again_under_its_name(steps: Steps, status: JobStatus) -> None:
    steps.client.jobs[JOB] = status  # type: ignore[attr-defined]
    list(steps.launch_step(context({})))
    assert steps.client.jobs == {JOB: JobStatus.PENDING}  # type: ignore[attr-defined]


def test_running_step_is_not_launched_twice(steps: Steps) -> None:
    steps.client.jobs[JOB] = JobStatus.RUNNING  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="already exists"):
        list(steps.launch_step(context({})))
    assert steps.client.jobs == {JOB: JobStatus.RUNNING}  # type: ignore[attr-defined]


def test_step_without_needs_takes_a_core_and_one_with_needs_what_it_says(steps: Steps) -> None:
    for tags in ({}, tagged(Needs(cpus=0.5, memory_gib=1, gpus=1)), {}):
        steps.client.jobs.clear()  # type: ignore[attr-defined]
        list(steps.launch_step(context(tags)))
    asked = [(one["entrypoint_num_cpus"], one["entrypoint_num_gpus"]) for one in steps.client.asked]  # type: ignore[attr-defined]
    assert asked == [(1, None), (0.5, 1), (1, None)]


def test_step_is_told_how_many_cores_it_has(steps: Steps) -> None:
    """With the executor's own variables beside, and a check on one core after a step on many."""
    steps.env_vars = ["SCMAGNIFY_HOME=/lake"]
    for tags in (tagged(Needs(cpus=4)), {}):
        steps.client.jobs.clear()  # type: ignore[attr-defined]
        list(steps.launch_step(context(tags)))
    told = [one["runtime_env"]["env_vars"] for one in steps.client.asked]  # type: ignore[attr-defined]
    assert [(one["SCMAGNIFY_CORES"], one["OMP_NUM_THREADS"]) for one in told] == [("4", "4"), ("1", "1")]
    assert {one["SCMAGNIFY_HOME"] for one in told} == {"/lake"}


@pytest.mark.parametrize(
    ("status", "is_healthy"),
    [
        (JobStatus.PENDING, True), (JobStatus.RUNNING, True), (JobStatus.SUCCEEDED, True),
        (JobStatus.FAILED, False), (JobStatus.STOPPED, False), (None, False),
    ],
)  # fmt: skip
def test_health_is_that_of_the_job(steps: Steps, status: JobStatus | None, is_healthy: bool) -> None:
    if status is not None:
        steps.client.jobs[JOB] = status  # type: ignore[attr-defined]
    assert steps.check_step_health(context({})).is_healthy == is_healthy
