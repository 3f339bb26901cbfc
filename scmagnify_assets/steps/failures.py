"""What becomes of failures: which are final, which are tried again, and what they say in words.

A step that fails is tried again by itself (`RETRY`), unless the error is one that only the user can mend. A run that is
lost, because its process was killed or the code server was away, is started again by Dagster's run retries; if they
miss it, which they do while the code server is away or if the daemon dies at that moment, the assets' own condition
asks for what it did not get to make (`automation.RunWasLost`). A run that failed because of a step stays failed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from scmagnify_core.errors import ScmagnifyError, StorageError

if TYPE_CHECKING:
    from dagster._utils.error import SerializableErrorInfo

# After 10 and 20 seconds, give or take, so that steps that failed together do not meet again.
RETRY = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.LINEAR, jitter=dg.Jitter.PLUS_MINUS)

DATASET_TAG = "scmagnify/dataset"  # of every run that the platform asks for
MAX_VAIN = 12  # lost runs in a row that made nothing, Dagster's retries included: what kills them does so again
FIRST_PAUSE_SECONDS = 0.5
RETRY_WITHIN_SECONDS = 60  # Dagster's daemon looks every few seconds
FAILURE_REASON = "dagster/failure_reason"

# Dagster puts the class before the message: it tells ours apart, and the user does not need it.
_OURS = re.compile(r"^scmagnify_core\.errors\.\w+: ")


@contextmanager
def final_user_errors() -> Iterator[None]:
    """Raise an error that only the user can mend as a failure that is not tried again.

    Storage may recover (a full disk, another writer), so its errors keep their retries, as does anything unforeseen.
    """
    try:
        yield
    except StorageError:
        raise
    except ScmagnifyError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def error_in_words(error: "SerializableErrorInfo | None") -> str:
    """The message that was written for the user, if there is one in the chain of causes; the innermost one if not."""
    chain = []
    while error is not None:
        chain.append(error.message.strip())
        error = error.cause
    ours = [_OURS.sub("", message) for message in chain if _OURS.match(message)]
    return (ours or chain[-1:] or ["unknown error"])[0]


def is_to_be_retried(record: dg.RunRecord, now: float) -> bool:
    """Whether Dagster has started a failed run again, or may yet do so.

    It marks the run as failed, then says whether it will try again, then does it, each a moment later. If a process is
    killed in between, the next never comes: a minute is waited for it.
    """
    tags, ended = record.dagster_run.tags, record.end_time or 0.0
    if record.dagster_run.status != dg.DagsterRunStatus.FAILURE or tags.get("dagster/will_retry") == "false":
        return False
    return "dagster/auto_retry_run_id" in tags or ended <= now < ended + RETRY_WITHIN_SECONDS


def is_lost(record: dg.RunRecord, now: float) -> bool:
    """Whether a run failed for another reason than one of its steps, and nobody has started it again."""
    run = record.dagster_run
    return (
        run.status == dg.DagsterRunStatus.FAILURE
        and run.tags.get(FAILURE_REASON) != "STEP_FAILURE"
        and not is_to_be_retried(record, now)
    )


def is_worth_another(instance: dg.DagsterInstance, job: str, dataset: str, now: float) -> bool:
    """Whether what a lost run of a data set left undone should be asked for again now.

    After runs that were lost before they had made anything the pauses double, from seconds to minutes, and after
    `MAX_VAIN` of them it is over until the night.
    """
    filters = dg.RunsFilter(job_name=job, tags={DATASET_TAG: dataset})
    vain, ended = 0, 0.0
    for record in instance.get_run_records(filters, limit=MAX_VAIN):
        run = record.dagster_run
        made = instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, limit=1
        ).records
        # Those that Dagster started again count, too.
        if run.status != dg.DagsterRunStatus.FAILURE or run.tags.get(FAILURE_REASON) == "STEP_FAILURE" or made:
            break
        vain += 1
        ended = max(ended, record.end_time or 0.0)
    pause = FIRST_PAUSE_SECONDS * 2 ** (vain - 1) if vain else 0.0
    return vain < MAX_VAIN and not ended <= now < ended + pause  # a clock that was set back ends the pause
