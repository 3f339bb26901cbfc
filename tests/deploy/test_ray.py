"""The Ray deployment, for real: a local head, `deploy/ray/dagster.yaml`, code server, daemon and webserver.

What must hold: steps that run as Ray jobs give the same tables, to the bit, as `scmagnify run` in one process; and a
run whose worker is killed goes on with the training that is under way.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'scmagnify-platform[ray]'")
pytest.importorskip("dagster_ray", reason="dagster-ray is not installed: pip install 'scmagnify-platform[ray]'")

from scmagnify_assets.datasets import registry
from scmagnify_assets.graph.checks.all import CHECKS
from scmagnify_assets.graph.waves import waves
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.service.runner import run_dataset

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parents[2]
DATASET = "small"
SEEDS = 2
WAVES = [wave.assets for wave in waves(["scmagnify"]) if not wave.is_over_datasets]
SLOW = ("scmagnify.max_epochs=800", "scmagnify.patience=800")  # while it trains, its run's worker is killed
CHECKED = "dataset"  # the asset whose checks run, too: those of one are enough to see that they can


@dataclass(frozen=True)
class Platform:
    """Ray head, code server, daemon and webserver over one home."""

    home: Home
    url: str
    instance: dg.DagsterInstance
    log: Path

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def launch(self, assets: Sequence[str], tags: dict[str, str], settings: Sequence[str] = ()) -> str:
        """Launch a run as the UI does, of assets and the checks of one of them."""
        query = """mutation ($run: ExecutionParams!) {launchPipelineExecution(executionParams: $run) {
            __typename
            ... on LaunchRunSuccess {run {runId}}
            ... on PythonError {message}
        }}"""
        checks = [
            {"assetKey": {"path": [CHECKED]}, "name": spec.name}
            for check in CHECKS
            for spec in check.check_specs
            if CHECKED in assets and spec.asset_key.to_user_string() == CHECKED
        ]
        selector = {
            "repositoryName": "__repository__", "repositoryLocationName": "scmagnify", "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets], "assetCheckSelection": checks,
        }  # fmt: skip
        config = {"resources": {"specs": {"config": {"settings": list(settings)}}}} if settings else {}
        run = {
            "selector": selector, "mode": "default", "runConfigData": config,
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }  # fmt: skip
        answer = self.graphql(query, run=run)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def story(self, run_id: str) -> list[str]:
        """Messages of a run, those of its steps included."""
        return [f"{entry.step_key or ''}: {entry.message}" for entry in self.instance.all_logs(run_id)]

    def wait(self, run_id: str) -> None:
        ended = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        wait_for(lambda: self.status(run_id) in ended, 400, lambda: "\n".join(self.story(run_id)[-20:]))
        assert self.status(run_id) == dg.DagsterRunStatus.SUCCESS, "\n".join(self.story(run_id)[-20:])

    def workers(self, run_id: str) -> list[int]:
        """Processes that carry out the run itself, not its steps."""
        return [
            process
            for process, command in _processes(self.home)
            if run_id in command and ("execute_run" in command or "resume_run" in command)
        ]


@pytest.fixture(scope="module")
def settings(simulated: dict[str, Path]) -> dict[str, Any]:
    files = {key: str(simulated[key]) for key in ("prior", "truth", "ligand_receptor", "receptor_tf")}
    keys = ("genome", "annotation", "motifs", "motif_to_tf", "tf_list")
    return {
        "name": DATASET, "file": str(simulated["data"]), "cluster_key": "cell_type", "seeds": SEEDS, **files,
        "references": {key: str(simulated[key]) for key in keys},
        "scmagnify": {"n_lags": 3, "max_epochs": 4, "hidden": [8]}, "communication": {"n_permutations": 50},
    }  # fmt: skip


@pytest.fixture(scope="module")
def platform(
    postgres: dict[str, str],
    settings: dict[str, Any],
    free_ports: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("ray")
    home = Home(root / "home")
    home.dagster.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "ray" / "dagster.yaml", home.dagster)
    home.create()
    lake = Lakehouse(home.lake)
    lake.create()
    registration = registry.register(lake, settings)
    head, client, jobs, code, web = free_ports
    environment = (
        {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SCMAGNIFY_", "DAGSTER_"))}
        | postgres
        | {
            "SCMAGNIFY_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster), "SCMAGNIFY_EXECUTOR": "ray",
            "SCMAGNIFY_TRAINING_GPUS": "1", "SCMAGNIFY_RAY_ADDRESS": f"http://127.0.0.1:{jobs}",
            "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1",
            # As an activated environment has it: jobs are started by the name `dagster`.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_memory_monitor_refresh_ms": "0",  # other tests' memory is no reason to kill steps
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what keeps Ray to loopback, on any system
        }
    )  # fmt: skip
    workspace = root / "workspace.yaml"
    workspace.write_text(
        f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {code}, location_name: scmagnify}}}}]\n", "utf-8"
    )
    log = root / "platform.log"
    # Sockets live in Ray's folder, and a socket's path holds 107 bytes.
    scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    commands = {
        "ray": ["start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={head}", "--num-cpus=2",
                "--num-gpus=1", "--object-store-memory=200000000", "--dashboard-host=127.0.0.1",
                f"--dashboard-port={jobs}", "--disable-usage-stats", f"--temp-dir={scratch}",
                f"--ray-client-server-port={client}"],
        "dagster": ["code-server", "start", "-m", "scmagnify_assets.definitions", "-h", "127.0.0.1", "-p", str(code)],
        "dagster-daemon": ["run", "-w", str(workspace)],
        "dagster-webserver": ["-w", str(workspace), "-h", "127.0.0.1", "-p", str(web)],
    }  # fmt: skip
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch, log.open("w") as output:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        started: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, home, started)
        started += [
            subprocess.Popen(
                [Path(sys.executable).with_name(program), *arguments], env=environment, cwd=root, stdout=output,
                stderr=output, start_new_session=True,
            )
            for program, arguments in commands.items()
        ]  # fmt: skip
        for name, value in environment.items():
            patch.setenv(name, value)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home.dagster)))
        platform = Platform(home, f"http://127.0.0.1:{web}", instance, log)
        wait_for(
            lambda: any(one.poll() is not None for one in started) or _is_up(platform, jobs),
            120,
            lambda: log.read_text()[-6000:],
        )
        assert all(one.poll() is None for one in started), log.read_text()[-6000:]
        _stop_sensors(platform)
        registry.announce(instance, registration)
        yield platform


@pytest.fixture(scope="module")
def free_ports() -> list[int]:
    import socket

    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(5)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _is_up(platform: Platform, jobs: int) -> bool:
    """Whether Ray takes jobs, and the webserver has loaded the graph."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{jobs}/api/jobs/", timeout=5):
            pass
        return bool(platform.graphql("{assetNodes {id}}")["assetNodes"])
    except (OSError, urllib.error.URLError, AssertionError):
        return False


