"""The running platform under load and under attack: what it does by itself, how fast, and what it survives.

Each command starts `scmagnify ui` on a folder of its own, drops simulated data sets into its incoming folder, touches
nothing else, and reads the outcome from Dagster's event log and from the lake::

    python benchmarks/live.py latency            # two files at once: seconds from the drop to the last asset
    python benchmarks/live.py latency --datasets 1
    python benchmarks/live.py queue              # 12 data sets x 5 seeds at once: overlaps, errors, peak memory
    python benchmarks/live.py kill --kills 35    # kill -9 of steps, run workers, trainings, writers, servers, daemon

`kill` ends with status 1 if anything was lost or torn, or if the graph did not complete.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import tomli_w

from scmagnify_assets.datasets import registry
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.waves import waves
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.service.code_server import RUN_WORKER, STEP_SERVER
from scmagnify_assets.service.server import log_file
from scmagnify_core.simulation.simulated_genome import simulate_genome
from scmagnify_core.simulation.simulation import SimulationConfig, simulate
from scmagnify_core.tables.catalogue import TABLES

WAVES = [wave.assets for wave in waves(["scmagnify"]) if not wave.is_over_datasets]
SERVICES = {"daemon": "dagster._daemon run", "code server": "-m scmagnify_assets.service.code_server"}
MIB = 2**20


# ---------------------------------------------------------------- a platform to look at


class Live:
    """`scmagnify ui` on a folder, and what can be seen of it from outside."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self.home = Home(root / "home")
        self.home.create()
        self.lake = Lakehouse(self.home.lake)
        self.peak_mib = 0.0
        self.dropped: dict[str, dict[str, Any]] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        environment = os.environ | {"SCMAGNIFY_HOME": str(self.home.root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "scmagnify_assets.doors.cli.main", "ui", "--port", str(self.port)]
        with (self.root / "ui.log").open("w") as log:
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                self._await_daemon(server)
                yield
            finally:
                server.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(60)
                for process in self.processes():
                    with suppress(OSError):
                        os.kill(process.pid, signal.SIGKILL)

    def _await_daemon(self, server: subprocess.Popen[bytes]) -> None:
        while True:
            assert server.poll() is None, (self.root / "ui.log").read_text()[-3000:]
            with suppress(Exception), dg.DagsterInstance.from_config(str(self.home.dagster)) as instance:
                if instance.all_instigator_state() and instance.get_daemon_heartbeats().get("SENSOR"):
                    return
            time.sleep(1)

    def prepare(self, name: str, n_cells: int, seeds: int, **settings: Any) -> None:
        """Simulate a data set and its settings, outside the incoming folder."""
        simulation = simulate(SimulationConfig(n_cells=n_cells, seed=1000 + len(self.dropped)))
        folder = self.root / "files"
        files = simulation.write(folder, name)
        genome = {key: str(path) for key, path in simulate_genome(simulation).write(folder, name).items()}
        self.dropped[name] = {
            "time_key": "pseudotime", "lineage_key": "lineage", "cluster_key": "cell_type", "sample_key": "sample",
            "species": "simulated", "seeds": seeds, "references": genome,
            **{key: str(files[key]) for key in ("truth", "ligand_receptor", "receptor_tf")}, **settings,
        }  # fmt: skip
        files["data"].replace(folder / f"{name}{files['data'].suffix}")

    def release(self, name: str) -> None:
        """Put a prepared data set into the incoming folder."""
        self.change(name)
        (data,) = (path for path in (self.root / "files").glob(f"{name}.h5*"))
        data.replace(self.home.incoming / data.name)

    def drop(self, name: str, n_cells: int, seeds: int, **settings: Any) -> None:
        """Simulate a data set and put it into the incoming folder."""
        self.prepare(name, n_cells, seeds, **settings)
        self.release(name)

    def change(self, name: str, **settings: Any) -> None:
        """Write the data set's TOML, with other settings: everything has to be made again."""
        self.dropped[name] |= settings
        part = self.home.incoming / f".{name}.toml.part"
        part.write_text(tomli_w.dumps(self.dropped[name]), encoding="utf-8")
        part.replace(self.home.incoming / f"{name}.toml")

    def incomplete(self) -> list[str]:
        """Results that are missing, or made from something that is no longer current."""
        try:
            registered = registry.read_all(self.lake)
            columns = ["dataset", "asset", "seed", "materialization_id", "data_version", "inputs"]
            lineage = self.lake.read("lineage", columns=columns)
            marks = self.lake.read("table_versions", columns=["table_name", "materialization_id", "version"])
        except Exception as error:
            return [f"lake: {error}"]
        marks = marks[marks["table_name"] == "lineage"].set_index("materialization_id")["version"]
        lineage = lineage.assign(version=lineage["materialization_id"].map(marks)).dropna(subset=["version"])
        lineage["seed"] = lineage["seed"].astype("Int64").fillna(-1)
        versions = lineage.set_index("materialization_id")["data_version"]
        newest = lineage.sort_values("version").groupby(["dataset", "asset", "seed"]).last()
        missing = []
        for name, settings in self.dropped.items():
            if name not in registered or registered[name].raw.get("min_cells") != settings.get("min_cells"):
                missing.append(f"{name}: not registered")
                continue
            for wave in WAVES:
                for asset in wave:
                    for where in [(name, asset, -1)]:
                        if where not in newest.index:
                            missing.append(f"{where}: missing")
                            continue
                        for one in json.loads(newest.loc[where, "inputs"]):
                            key = (one["dataset"], one["asset"], -1 if one["seed"] is None else one["seed"])
                            # Made again with the same content, as by a retry that came late: nothing is out of date.
                            if newest.loc[key, "data_version"] != versions.get(one["materialization_id"]):
                                missing.append(f"{where}: from a former {one['asset']}")
            # Settings reach every result through the registration.
            dataset = newest.loc[(name, "dataset", -1)] if (name, "dataset", -1) in newest.index else None
            if dataset is not None and registered[name].materialization_id not in str(dataset["inputs"]):
                missing.append(f"{name}: dataset is from a former registration")
        return missing

    def wait(self, seconds: float, poll: float = 2.0, until: Callable[[], bool] | None = None) -> bool:
        """Wait until every dropped data set is complete (or ``until``); False when the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if until() if until is not None else not self.incomplete():
                return True
            self.sample()
            time.sleep(poll)
        return False

    # ------------------------------------------------------------ processes

    def processes(self) -> list["Process"]:
        wanted = f"SCMAGNIFY_HOME={self.home.root}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                if wanted in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                    fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if fields[0] != "Z":
                        name = (folder / "comm").read_text().strip()
                        found.append(Process(int(folder.name), int(fields[1]), name, command))
        return found

    def sample(self) -> float:
        """Memory of all processes together: proportional, so that what forked processes share counts once."""
        total = 0
        for process in self.processes():
            with suppress(OSError):
                for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        self.peak_mib = max(self.peak_mib, total / 1024)
        return total / 1024

    def victims(self, kind: str) -> list[int]:
        """Processes of a kind that are alive now."""
        processes = self.processes()
        if kind in SERVICES:
            return [one.pid for one in processes if SERVICES[kind] in one.command]
        workers = {one.pid for one in processes if one.name == RUN_WORKER}
        if kind == "run worker":
            return sorted(workers)
        step_servers = {one.pid for one in processes if one.parent in workers and one.name == STEP_SERVER}
        if kind == "fork server":
            return sorted(step_servers | {one.parent for one in processes if one.pid in workers})
        steps = {one.pid: one.name for one in processes if one.parent in step_servers}
        if kind == "training":
            return [pid for pid, name in steps.items() if name == "scmagnify_model"]
        if kind == "lakehouse write":
            return [pid for pid in steps if self._is_writing(pid)]
        return sorted(steps)

    def _is_writing(self, pid: int) -> bool:
        """Whether a process holds the lock of a partition, as it does from its first to its last commit."""
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if "/lake/.locks/" in str(link.readlink()):
                        return True
        return False

    # ------------------------------------------------------------ what happened

    def events(self) -> pd.DataFrame:
        """Start and end of every step of every run, whether it failed, and what it materialized."""
        rows = []
        with dg.DagsterInstance.from_config(str(self.home.dagster)) as instance:
            for record in instance.get_run_records():
                run = record.dagster_run
                for entry in instance.all_logs(run.run_id):
                    event = entry.dagster_event
                    if event is None:
                        continue
                    kind = event.event_type_value
                    made, partition = "", ""
                    if kind == "ASSET_MATERIALIZATION":
                        materialization = event.step_materialization_data.materialization
                        partition = materialization.partition or ""
                        if "materialization_id" in materialization.metadata:
                            made = str(materialization.metadata["materialization_id"].value)
                    rows.append(
                        {
                            "run": run.run_id, "job": run.job_name, "status": run.status.value, "kind": kind,
                            "step": event.step_key or "", "time": entry.timestamp, "made": made,
                            "partition": partition, "message": f"{entry.user_message} {_error_of(event)}",
                            "dataset": run.tags.get("dagster/partition/dataset")
                            or run.tags.get("dagster/partition")
                            or run.tags.get("dagster/asset_partition_range_start", "").partition("|")[0]
                            or run.tags.get("scmagnify/dataset", ""),
                        }
                    )  # fmt: skip
        return pd.DataFrame(rows)


def _error_of(event: dg.DagsterEvent) -> str:
    return str(getattr(event.event_specific_data, "error", "") or "")


class Process:
    """One process of the platform."""

    def __init__(self, pid: int, parent: int, name: str, command: str) -> None:
        self.pid, self.parent, self.name, self.command = pid, parent, name, command


# ---------------------------------------------------------------- what must hold afterwards


def damage(live: Live) -> dict[str, list[str]]:
    """What was lost or torn: acknowledged writes that are not there whole, visible partitions that mix writes."""
    lost, torn = [], []
    lake = live.lake
    lake.create()
    for table in TABLES:
        lake.sql(f"SELECT count(*) FROM {table}")
    lineage = lake.read("lineage").set_index("materialization_id")
    for made in {one for text in live.events()["made"] if text for one in text.split(", ")}:
        if made not in lineage.index:
            lost.append(f"{made}: acknowledged, but not in the lineage")
            continue
        row = lineage.loc[made]
        for name, n_rows in json.loads(row["tables"]).items():
            found = len(lake.read(name, row["dataset"], materialization_id=made))
            if found != n_rows:
                lost.append(f"{row['asset']} of {row['dataset']}: {found} of {n_rows} rows of {name}")
    artifacts = lake.read("artifacts")
    for _, row in artifacts.iterrows():
        path = lake.root / row["path"]
        if not path.is_file() or path.stat().st_size != row["size_bytes"]:
            lost.append(f"artefact {row['name']}: {path} is not whole")
    for table in TABLES.values():
        if table.mode != "replace":
            continue
        rows = lake.read(table.name)
        for partition, part in rows.groupby([one for one in table.partition_by if one != "seed"]):
            makers = part["materialization_id"].unique()
            if len(makers) != 1:
                torn.append(f"{table.name} {partition}: rows of {len(makers)} writes")
            elif json.loads(lineage.loc[makers[0], "tables"])[table.name] != len(part):
                torn.append(f"{table.name} {partition}: {len(part)} rows, not those of its write")
    for asset in {asset for wave in WAVES for asset in wave}:
        for name in live.dropped:
            if (made := lake.current(asset, name)) is not None:
                for table in RECORDS[asset].tables:
                    rows = lake.read(table.name, name)
                    ids = set((rows[rows["asset"] == asset] if "asset" in rows else rows)["materialization_id"])
                    if ids - {made.materialization_id}:
                        torn.append(f"{table.name} of {name}: visible rows are not of the current materialization")
    return {"lost": lost, "torn": torn}


# ---------------------------------------------------------------- commands


def latency(live: Live, options: argparse.Namespace) -> dict[str, Any]:
    """Files dropped at once: seconds from the drop to the last asset, and what they are made of."""
    for name in [f"set{number}" for number in range(options.datasets)]:
        live.prepare(name, options.cells, options.seeds)
    with live.running():
        time.sleep(options.settle)
        dropped = time.time()
        for name in live.dropped:
            live.release(name)
        is_complete = live.wait(options.timeout, poll=5.0)
        events = live.events()
    made = events[events["kind"] == "ASSET_MATERIALIZATION"]
    runs = []
    for run, rows in events.groupby("run"):
        steps = rows[rows["step"] != ""]
        parts = {
            "dataset": rows["dataset"].iloc[0], "job": rows["job"].iloc[0],
            "queued_s": round(rows["time"].min() - dropped, 1),
            "first_step_s": round(steps.loc[steps["kind"] == "STEP_START", "time"].min() - dropped, 1),
            "end_s": round(rows["time"].max() - dropped, 1),
        }  # fmt: skip
        starts = steps[steps["kind"] == "STEP_START"].groupby("step")["time"].min()
        ends = steps[steps["kind"] == "STEP_SUCCESS"].groupby("step")["time"].max()
        parts["steps_s"] = (ends - starts).round(1).sort_values(ascending=False).head(8).to_dict()
        parts["run"] = run
        runs.append(parts)
    return {
        "complete": is_complete,
        "cells": options.cells,
        "seeds": options.seeds,
        "seconds_to_last_asset": {
            name: round(float(made.loc[made["dataset"] == name, "time"].max() - dropped), 1) for name in live.dropped
        },
        "runs": sorted(runs, key=lambda one: one["queued_s"]),
        "peak_mib": round(live.peak_mib),
    }


def queue(live: Live, options: argparse.Namespace) -> dict[str, Any]:
    """Many data sets at once: trainings one at a time, no failed write, no lock error, memory within bounds."""
    names = [f"set{number:02d}" for number in range(options.datasets)]
    granger = {} if options.epochs is None else {"scmagnify": {"max_epochs": options.epochs}}
    for name in names:
        live.prepare(name, options.cells, options.seeds, **granger)
    with live.running():
        started = time.time()
        for name in names:
            live.release(name)
        is_complete = live.wait(options.timeout, poll=5.0)
        took = time.time() - started
        left = live.incomplete()
        events = live.events()
    training = events[(events["step"] == "scmagnify_model") & events["kind"].isin(["STEP_START", "STEP_SUCCESS"])]
    spans = []
    for _, rows in training.groupby("run"):
        spans.append((rows["time"].min(), rows["time"].max()))
    spans.sort()
    at_once = max((sum(start <= moment < end for start, end in spans) for moment, _ in spans), default=0)
    log = log_file(live.home).read_text(errors="replace")
    return {
        "complete": is_complete,
        "left": left[:5],
        "datasets": options.datasets,
        "seeds": options.seeds,
        "cells": options.cells,
        "seconds": round(took),
        "trainings": len(spans),
        "trainings_at_once": int(at_once),
        "failed_steps": int((events["kind"] == "STEP_FAILURE").sum()),
        "retried_steps": int((events["kind"] == "STEP_UP_FOR_RETRY").sum()),
        "failed_runs": int(events.loc[events["status"] == "FAILURE", "run"].nunique()),
        "lock_errors": log.count("database is locked") + int(events["message"].str.contains("locked").sum()),
        "peak_mib": round(live.peak_mib),
        **{what: len(found) for what, found in damage(live).items()},
    }


KINDS = ("step", "run worker", "training", "lakehouse write", "fork server", *SERVICES)


def kill(live: Live, options: argparse.Namespace) -> dict[str, Any]:
    """Kill processes of every kind at random moments of a busy platform, then let it finish by itself."""
    choose = random.Random(options.seed)
    killed: Counter[str] = Counter()
    changes = 0
    with live.running():
        for number in range(options.datasets):
            live.drop(f"set{number:02d}", options.cells, options.seeds, min_cells=10)
        turn = 0
        while sum(killed.values()) < options.kills:
            time.sleep(choose.uniform(0.5, options.pause))
            kind = KINDS[turn % len(KINDS)]
            victims: list[int] = []
            deadline = time.monotonic() + 60
            while not victims and time.monotonic() < deadline:
                victims = live.victims(kind)
                if not victims:
                    time.sleep(0.02 if kind == "lakehouse write" else 0.2)
                    if not live.incomplete():  # idle: give it work
                        changes += 1
                        name = choose.choice(sorted(live.dropped))
                        live.change(name, min_cells=10 + changes)
            turn += 1
            if victims:
                # A moment into it: a training that has begun, a write between two commits.
                time.sleep(choose.uniform(0, 0.1 if kind == "lakehouse write" else 1.5))
                with suppress(ProcessLookupError):
                    os.kill(victim := choose.choice(victims), signal.SIGKILL)
                    killed[kind] += 1
                    print(f"{sum(killed.values()):3d} killed {kind} ({victim})", file=sys.stderr, flush=True)
        last = time.monotonic()
        is_complete = live.wait(options.timeout)
        recovered = time.monotonic() - last
        left = live.incomplete()
        found = damage(live)
        events = live.events()
    return {
        "kills": dict(killed),
        "complete": is_complete,
        "left": left[:10],
        "seconds_from_last_kill_to_complete": round(recovered),
        "lost": found["lost"],
        "torn": found["torn"],
        "acknowledged_writes": int((events["made"] != "").sum()),
        "runs": events.groupby("run")["status"].first().value_counts().to_dict(),
        "changes_of_settings": changes,
        "peak_mib": round(live.peak_mib),
    }


COMMANDS: Mapping[str, tuple[Callable[[Live, argparse.Namespace], dict[str, Any]], dict[str, float]]] = {
    "latency": (latency, {"cells": 1000, "seeds": 3, "datasets": 2, "timeout": 900}),
    "queue": (queue, {"cells": 300, "seeds": 5, "datasets": 12, "timeout": 3600}),
    "kill": (kill, {"cells": 300, "seeds": 2, "datasets": 4, "timeout": 1800}),
}


def main() -> None:
    """Run one command and print its outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--cells", type=int)
    parser.add_argument("--seeds", type=int, help="models of each data set")
    parser.add_argument("--datasets", type=int)
    parser.add_argument("--epochs", type=int, help="of each training in `queue`; the preset's without it")
    parser.add_argument("--timeout", type=float, help="seconds to wait for completion")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--pause", type=float, default=6.0, help="longest pause between kills in seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices of `kill`")
    parser.add_argument("--settle", type=float, default=20.0, help="seconds of quiet before the drop of `latency`")
    parser.add_argument("--port", type=int, default=3999)
    parser.add_argument("--keep", action="store_true", help="keep the folder and print where it is")
    options = parser.parse_args()
    command, defaults = COMMANDS[options.command]
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    root = Path(tempfile.mkdtemp(prefix="scmagnify-live-"))
    try:
        outcome = command(Live(root, options.port), options)
    finally:
        if options.keep:
            print(root, file=sys.stderr)
        else:
            shutil.rmtree(root, ignore_errors=True)
    print(json.dumps(outcome, indent=2))
    if not outcome["complete"] or outcome.get("lost") or outcome.get("torn"):
        sys.exit(1)


if __name__ == "__main__":
    main()
