"""Runs as processes of one machine, and what tells a living run from a dead one.

Dagster's own launcher for one machine leaves it to the code server to notice that a run's process ended. When the code
server itself dies (kill, crash, reboot) nobody notices: its runs stay "started" for ever, hold their turn on the GPU
and a place in the queue, and are never tried again. `LocalRunLauncher` lets the daemon's run monitoring look for the
process instead. It is named in ``dagster.yaml`` of a laptop and of a server; a cluster's launcher does this itself.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from dagster import DagsterEventType, DagsterRun
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._serdes import ConfigurableClass

# By the code server; and by `scmagnify run`, whose runs the daemon looks after, too.
_STARTED = re.compile(r"(?:Started process for run|Executing steps in process) \(pid: (\d+)\)")
_SLACK_S = 5  # clocks: a process is logged right after it started, and its start is known to a hundredth of a second


class LocalRunLauncher(DefaultRunLauncher, ConfigurableClass):
    """Dagster's default launcher, with health checks of the process that carries out a run."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process lives; a run that has not said which one it is has the benefit of the doubt."""
        events = self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
        started = [(entry.timestamp, found) for entry in events if (found := _STARTED.search(entry.message))]
        if not started:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        at, found = started[-1]
        process = int(found.group(1))
        # Once it was seen alive, it is known by when it started after boot: the clock may be set meanwhile.
        now, before = started_after_boot(process), _started.get((run.run_id, process))
        if now is not None and now == before:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if before is None and is_alive(process, at):
            _started[run.run_id, process] = now
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"Process {process} of the run is gone.")


_started: dict[tuple[str, int], int | None] = {}


def started_after_boot(process: int) -> int | None:
    """When a living process started, in ticks after boot; None if it is dead or the system does not tell."""
    with suppress(OSError, IndexError):
        state, *fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        return None if state == "Z" else int(fields[18])
    return None


def is_alive(process: int, seen_at: float) -> bool:
    """Whether the process with this number lives, and is the one that was seen at that time (seconds since 1970).

    After a reboot numbers are given anew. Only Linux tells when a process started, so elsewhere a number that another
    process has taken over counts as alive.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of another user
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self/stat").exists()
    started_at = int(boot.split()[1]) + int(fields[18]) / os.sysconf("SC_CLK_TCK")
    return state != "Z" and started_at <= seen_at + _SLACK_S
