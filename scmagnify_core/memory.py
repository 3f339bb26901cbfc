"""How much memory a step may use, how much it will, and the refusal where the one exceeds the other.

Nothing here depends on a method: each step knows its own arrays and hands over a number of bytes. A budget decides
where arrays lie (memory or a mapped file) and how they are cut into blocks, never what is in them.
"""

import os
from pathlib import Path

from scmagnify_core.errors import InputError

SHARE = 0.8  # of the memory that the process may use; the rest is for others
UNLIMITED = 2**60  # version 1 of cgroups writes a huge number where there is no limit


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
