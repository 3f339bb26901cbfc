"""The public package and ours on the same data: makes the environment, runs both, writes docs/benchmarks/public.json.

    python benchmarks/public/run.py                  # S to its end, a few epochs of M, a few batches of L
    python benchmarks/public/run.py --full           # M to its end too: hours
    python benchmarks/public/run.py --sizes S --python ENV/bin/python      # an environment that is already there

`train.py` says what is done to the public package so that it runs, and what is the same for both; `../training.py`
makes the data and trains ours. Figures are CPU-seconds of one thread and MiB of whole processes. What was not run
to its end is extrapolated with the epochs of S and marked so. Sizes that are not asked for stay in the file.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RESULT = ROOT / "docs" / "benchmarks" / "public.json"
FEW = {"M": ["--epochs", "3"], "L": ["--batches", "5"]}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def make_environment(folder: Path) -> Path:
    """Python of the public package's environment; made if absent."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, clear=True, with_pip=True)
        lines = (HERE / "requirements.txt").read_text().splitlines()
        for requirement in (line for line in lines if line and not line.startswith("#")):
            subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True)
        (folder / "complete").touch()
    return python


def run_json(command: list[str | Path]) -> dict[str, Any]:
    print("+", *command, flush=True)
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=ENVIRONMENT, cwd=ROOT).stdout)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown"),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
    }


def thin(rows: list[dict[str, float]], keep: set[int]) -> list[dict[str, float]]:
    """Every epoch up to 10, then every fifth, the last and those in ``keep``, to four digits."""
    kept = [
        row for row in rows if row["epoch"] <= 10 or row["epoch"] % 5 == 0 or row is rows[-1] or row["epoch"] in keep
    ]
    return [
        {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in row.items()}
        for row in kept
    ]


def compare(size: str, python: Path, folder: Path, full: bool, seed: int, sizes: dict[str, Any]) -> dict[str, Any]:
    """Run both sides on a size."""
    ours = [sys.executable, ROOT / "benchmarks" / "training.py", size, "--folder", folder]
    exchange = folder / f"{size}.npz"
    if not exchange.exists():
        subprocess.run([*ours, "--write"], check=True, env=ENVIRONMENT, cwd=ROOT)
    out = folder / f"{size}.public.json"
    few = [] if size == "S" or (full and size == "M") else FEW[size]
    command = [python, HERE / "train.py", exchange, "--out", out, "--seed", str(seed), *few]
    print("+", *command, flush=True)
    subprocess.run(command, check=True, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL)
    public = json.loads(out.read_text())
    if "trajectory" in public:
        public["trajectory"] = thin(public["trajectory"], {public["best_epoch"]})
    epochs = sizes.get("S", {}).get("public", {})
    if few and "epochs" in epochs:
        per_epoch = public.get("cpu_s_per_epoch", public.get("cpu_s_per_epoch_extrapolated"))
        public["extrapolated"] = {
            "how": "seconds an epoch of this size x epochs that S took",
            "cpu_hours_to_early_stop": round(per_epoch * epochs["epochs"] / 3600, 2),
            "cpu_hours_to_best": round(per_epoch * epochs["best_epoch"] / 3600, 2),
        }
    result = {"public": public}
    if size != "L":
        bar = ["--bar", str(public["best_held_out_mse"])]
        result["ours"] = run_json([*ours, *bar, *(["--trajectory"] if size == "S" else [])])
        result["ours"]["trajectory"] = thin(result["ours"]["trajectory"], set())
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=["S", "M", "L"], default=["S", "M", "L"])
    parser.add_argument("--full", action="store_true", help="run M to its end")
    parser.add_argument("--seed", type=int, default=42, help="seed of the public package; its default is 42")
    parser.add_argument("--python", type=Path, help="Python of an environment that has the public package")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "public", help="exchange files and environment"
    )
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    python = arguments.python or make_environment(folder / "env")
    content: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"sizes": {}}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    for size in arguments.sizes:
        content["sizes"][size] = compare(size, python, folder, arguments.full, arguments.seed, content["sizes"])
        content["sizes"][size]["date"] = datetime.date.today().isoformat()
        content |= {
            "command": "python benchmarks/public/run.py",
            "machine": machine(),
            "our_versions": {
                "python": platform.python_version(),
                "torch": version("torch"),
                "numpy": version("numpy"),
            },
        }
        RESULT.write_text(json.dumps(content, indent=1) + "\n")
