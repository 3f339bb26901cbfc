"""Alerts of real failed runs, taken by a real HTTP server on this machine."""

import http.server
import json
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from scmagnify_assets.datasets.partitions import DATASETS
from scmagnify_assets.triggers import alerts
from scmagnify_assets.triggers.alerts import WEBHOOK, WILL_RETRY, describe, failed_run, post
from scmagnify_core.errors import InputError, StorageError

SECRET = "T0123456/B0123456/not-to-be-told"


@dg.asset(partitions_def=DATASETS)
def cells() -> None:
    try:
        raise InputError("'blood.h5ad'", "holds <scaled> values & no counts.", "Pass --layer counts.")
    except InputError as error:
        raise dg.Failure(str(error)) from error


@dg.asset(partitions_def=DATASETS)
def empty_network() -> None:
    pass


@dg.asset_check(asset=empty_network, blocking=True, partitions_def=DATASETS)
def network_has_edges() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, metadata={"edges_with_weight": 0})


@dg.asset(partitions_def=DATASETS, deps=[empty_network])
def built_on_it() -> None:
    pass


@dg.asset(partitions_def=DATASETS)
def seed_model() -> None:
    raise StorageError("The disk is full.")


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it is sent; answers with the codes it is given, the last one for ever."""

    def __init__(self, *answers: int) -> None:
        self.answers, self.received = list(answers or (200,)), []
        self.hang = threading.Event()
        self.hang.set()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/{SECRET}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.received.append((self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.hang.wait(30)
        answers = self.server.answers
        code = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(code, f"said of {SECRET}")
        if code in (301, 302):
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.received.append(("GET " + self.path, self.headers, b""))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(alerts, "PAUSE_S", 0.0)
    running: list[Receiver] = []

    def start(*answers: int) -> Receiver:
        receiver = Receiver(*answers)
        running.append(receiver)
        threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv(WEBHOOK, receiver.url)
        return receiver

    yield start
    for receiver in running:
        receiver.hang.set()
        receiver.shutdown()
        receiver.server_close()


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions("dataset", ["blood"])
        yield made


def failure(
    instance: dg.DagsterInstance, *assets: Any, key: str = "blood", tags: dict[str, str] | None = None
) -> dg.RunFailureSensorContext:
    """A run that fails, and what the sensor gets to see of it."""
    result = dg.materialize(assets, partition_key=key, instance=instance, tags=tags, raise_on_error=False)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return dg.build_run_status_sensor_context(
        sensor_name="failed_run",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=run,
    ).for_run_failure()


@pytest.fixture(scope="module")
def failed(instance: dg.DagsterInstance) -> dg.RunFailureSensorContext:
    return failure(instance, cells)


def logged(caplog: pytest.LogCaptureFixture, level: int) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.levelno == level)


@pytest.fixture(autouse=True)
def _nothing_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failed: dg.RunFailureSensorContext
) -> Iterator[None]:
    for name in (WEBHOOK, "SCMAGNIFY_UI_URL"):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.DEBUG)
    failed.log.addHandler(caplog.handler)  # the log of a tick goes to the UI, not to the root logger
    yield
    failed.log.removeHandler(caplog.handler)


@pytest.fixture(autouse=True)
def _secret_is_kept(_nothing_set: None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Any:
    """Whatever a test does, the secret is in no log and on no screen."""
    yield
    printed = capfd.readouterr()
    text = caplog.text + printed.out + printed.err + "".join(record.getMessage() for record in caplog.records)
    assert SECRET not in text
    assert "not-to-be-told" not in text


# -------------------------------------------------------------------- what is told


def test_a_failed_run_is_told_to_the_webhook(
    failed: dg.RunFailureSensorContext, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = serve(200)
    failed_run(failed)
    ((path, headers, body),) = receiver.received
    assert path == f"/services/{SECRET}"
    assert headers["Content-Type"] == "application/json"
    run_id = failed.dagster_run.run_id
    message = "'blood.h5ad': holds <scaled> values & no counts. Pass --layer counts."
    escaped = "'blood.h5ad': holds &lt;scaled&gt; values &amp; no counts. Pass --layer counts."
    url = f"http://127.0.0.1:3000/runs/{run_id}"
    assert json.loads(body) == {
        "text": f"The run of 'blood' failed in 'cells': {escaped}\n{url}",
        "event": "run_failed",
        "run_id": run_id,
        "job": failed.dagster_run.job_name,
        "dataset": "blood",
        "partition": "blood",
        "assets": ["cells"],
        "step": "cells",
        "error": message,
        "failed_checks": [],
        "url": url,
    }
    assert f"failed in 'cells': {message}" in logged(caplog, logging.ERROR)
    assert not logged(caplog, logging.WARNING)


def test_without_a_webhook_the_tick_says_what_failed(
    failed: dg.RunFailureSensorContext, caplog: pytest.LogCaptureFixture
) -> None:
    failed_run(failed)
    said = logged(caplog, logging.ERROR)
    assert "The run of 'blood' failed in 'cells': 'blood.h5ad': holds <scaled> values & no counts." in said
    assert f"{WEBHOOK} is not set" in logged(caplog, logging.INFO)


def test_the_link_goes_to_the_ui_that_is_named(
    failed: dg.RunFailureSensorContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCMAGNIFY_UI_URL", "https://grn.example.org/dagster/")
    assert describe(failed).url == f"https://grn.example.org/dagster/runs/{failed.dagster_run.run_id}"


def test_a_check_that_blocks_is_told_with_what_it_found(instance: dg.DagsterInstance) -> None:
    told = describe(failure(instance, empty_network, network_has_edges, built_on_it))
    assert told.error == "check 'network_has_edges' of 'empty_network' failed: edges_with_weight = 0"
    assert told.failed_checks == ("empty_network: network_has_edges",)
    assert told.assets == ("built_on_it", "empty_network")


@pytest.mark.parametrize(
    "tags",
    [{}, {"scmagnify/dataset": "blood"}, {"dagster/partition": "blood"}],
)
def test_the_data_set_is_found_whatever_the_partition(instance: dg.DagsterInstance, tags: dict[str, str]) -> None:
    context = failure(instance, seed_model, key="blood")
    run = context.dagster_run.with_tags(tags or context.dagster_run.tags)
    seen = dg.build_run_status_sensor_context(
        sensor_name="failed_run", dagster_event=context.dagster_event, dagster_instance=instance, dagster_run=run
    ).for_run_failure()
    told = describe(seen)
    assert told.dataset == "blood"
    assert told.error == "The disk is full."


def test_a_run_without_a_failed_step_is_told_in_daggers_words(instance: dg.DagsterInstance) -> None:
    """What run monitoring reports of a worker that was killed."""
    run = instance.create_run_for_job(dg.define_asset_job("j").resolve(asset_graph=_graph()), tags={})
    event = instance.report_run_failed(run, "Run worker was killed")
    context = dg.build_run_status_sensor_context(
        sensor_name="failed_run", dagster_event=event, dagster_instance=instance, dagster_run=run
    ).for_run_failure()
    told = describe(context)
    assert (told.step, told.dataset) == ("", "")
    assert told.sentence.startswith("The run of j failed: Run worker was killed\n")


def _graph() -> Any:
    return dg.Definitions(assets=[empty_network]).resolve_asset_graph()


def test_long_errors_are_cut(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MAX_ERROR", 10)
    assert describe(failure(instance, cells)).error == "'blood.h5a ..."


# -------------------------------------------------------------------- which runs


@pytest.mark.parametrize(("tag", "is_told"), [("true", False), ("false", True)])
def test_only_the_last_attempt_is_told(instance: dg.DagsterInstance, serve: Any, tag: str, is_told: bool) -> None:
    receiver = serve(200)
    context = failure(instance, cells, tags={WILL_RETRY: tag})
    failed_run(context)
    assert len(receiver.received) == is_told


def test_the_tag_of_a_retry_may_come_after_the_event(
    instance: dg.DagsterInstance, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster stores the failure, which the sensor sees, and then says whether it starts the run again."""
    receiver = serve(200)
    context = failure(instance, cells)
    instance.add_run_tags(context.dagster_run.run_id, {WILL_RETRY: "true"})
    monkeypatch.setattr(type(instance), "run_retries_enabled", property(lambda _: True))
    failed_run(context)
    assert not receiver.received


