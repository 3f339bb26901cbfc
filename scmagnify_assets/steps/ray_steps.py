"""Steps as Ray jobs: dagster-ray's executor, with three things that it leaves open (0.4.8).

- A step that was lost together with its run's worker (a node went down) is launched again under the name of the lost
  job, which Ray refuses for as long as it remembers that job: forget it first.
- A job that was stopped from outside (Ray's dashboard) counts as healthy, and its run waits for it for ever.
- A step that says nothing of its needs takes no core, so that Ray would start all checks of a run at once, each on
  every core.

Imported only where Ray is what the environment names (`executors`).
"""

from collections.abc import Iterator
from contextlib import suppress

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)
from dagster_ray import ray_executor
from dagster_ray.configs import USER_DEFINED_RAY_KEY
from dagster_ray.core.executor import RayStepHandler

from scmagnify_assets.steps.processes import threads_of

_CORES_OF_A_CHECK = 1.0


class Steps(RayStepHandler):
    """Launches, watches and stops the Ray job of each step."""

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """Submit the step's job."""
        with suppress(
            RuntimeError
        ):  # there is none of that name, as a rule; or it still runs, and the next line says so
            self.client.delete_job(self._get_ray_job_submission_id(step_handler_context))
        tags = step_handler_context.step_tags[self._get_step_key(step_handler_context)]
        self.num_cpus = None if USER_DEFINED_RAY_KEY in tags else _CORES_OF_A_CHECK  # would override those of the tag
        self.runtime_env = {"env_vars": threads_of(_CORES_OF_A_CHECK)}  # that of a tag overrides it
        yield from super().launch_step(step_handler_context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether the step's job is on record, and neither failed nor stopped."""
        health = super().check_step_health(step_handler_context)
        job = self._get_ray_job_submission_id(step_handler_context)
        if health.is_healthy and self.client.get_job_status(job) == "STOPPED":
            return CheckStepHealthResult.unhealthy(reason=f"Ray job {job} was stopped.")
        return health


def _make(init_context: InitExecutorContext) -> Executor:
    made = ray_executor.executor_creation_fn(init_context)  # type: ignore[misc]
    assert isinstance(made, StepDelegatingExecutor)
    made._step_handler = steps_of(made._step_handler)
    return made


def steps_of(handler: StepHandler) -> Steps:
    """Make ours of dagster-ray's own, which has read the configuration."""
    assert isinstance(handler, RayStepHandler)
    return Steps(
        client=handler.client, env_vars=handler.env_vars, runtime_env=handler.runtime_env, num_cpus=handler.num_cpus,
        num_gpus=handler.num_gpus, memory=handler.memory, resources=handler.resources,
    )  # fmt: skip


EXECUTOR = dg.ExecutorDefinition(
    name="ray",
    config_schema=ray_executor.config_schema.as_field(),
    requirements=multiple_process_executor_requirements(),
    executor_creation_fn=_make,
)
