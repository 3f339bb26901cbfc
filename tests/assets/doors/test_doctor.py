"""What `scmagnify doctor` finds, and the remedies that it names."""

from collections import namedtuple
from pathlib import Path

import pytest

from scmagnify_assets.doors import doctor as module
from scmagnify_assets.doors.doctor import Finding, examine
from scmagnify_assets.home import Home
from scmagnify_core.errors import StorageError

Usage = namedtuple("Usage", "total used free")


def found(home: Home, what: str) -> Finding:
    (one,) = [one for one in examine(home) if one.what == what]
    return one


def test_a_sound_home_has_nothing_to_mend(blood: Home) -> None:
    findings = {one.what: one for one in examine(blood)}
    assert all(one.is_good and not one.remedy for name, one in findings.items() if name != "disk")
    assert findings["lake"].found == f"{blood.lake}, 1 data sets"
    assert findings["home"].found == f"{blood.root} (SCMAGNIFY_HOME)"
    assert findings["python"].found.startswith("3.")


def test_a_home_that_is_not_there_yet_is_no_fault(tmp_path: Path) -> None:
    home = Home(tmp_path / "none")
    assert found(home, "lake") == Finding("lake", "none yet; the first `scmagnify add` or `demo` makes it")
    assert found(home, "disk").found.endswith("GiB free")
    assert not home.root.exists(), "it changes nothing"


@pytest.mark.parametrize(("gib", "is_good"), [(4.9, False), (5.1, True)])
def test_a_disk_that_is_nearly_full_is_told(
    blood: Home, monkeypatch: pytest.MonkeyPatch, gib: float, is_good: bool
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: Usage(0, 0, gib * 2**30))
    one = found(blood, "disk")
    assert one.is_good == is_good
    assert ("Free some space" in one.remedy) != is_good


def test_what_is_absent_or_unreadable_is_told_with_a_remedy(blood: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, query: str) -> None:
        raise StorageError("The lake is torn.")

    monkeypatch.setattr(module, "package_versions", lambda: {"torch": "absent"})
    monkeypatch.setattr(module, "extension_path", lambda: None)
    monkeypatch.setattr(module.Lakehouse, "sql", fail)
    assert found(blood, "torch").remedy == "pip install torch"
    assert not found(blood, "duckdb delta").is_good
    assert found(blood, "lake").found == "The lake is torn."
    assert not found(blood, "lake").is_good
