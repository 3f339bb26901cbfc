"""Where the time of `scmagnify demo` goes, asset by asset: work, and what surrounds it.

    OMP_NUM_THREADS=1 python benchmarks/profile_demo.py
    OMP_NUM_THREADS=1 python benchmarks/profile_demo.py --processes   # steps as processes, as `scmagnify ui` runs them
    OMP_NUM_THREADS=1 python benchmarks/profile_demo.py --set scmagnify.max_epochs=5

Runs the whole graph on a simulated data set in a fresh home, in a fresh interpreter, and reads Dagster's event log.
For each asset, in seconds of wall-clock time:

    work     the asset's own function
    imports  packages that were imported meanwhile, wherever that happened (taken off the other columns)
    load     reading its inputs
    store    writing its output
    checks   its checks, which are a step of their own, with all that this step costs
    start    from when the step could begin to when it does: Dagster, and the step's process where it has one
    rest     what else the step takes

All but the work is overhead; drawing an asset's figure is part of its work. What is imported between the command and
the first step is the command's, and told apart. Steps as processes run one at a time here, and take no settings. Writes
docs/benchmarks/profile_demo.json (profile_demo_processes.json).
"""

import argparse
import builtins
import contextlib
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Interval = tuple[float, float]
SLOW_IMPORT_S = 0.001
IMPORTS = "SCMAGNIFY_PROFILE_IMPORTS"  # folder in which each process leaves what it imported, and when
COLUMNS = ("work", "imports", "load", "store", "checks", "start", "rest")


# ---------------------------------------------------------------- in the processes that are watched


def watch_imports(folder: Path) -> None:
    """Note every import that takes long, from now on, in a file per process."""
    depth = threading.local()

    def watched(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if getattr(depth, "value", 0):  # part of another import
                return function(*arguments, **named)
            depth.value, before = 1, time.time()
            try:
                return function(*arguments, **named)
            finally:
                depth.value, after = 0, time.time()
                if after - before > SLOW_IMPORT_S:
                    with (folder / f"{os.getpid()}.txt").open("a") as file:
                        file.write(f"{before} {after} {arguments[0]}\n")

        return call

    builtins.__import__ = watched(builtins.__import__)
    importlib.import_module = watched(importlib.import_module)


def run_demo(seeds: int, cells: int, settings: list[str], processes: bool) -> None:
    """`scmagnify demo`, with settings over its own."""
    from scmagnify_assets.doors.cli import data

    if processes:
        data.run_and_show = functools.partial(run_in_processes, seeds=seeds)
    else:
        data.run_and_show = functools.partial(data.run_and_show, settings=settings)
    data.demo(seeds=seeds, cells=cells)


def run_in_processes(home: Any, name: str, seeds: int) -> None:
    """What `run_dataset` does, each step in a process of its own."""
    from scmagnify_assets.datasets import registry
    from scmagnify_assets.graph.waves import waves
    from scmagnify_assets.lake.lakehouse import Lakehouse
    from scmagnify_assets.service.runner import open_instance

    with open_instance(home) as instance:
        registry.announce(instance, registry.find(Lakehouse(home.lake), name))
    for wave in waves(["scmagnify"]):
        which = [] if wave.is_over_datasets else ["--partition", name]
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "scmagnify_assets.definitions"]
        # One step at a time, so that what is imported meanwhile is that step's.
        environment = os.environ | {"DAGSTER_HOME": str(home.dagster), "SCMAGNIFY_MAX_CONCURRENT": "1"}
        subprocess.run([*command, "--select", ",".join(wave.assets), *which], env=environment, check=True)


# ---------------------------------------------------------------- from outside


