"""Cores of this process, and child processes that end with the process that asked for them."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading

_watching = False


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; elsewhere a process may use all
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with_parent() -> None:
    """End this process within a moment of its parent's death; nothing for a process that a user started.

    The parent is the process that asked for this one: of a forked child it is not the fork server. Python's
    multiprocessing keeps a pipe to it, which the kernel closes however the parent ends. On Linux the end of the fork
    server ends it, too: its parent hears of it through that server alone, and would take it for dead.
    """
    global _watching
    parent = multiprocessing.parent_process()
    if parent is None or _watching:
        return
    _watching = True
    # A process that was not forked by a server has a thread of its parent's for this, and threads end.
    if sys.platform == "linux" and os.getppid() != parent.pid:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG

    def watch() -> None:
        parent.join()
        os._exit(75)  # EX_TEMPFAIL; nothing to clean up that a kill -9 would not leave, too

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
