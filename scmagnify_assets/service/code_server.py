"""Dagster's code server, with runs that start at once.

    python -m scmagnify_assets.service.code_server --host 127.0.0.1 --port 4000

Dagster starts a new interpreter for every run, and a second one from which the run's steps are forked; both import the
graph first. A data set takes four runs, so that on a small machine half a minute of processor time went into imports.
Here one server imports the graph once, and everything descends from it by fork::

    code server (gRPC)
    └── run server: has imported the graph, does nothing but fork
        ├── worker of run A
        │   └── step server of run A, forked before the worker does anything
        │       ├── step
        │       └── step
        └── worker of run B ...

What is forked has imported and done nothing else: no thread of Python's, no open lake, no connection, no CUDA, so that
nothing is cut in two. Each process ends with the one that asked for it (`parallel.end_with_parent`); a run server that
is killed is started anew with the next run.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from scmagnify_assets.steps.executors import PRELOADED
from scmagnify_assets.steps.processes import call_process
from scmagnify_core.parallel import end_with_parent

MODULE = "scmagnify_assets.definitions"
RUN_WORKER, STEP_SERVER = "run worker", "step server"  # as `top` shows them
MOMENT_SECONDS = 0.2
# Torch as well: a data set's steps would import it twice, for three seconds each. That alone starts no thread and does
# not touch CUDA.
IMPORTED = ("torch", *PRELOADED)


class _RunWorker(ForkServerProcess):
    """A process that readies itself before it does what Dagster gave it to do."""

    def start(self) -> None:
        """Have it forked; where the server for that is just being killed, by the next one."""
        try:
            super().start()
        except (EOFError, OSError):
            time.sleep(MOMENT_SECONDS)  # a process closes its files before it counts as dead
            super().start()

    def run(self) -> None:
        """The run, in the forked process."""
        call_process(STEP_SERVER)  # which inherits it
        fork_step_server()
        call_process(RUN_WORKER)
        end_with_parent()
        super().run()


class _RunContext(ForkServerContext):
    Process = _RunWorker


def fork_step_server() -> None:
    """Start multiprocessing's fork server of this process by a fork, in place of a new interpreter.

    To be called before this process starts a thread.
    """
    start = util.spawnv_passfds
    util.spawnv_passfds = _fork  # type: ignore[assignment]
    try:
        forkserver.ensure_running()
    finally:
        util.spawnv_passfds = start


def _fork(_path: bytes, _arguments: Sequence[str], keep: Sequence[int]) -> int:
    """In place of `multiprocessing.util.spawnv_passfds`, of a fork server: returns the process's number.

    ``keep`` is what that server is given: the socket that it listens on, and the pipe that ends with all that may ask.
    """
    if process := os.fork():
        return process
    status = 1
    try:
        kept = sorted({0, 1, 2, *keep})
        for below, above in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
            os.closerange(below + 1, above)
        # The fork caught it in the middle of starting a server, with its lock held.
        forkserver._forkserver.__init__()  # type: ignore[misc]
        listener, alive = keep
        forkserver.main(listener, alive, preload=())  # ends by SystemExit when all that could ask for a step are gone
    except SystemExit:
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)  # nothing of the run worker's is to be flushed or cleaned up twice


def _serve_with(context: multiprocessing.context.BaseContext) -> None:
    """Let Dagster's server start its runs in this context."""
    from dagster._grpc import server

    class Server(server.DagsterApiServer):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._mp_ctx = context  # type: ignore[assignment]

    server.DagsterApiServer = Server  # type: ignore[misc]


def run_context(preload: Sequence[str]) -> ForkServerContext:
    """What starts run workers, with their server on its way: it imports while this process does."""
    context = _RunContext()
    context.set_forkserver_preload(list(preload))
    forkserver.ensure_running()
    return context


def main(arguments: Sequence[str]) -> None:
    """Serve the graph until ended; arguments are those of ``dagster api grpc``."""
    _serve_with(run_context(IMPORTED))
    from dagster._cli import main as dagster

    sys.argv = ["dagster", "api", "grpc", "--module-name", MODULE, *arguments]
    dagster()


if __name__ == "__main__":
    main(sys.argv[1:])
