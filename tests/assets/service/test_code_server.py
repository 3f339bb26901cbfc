"""Run workers and steps descend from one server by fork, and end with those that asked for them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from watching import is_alive, parent_of, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")

# A code server that starts one run after another, each with one step. Every process writes its number.
SERVER = """
import json, multiprocessing, os, sys, time
from pathlib import Path
from scmagnify_assets.service.code_server import run_context
from scmagnify_core.parallel import end_with_parent

FOLDER = Path(sys.argv[1])

def note(name, **more):
    part = FOLDER / f".{name}"
    part.write_text(json.dumps({"pid": os.getpid(), "parent": os.getppid(), **more}))
    part.rename(FOLDER / name)

def step(run, seconds):
    end_with_parent()
    note(f"step{run}", preloaded="csv" in sys.modules, files=len(os.listdir("/proc/self/fd")))
    time.sleep(seconds)

def work(run, seconds, status):
    with open(FOLDER / f"log{run}", "w"):
        process = multiprocessing.get_context("forkserver").Process(target=step, args=(run, seconds))
        process.start()
        note(f"worker{run}", preloaded="csv" in sys.modules)
        process.join()
    note(f"end{run}", code=process.exitcode)
    sys.exit(status)

if __name__ == "__main__":
    context = run_context(["csv"])
    note("server")
    for run, (seconds, status) in enumerate(json.loads(sys.argv[2])):
        process = context.Process(target=work, args=(run, seconds, status))
        process.start()
        process.join()
        note(f"code{run}", code=process.exitcode)
"""


class Tree:
    """The processes that one such server started, as they noted themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "server.py").write_text(SERVER)

    def start(self, *runs: tuple[float, int]) -> None:
        """``runs``: seconds of the step and exit status of the worker."""
        command = [sys.executable, str(self.folder / "server.py"), str(self.folder), str([list(run) for run in runs])]
        self.process = subprocess.Popen(command, start_new_session=True)

    def noted(self, name: str) -> dict[str, int]:
        """What the process of this name wrote, once it has."""
        path = self.folder / name
        assert wait_for(path.exists), f"{name} did not come"
        return dict(json.loads(path.read_text()))


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path)
    yield tree
    os.killpg(tree.process.pid, signal.SIGKILL)
    tree.process.wait()


def test_every_process_is_forked_from_one_that_has_imported(tree: Tree) -> None:
    tree.start((30, 0))
    server, worker, step = (tree.noted(name) for name in ("server", "worker0", "step0"))
    assert parent_of(worker["parent"]) == server["pid"]  # by way of the run server
    assert parent_of(step["parent"]) == worker["pid"]  # by way of the step server
    assert (worker["preloaded"], step["preloaded"]) == (True, True)
    run_server, step_server = (Path(f"/proc/{one['parent']}/cmdline").read_text() for one in (worker, step))
    assert step_server == run_server, "the step server is a new interpreter"


def test_the_step_server_keeps_no_file_of_its_worker(tree: Tree) -> None:
    """Else it would never see that the worker is gone."""
    tree.start((30, 0))
    step_server = tree.noted("step0")["parent"]
    links = {one: str(one.readlink()) for one in Path(f"/proc/{step_server}/fd").iterdir() if int(one.name) > 2}
    # The socket that it listens on, the pipe of those that may ask, its selector, its signals, a child's status.
    assert not [where for where in links.values() if where.startswith("/") and where != "/dev/null"], links
    assert len(links) <= 8, links


def test_results_and_exit_codes_come_through(tree: Tree) -> None:
    tree.start((0, 0), (0, 7))
    assert tree.noted("end0")["code"] == 0
    assert [tree.noted(f"code{run}")["code"] for run in (0, 1)] == [0, 7]
    step_server = tree.noted("step0")["parent"]
    assert wait_for(lambda: not is_alive(step_server)), "the step server outlived its run"


@pytest.mark.parametrize("victim", ["server", "worker0", "run server"])
def test_what_descends_from_a_killed_process_ends(tree: Tree, victim: str) -> None:
    tree.start((120, 0))
    worker, step = tree.noted("worker0"), tree.noted("step0")
    os.kill(worker["parent"] if victim == "run server" else tree.noted(victim)["pid"], signal.SIGKILL)
    family = [worker["pid"], step["parent"], step["pid"]]
    assert wait_for(lambda: not any(map(is_alive, family))), [one for one in family if is_alive(one)]


def test_a_killed_step_server_takes_its_steps_along(tree: Tree) -> None:
    tree.start((120, 0))
    step = tree.noted("step0")
    os.kill(step["parent"], signal.SIGKILL)
    assert wait_for(lambda: not is_alive(step["pid"]))
    assert tree.noted("end0")["code"] != 0  # and the worker knows


def test_a_killed_run_server_is_replaced_with_the_next_run(tree: Tree) -> None:
    tree.start((120, 0), (0, 3))
    first = tree.noted("worker0")
    tree.noted("step0")
    os.kill(first["parent"], signal.SIGKILL)
    assert tree.noted("code0")["code"] != 0
    assert tree.noted("code1")["code"] == 3
    assert tree.noted("worker1")["parent"] != first["parent"]
