"""Alerts: a failed run is told to people, where they are, in words.

`failed_run` follows every run of this code location that fails. It sends one message to the webhook that the
environment variable ``SCMAGNIFY_WEBHOOK_URL`` names, in a form that Slack, Mattermost and Rocket.Chat show (``text``)
and that a program can use (the other fields, see `FailedRun`). In any case, it says the same in the log of its tick,
which the UI shows at the sensor.

Decisions:

- The address is a secret: whoever has it can post. It is read from the environment, never from the configuration,
  which the UI shows, and nothing that is logged holds more of it than its host. Exceptions of requests quote the
  address in places, hence no exception is logged as it is.
- A run that Dagster will start again is not worth waking anybody: only the last attempt is told. Dagster marks the
  others with the tag ``dagster/will_retry``.
- A webhook that does not answer must not stop the sensor: one more try, then a warning that says what to mend. The
  failure itself is logged before, so that it is not lost.
- Redirects are refused. They are followed with a GET and no message, which would look like success.
- Checks that fail are told if they block, because then the run fails. Those that only warn are for looking at, in the
  UI: an alert for each would teach people to ignore alerts.
- A run that was started in a terminal (``scmagnify run``) belongs to no code location: its failure is printed there.
- The sensor starts with what fails after its first tick, and catches up with what failed while the daemon was down.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from scmagnify_assets.steps.failures import error_in_words

WEBHOOK = "SCMAGNIFY_WEBHOOK_URL"
UI = "SCMAGNIFY_UI_URL"
DEFAULT_UI = "http://127.0.0.1:3000"

# Five runs are looked at per tick, which Dagster ends after 60 s: twice 5 s and a pause each still fit.
TIMEOUT_S = 5.0
PAUSE_S = 1.0
MAX_ERROR = 2000  # characters; a chat message, not a log

WILL_RETRY = "dagster/will_retry"
DATASET_TAGS = ("scmagnify/dataset", "dagster/partition")


@dataclass(frozen=True)
class FailedRun:
    """What is known of a failed run; empty where it is not.

    ``step`` is the first that failed, ``error`` its message in words, ``failed_checks`` the checks that stopped the
    run, as ``asset: check``.
    """

    run_id: str
    job: str
    dataset: str
    partition: str
    assets: tuple[str, ...]
    step: str
    error: str
    failed_checks: tuple[str, ...]
    url: str

    @property
    def sentence(self) -> str:
        """The failure in one sentence, and where to look."""
        what = f"'{self.dataset}'" if self.dataset else self.job
        where = f" in '{self.step}'" if self.step else ""
        return f"The run of {what} failed{where}: {self.error}\n{self.url}"

    def payload(self) -> dict[str, Any]:
        """The message to send: ``text`` for people, the rest for programs."""
        # Slack and its like read these three as markup, and nothing else.
        text = self.sentence.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return {"text": text, "event": "run_failed"} | asdict(self)


def describe(context: dg.RunFailureSensorContext) -> FailedRun:
    """Read from Dagster's records what failed, and why."""
    run, instance = context.dagster_run, context.instance
    step, error = "", ""
    failures = context.get_step_failure_events()
    if failures:
        step = failures[0].step_key or ""
        error = error_in_words(failures[0].step_failure_data.error)
    else:  # the process was killed, or the run did not even start
        failed = context.failure_event
        data = failed.job_failure_data if failed.event_type == dg.DagsterEventType.RUN_FAILURE else None
        error = error_in_words(data.error) if data is not None and data.error else failed.message or "unknown error"
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    evaluations = [
        event.asset_check_evaluation_data
        for record in records
        if (event := record.event_log_entry.dagster_event) is not None
    ]
    blocked = [
        one for one in evaluations if one.blocking and not one.passed and one.severity == dg.AssetCheckSeverity.ERROR
    ]
    if blocked and failures and failures[0].step_failure_data.error is not None:
        # Dagster's own message names the check but not what it found.
        first = blocked[0]
        if first.check_name in error:
            found = ", ".join(f"{name} = {value.value}" for name, value in first.metadata.items())
            error = f"check '{first.check_name}' of '{first.asset_key.to_user_string()}' failed: {found}"
    return FailedRun(
        run_id=run.run_id,
        job=run.job_name,
        dataset=_dataset(run.tags),
        partition=run.tags.get("dagster/partition", ""),
        assets=_assets(run, instance),
        step=step,
        error=error if len(error) <= MAX_ERROR else error[:MAX_ERROR] + " ...",
        failed_checks=tuple(f"{one.asset_key.to_user_string()}: {one.check_name}" for one in blocked),
        url=f"{(os.environ.get(UI) or DEFAULT_UI).rstrip('/')}/runs/{run.run_id}",
    )


