"""How much memory a step may use, will use and has used, and the refusal where it will not do.

Nothing here depends on a method: each step knows its own arrays and hands over a number of bytes. A budget decides
where arrays lie (memory or a mapped file) and how they are cut into blocks, never what is in them.
"""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from scmagnify_core.errors import InputError

SHARE = 0.8  # of the memory that the process may use; the rest is for others
UNLIMITED = 2**60  # version 1 of cgroups writes a huge number where there is no limit
RSS_PER_MIB = 2**20 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere


def usable_memory() -> int:
    """Bytes that this process may use: the machine's, or what its cgroup or one above it allows."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, place = line.split(":", 2)
        root, name = (
            (Path("/sys/fs/cgroup"), "memory.max")
            if not controllers
            else (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes")
        )
        if controllers and "memory" not in controllers.split(","):
            continue
        group = root / place.lstrip("/")
        # Inside a container the path may be that of the host, which is not there: its own limit is at the root.
        for folder in (group, *group.parents):
            limits += [int(text) for text in _lines(folder / name) if text.isdigit()]
            if folder == root:
                break
    return min(limit for limit in limits if limit < UNLIMITED)


def memory_in_use() -> int:
    """Bytes that this process holds and cannot give back: without mapped files. 0 where the system does not tell."""
    for line in _lines(Path("/proc/self/status")):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class PeakMemory:
    """Context manager: the largest resident memory of this process during its block, ``mib`` once that has ended.

    Blocks may lie within one another: the inner one sets the system's mark back, so the outer one keeps what it read by
    then. Where the system does not let the mark be set back (other than Linux), it is the peak of the process so far.
    """

    _open: ClassVar[list["PeakMemory"]] = []

    def __init__(self) -> None:
        self.mib = 0.0

    def __enter__(self) -> "PeakMemory":
        """Begin to measure."""
        self._tell_outer()
        self._open.append(self)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return self

    def __exit__(self, *_: object) -> None:
        """Read the mark."""
        self.mib = max(self.mib, _peak_mib())
        self._open.remove(self)
        self._tell_outer()

    def _tell_outer(self) -> None:
        if self._open:
            self._open[-1].mib = max(self._open[-1].mib, _peak_mib())


def _peak_mib() -> float:
    for line in _lines(Path("/proc/self/status")):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MIB


def resolve_budget(memory_budget: int | None) -> int:
    """The budget in bytes: as set, or 80 % of what the process may use."""
    return int(SHARE * usable_memory()) if memory_budget is None else int(memory_budget)


def check_fits(what: str, needed: int, memory_budget: int | None, remedy: str) -> None:
    """Refuse, before it begins, a job whose peak exceeds the budget.

    Parameters
    ----------
    what
        The job with the sizes that decide, as the user knows them.
    needed
        Bytes at its peak, :func:`memory_in_use` included.
    remedy
        What makes the job smaller, without a full stop.

    Raises
    ------
    InputError
        It does not fit.
    """
    budget = resolve_budget(memory_budget)
    if needed <= budget:
        return
    usable = usable_memory()
    more = "raise memory_budget" if needed <= usable else "use a machine with more memory"
    raise InputError(
        what, f"need {show_bytes(needed)} of memory, and memory_budget is {show_bytes(budget)} "
        f"(usable here: {show_bytes(usable)}).", f"{remedy}, or {more}.",
    )  # fmt: skip


def show_bytes(n_bytes: int) -> str:
    """Bytes in the unit that a person would choose."""
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
