"""The command line in a home of its own: in this process, which has it loaded, or as users start it."""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scmagnify_assets.doors.cli.app import out
from scmagnify_assets.doors.cli.main import app
from scmagnify_assets.doors.rows import Format
from scmagnify_assets.doors.terminal import Terminal
from scmagnify_assets.graph.waves import waves
from scmagnify_assets.lake.lakehouse import Lakehouse

WAVES = [wave.assets for wave in waves(["scmagnify"]) if not wave.is_over_datasets]
SCMAGNIFY = str(Path(sys.executable).with_name("scmagnify"))


def only(*assets: str) -> list[str]:
    """Options that run these assets and no others."""
    return [word for asset in assets for word in ("--select", asset)]


class Shell:
    """Runs the command in one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = os.environ | {"SCMAGNIFY_HOME": str(home), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str | Path, status: int = 0) -> str:
        """What it prints: the output, or the errors if it is to end with a status, which takes the whole program."""
        if status != 0:
            return self._run_process(*arguments, status=status)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", [SCMAGNIFY])
            patch.setattr(out, "width", 200)  # it was measured when the module was imported
            done = CliRunner().invoke(app, [*map(str, arguments)], prog_name="scmagnify")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise AssertionError(f"{arguments}\n{done.output}") from done.exception
        assert done.exit_code == 0, f"{arguments}\n{done.output}"
        return done.stdout

    def _run_process(self, *arguments: str | Path, status: int) -> str:
        done = subprocess.run(
            [SCMAGNIFY, *map(str, arguments)], env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == status, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stderr

    def sql(self, query: str) -> list[dict[str, str]]:
        """Rows that ``scmagnify sql`` prints, without a process of its own."""
        with redirect_stdout(io.StringIO()) as said:
            Terminal(Lakehouse(self.home / "lake"), Format.csv).ask(query)
        return list(csv.DictReader(io.StringIO(said.getvalue())))


@pytest.fixture(scope="session")
def network_only() -> list[str]:
    """Options that leave out what is made of the network: interpretation, scores, the report."""
    return only(*WAVES[0], *WAVES[1], "multiscale_network")


@pytest.fixture(scope="session")
def without_report() -> list[str]:
    return only(*(asset for wave in WAVES for asset in wave if asset != "report"))


@pytest.fixture(scope="session")
def new_shell() -> Callable[[Path], Shell]:
    """Opens the command line in a folder."""
    return Shell