def _stop_sensors(platform: Platform) -> None:
    """Launch by hand alone, so that a run holds what the test says."""
    query = """{sensorsOrError(repositorySelector: {
        repositoryName: "__repository__", repositoryLocationName: "scmagnify"
    }) {... on Sensors {results {sensorState {id status}}}}}"""
    for sensor in platform.graphql(query)["sensorsOrError"]["results"]:
        if sensor["sensorState"]["status"] == "RUNNING":
            platform.graphql(
                "mutation ($id: String!) {stopSensor(id: $id) {__typename}}", id=sensor["sensorState"]["id"]
            )


def _processes(home: Home, roots: Sequence[int] = ()) -> Iterator[tuple[int, str]]:
    """Living processes that were started with this home or descend from these, and their commands.

    Ray's own overwrite their environment with a title; runs and steps leave the family of whom they were started by.
    """
    wanted, family = f"SCMAGNIFY_HOME={home.root}".encode(), set(roots)
    found = {}
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError, IndexError):
            state, parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            if int(parent) in family:
                family.add(int(process.name))
            ours = int(process.name) in family or wanted in (process / "environ").read_bytes().split(b"\0")
            if state != "Z" and ours:
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    yield from found.items()


def _end(home: Home, started: Sequence[subprocess.Popen[bytes]]) -> None:
    """End everything: first all that descends from what was started, as orphans could not be told any more."""
    family = [process for process, _ in _processes(home, [one.pid for one in started])]

    def alive() -> list[int]:
        return sorted({process for process, _ in _processes(home)} | {one for one in family if _is_running(one)})

    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in alive():
            with suppress(ProcessLookupError):
                os.kill(process, sign)
        for one in started:
            one.poll()  # else it stays as a zombie
        with suppress(AssertionError):
            wait_for(lambda: not alive(), 8, lambda: "")
            break
    wait_for(lambda: not alive(), 10, lambda: f"processes survive: {alive()}")
    for one in started:
        one.wait(10)


