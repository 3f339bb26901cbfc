"""What all commands share."""

import pytest

from scmagnify_assets.doors.cli.app import find_home, open_lake, program, rows_of
from scmagnify_assets.home import Home
from scmagnify_core.errors import InputError


def test_rows_are_of_the_lake_at_home(blood: Home) -> None:
    assert find_home() == blood
    assert rows_of("SELECT dataset FROM datasets WHERE species = $s", {"s": "mouse"}).to_pylist() == [
        {"dataset": "blood"}
    ]


def test_a_home_without_a_lake_says_how_to_get_one(tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds no results yet. Try `scmagnify demo`, add a data set, or point"):
        open_lake(Home(tmp_path))


def test_the_program_is_named_as_one_types_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(tmp_path / "bin" / "scmagnify")])
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert program() == "bin/scmagnify"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scmagnify").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert program() == "scmagnify"
