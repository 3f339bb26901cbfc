"""How many cores a process may use."""

import os

import pytest

from scmagnify_core.errors import InputError
from scmagnify_core.parallel import n_cores


@pytest.fixture(autouse=True)
def _sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.delenv("SCMAGNIFY_CORES", raising=False)


@pytest.mark.parametrize(("given", "expected"), [(None, 16), ("", 16), ("1", 1), ("4", 4), ("64", 16)])
def test_as_many_as_the_system_gives_or_as_it_is_told(
    given: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        monkeypatch.setenv("SCMAGNIFY_CORES", given)
    assert n_cores() == expected


def test_elsewhere_than_on_linux_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert n_cores() == 12
    monkeypatch.setenv("SCMAGNIFY_CORES", "3")
    assert n_cores() == 3


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "all"])
def test_another_thing_than_a_number_of_cores_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_CORES", given)
    with pytest.raises(InputError, match=f"SCMAGNIFY_CORES={given}: is no positive integer"):
        n_cores()
