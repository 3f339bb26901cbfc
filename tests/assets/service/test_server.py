"""The platform on one machine: what dies is started again, and all ends together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from watching import is_alive

from scmagnify_assets.service import server
from scmagnify_assets.service.server import Service


def sleeper(tmp_path: Path) -> Service:
    service = Service("sleeper", [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"])
    service.start(os.environ, tmp_path / "log")
    return service


def test_a_service_that_died_is_due_again_with_growing_pauses(tmp_path: Path) -> None:
    service = Service("failing", [sys.executable, "-c", "raise SystemExit(3)"])
    pauses = []
    for _ in range(9):
        service.start(os.environ, tmp_path / "log")
        assert service.process is not None
        service.process.wait()
        said = service.look(time.monotonic())
        assert said is not None
        assert "failing ended (status 3)" in said
        assert service.process is None
        pauses.append(service.pause)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_service_that_ran_long_is_due_at_once(tmp_path: Path) -> None:
    service = sleeper(tmp_path)
    service.pause = 30.0
    assert service.process is not None
    service.process.kill()
    service.process.wait()
    assert service.look(service.started + server.SETTLED_SECONDS + 1) is not None
    assert service.pause == 0.5


def test_a_living_service_is_left_alone_and_can_be_stopped(tmp_path: Path) -> None:
    service = sleeper(tmp_path)
    assert service.look(time.monotonic()) is None
    process = service.process
    assert process is not None
    service.stop(time.monotonic() + 10)
    assert process.poll() is not None
    service.stop(time.monotonic())  # twice does no harm


@pytest.mark.parametrize("ignored", [(), ("SIGINT", "SIGTERM")])  # as where a shell put it in the background
def test_services_end_when_the_command_that_started_them_is_killed(tmp_path: Path, ignored: tuple[str, ...]) -> None:
    script = tmp_path / "starter.py"
    script.write_text(
        f"import os, signal, sys, time\nfor name in {ignored}:\n"
        "    signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        "from pathlib import Path\nfrom scmagnify_assets.service.server import Service\n"
        "s = Service('s', [sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "s.start(os.environ, Path(sys.argv[1]))\nprint(s.process.pid, flush=True)\ntime.sleep(60)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    service = int(starter.stdout.readline())
    assert is_alive(service)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    deadline = time.monotonic() + 10
    while is_alive(service) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(service)


def test_a_long_log_is_set_aside_while_it_is_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(server, "MAX_LOG_BYTES", 100)
    log = tmp_path / "server.log"
    with log.open("ab") as output:
        output.write(b"a" * 200)
        output.flush()
        server._shorten(log)
        output.write(b"b")
    assert log.read_bytes() == b"b"
    assert log.with_suffix(".log.1").read_bytes() == b"a" * 200
    server._shorten(log)
    assert log.read_bytes() == b"b"
