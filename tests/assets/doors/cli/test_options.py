"""Options of `scmagnify add`, made from the declarations of a data set's settings."""

from pathlib import Path
from typing import Literal

import click
import pytest
import typer
from pydantic import BaseModel, ByteSize, Field
from typer.testing import CliRunner

from scmagnify_assets.doors.cli import options as module
from scmagnify_assets.doors.cli.options import SettingsCommand, named_paths, options
from scmagnify_core.errors import InputError
from scmagnify_core.settings import settings

# Names that users have typed so far.
KNOWN = (
    "--name", "--prior", "--references", "--curated", "--fragments", "--peaks", "--truth", "--network", "--time-key",
    "--root", "--layer", "--values", "--species", "--cluster-key", "--lineage-key", "--lineage", "--sample-key",
    "--ligand-receptor", "--receptor-tf",
)  # fmt: skip
NEW = ("--method", "--interpret", "--seeds", "--preset", "--memory-budget", "--gene-key", "--min-cells")


@pytest.fixture
def ask() -> "Ask":
    return Ask()


class Ask:
    """A command with these options, which leaves what it was given."""

    def __init__(self) -> None:
        self.app, self.given = typer.Typer(pretty_exceptions_enable=False), None

        @self.app.command(cls=SettingsCommand)
        def command(context: typer.Context, verbose: bool = False) -> None:
            self.given = context.obj

    def __call__(self, *words: str) -> dict[str, object]:
        done = CliRunner().invoke(self.app, words)
        if isinstance(done.exception, InputError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return self.given

    def refused(self, *words: str) -> str:
        done = CliRunner().invoke(self.app, words, env={"COLUMNS": "200"})
        assert done.exit_code == 2, done.output
        return done.output


def test_every_key_that_is_in_no_table_has_an_option() -> None:
    keys = {one.key for one in settings() if not one.table}
    assert {one.name for one in options()} == keys - {"file"}
    names = [name for one in options() for name in one.opts]
    assert len(names) == len(set(names))
    assert {*KNOWN, *NEW} <= set(names)
    assert all(one.help.endswith(".") for one in options())


def test_what_is_given_are_raw_settings_and_nothing_else(ask: Ask) -> None:
    assert ask() == {}
    given = ask(
        "--name", "x", "--prior", "a.csv", "--prior", "b.csv", "--lineage", "ery", "--network", "n=f.csv",
        "--network", "SCENIC+=g=h.csv", "--seeds", "2", "--n-top-genes", "none", "--memory-budget", "8 GB",
        "--method", "scmagnify", "--references", "hg38", "--values", "log", "--root", "", "--verbose",
    )  # fmt: skip
    assert given == {
        "name": "x", "prior": ["a.csv", "b.csv"], "lineages": ["ery"],
        "networks": {"n": "f.csv", "SCENIC+": "g=h.csv"}, "seeds": 2, "n_top_genes": "none", "memory_budget": "8 GB",
        "methods": ["scmagnify"], "references": "hg38", "values": "log",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "0"), "0 is not in the range"),
        (("--seeds", "11"), "11 is not in the range"),
        (("--seeds", "none"), "'none' is not a valid integer"),
        (("--n-top-genes", "many"), "'many' is not a valid integer"),
        (("--values", "raw"), "'raw' is not one of 'auto', 'counts', 'log'"),
        (("--time-kye", "t"), "--time-key"),
    ],
)
def test_a_value_of_another_type_is_refused(ask: Ask, words: tuple[str, ...], said: str) -> None:
    assert said in ask.refused(*words)


def test_help_has_a_panel_for_each_group_and_all_options() -> None:
    said = CliRunner().invoke(Ask().app, ["--help"], env={"COLUMNS": "200"}).output
    assert all(f" {name} " in said for name in (*KNOWN, *NEW))
    panels = ("Data set", "Time, lineages and groups", "Candidate edges", "Networks to compare with", "Methods")
    places = [said.index(f"─ {panel} ─") for panel in panels]
    assert places == sorted(places)
    assert said.index("Candidate edges") < said.index("--prior") < said.index("Networks to compare with")


def test_types_follow_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    class Table(BaseModel):
        size: int = Field(1, description="A size.")

    class Declared(BaseModel):
        flag: bool = Field(False, description="A flag.")
        share: float = Field(0.5, gt=0, le=1, description="A share.")
        sizes: tuple[int, ...] = Field((), description="Sizes.")
        either: Literal["a", "b"] | None = Field(None, description="A choice.")
        room: ByteSize | None = Field(None, description="A room.")
        place: Path | None = Field(None, description="A place.")
        named: Table | None = Field(None, description="A table or its name.")
        table: Table = Field(default_factory=Table, description="A table.")

    monkeypatch.setattr("scmagnify_core.specification.DatasetSpec", Declared)
    made = {one.name: one for one in options()}
    assert list(made) == ["flag", "share", "sizes", "either", "room", "place", "named"]
    assert isinstance(made["flag"].type, click.types.BoolParamType)
    assert made["share"].type.to_info_dict() == click.FloatRange(0, 1, min_open=True).to_info_dict()
    assert isinstance(made["sizes"].type, click.IntRange)
    assert made["sizes"].multiple
    assert tuple(made["either"].type.choices) == ("a", "b")
    assert [made[name].metavar for name in ("room", "place", "named")] == ["SIZE", "FILE", "NAME"]
    assert {one.rich_help_panel for one in made.values()} == {module.PANEL}

    class Odd(BaseModel):
        odd: complex = Field(1j, description="Odd.")

    monkeypatch.setattr("scmagnify_core.specification.DatasetSpec", Odd)
    with pytest.raises(TypeError, match="settings key 'odd': no option is known for <class 'complex'>"):
        options()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["links.csv"], "--network links.csv: is not of the form NAME=FILE"),
        (["n="], "is not of the form"),
        (["n=a", "n=b"], "--network n=b: gives 'n' once more"),
    ],
)
def test_named_paths_are_refused_in_another_form(ask: Ask, given: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        named_paths("--network", given)
    with pytest.raises(InputError, match=said):
        ask(*(word for one in given for word in ("--network", one)))
