"""The command as a whole: its help, how fast it starts, how errors end it."""

import json
import subprocess
import sys

import pytest
import typer

from scmagnify_assets.doors.cli import main as module
from scmagnify_assets.doors.cli.main import app
from scmagnify_core.errors import InputError

HEAVY = ("torch", "dagster", "pandas", "numpy", "pydantic", "duckdb", "scmagnify_core.specification")
GROUPS = {
    "Data sets": ("demo", "add", "references", "datasets"),
    "Runs": ("run", "settings"),
    "Results": ("sql", "export", "report"),
    "Upkeep": ("ui", "maintain", "doctor"),
}


def test_help_lists_all_commands_by_group_in_the_order_of_work(shell) -> None:
    said = shell("--help").output
    places = [said.index(f"─ {group} ─") for group in GROUPS]
    assert places == sorted(places)
    for group, end in zip(GROUPS, [*places[1:], len(said)], strict=True):
        part = said[said.index(f"─ {group} ─") : end]
        assert [line.split()[1] for line in part.splitlines() if line.startswith("│ ") and line[2] != " "] == list(
            GROUPS[group]
        )


def test_every_command_has_examples_and_says_what_its_arguments_are() -> None:
    group = typer.main.get_command(app)
    assert set(group.commands) == {name for names in GROUPS.values() for name in names}
    for name, command in group.commands.items():
        assert "Example" in command.help, name
        for one in command.params:
            assert one.help, f"{name} {one.name}"


def test_help_does_not_wait_for_heavy_packages() -> None:
    program = (
        "import sys, json\nfrom scmagnify_assets.doors.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print(json.dumps([one for one in {HEAVY!r} if one in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_an_error_of_the_user_is_printed_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise InputError("[bold]x[/]", "is wrong.", "Mend it.")

    monkeypatch.setattr(module, "app", fail)
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.err == "error: [bold]x[/]: is wrong. Mend it.\n"
    assert said.out == ""
