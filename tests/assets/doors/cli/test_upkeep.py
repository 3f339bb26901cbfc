"""`scmagnify ui`, `maintain` and `doctor`."""

from typing import Any

import pytest

from scmagnify_assets.doors.doctor import Finding
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse


@pytest.mark.parametrize(("host", "is_warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_ui_says_where_it_is_and_warns_where_others_reach_it(
    shell, home: Home, monkeypatch: pytest.MonkeyPatch, host: str, is_warned: bool
) -> None:
    served: list[tuple[Any, ...]] = []

    def serve(*given: Any) -> None:
        served.append(given[:3])
        given[3]("[note] from the server")

    monkeypatch.setattr("scmagnify_assets.service.server.serve", serve)
    done = shell("ui", "--port", "3001", "--host", host)
    assert served == [(home, host, 3001)]
    assert f"UI on http://{host}:3001, watching {home.incoming}" in done.stdout
    assert "[note] from the server" in done.stderr
    assert ("there is no log-in" in done.stderr) == is_warned


def test_maintain_leaves_current_results(shell, home: Home) -> None:
    said = shell("maintain", "--keep-days", "30").stdout
    assert said.strip()
    assert Lakehouse(home.lake).sql("SELECT count(*) AS n FROM datasets")["n"].to_pylist() == [0]
    assert "is not in the range" in shell("maintain", "--keep-days", "1", status=2).output


@pytest.mark.parametrize("is_good", [True, False])
def test_doctor_ends_with_1_where_something_is_wrong(
    shell, home: Home, monkeypatch: pytest.MonkeyPatch, is_good: bool
) -> None:
    findings = [Finding("python", "3.11"), Finding("disk", "1 GiB [free]", is_good, "" if is_good else "Free some")]
    monkeypatch.setattr("scmagnify_assets.doors.doctor.examine", lambda home: findings)
    said = shell("doctor", status=0 if is_good else 1).stdout
    assert "1 GiB [free]" in said
    assert ("Free some" in said) != is_good
