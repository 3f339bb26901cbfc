"""`scmagnify sql`, `export` and `report`: what each prints and writes."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from scmagnify_assets.doors.cli.main import app
from scmagnify_assets.home import Home
from scmagnify_core.errors import InputError

QUERY = "SELECT source, target FROM edges ORDER BY rank LIMIT 2"
ROWS = [{"source": "T1", "target": "g1"}, {"source": "T1", "target": "g2"}]


def test_sql_prints_or_writes_rows(shell, blood: Home, tmp_path: Path) -> None:
    assert json.loads(shell("sql", QUERY, "--format", "json").stdout) == ROWS
    shell("sql", QUERY, "-o", tmp_path / "rows.parquet")
    assert pd.read_parquet(tmp_path / "rows.parquet").to_dict("records") == ROWS
    with pytest.raises(InputError, match="exists already"):
        shell("sql", QUERY, "-o", tmp_path / "rows.parquet")
    shell("sql", f"{QUERY} OFFSET 2", "-o", tmp_path / "rows.parquet", "--force")
    assert pd.read_parquet(tmp_path / "rows.parquet")["target"].tolist() == ["g3", "g4"]


def test_sql_reads_a_query_from_a_pipe(blood: Home) -> None:
    done = CliRunner().invoke(app, ["sql", "--format", "json"], input=QUERY)
    assert done.exception is None
    assert json.loads(done.stdout) == ROWS


def test_export_says_what_it_wrote_and_how_to_read_it(shell, blood: Home, tmp_path: Path) -> None:
    said = shell("export", "blood", tmp_path / "top.csv", "--top", "3").stdout
    assert said.startswith("blood: 3 of the 8 edges that the model keeps, in ")
    assert f"In Python: import pandas; edges = pandas.read_csv('{tmp_path / 'top.csv'}'" in said
    assert pd.read_csv(tmp_path / "top.csv").columns.tolist() == ["source", "target", "weight"]
    shell("export", "blood", tmp_path / "x.tsv", "--layout", "scenic", "--selected", "--max-padj", "0.05")
    assert pd.read_csv(tmp_path / "x.tsv", sep="\t").columns.tolist() == ["TF", "target", "importance"]


def test_report_goes_where_it_is_wanted(shell, blood: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)))
    assert shell("report", "blood").stdout.strip() == str(tmp_path / "blood.html")
    assert (tmp_path / "blood.html").read_text() == "<!DOCTYPE html> blood"
    (tmp_path / "folder").mkdir()
    done = shell("report", "blood", "-o", "folder", "--open")
    assert (tmp_path / "folder" / "blood.html").is_file()
    assert opened == [(tmp_path / "folder" / "blood.html").as_uri()]
    assert "No browser could be started here" in done.stderr
    with pytest.raises(InputError, match="'nobody'.* is not registered"):
        shell("report", "nobody")


@pytest.mark.parametrize("words", [("sql", "SELECT 1"), ("report", "x"), ("export", "x", "x.csv")])
def test_without_results_it_is_said_how_to_get_some(
    shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SCMAGNIFY_HOME", str(tmp_path / "none"))
    with pytest.raises(InputError, match="holds no results yet"):
        shell(*words)
    assert not (tmp_path / "none").exists()
