"""Which errors are tried again, and what they say in words; and what the decorator of assets adds to each."""

from collections.abc import Callable

import dagster as dg
import pytest

from scmagnify_assets.steps.failures import (
    RETRY,
    RETRY_WITHIN_SECONDS,
    error_in_words,
    final_user_errors,
    is_lost,
    is_to_be_retried,
)
from scmagnify_core.errors import InputError, StorageError

NO_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run(error: Exception) -> tuple[dg.ExecuteInProcessResult, int]:
    """An op that raises, with the retries of assets but no pauses."""
    attempts = []

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=RETRY.max_retries))
    def step() -> None:
        attempts.append(1)
        with final_user_errors():
            raise error

    @dg.job
    def job() -> None:
        step()

    return job.execute_in_process(raise_on_error=False, run_config=NO_LOG), len(attempts)


def words(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return error_in_words(event.step_failure_data.error)


def test_an_error_that_the_user_must_mend_is_final() -> None:
    result, attempts = run(InputError("'x.h5ad'", "is empty.", "Add cells."))
    assert attempts == 1
    assert words(result) == "'x.h5ad': is empty. Add cells."


@pytest.mark.parametrize("error", [StorageError("The disk is full."), OSError("gone"), MemoryError()])
def test_what_may_pass_is_tried_again_twice(error: Exception) -> None:
    result, attempts = run(error)
    assert not result.success
    assert attempts == 3


def test_error_in_words_prefers_the_users_error_to_what_wraps_it() -> None:
    try:
        try:
            raise InputError("a", "b.", "c.")
        except InputError as inner:
            raise RuntimeError("while loading") from inner
    except RuntimeError as outer:
        result, _ = run(outer)
    assert words(result) == "a: b. c."


def test_error_in_words_without_an_error_says_so() -> None:
    assert error_in_words(None) == "unknown error"


@pytest.mark.parametrize("tags", [{"dagster/will_retry": "true"}, {}], ids=["announced", "not yet decided"])
def test_a_retry_that_may_come_is_waited_for_a_minute(tags: dict[str, str]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        failed = fail(instance, tags)
        ended = failed().end_time
        assert ended is not None
        for after, is_waited_for in ((1, True), (RETRY_WITHIN_SECONDS, False), (-3600, False)):
            assert is_to_be_retried(failed(), ended + after) is is_waited_for
            assert is_lost(failed(), ended + after) is not is_waited_for
        instance.add_run_tags(failed().dagster_run.run_id, {"dagster/auto_retry_run_id": "another"})
        assert is_to_be_retried(failed(), ended + 3600)
        assert not is_lost(failed(), ended + 3600)


def test_a_retry_that_dagster_has_ruled_out_is_not_waited_for() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        failed = fail(instance, {"dagster/will_retry": "false"})
        assert is_lost(failed(), (failed().end_time or 0.0) + 1)


def fail(instance: dg.DagsterInstance, tags: dict[str, str]) -> Callable[[], dg.RunRecord]:
    """A run that was killed; reads its record."""

    @dg.job
    def job() -> None:
        pass

    run = instance.create_run_for_job(job, tags=tags)
    instance.report_run_failed(run)

    def record() -> dg.RunRecord:
        (found,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
        return found

    return record
