"""Results of a benchmark as JSON: what was measured, with which versions, on what machine."""

import json
import math
import os
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
PACKAGES = ("numpy", "scipy", "pandas", "torch", "scikit-learn", "dagster", "deltalake", "duckdb", "matplotlib")


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory and system."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def peak_gib() -> float:
    """Largest resident memory of this process so far, imports included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def save(name: str, results: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    """Write ``docs/benchmarks/<name>.json``."""
    path = FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "measured_at": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        **{key: _rounded(value) for key, value in more.items()},
        "results": [{key: _rounded(value) for key, value in row.items()} for row in results],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def saved(name: str) -> list[dict[str, Any]]:
    """Results that ``docs/benchmarks/<name>.json`` holds; none if there is no such file."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []


def _rounded(value: Any) -> Any:
    """Four digits; JSON has no NaN."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.4g}")
    return value
