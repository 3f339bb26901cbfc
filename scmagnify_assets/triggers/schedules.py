"""What happens by the clock: a nightly look at the files of every data set, and weekly upkeep of the lake.

The looks and the upkeep are jobs, so that they can also be started by hand in the UI. What is missing or failed is
asked for again by the assets' own condition, an hour after the files were looked at (`automation.NIGHTLY`).
"""

import os
from typing import Any

import dagster as dg
from pydantic import Field

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.intake import inspect
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.maintenance import KEEP_DAYS, MIN_KEEP_DAYS, maintain
from scmagnify_assets.steps.failures import RETRY
from scmagnify_core.errors import InputError, ScmagnifyError

KEEP_DAYS_VARIABLE = "SCMAGNIFY_KEEP_DAYS"


def refresh(lake: Lakehouse, instance: dg.DagsterInstance, run_id: str, log: Any) -> dict[str, str]:
    """Register anew every data set of which a file changed; returns what is wrong with others, by name.

    Results follow by themselves, as after an arrival. A data set that cannot be used any more keeps what it has.
    """
    problems: dict[str, str] = {}
    for name, known in registry.read_all(lake).items():
        try:
            if registry.is_registered(lake, known.raw):
                # Tells Dagster again what it may have forgotten, as after a move to new storage; else changes nothing.
                registry.announce(instance, known)
                continue
            log.info(f"Files of {name} have changed.")
            before = registry.hash_files(lake, known.spec())
            inspect(known.raw, f"settings of '{name}'", needs_evidence=False)
            again = registry.register(lake, known.raw, replace=True, run_id=run_id, validated=before)
            registry.announce(instance, again)
        except Exception as error:  # of one data set; the others are looked at all the same
            problems[name] = str(error) if isinstance(error, ScmagnifyError) else repr(error)
            log.error(f"{name}: {problems[name]}")
    return problems


@dg.op(retry_policy=RETRY)
def look_at_files(context: dg.OpExecutionContext) -> None:
    """Compare the files of every data set with what is registered."""
    problems = refresh(Lakehouse(Home.find().lake), context.instance, context.run_id, context.log)
    if problems:
        listing = "\n".join(f"{name}: {problem}" for name, problem in problems.items())
        raise dg.Failure(f"{len(problems)} data sets cannot be refreshed.\n{listing}", allow_retries=False)


class MaintenanceConfig(dg.Config):
    """How long former versions stay readable."""

    keep_days: int = Field(0, ge=0, description=f"Days; 0 takes {KEEP_DAYS_VARIABLE} or, without it, {KEEP_DAYS}.")


def keep_days_of_environment() -> int:
    """Days that former versions stay readable.

    Raises
    ------
    InputError
        The variable is no whole number of at least MIN_KEEP_DAYS.
    """
    given = os.environ.get(KEEP_DAYS_VARIABLE) or str(KEEP_DAYS)
    if not given.isdecimal() or int(given) < MIN_KEEP_DAYS:
        remedy = f"Set it to {MIN_KEEP_DAYS} or more."
        raise InputError(KEEP_DAYS_VARIABLE, f"is {given!r}, not a number of days.", remedy)
    return int(given)


@dg.op(retry_policy=RETRY)
def maintain_tables(context: dg.OpExecutionContext, config: MaintenanceConfig) -> None:
    """Merge small files, and remove former versions and files older than the period that is kept."""
    report = maintain(Lakehouse(Home.find().lake), keep_days=config.keep_days or keep_days_of_environment())
    context.log.info(str(report))


_IN_PROCESS = dg.in_process_executor


@dg.job(executor_def=_IN_PROCESS, description="Registers anew every data set of which a file changed.")
def refresh_data_sets() -> None:
    """One op; the schedule `nightly_refresh` starts it."""
    look_at_files()


@dg.job(executor_def=_IN_PROCESS, description="Upkeep of the lake; former versions stay readable for a period.")
def maintain_lake() -> None:
    """One op; the schedule `weekly_maintenance` starts it."""
    maintain_tables()


SCHEDULES = [
    dg.ScheduleDefinition(
        name="nightly_refresh", job=refresh_data_sets, cron_schedule="0 1 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="01:00 UTC: data sets of which a file changed; an hour later, what is missing or failed.",
    ),
    dg.ScheduleDefinition(
        name="weekly_maintenance", job=maintain_lake, cron_schedule="0 4 * * 0",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sundays 04:00 UTC: merges small files of the lake and removes what is older than the period.",
    ),
]  # fmt: skip
JOBS = [refresh_data_sets, maintain_lake]
