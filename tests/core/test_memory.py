import pytest

from scmagnify_core import memory
from scmagnify_core.errors import InputError
from scmagnify_core.memory import check_fits, memory_in_use, resolve_budget, usable_memory
from scmagnify_core.specification import parse_spec


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine of 64 GB whose system files are written by the test."""
    monkeypatch.setattr(memory.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 64 * 10**6}[name])

    def read(path):
        found = tmp_path / str(path).lstrip("/")
        return found.read_text().splitlines() if found.is_file() else []

    def write(path, text):
        found = tmp_path / path.lstrip("/")
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text(text)

    monkeypatch.setattr(memory, "_lines", read)
    return write


def test_usable_memory_is_that_of_the_machine_without_a_limit(system):
    system("/proc/self/cgroup", "0::/user.slice\n")
    system("/sys/fs/cgroup/user.slice/memory.max", "max\n")
    assert usable_memory() == 64 * 10**9
    assert resolve_budget(None) == 51.2e9
    assert resolve_budget(5) == 5


def test_usable_memory_is_the_smallest_limit_on_the_way_to_the_root(system):
    system("/proc/self/cgroup", "0::/kube/pod/box\n")
    system("/sys/fs/cgroup/kube/memory.max", "9000000000\n")
    system("/sys/fs/cgroup/kube/pod/box/memory.max", "16000000000\n")
    assert usable_memory() == 9 * 10**9


def test_usable_memory_of_a_container_is_read_at_the_root_of_its_own_files(system):
    """The path is that of the host, which the container does not see; version 1 writes a huge number for no limit."""
    system("/proc/self/cgroup", "5:devices:/docker/abc\n4:memory:/docker/abc\n")
    system("/sys/fs/cgroup/memory/memory.limit_in_bytes", "7000000000\n")
    assert usable_memory() == 7 * 10**9
    system("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert usable_memory() == 64 * 10**9


def test_usable_memory_of_this_machine_is_more_than_this_process_holds():
    assert 0 <= memory_in_use() < usable_memory()


def test_a_job_beyond_the_budget_is_refused_with_numbers_and_remedy():
    check_fits("training", 10, 10, "Take fewer lags")
    with pytest.raises(
        InputError, match=r"training: need 2 GB of memory, and memory_budget is 1 GB \(usable here: "
    ) as found:
        check_fits("training", 2 * 10**9, 10**9, "Take fewer lags")
    assert found.value.remedy == "Take fewer lags, or raise memory_budget."
    with pytest.raises(InputError, match="use a machine with more memory"):
        check_fits("training", 10**18, None, "Take fewer lags")


@pytest.mark.parametrize(("given", "expected"), [("8 GB", 8 * 10**9), ("500 MiB", 500 * 2**20), (10**9, 10**9)])
def test_a_budget_is_written_as_a_person_would(given, expected):
    spec = parse_spec({"name": "a", "file": "a.h5ad", "memory_budget": given})
    assert spec.memory_budget == expected
    assert "memory_budget" not in spec.model_dump_json()  # no part of a version


def test_a_budget_without_a_number_is_refused():
    with pytest.raises(InputError, match="'memory_budget' = 'much'"):
        parse_spec({"name": "a", "file": "a.h5ad", "memory_budget": "much"})
