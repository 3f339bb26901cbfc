"""A platform as a user has it: `scmagnify ui` on a fresh home, a data set that is dropped there, and a real Chromium.

Server and browser are gone before other tests run: the server takes CPU, and Playwright's event loop forbids
`asyncio.run` in the same thread.
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
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import tomli_w

if TYPE_CHECKING:
    from scmagnify_assets.doors.notebook import Lake

DATASET = "small"
LAST = ("tf_activity", "report")  # assets that are materialized with the mouse
GROUPS = ("data", "prior", "lags", "scmagnify", "network", "interpretation", "evaluation")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Platform:
    """A running UI over its home, in which there is nothing yet; ``settings`` are those of a data set to drop."""

    home: Path
    url: str
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

    @cached_property
    def lake(self) -> "Lake":
        """The results, over one open connection."""
        from scmagnify_assets.doors.notebook import open_lake

        return open_lake(self.home)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.lake.sql(query, arrow=True).to_pylist()]

    def made(self, dataset: str) -> set[str]:
        """Assets of a data set that have been made."""
        return {asset for (asset,) in self.sql(f"SELECT asset FROM lineage WHERE dataset = '{dataset}'")}

    def is_complete(self, dataset: str) -> bool:
        """Whether every asset of a data set has been made and no run is left."""
        from scmagnify_assets.graph.waves import waves

        wanted = {
            "raw_dataset",
            *(asset for wave in waves(["scmagnify"]) for asset in wave.assets if not wave.is_over_datasets),
        }
        ends = {"SUCCESS", "FAILURE", "CANCELED"}
        return wanted == self.made(dataset) and {run["status"] for run in self.runs().values()} <= ends

    def complete(self, dataset: str) -> None:
        """Wait until every asset of a data set has been made and no run is left; cheaply, as the runs need the CPU."""

        def explain() -> str:
            return f"{self.made(dataset)}, {[(run['jobName'], run['status']) for run in self.runs().values()]}"

        _await(lambda: self.is_complete(dataset), 900, explain, every=2)


@pytest.fixture(scope="module")
def chromium() -> str:
    """The system's browser; nothing is downloaded."""
    for name in CHROMIUM:
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip(f"no browser: none of {', '.join(CHROMIUM)} is on PATH")


@pytest.fixture(scope="module")
def platform(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`scmagnify ui` on a fresh home."""
    root = tmp_path_factory.mktemp("ui")
    home = root / "home"
    settings = _simulate(root / "files")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    platform = Platform(home, f"http://127.0.0.1:{port}", settings)
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
def playwright() -> Iterator[Any]:
    module = pytest.importorskip("playwright.sync_api")
    with module.sync_playwright() as tool:
        yield tool


@pytest.fixture(scope="module")
def page(
    platform: Platform, playwright: Any, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A page of a fresh browser."""
    context = playwright.chromium.launch_persistent_context(
        tmp_path_factory.mktemp("chromium"), executable_path=chromium, args=list(CHROMIUM_ARGUMENTS),
        headless=True, viewport={"width": 1500, "height": 850}, color_scheme="light",
    )  # fmt: skip
    try:
        context.set_default_timeout(20_000)
        yield context.new_page()
    finally:
        context.close()


@pytest.fixture(scope="module")
def report_file(platform: Platform, dropped: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the data set, as the command line gives it out."""
    path: Path = tmp_path_factory.mktemp("report") / "page.html"
    command = [_scmagnify(), "report", dropped, "--output", str(path)]
    subprocess.run(command, env=platform.environment, check=True, timeout=120)
    return path


@pytest.fixture(scope="module")
def dropped(platform: Platform) -> str:
    """Name of a data set that was dropped into the incoming folder, together with a file that is none."""
    incoming = platform.home / "incoming"
    (incoming / "broken.h5ad").write_bytes(b"no HDF5")
    settings = {key: value for key, value in platform.settings.items() if key not in ("name", "file")}
    (incoming / "defaults.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    data = Path(platform.settings["file"])
    part = incoming / f".{DATASET}.part"
    shutil.copyfile(data, part)
    part.replace(incoming / f"{DATASET}{data.suffix}")
    platform.complete(DATASET)
    return DATASET


@pytest.fixture(scope="module")
def materialized(platform: Platform, page: Any, dropped: str) -> dict[str, Any]:
    """The run of the graph's last part, started with the mouse after everything had been made once."""
    return _materialize(platform, page, LAST)


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


def _simulate(files: Path) -> dict[str, Any]:
    """Settings of a simulated data set, small and with few epochs, whose files are written."""
    from scmagnify_core.simulation.simulated_genome import simulate_genome
    from scmagnify_core.simulation.simulation import SimulationConfig, simulate

    config = SimulationConfig(n_cells=200, n_sources=10, n_targets=20, n_background=40, seed=7)
    simulation = simulate(config)
    paths = simulation.write(files, DATASET)
    references = simulate_genome(simulation).write(files, DATASET)
    return {
        "name": DATASET, "file": str(paths["data"]), "time_key": "pseudotime", "lineage_key": "lineage",
        "cluster_key": "cell_type", "sample_key": "sample", "seeds": 2,
        # So short that the loss falls only without the penalties' first overshoot.
        "scmagnify": {"max_epochs": 3, "smoothness": 0.0, "sparsity": 0.01},
        "references": {key: str(path) for key, path in references.items()},
    } | {key: str(paths[key]) for key in ("prior", "truth", "ligand_receptor", "receptor_tf")}  # fmt: skip


def _is_loaded(platform: Platform) -> bool:
    """Whether the server answers and its code location has loaded."""
    try:
        return bool(platform.graphql("{assetNodes {id}}")["assetNodes"])
    except (OSError, urllib.error.URLError, AssertionError):
        return False


def _await(is_done: Callable[[], bool], seconds: float, explain: Callable[[], str], every: float = 0.5) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline, explain()
        time.sleep(every)


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
