"""``scmagnify sql``: what is printed, in every format; the commands with a dot; the prompt."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from scmagnify_assets.doors import terminal as module
from scmagnify_assets.doors.cli.app import app
from scmagnify_assets.doors.rows import Format, format_of
from scmagnify_assets.doors.terminal import Terminal
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.errors import InputError

ODD = "SELECT 1::SMALLINT AS n, 0.5 AS x, NULL AS nothing, 'a|[b]' AS text, [1, 2] AS list, DATE '2026-01-02' AS day"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    lake = Lakehouse(tmp_path_factory.mktemp("terminal") / "lake")
    lake.create()
    made = {"run_id": "none", "inputs": (), "parameters": {}, "file_sha256": "f" * 64}
    row = pd.DataFrame(
        {"file": ["/in/blood.h5ad"], "sha256": "a" * 64, "size_bytes": 1, "files": "{}", "species": "mouse",
         "spec": "{}", "registered_at": pd.Timestamp("2026-01-01", tz="UTC")}
    )  # fmt: skip
    lake.write("raw_dataset", "blood", None, {"datasets": row}, {}, **made)
    loadings = pd.DataFrame({"regfactor": "RF1", "mode": "lag", "name": [f"{i:03d}" for i in range(400)],
                             "loading": 0.5})  # fmt: skip
    factors = pd.DataFrame({"regfactor": ["RF1"], "energy_share": 1.0, "link_share": 1.0, "peak_lag": 1,
                            "top_sources": "T1", "top_targets": "g1", "n_supported": 1})  # fmt: skip
    empty = {name: pd.DataFrame(columns=columns) for name, columns in (
        ("regfactor_components", ["mode", "component", "name", "loading"]),
        ("regfactor_core", ["lag_component", "source_component", "target_component", "value"]),
    )}  # fmt: skip
    lake.write(
        "regfactors", "blood", None, {"regfactors": factors, "regfactor_loadings": loadings, **empty}, {}, **made
    )
    return lake


def test_a_table_has_types_and_says_how_many_rows(lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(lake, Format.table).ask(ODD)
    header, types, row, count = capsys.readouterr().out.splitlines()
    assert header.split() == ["n", "x", "nothing", "text", "list", "day"]
    assert types.split()[:1] + types.split()[3:] == ["SMALLINT", "VARCHAR", "INTEGER[]", "DATE"]
    assert "a|[b]" in row, "no markup"
    assert count == "1 row"


def test_a_long_table_ends_and_other_formats_do_not(lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    query = "FROM regfactor_loadings WHERE dataset = 'blood'"
    Terminal(lake, Format.table).ask(query)
    said = capsys.readouterr().out
    assert f"the first {module.MAX_SHOWN} rows" in said
    assert said.count("RF1") == module.MAX_SHOWN
    Terminal(lake, Format.csv).ask(query)
    assert capsys.readouterr().out.count("RF1") == 400


def test_csv_and_json_keep_values(lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(lake, Format.csv).ask(ODD)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[1] == ["1", "0.5", "", "a|[b]", "[1, 2]", "2026-01-02"]
    Terminal(lake, Format.json).ask(ODD)
    assert json.loads(capsys.readouterr().out) == [
        {"n": 1, "x": "0.5", "nothing": None, "text": "a|[b]", "list": [1, 2], "day": "2026-01-02"}
    ]
    Terminal(lake, Format.json).ask("SELECT 1 AS n WHERE false")
    assert json.loads(capsys.readouterr().out) == []


def test_markdown_is_a_table_whose_cells_hold_no_bars(lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(lake, Format.markdown).ask("SELECT 'a|b' AS x, 0.123456::DOUBLE AS y")
    assert capsys.readouterr().out.splitlines() == ["| x | y |", "| --- | --- |", "| a\\|b | 0.1235 |"]


@pytest.mark.parametrize("format", list(Format))
def test_output_writes_a_whole_file_in_any_format(lake: Lakehouse, format: Format, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    Terminal(lake, format, path).ask("SELECT name, loading FROM regfactor_loadings ORDER BY name")
    read = {
        Format.parquet: lambda: pq.read_table(path).to_pandas(), Format.json: lambda: pd.read_json(path, dtype=str),
        Format.csv: lambda: pd.read_csv(path, dtype={"name": str}),
        Format.table: lambda: pd.read_csv(path, dtype={"name": str}),
        Format.markdown: lambda: pd.DataFrame({"name": path.read_text().splitlines()[2:]}),
    }[format]()  # fmt: skip
    assert len(read) == 400
    assert "007" in str(read["name"].iloc[7])
    assert list(tmp_path.iterdir()) == [path]


def test_output_that_fails_leaves_the_former_file(lake: Lakehouse, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("former")
    late = "SELECT CASE WHEN range < 300000 THEN 1 ELSE error('too late') END FROM range(300001)"
    # DuckDB sometimes tells of a thread that was interrupted, and not of the one that failed.
    with pytest.raises(InputError, match=r"SQL: failed half way \(.*(too late|Interrupted).*Mend the query"):
        Terminal(lake, Format.csv, path).ask(late)
    with pytest.raises(InputError, match="there is no folder"):
        Terminal(lake, Format.csv, tmp_path / "no folder" / "rows.csv").ask(ODD)
    assert [one.read_text() for one in tmp_path.iterdir()] == ["former"]


def test_commands_with_a_dot(lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(lake, Format.csv)
    terminal.ask(".tables")
    tables = capsys.readouterr().out
    assert "edges,table,One row per candidate edge" in tables
    assert '"top_regulators(in_dataset, of_target, n := 10)",function' in tables
    terminal.ask(".schema receptor_tf;")
    assert "lag,SMALLINT,bins of pseudotime,False" in capsys.readouterr().out
    terminal.ask(".datasets")
    assert "blood,mouse" in capsys.readouterr().out
    terminal.ask(".format json")
    terminal.ask("SELECT 1 AS n")
    assert json.loads(capsys.readouterr().out) == [{"n": 1}]
    terminal.ask(".help")
    assert ".schema NAME" in capsys.readouterr().out
    for wrong, said in ((".schema nobody", "'nobody': is no table"), (".nothing", "'.nothing': is no command"),
                        (".format parquet", "is no format. Choose one of table, csv")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            terminal.ask(wrong)


def test_a_query_over_all_data_sets_says_so(
    lake: Lakehouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY_ROWS", 400)
    Terminal(lake, Format.csv).ask("SELECT sum(loading) FROM regfactor_loadings")
    assert "reads 400 rows of all data sets" in capsys.readouterr().err
    Terminal(lake, Format.csv).ask("SELECT count(*) FROM regfactor_loadings WHERE dataset = 'blood'")
    assert capsys.readouterr().err == ""


def test_several_queries_and_commands_are_answered_in_order(
    lake: Lakehouse, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Terminal(lake, Format.csv).ask("SELECT 1 AS a;\n.datasets\nSELECT 'x;y'\n AS b; SELECT 3 AS c")
    said = capsys.readouterr().out
    places = [said.index(one) for one in ("a\n1", "blood", "b\nx;y", "c\n3")]
    assert places == sorted(places)
    with pytest.raises(InputError, match="takes one query, not 2"):
        Terminal(lake, Format.csv, tmp_path / "x.csv").ask("SELECT 1; SELECT 2")


@pytest.mark.parametrize("nothing", ["", " ;", "-- a remark", "\n"])
def test_nothing_to_ask_is_said(lake: Lakehouse, nothing: str) -> None:
    with pytest.raises(InputError, match="there is no query"):
        Terminal(lake, Format.csv).ask(nothing)


def test_a_query_without_rows_names_near_spellings(lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(lake, Format.csv).ask("FROM regfactors WHERE dataset = 'Blood'")
    assert "No data set, gene or RegFactor is called 'Blood'. Did you mean 'blood'?" in capsys.readouterr().err
    Terminal(lake, Format.csv).ask("FROM regfactors WHERE dataset = 'blood' AND regfactor = 'RF9'")
    assert "'RF9'. Did you mean 'RF1'" in capsys.readouterr().err
    Terminal(lake, Format.csv).ask("FROM regfactors WHERE dataset = 'blood'")
    assert capsys.readouterr().err == ""


def test_remedies_fit_the_mistake(lake: Lakehouse) -> None:
    mistakes = {
        "FROM edges WHERE source = Gata1": "\nText needs single quotes",
        "FROM edge": "\nFROM tables lists",
        "FROM edges_at(7)": "FROM time_travel lists",
    }
    for query, said in mistakes.items():
        with pytest.raises(InputError, match=said):
            Terminal(lake, Format.csv).ask(query)


def test_format_of_follows_the_ending_and_keeps_what_is_there(tmp_path: Path) -> None:
    assert format_of(None, None) is Format.table
    assert format_of(tmp_path / "x.PARQUET", None) is Format.parquet
    assert format_of(tmp_path / "x.md", Format.markdown) is Format.markdown
    assert format_of(tmp_path / "x.txt", Format.csv) is Format.csv
    with pytest.raises(InputError, match="has no ending that says what to write"):
        format_of(tmp_path / "x.xlsx", None)
    with pytest.raises(InputError, match="is not for json"):
        format_of(tmp_path / "x.csv", Format.json)
    (tmp_path / "there.csv").touch()
    with pytest.raises(InputError, match="exists already"):
        format_of(tmp_path / "there.csv", None)
    assert format_of(tmp_path / "there.csv", None, force=True) is Format.csv


def test_rows_too_wide_for_the_screen_stand_upright(lake: Lakehouse) -> None:
    terminal = Terminal(lake, Format.table)
    screen = io.StringIO()
    terminal.console = Console(file=screen, force_terminal=True, width=60, color_system=None)
    names = [f"a_rather_long_name_{i}" for i in range(6)]
    terminal.ask("SELECT " + ", ".join(f"{i} AS {name}" for i, name in enumerate(names)))
    lines = [line.split() for line in screen.getvalue().splitlines() if line.strip()]
    assert lines[:6] == [[name, str(i)] for i, name in enumerate(names)]
    screen.truncate(0)
    terminal.ask("SELECT " + ", ".join(f"{i} AS {name}" for i, name in enumerate(names)) + " WHERE false")
    assert screen.getvalue().strip("\0\n") == "0 rows"


@pytest.mark.parametrize(
    "statement", ["DROP VIEW edges", "COPY (SELECT 1) TO 'x.csv'", "INSERT INTO about VALUES ('')"]
)
def test_statements_that_write_are_refused(lake: Lakehouse, statement: str) -> None:
    with pytest.raises(InputError, match="is not a query"):
        Terminal(lake, Format.csv).ask(statement)


def test_prompt_answers_goes_on_after_errors_and_keeps_history(
    lake: Lakehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("FROM nowhere\rSELECT\r41 + 1 AS answer,\r1 AS one\rFROM (\r\r.quit\r")
        Terminal(lake, Format.csv).prompt(tmp_path / "history")
    said = capsys.readouterr()
    assert "answer,one\n42,1\n" in said.out
    assert "nowhere does not exist" in said.err
    assert "at end of input" in said.err  # an empty line ends what cannot be finished
    assert "+SELECT\n+41 + 1 AS answer,\n+1 AS one\n" in (tmp_path / "history").read_text()


def test_words_complete_tables_functions_columns_and_data_sets(lake: Lakehouse) -> None:
    words = Terminal(lake, Format.csv).words()
    assert {"edges", "top_regulators(", "signed_score", "'blood'", ".schema", "ORDER BY"} <= set(words)


def test_settings_lists_a_table_a_key_or_says_which_tables_there_are() -> None:
    runner = CliRunner()
    said = runner.invoke(app, ["settings", "scmagnify"]).output
    assert "n_lags" in said
    assert "integer >= 1" in said
    assert "lag_step" not in said
    said = runner.invoke(app, ["settings", "diffusion.lag_step"]).output
    assert '"none")' in said  # as published
    assert "n_neighbors" not in said
    failed = runner.invoke(app, ["settings", "grangr"])
    assert isinstance(failed.exception, InputError)
    assert "Tables: gene_association" in str(failed.exception)
