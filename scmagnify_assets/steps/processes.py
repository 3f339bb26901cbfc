"""What a process of the platform is called, how many threads it has, and what it used."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scmagnify_core.memory import RSS_PER_MIB, PeakMemory
from scmagnify_core.parallel import CORES

MIB = 2**20


def call_process(name: str) -> None:
    """Give a process that another one started this name in ``top`` and ``ps`` (Linux; the first 15 characters).

    All that are forked from one server look alike there otherwise.
    """
    if multiprocessing.parent_process() is not None:
        with suppress(OSError):
            Path("/proc/self/comm").write_text(name, encoding="utf-8")


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Wall-clock seconds and peak memory of the block, in a mapping that is filled when the block ends.

    ``peak_memory_mib`` is that of this process, ``peak_worker_memory_mib`` that of the largest process which it
    started and which has ended, ``gpu_peak_memory_mib`` what torch allocated on CUDA. The process's peak is that of
    the block alone where the system lets it be reset (Linux), else of the process so far.
    """
    found: dict[str, float] = {}
    started = time.monotonic()
    torch = sys.modules.get("torch")
    has_cuda = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    if has_cuda and torch is not None:
        torch.cuda.reset_peak_memory_stats()
    try:
        with PeakMemory() as peak:
            yield found
    finally:
        found["runtime_s"] = round(time.monotonic() - started, 3)
        found["peak_memory_mib"] = round(peak.mib, 1)
        workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / RSS_PER_MIB
        if workers:
            found["peak_worker_memory_mib"] = round(workers, 1)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            found["gpu_peak_memory_mib"] = round(torch.cuda.max_memory_allocated() / MIB, 1)


def threads_of(cpus: float) -> dict[str, str]:
    """Variables that keep a process to whole cores: its own threads, and those of OpenMP, BLAS, torch and faiss."""
    n_threads = str(max(1, int(cpus)))
    return {CORES: n_threads, "OMP_NUM_THREADS": n_threads}
