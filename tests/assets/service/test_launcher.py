"""A run whose process is gone is seen, whoever should have noticed."""

import inspect
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from dagster._grpc import impl

from scmagnify_assets.home import DAGSTER_YAML
from scmagnify_assets.service.launcher import LocalRunLauncher, is_alive

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process started")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text(DAGSTER_YAML, "utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def started_run(instance: dg.DagsterInstance, message: str) -> dg.DagsterRun:
    @dg.job
    def job() -> None: ...

    run = instance.create_run_for_job(job)
    instance.report_engine_event(message, run, EngineEventData())
    instance.report_dagster_event(
        DagsterEvent(event_type_value=DagsterEventType.RUN_START.value, job_name=run.job_name), run.run_id
    )
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.STARTED
    return found


def monitor(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    """What the daemon does every few seconds."""
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    monitor_started_run(instance, None, record, logging.getLogger("test"))  # type: ignore[arg-type]
    after = instance.get_run_by_id(run.run_id)
    assert after is not None
    return after.status


MESSAGES = ["Started process for run (pid: {}).", "Executing steps in process (pid: {})"]


@pytest.mark.parametrize("message", MESSAGES)
def test_run_of_a_process_that_is_gone_fails(instance: dg.DagsterInstance, gone: int, message: str) -> None:
    assert isinstance(instance.run_launcher, LocalRunLauncher)
    run = started_run(instance, message.format(gone))
    assert monitor(instance, run) == dg.DagsterRunStatus.FAILURE
    assert any(f"Process {gone} of the run is gone." in entry.message for entry in instance.all_logs(run.run_id))


@pytest.mark.parametrize("message", MESSAGES)
def test_run_of_a_living_process_goes_on(instance: dg.DagsterInstance, message: str) -> None:
    run = started_run(instance, message.format(os.getpid()))
    assert monitor(instance, run) == dg.DagsterRunStatus.STARTED


def test_run_that_names_no_process_goes_on(instance: dg.DagsterInstance) -> None:
    assert monitor(instance, started_run(instance, "Nothing of interest")) == dg.DagsterRunStatus.STARTED


def test_run_goes_with_its_latest_process(instance: dg.DagsterInstance, gone: int) -> None:
    run = started_run(instance, f"Started process for run (pid: {gone}).")
    instance.report_engine_event(f"Executing steps in process (pid: {os.getpid()})", run, EngineEventData())
    assert monitor(instance, run) == dg.DagsterRunStatus.STARTED


def test_messages_are_those_of_dagster(instance: dg.DagsterInstance) -> None:
    """What is searched for is what this version logs, in both ways of running."""
    assert "Started process for run (pid: {pid})." in inspect.getsource(impl)

    @dg.asset
    def one() -> None: ...

    result = dg.materialize([one], instance=instance)
    messages = [entry.message for entry in instance.all_logs(result.run_id)]
    assert f"Executing steps in process (pid: {os.getpid()})" in messages


def test_living_process_is_alive(gone: int) -> None:
    assert is_alive(os.getpid(), time.time())
    assert not is_alive(gone, time.time())


@LINUX
def test_number_that_another_process_has_taken_over_is_not_alive() -> None:
    assert not is_alive(os.getpid(), time.time() - 10 * 24 * 3600)


@LINUX
def test_process_that_nobody_waited_for_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 60
    while Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not is_alive(process.pid, time.time())
    process.wait()