def _dataset(tags: Mapping[str, str]) -> str:
    """The data set of a run."""
    return next((tags[name] for name in DATASET_TAGS if tags.get(name)), "")


def _assets(run: dg.DagsterRun, instance: dg.DagsterInstance) -> tuple[str, ...]:
    """Assets that the run was to make: its selection, or what it planned where the whole job was asked for."""
    keys = set(run.asset_selection or ())
    if not keys:
        planned = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        for record in instance.get_records_for_run(run.run_id, of_type=planned).records:
            event = record.event_log_entry.dagster_event
            if event is not None and event.asset_key is not None:
                keys.add(event.asset_key)
    return tuple(sorted(key.to_user_string() for key in keys))


def post(url: str, payload: Mapping[str, Any]) -> str:
    """Send a message as JSON, with one more try; returns what went wrong, nothing if it was taken.

    The answer never holds the address, and nothing is raised.
    """
    import requests

    try:
        host = urlsplit(url).hostname
        requests.Request("POST", url).prepare()
        if not host or not url.startswith(("http://", "https://")):
            return f"the value of {WEBHOOK} is no http(s) address"
    except (requests.RequestException, ValueError):
        return f"the value of {WEBHOOK} is no http(s) address"
    problem = ""
    for attempt in range(2):
        if attempt:
            time.sleep(PAUSE_S)
        try:
            answer = requests.post(
                url, json=dict(payload), headers={"User-Agent": "scmagnify"}, timeout=TIMEOUT_S, allow_redirects=False
            )
            if answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
                return ""
            problem = f"{host} answered {answer.status_code}"
            refused = HTTPStatus.BAD_REQUEST <= answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
            if refused and answer.status_code not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
                return problem  # asking again gets the same answer
        except requests.Timeout:
            problem = f"{host} did not answer within {TIMEOUT_S:g} s"
        except requests.ConnectionError as error:
            problem = f"{host} cannot be reached ({_words_of_the_system(error)})"
        except Exception as error:  # whatever it is, it must not stop the sensor; and its text may quote the address
            problem = f"{host} could not be asked ({type(error).__name__})"
    return problem


def _words_of_the_system(error: BaseException) -> str:
    """What the system said (connection refused, name not known), which holds no address; else the kind of error."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return type(error).__name__


def _will_retry(context: dg.RunFailureSensorContext) -> bool:
    """Whether Dagster starts the run again: a tag that it adds just *after* the event that this sensor follows."""
    run = context.dagster_run
    if WILL_RETRY not in run.tags and context.instance.run_retries_enabled:
        time.sleep(PAUSE_S)
        run = context.instance.get_run_by_id(run.run_id) or run
    return run.tags.get(WILL_RETRY, "").lower() == "true"


@dg.run_failure_sensor(
    name="failed_run",
    description=f"Tells people of a failed run: in words at its tick, and to the webhook that {WEBHOOK} names.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
)
def failed_run(context: dg.RunFailureSensorContext) -> None:
    """Tell people of a failed run, unless Dagster will start it again (module docstring)."""
    if _will_retry(context):
        context.log.info(f"Run {context.dagster_run.run_id} failed and will be started again: no alert yet.")
        return
    failed = describe(context)
    context.log.error(failed.sentence)
    url = os.environ.get(WEBHOOK, "").strip()
    if not url:
        context.log.info(f"Nobody else was told of the failure above: {WEBHOOK} is not set.")
    elif problem := post(url, failed.payload()):
        context.log.warning(
            f"Nobody else was told of the failure above: {problem}. Check {WEBHOOK} in the environment of the code "
            "server, which reads it at its start, and that this machine reaches that host."
        )
