import subprocess
import sys

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


NESTED = """
from scmagnify_core.memory import PeakMemory

def touch(n_mib):
    block = bytearray(n_mib * 2**20)
    block[::4096] = bytes(len(block[::4096]))

with PeakMemory() as outer:
    touch(300)
    with PeakMemory() as inner:
        touch(100)
    with PeakMemory() as idle:
        pass
with PeakMemory() as other:
    try:
        with PeakMemory() as failed:
            touch(200)
            raise KeyError
    except KeyError:
        pass
print(*(one.mib for one in (outer, inner, idle, other, failed)))
"""


def test_peak_memory_is_that_of_the_block_and_of_the_blocks_within():
    """In a process of its own, where nobody else takes memory or keeps what was freed."""
    done = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True, check=True)
    outer, inner, idle, other, failed = map(float, done.stdout.split())
    assert idle < 60
    assert 90 < inner - idle < 150
    assert outer - idle > 290  # taken before the inner block
    assert other >= failed > idle + 190  # taken within it, although that failed