def profile(
    seeds: int, cells: int, settings: list[str], processes: bool, home: Path | None
) -> tuple[list[dict], dict[str, float]]:
    with contextlib.ExitStack() as stack:
        folder = home or stack.enter_context(tempfile.TemporaryDirectory(prefix="scmagnify-profile-"))
        root, imports = Path(folder) / "home", Path(folder) / "imports"
        hook = Path(folder) / "hook"
        for one in (imports, hook):
            one.mkdir(parents=True)
        # Found by every interpreter that starts below, the fork server included.
        (hook / "sitecustomize.py").write_text(
            f"import sys, pathlib\nsys.path.append({str(Path(__file__).parent)!r})\n"
            f"from profile_demo import watch_imports\nwatch_imports(pathlib.Path({str(imports)!r}))\n"
        )
        path = os.pathsep.join(filter(None, [str(hook), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"SCMAGNIFY_HOME": str(root), "PYTHONPATH": path}
        command = [sys.executable, __file__, "--run", "--seeds", str(seeds), "--cells", str(cells)]
        command += [f"--set={setting}" for setting in settings] + ["--processes"] * processes
        started = time.time()
        subprocess.run(command, env=environment, check=True)
        ended = time.time()
        return read_log(root, read_imports(imports), started, ended)


def read_imports(folder: Path) -> list[Interval]:
    """When some process was importing: overlaps of several processes count once."""
    found: list[Interval] = []
    lines = [line.split() for path in folder.glob("*.txt") for line in path.read_text().splitlines()]
    for start, end in sorted((float(start), float(end)) for start, end, *_ in lines):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def read_log(root: Path, imports: list[Interval], started: float, ended: float) -> tuple[list, dict]:
    import dagster as dg

    from scmagnify_assets.home import Home

    rows: dict[str, dict[str, float]] = {}  # in the order in which the assets came about
    with dg.DagsterInstance.from_config(str(Home(root).dagster)) as instance:
        runs = sorted(instance.get_run_records(), key=lambda run: run.start_time or 0)
        for run in runs:
            events = [(log.timestamp, log.dagster_event) for log in instance.all_logs(run.dagster_run.run_id)]
            for step, spans in spans_of_steps(events).items():
                asset = step.removeprefix("checks_of_")
                rows.setdefault(asset, dict.fromkeys(COLUMNS, 0.0))
                for column, start, end in spans:
                    imported = sum(max(0.0, min(end, until) - max(start, since)) for since, until in imports)
                    target = "checks" if step != asset else column
                    rows[asset][target] += end - start - (imported if step == asset else 0)
                    if step == asset:
                        rows[asset]["imports"] += imported
        before = (runs[0].start_time or started) - started
        inside = sum((run.end_time or 0) - (run.start_time or 0) for run in runs)
    whole = {"command_s": ended - started, "before_the_first_run_s": before, "runs_s": inside}
    whole["between_and_after_runs_s"] = whole["command_s"] - before - inside
    return [{"asset": asset, **rows[asset], **totals(rows[asset])} for asset in rows], whole


def totals(row: dict[str, float]) -> dict[str, float]:
    return {"overhead": sum(row.values()) - row["work"], "overhead_share": 1 - row["work"] / sum(row.values())}


def spans_of_steps(events: list[tuple[float, Any]]) -> dict[str, list[tuple[str, float, float]]]:
    """(column, start, end) of each step of a run, without gaps from when it could begin to its end.

    A step could begin when the last step that ended before it ended, or when its run began.
    """
    import dagster as dg

    free = next(at for at, event in events if event and event.event_type is dg.DagsterEventType.RUN_START)
    steps: dict[str, list[tuple[float, Any]]] = {}
    begins: dict[str, float] = {}
    for at, event in events:
        if event is None or event.step_key is None:
            continue
        if event.event_type_value in ("STEP_WORKER_STARTING", "STEP_START"):
            begins.setdefault(event.step_key, free)
            steps.setdefault(event.step_key, [])
        if event.step_key in steps:
            steps[event.step_key].append((at, event))
        if event.event_type_value == "STEP_SUCCESS":
            free = at
    return {step: list(_spans(begins[step], found)) for step, found in steps.items()}


def _spans(free: float, events: list[tuple[float, Any]]) -> Iterator[tuple[str, float, float]]:
    first = {}
    last = {}
    for at, event in events:
        first.setdefault(event.event_type_value, at)
        last[event.event_type_value] = at
    start, end = first["STEP_START"], last["STEP_SUCCESS"]
    yield "start", free, start
    loaded = last.get("LOADED_INPUT", start)
    output = first.get("STEP_OUTPUT", end)
    seconds = [
        event.step_materialization_data.materialization.metadata["runtime_s"].value
        for _, event in events
        if event.event_type_value == "ASSET_MATERIALIZATION"
        and "runtime_s" in event.step_materialization_data.materialization.metadata
    ]
    worked_until = output
    worked_from = output - seconds[0] if seconds else output
    stored = last.get("HANDLED_OUTPUT", output)
    yield "load", start, min(loaded, worked_from)
    yield "rest", min(loaded, worked_from), worked_from
    yield "work", worked_from, worked_until
    yield "store", worked_until, stored
    yield "rest", stored, end


def show(rows: list[dict], whole: dict[str, float]) -> None:
    import pandas as pd

    table = pd.DataFrame(rows).set_index("asset")
    total = table.drop(columns="overhead_share").sum()
    table.loc["total"] = total.to_dict() | {"overhead_share": total["overhead"] / (total["overhead"] + total["work"])}
    print(table.round(2).to_string())
    print(json.dumps({name: round(value, 1) for name, value in whole.items()}))
    dear = [row["asset"] for row in rows if row["overhead"] > row["work"]]
    print(f"more overhead than work: {', '.join(dear) or 'none'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--set", action="append", default=[], help="setting of the run, such as scmagnify.max_epochs=5"
    )
    parser.add_argument("--processes", action="store_true", help="each step in a process, as `scmagnify ui` does")
    parser.add_argument("--keep", type=Path, help="new folder for the home, the event log and the imports")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_demo(arguments.seeds, arguments.cells, arguments.set, arguments.processes)
    else:
        from record import save

        rows, whole = profile(arguments.seeds, arguments.cells, arguments.set, arguments.processes, arguments.keep)
        show(rows, whole)
        save("profile_demo_processes" if arguments.processes else "profile_demo", rows, **whole)
