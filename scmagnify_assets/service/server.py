"""The platform on one machine: code server, daemon and web server, each started again if it dies.

``dagster dev`` would do for looking, but it ends as a whole when one of its processes dies. Here each has its own
life: a killed daemon is back in a second and finds runs still going; a killed code server takes its run workers
along (`processes.end_with_parent`), which run monitoring notices and starts again from where they were.

On servers, systemd, Kubernetes or compose do the same (``deploy/``).
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scmagnify_assets.home import VARIABLE, Home
from scmagnify_core.errors import InputError

SETTLED_SECONDS = 60  # a process that ran this long starts again at once
MAX_PAUSE_SECONDS = 30.0
STOP_SECONDS = 20.0
MAX_LOG_BYTES = 50 * 2**20
LOCATION = "scmagnify"


@dataclass
class Service:
    """One process that is to run as long as the platform does."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0

    def start(self, environment: Mapping[str, str], log: Path) -> None:
        """Start it; it ends with this process, also if that is killed (on Linux)."""
        self.started = time.monotonic()
        self.due = self.started + MAX_PAUSE_SECONDS  # if there is no memory or no disk to start it
        with suppress(OSError), log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, preexec_fn=_end_with_starter(),
            )  # fmt: skip

    def look(self, now: float) -> str | None:
        """What to say if it has just died, having set when it is due to start again."""
        if self.process is None or self.process.poll() is None:
            return None
        lived = now - self.started
        self.pause = 0.5 if lived > SETTLED_SECONDS else min(MAX_PAUSE_SECONDS, max(0.5, 2 * self.pause))
        self.due = now + self.pause
        said = f"{self.name} ended (status {self.process.returncode}); it starts again in {self.pause:g} s."
        self.process = None
        return said

    def stop(self, deadline: float) -> None:
        """Ask it to end, and make it end at the deadline."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serve(home: Home, host: str, port: int, say: Callable[[str], None]) -> None:
    """Run the platform until it is interrupted (Ctrl-C or SIGTERM).

    Parameters
    ----------
    say
        Told in words of every process that died and of what follows.

    Raises
    ------
    InputError
        Another platform runs on this home.
    """
    with _alone(home):
        _serve(home, host, port, say)


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Refuse a second platform on the same home: two daemons would ask for everything twice."""
    with (home.dagster / "ui.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "Stop that one, or set SCMAGNIFY_HOME to another folder."
            raise InputError(f"'{home.root}'", "has a running platform already.", remedy) from error
        yield


def _serve(home: Home, host: str, port: int, say: Callable[[str], None]) -> None:
    grpc_port = _free_port()
    workspace = home.dagster / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server:\n      host: 127.0.0.1\n      port: {grpc_port}\n"
        f"      location_name: {LOCATION}\n",
        encoding="utf-8",
    )
    log = log_file(home)
    environment = os.environ | {"DAGSTER_HOME": str(home.dagster), VARIABLE: str(home.root)}
    python, where = [sys.executable, "-m"], ["-w", str(workspace)]
    quiet = ["--log-level", "warning"]
    services = [
        Service("code server", [
            *python, "scmagnify_assets.service.code_server", "--host", "127.0.0.1", "--port", str(grpc_port),
            "--location-name", LOCATION, "--use-python-environment-entry-point", *quiet,
        ]),
        Service("daemon", [*python, "dagster._daemon", "run", *where, *quiet]),
        Service("web server", [
            *python, "dagster_webserver", *where, "-h", host, "-p", str(port), "--dagster-log-level", "warning",
        ]),
    ]  # fmt: skip
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        _await_port(services[0], grpc_port, environment, log, stopping)
        while not stopping.wait(0.5):
            now = time.monotonic()
            for service in services:
                if (said := service.look(now)) is not None:
                    say(said)
                if service.process is None and now >= service.due:
                    service.start(environment, log)
            with suppress(OSError):  # a full disk must not end what is running
                _shorten(log)
    finally:
        deadline = time.monotonic() + STOP_SECONDS
        for service in reversed(services):  # the daemon before the code server, which its ticks ask
            service.stop(deadline)


def log_file(home: Home) -> Path:
    """Where the services write; the UI has the log of each run."""
    return home.dagster / "server.log"


def _shorten(log: Path) -> None:
    """Set a long log aside. Emptied rather than renamed: the services keep it open, to append."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)


def _await_port(
    service: Service, port: int, environment: Mapping[str, str], log: Path, stopping: threading.Event
) -> None:
    """Start the code server before what needs it: they would log errors until it is there."""
    service.start(environment, log)
    while not stopping.wait(0.2):
        if service.process is None or service.process.poll() is not None:
            return  # the loop says so and tries again
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _end_with_starter() -> Callable[[], None]:
    """What a child calls before it becomes its program: it can be ended, and on Linux is when its parent dies.

    A shell starts what it puts in the background with SIGINT ignored, Dagster then treats SIGTERM alike, and a child
    inherits what is ignored: it would survive both its parent and a request to end.
    """
    # Looked up here: after the fork nothing may be imported.
    prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform.startswith("linux") else None

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if prctl is not None:
            prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG

    return prepare