def _is_running(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def wait_for(is_done: Callable[[], bool], seconds: float, explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.5)


TAGS = {"dagster/partition": DATASET}


def versions(home: Home) -> dict[str, str]:
    """The content hash of every asset now, but of the report: it names the runs it was made in."""
    lake = Lakehouse(home.lake)
    return {
        asset: made.data_version
        for wave in WAVES
        for asset in wave
        if asset != "report" and (made := lake.current(asset, DATASET)) is not None
    }


@pytest.fixture(scope="module")
def inputs(platform: Platform) -> str:
    """The run of everything that training needs."""
    run_id = platform.launch(WAVES[0], TAGS)
    platform.wait(run_id)
    return run_id


@pytest.fixture(scope="module")
def runs(platform: Platform, inputs: str) -> list[str]:
    """The whole graph, one run after the other."""
    found = [inputs]
    for wave in WAVES[1:]:
        found.append(platform.launch(wave, TAGS))
        platform.wait(found[-1])
    return found


def test_every_step_is_a_ray_job(platform: Platform, runs: list[str]) -> None:
    from ray.job_submission import JobSubmissionClient

    jobs = JobSubmissionClient(os.environ["SCMAGNIFY_RAY_ADDRESS"]).list_jobs()
    steps = {(job.metadata or {}).get("dagster/op") for job in jobs} - {None}
    assets = {asset for wave in WAVES for asset in wave}
    assert assets <= steps
    assert steps - assets  # its checks
    # Each was told of its one core, which is what all of them declare.
    told = [(job.runtime_env or {})["env_vars"] for job in jobs if (job.metadata or {}).get("dagster/op")]
    assert {(one["SCMAGNIFY_CORES"], one["OMP_NUM_THREADS"]) for one in told} == {("1", "1")}
    # The last ones may not have ended yet: a run has succeeded a moment before its worker's process is gone.
    assert not [job for job in jobs if job.status in ("FAILED", "STOPPED")]


def test_tables_are_those_of_one_process(
    platform: Platform, runs: list[str], settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGSTER_HOME", "SCMAGNIFY_EXECUTOR"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SCMAGNIFY_HOME", str(tmp_path / "home"))
    alone = Home(tmp_path / "home")
    alone.create()
    lake = Lakehouse(alone.lake)
    lake.create()
    registry.register(lake, settings)
    run_dataset(alone, DATASET, log_level="ERROR")
    found = versions(platform.home)
    assert len(found) == sum(map(len, WAVES)) - 1
    assert found == versions(alone)


def test_killed_worker_is_replaced_and_training_goes_on(
    platform: Platform, inputs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = platform.launch(["scmagnify_model"], TAGS, settings=SLOW)

    def tail() -> str:
        return "\n".join(platform.story(run_id)[-20:])

    wait_for(lambda: ": epoch " in tail(), 240, tail)
    killed = platform.workers(run_id)
    assert killed
    for process in killed:
        os.kill(process, signal.SIGKILL)
    at = time.monotonic()
    wait_for(lambda: "Checking on status of in-progress step scmagnify_model" in tail(), 240, tail)
    with capsys.disabled():
        print(f"\nA new worker had the training {time.monotonic() - at:.0f} s after the kill.")
    platform.wait(run_id)
    story = platform.story(run_id)
    resumed = next(at for at, line in enumerate(story) if "Launching a new run worker to resume run" in line)
    started = [at for at, line in enumerate(story) if line.startswith("scmagnify_model: Started execution of step")]
    finished = [at for at, line in enumerate(story) if line.startswith("scmagnify_model: Finished execution of step")]
    # Taken over while it trained, and not begun again.
    assert len(started) == len(finished) == 1, story
    assert started[0] < resumed < finished[0], story
    assert "scmagnify_model" in versions(platform.home)
