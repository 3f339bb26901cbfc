"""Progress of long work: assets report, whoever runs them listens.

A context variable keeps the assets free of any display: the command line draws bars, a Dagster run logs, and a test
that listens to neither sees nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int, str], None]  # task, done, total, detail

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def report(task: str, done: int, total: int, detail: str = "") -> None:
    """Say that ``done`` of ``total`` units of a task are finished; a total of 0 is unknown."""
    listener = _listener.get()
    if listener is not None:
        listener(task, done, total, detail)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send every report within the block to ``listener``."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