def test_the_sensor_runs_by_itself_and_follows_failures() -> None:
    assert failed_run.name == "failed_run"
    assert failed_run.default_status == dg.DefaultSensorStatus.RUNNING
    assert WEBHOOK in str(failed_run.description)


# -------------------------------------------------------------------- a webhook that fails


def warned(failed: dg.RunFailureSensorContext, caplog: pytest.LogCaptureFixture) -> str:
    """Run the sensor, which must survive and still say what failed; returns its warning."""
    failed_run(failed)
    assert "The run of 'blood' failed in 'cells'" in logged(caplog, logging.ERROR)
    warning = logged(caplog, logging.WARNING)
    assert f"Check {WEBHOOK} in the environment" in warning
    return warning


def test_a_refused_connection_is_survived(
    failed: dg.RunFailureSensorContext,
    serve: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{port}/services/{SECRET}")
    assert "127.0.0.1 cannot be reached (Connection refused)" in warned(failed, caplog)


def test_a_server_error_is_tried_once_more(
    failed: dg.RunFailureSensorContext, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = serve(500)
    assert "127.0.0.1 answered 500" in warned(failed, caplog)
    assert len(receiver.received) == 2


def test_a_second_try_that_succeeds_is_success(
    failed: dg.RunFailureSensorContext, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = serve(503, 200)
    failed_run(failed)
    assert not logged(caplog, logging.WARNING)
    assert len({body for _, _, body in receiver.received}) == 1
    assert len(receiver.received) == 2


@pytest.mark.parametrize(("code", "n_tries"), [(404, 1), (429, 2)])
def test_a_refusal_is_not_asked_again(
    failed: dg.RunFailureSensorContext, serve: Any, caplog: pytest.LogCaptureFixture, code: int, n_tries: int
) -> None:
    receiver = serve(code)
    assert f"127.0.0.1 answered {code}" in warned(failed, caplog)
    assert len(receiver.received) == n_tries


def test_a_server_that_hangs_is_survived(
    failed: dg.RunFailureSensorContext,
    serve: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(alerts, "TIMEOUT_S", 0.1)
    receiver = serve(200)
    receiver.hang.clear()
    assert "127.0.0.1 did not answer within 0.1 s" in warned(failed, caplog)


def test_a_redirect_is_no_success(
    failed: dg.RunFailureSensorContext, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = serve(302)
    assert "127.0.0.1 answered 302" in warned(failed, caplog)
    assert not [path for path, _, _ in receiver.received if path.startswith("GET")]


@pytest.mark.parametrize(
    "url",
    [
        f"hooks.example.org/{SECRET}",
        f"file:///{SECRET}",
        f"http://[{SECRET}",
        f"http://user:{SECRET}@127.0.0.1:x/",
        f"http://127.0.0.1:1/{SECRET}\n",
        f"http:///{SECRET}",
    ],
)
def test_an_address_that_is_none_is_survived_and_not_told(
    failed: dg.RunFailureSensorContext,
    serve: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    url: str,
) -> None:
    monkeypatch.setenv(WEBHOOK, url)
    warned(failed, caplog)


def test_post_says_nothing_of_the_address(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(500)
    assert SECRET not in post(f"http://127.0.0.1:1/{SECRET} with a space", {})
    assert SECRET not in post(f"gopher://127.0.0.1/{SECRET}", {})


def test_a_payload_that_is_taken_gives_no_problem(serve: Any) -> None:
    assert post(serve(204).url, {"text": "hello"}) == ""
