"""The Python door: tables and functions as methods, and words for questions that cannot be answered."""

import inspect
from pathlib import Path

import pytest

from scmagnify_assets import open_lake
from scmagnify_assets.doors.notebook import Lake, near_spellings
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.errors import InputError


@pytest.fixture(scope="module")
def lake(results: Home) -> Lake:
    return open_lake(results.root)


def test_a_lake_is_found_by_its_home_by_itself_and_by_the_environment(blood: Home, tmp_path: Path) -> None:
    assert open_lake().names == open_lake(blood.root).names == open_lake(str(blood.lake)).names == ["blood"]
    with pytest.raises(InputError, match="holds no results yet"):
        open_lake(tmp_path)


def test_rows_of_a_table_by_data_set_and_columns(lake: Lake) -> None:
    whole = lake.sql("FROM edges ORDER BY rank")
    assert lake.edges("blood", source="T2").sort_values("rank")["target"].tolist() == ["g1", "g2", "g3", "g4"]
    assert len(lake.edges(source=["T1", "T3"], target="g1")) == 2
    assert len(lake.edges("blood", source=[])) == 0
    assert lake.edges("blood", columns=["target", "rank"], limit=3).shape == (3, 2)
    assert len(lake.edges("blood", pvalue=None)) == 0
    arrow = lake.get("edges", "blood", arrow=True)
    assert arrow.num_rows == len(whole) == 12
    assert lake.sql("SELECT count(*) AS n FROM edges WHERE source = $s", {"s": "T1"})["n"].tolist() == [4]


def test_a_function_of_the_lake_takes_its_parameters(lake: Lake) -> None:
    top = lake.top_regulators("blood", "g1", n=2)
    assert top["source"].tolist() == ["T1", "T2"], "by score, as ranked"
    with pytest.raises(TypeError):
        lake.top_regulators("blood")


def test_misspelt_names_are_told_from_empty_answers(lake: Lake, results: Home) -> None:
    for question, said in (
        (lambda: lake.edges("bloood"), "Data set 'bloood': is not registered. Registered: 'blood'"),
        (lambda: lake.edges("blood", sauce="T1"), "Column 'sauce' of 'edges': does not exist. Columns: dataset"),
        (lambda: lake.get("edgs"), "Table 'edgs': does not exist"),
        (lambda: lake.edges("blood", source="Nobody"), "'Nobody': is no gene of 'blood'"),
        (lambda: lake.sql("DROP TABLE edges"), "is not a query"),
    ):
        with pytest.raises(InputError, match=said):
            question()
    with pytest.raises(AttributeError, match="Table 'edgs'"):
        lake.edgs  # noqa: B018
    with Lakehouse(results.lake).connect() as connection:
        assert near_spellings(Lakehouse(results.lake), ["BLOOD", "blood", "zzz"], connection) == {
            "BLOOD": ["blood"], "zzz": [],
        }  # fmt: skip


def test_methods_explain_themselves(lake: Lake) -> None:
    assert {"edges", "top_regulators", "networks"} <= set(dir(lake))
    assert "source: " in (inspect.getdoc(lake.edges) or "")
    assert set(lake.dictionary["table_name"]) >= {"edges", "networks"}
    assert "datasets=['blood']" in repr(lake)
