"""Cores of this process, and child processes that end with the process that asked for them."""

import multiprocessing
import os
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
    multiprocessing keeps a pipe to it, which the kernel closes however the parent ends.
    """
    global _watching
    parent = multiprocessing.parent_process()
    if parent is None or _watching:
        return
    _watching = True

    def watch() -> None:
        parent.join()
        os._exit(75)  # EX_TEMPFAIL; nothing to clean up that a kill -9 would not leave, too

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
