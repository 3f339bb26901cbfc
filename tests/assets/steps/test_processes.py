"""Processes end with those that asked for them, and say what they used."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from watching import is_alive, wait_for

from scmagnify_assets.steps.processes import measured
from scmagnify_core.parallel import end_with_parent

# A run worker that starts a step: forked from a fork server, or spawned. The step writes its number and then works.
WORKER = """
import multiprocessing, os, sys, time
from pathlib import Path
from scmagnify_core.parallel import end_with_parent

def step(path):
    end_with_parent()
    Path(path).write_text(str(os.getpid()))
    time.sleep(120)

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=step, args=(sys.argv[2],))
    process.start()
    process.join()
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_step_ends_when_its_run_worker_is_killed(method: str, tmp_path: Path) -> None:
    script, noted = tmp_path / "worker.py", tmp_path / "pid"
    script.write_text(WORKER)
    worker = subprocess.Popen([sys.executable, str(script), method, str(noted)])
    assert wait_for(lambda: noted.exists() and noted.read_text() != "")
    step = int(noted.read_text())
    assert is_alive(step)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert wait_for(lambda: not is_alive(step)), "the step outlived its run worker"


def test_a_process_that_a_user_started_does_not_watch_its_parent() -> None:
    """Closing the terminal of `scmagnify run` must not end it by our doing."""
    before = threads()
    end_with_parent()
    assert multiprocessing.parent_process() is None
    assert threads() == before


def threads() -> int:
    return len(os.listdir(f"/proc/{os.getpid()}/task"))  # noqa: PTH208


NAMED = """
import multiprocessing
from pathlib import Path
from scmagnify_assets.steps.processes import call_process

def step():
    call_process("communication_scores")
    print("step", Path("/proc/self/comm").read_text().strip(), flush=True)

if __name__ == "__main__":
    call_process("something else")
    print("user's", Path("/proc/self/comm").read_text().strip(), flush=True)
    process = multiprocessing.get_context("spawn").Process(target=step)
    process.start()
    process.join()
"""


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="the system does not name processes")
def test_a_step_is_called_after_its_asset_and_a_users_process_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text(NAMED)
    done = subprocess.run([sys.executable, str(tmp_path / "named.py")], capture_output=True, text=True, check=True)
    users, step = done.stdout.splitlines()
    assert step == "step " + "communication_scores"[:15]
    assert users.startswith("user's python")


def test_measured_tells_time_and_the_peak_of_its_block_alone() -> None:
    with measured() as large:
        time.sleep(0.05)
        block = bytearray(300 * 2**20)
        block[::4096] = b"\1" * len(block[::4096])
    del block
    with measured() as small:
        pass
    assert large["runtime_s"] >= 0.05 > small["runtime_s"]
    assert large["peak_memory_mib"] > small["peak_memory_mib"] + 200


def test_measured_is_filled_although_the_block_fails() -> None:
    with pytest.raises(ValueError, match="x"), measured() as used:
        raise ValueError("x")
    assert used["runtime_s"] >= 0
