"""A platform as a user has it: a home with one small data set, `scmagnify ui` on it, and a real Chromium.

Everything has the scope of a module, so that server and browser are gone before other tests run: the server takes
CPU, and Playwright's event loop forbids `asyncio.run` in the same thread.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import tomli_w

DATASET = "small"
GROUPS = ("data", "prior", "model", "network", "interpretation", "evaluation")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Platform:
    """A running UI over its home; ``data`` and ``settings`` are those of a data set to drop."""

    home: Path
    url: str
    data: Path
    settings: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"SCMAGNIFY_HOME": str(self.home), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}

    def graph_url(self, assets: tuple[str, ...] = ()) -> str:
        """The page of the lineage graph, of all assets or these, every group open."""
        selection = quote(" or ".join(f'key:"{asset}"' for asset in assets))
        groups = quote(",".join(f"global@global:{group}" for group in GROUPS))
        return f"{self.url}/asset-groups{f'~{selection}' if assets else '/'}?expanded={groups}"

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """What the UI itself asks."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def runs(self) -> dict[str, dict[str, Any]]:
        query = "{runsOrError {... on Runs {results {runId jobName status tags {key value} assetSelection {path}}}}}"
        return {run["runId"]: run for run in self.graphql(query)["runsOrError"]["results"]}

    def log(self, run_id: str) -> list[dict[str, Any]]:
        """Failures and evaluated checks of a run."""
        query = """query ($id: ID!) {logsForRun(runId: $id, limit: 1000) {... on EventConnection {events {
            __typename
            ... on MessageEvent {message stepKey}
            ... on AssetCheckEvaluationEvent {evaluation {checkName success}}
            ... on ExecutionStepFailureEvent {error {message causes {message}}}
        }}}}"""
        events: list[dict[str, Any]] = self.graphql(query, id=run_id)["logsForRun"]["events"]
        return events

    def sql(self, query: str) -> list[str]:
        """Rows that the `scmagnify sql` command prints, without the header."""
        command = [_scmagnify(), "sql", query, "--format", "csv"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.splitlines()[1:]

    def made(self, dataset: str) -> list[str]:
        """Assets of a data set that have been made."""
        return self.sql(f"SELECT DISTINCT asset FROM lineage WHERE dataset = '{dataset}' ORDER BY 1")

    def is_complete(self, dataset: str) -> bool:
        """Whether every asset of a data set has been made and no run is left."""
        from scmagnify_assets.runner import WAVES

        wanted = {"raw_dataset", *(asset for wave in WAVES for asset in wave)}
        ends = {"SUCCESS", "FAILURE", "CANCELED"}
        return wanted == set(self.made(dataset)) and {run["status"] for run in self.runs().values()} <= ends

    def complete(self, dataset: str) -> None:
        """Wait until every asset of a data set has been made and no run is left."""

        def explain() -> str:
            return f"{self.made(dataset)}, {[(run['jobName'], run['status']) for run in self.runs().values()]}"

        _await(lambda: self.is_complete(dataset), 900, explain)


@pytest.fixture(scope="module")
def chromium() -> str:
    """The system's browser; nothing is downloaded."""
    for name in CHROMIUM:
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip(f"no browser: none of {', '.join(CHROMIUM)} is on PATH")


@pytest.fixture(scope="module")
def platform(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`scmagnify ui` on a fresh home with the data set `small`, of which nothing is materialized."""
    root = tmp_path_factory.mktemp("ui")
    home = root / "home"
    raw = _fill(home, root / "files")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = ("name", "file")
    settings = {key: value for key, value in raw.items() if key not in own}
    platform = Platform(home, f"http://127.0.0.1:{port}", Path(raw["file"]), settings)
    log = root / "ui.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [_scmagnify(), "ui", "--port", str(port)],
            env=platform.environment, cwd=root, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        _await(
            lambda: server.poll() is not None or _is_loaded(platform),
            90,
            lambda: f"no UI:\n{log.read_text()[-4000:]}",
        )
        assert server.poll() is None, log.read_text()[-4000:]
        yield platform
    finally:
        server.terminate()  # as Ctrl-C does, it ends everything that the command started
        with suppress(AssertionError):
            _await(lambda: server.poll() is not None and not _survivors(home), 60, lambda: "")
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        for process in _survivors(home):  # whoever left the group
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        server.wait(10)
        _await(lambda: not _survivors(home), 10, lambda: f"processes survive: {_survivors(home)}")


@pytest.fixture(scope="module")
def page(platform: Platform, chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of a fresh browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as tool:
        context = tool.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=chromium, args=list(CHROMIUM_ARGUMENTS),
            headless=True, viewport={"width": 1500, "height": 850}, color_scheme="light",
        )  # fmt: skip
        try:
            context.set_default_timeout(20_000)
            yield context.new_page()
        finally:
            context.close()


@pytest.fixture(scope="module")
def report_file(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small data set, as the command line makes it and gives it out."""
    root = tmp_path_factory.mktemp("report")
    _fill(root / "home", root / "files")
    environment = os.environ | {"SCMAGNIFY_HOME": str(root / "home"), "OMP_NUM_THREADS": "1"}
    for arguments in (("run", DATASET, "--seeds", "2"), ("report", DATASET, "--output", "page.html")):
        done = subprocess.run(
            [_scmagnify(), *arguments], env=environment, cwd=root, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return root / "page.html"


@pytest.fixture(scope="module")
def dropped(platform: Platform) -> str:
    """Name of a data set that was dropped into the incoming folder, together with a file that is none."""
    incoming = platform.home / "incoming"
    (incoming / "broken.h5ad").write_bytes(b"no HDF5")
    (incoming / "defaults.toml").write_text(tomli_w.dumps(platform.settings), encoding="utf-8")
    name = "arrived"
    shutil.copyfile(platform.data, incoming / f".{name}.part")
    (incoming / f".{name}.part").replace(incoming / f"{name}{platform.data.suffix}")
    return name


@pytest.fixture(scope="module")
def materialized(platform: Platform, page: Any, dropped: str) -> dict[str, Any]:
    """The run of the first part of the graph, started with the mouse; the rest of the graph has followed by itself."""
    from scmagnify_assets.runner import WAVES

    run = _materialize(platform, page, WAVES[0])
    platform.complete(DATASET)
    return run


def _materialize(platform: Platform, page: Any, assets: tuple[str, ...]) -> dict[str, Any]:
    """Click through "Materialize all": choose the partition, launch, and wait for the run."""
    page.goto(platform.graph_url(assets))
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select a partition").first.click()
    page.locator(f'[role=menuitem] [title="{DATASET}"]').click()
    page.keyboard.press("Escape")
    dialog.get_by_role("button", name="Launch").click()

    def mine() -> list[dict[str, Any]]:
        wanted = {"dagster/from_ui": "true", "dagster/partition": DATASET}
        return [
            run for run in platform.runs().values()
            if wanted.items() <= {tag["key"]: tag["value"] for tag in run["tags"]}.items()
        ]  # fmt: skip

    _await(lambda: bool(mine()), 30, lambda: f"no run of {assets} was launched")
    _await(
        lambda: mine()[0]["status"] in ("SUCCESS", "FAILURE", "CANCELED"),
        900,
        lambda: f"{assets}: {platform.log(mine()[0]['runId'])[-5:]}",
    )
    (run,) = mine()
    failures = [event for event in platform.log(run["runId"]) if "Failure" in event["__typename"]]
    assert run["status"] == "SUCCESS", failures
    return run


def _fill(home: Path, files: Path) -> Mapping[str, Any]:
    """Register a simulated data set, small and with few epochs; returns its settings."""
    from scmagnify_assets import registry
    from scmagnify_assets.home import Home
    from scmagnify_assets.lakehouse import Lakehouse
    from scmagnify_assets.registry import announce
    from scmagnify_assets.runner import open_instance
    from scmagnify_core.simulated_genome import simulate_genome
    from scmagnify_core.simulation import SimulationConfig, simulate

    config = SimulationConfig(n_cells=200, n_sources=10, n_targets=20, n_background=40, seed=7)
    simulation = simulate(config)
    paths = simulation.write(files, DATASET)
    references = simulate_genome(simulation).write(files, DATASET)
    raw: Mapping[str, Any] = {
        "name": DATASET, "file": str(paths["data"]), "time_key": "pseudotime", "lineage_key": "lineage",
        "cluster_key": "cell_type", "sample_key": "sample", "seeds": 1,
        # So short that the loss falls only without the penalties' first overshoot.
        "granger": {"max_epochs": 3, "smoothness": 0.0, "sparsity": 0.01},
        "references": {key: str(path) for key, path in references.items()},
    } | {key: str(paths[key]) for key in ("prior", "truth", "ligand_receptor", "receptor_tf")}  # fmt: skip
    with open_instance(Home(home)) as instance:
        announce(instance, registry.register(Lakehouse(Home(home).lake), raw))
    return raw


def _is_loaded(platform: Platform) -> bool:
    """Whether the server answers and its code location has loaded."""
    try:
        return bool(platform.graphql("{assetNodes {id}}")["assetNodes"])
    except (OSError, urllib.error.URLError, AssertionError):
        return False


def _await(is_done: Callable[[], bool], seconds: float, explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.5)


def _survivors(home: Path) -> list[int]:
    """Living processes that were started with this home: the server, its children, and workers of runs."""
    wanted = f"SCMAGNIFY_HOME={home}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if state != "Z" and wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def _scmagnify() -> str:
    return str(Path(sys.executable).with_name("scmagnify"))
