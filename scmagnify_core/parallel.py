"""Cores of this process, and child processes that end with the process that asked for them."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading

from scmagnify_core.errors import InputError

CORES = "SCMAGNIFY_CORES"  # set for each step that a cluster places, and by whoever shares a machine

_watching = False


def n_cores() -> int:
    """Cores that this process may use: those it is given by the system, or as many of them as ``SCMAGNIFY_CORES`` says.

    A container sees every core of its node, however few it asked for, and so does a Ray job.

    Raises
    ------
    InputError
        The variable is no positive integer.
    """
    # The affinity is Linux's; elsewhere a process may use all.
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get(CORES)
    if not given:
        return found
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"{CORES}={given}", "is no positive integer.", f"Say, {CORES}=2.")
    return min(found, int(given))


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
