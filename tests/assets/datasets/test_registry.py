import hashlib
import shutil
from pathlib import Path

import pytest

from scmagnify_assets.datasets import registry
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.data.reading import file_sha256
from scmagnify_core.errors import InputError


@pytest.fixture
def lake(home):
    return Lakehouse(home.lake)


def test_register_stores_settings_hash_and_size(lake, raw_settings):
    registration = registry.register(lake, raw_settings)
    found = registry.find(lake, "small")
    assert found == registration
    assert found.raw == raw_settings
    assert registry.names(lake) == ["small"]
    row = lake.read("datasets", "small").iloc[0]
    assert row["size_bytes"] == Path(raw_settings["file"]).stat().st_size
    assert found.spec(["scmagnify.n_lags=2"]).scmagnify.n_lags == 2


def test_register_same_content_again_changes_nothing(lake, raw_settings):
    first = registry.register(lake, raw_settings)
    assert registry.register(lake, raw_settings) == first
    assert len(lake.versions("datasets", "small")) == 1


def test_register_other_content_under_a_taken_name_is_refused(lake, raw_settings, tmp_path):
    registry.register(lake, raw_settings)
    other = tmp_path / "other.h5mu"
    shutil.copy(raw_settings["file"], other)
    with other.open("ab") as stream:
        stream.write(b"\0")
    changed = raw_settings | {"file": str(other)}
    with pytest.raises(
        InputError, match=r"name 'small': is taken by other content .* Choose another --name, or pass --re"
    ):
        registry.register(lake, changed)
    with pytest.raises(InputError, match="is taken by other settings"):
        registry.register(lake, raw_settings | {"seeds": 1})
    before = registry.find(lake, "small")
    after = registry.register(lake, changed, replace=True)
    assert after.sha256 != before.sha256
    assert after.data_version != before.data_version
    assert len(lake.versions("datasets", "small")) == 2  # the former registration stays readable


def test_a_memory_budget_is_no_part_of_the_version(lake, raw_settings):
    before = registry.register(lake, raw_settings)
    after = registry.register(lake, raw_settings | {"memory_budget": "8 GB"}, replace=True)
    assert after.spec().memory_budget == 8 * 10**9
    assert after.data_version == before.data_version
    assert after.spec(["memory_budget=2 GB"]).memory_budget == 2 * 10**9


def test_find_unknown_data_set_says_what_there_is(lake, raw_settings):
    registry.register(lake, raw_settings)
    with pytest.raises(InputError, match=r"'nothing': is not registered. Registered: 'small'. Add it: scmagnify add"):
        registry.find(lake, "nothing")


def test_a_file_that_changed_after_registration_is_refused(lake, raw_settings, tmp_path):
    copy = tmp_path / "copy.h5mu"
    shutil.copy(raw_settings["file"], copy)
    registration = registry.register(lake, raw_settings | {"file": str(copy)})
    registry.refuse_changed_files(lake, registration)
    with copy.open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(InputError, match="has changed since it was registered .* --replace"):
        registry.refuse_changed_files(lake, registration)


@pytest.mark.parametrize("name", ["../x", "a b", "x' OR '1'='1", "", "ünïcode", "a" * 65])
def test_names_that_could_escape_are_refused(lake, raw_settings, name):
    with pytest.raises(InputError, match="may hold letters, digits"):
        registry.register(lake, raw_settings | {"name": name})


def test_a_prior_with_other_content_is_other_content(lake, raw_settings, tmp_path):
    """What the settings name counts like the data file: its hash is registered, compared and checked at every run."""
    prior = tmp_path / "prior.parquet"
    shutil.copy(raw_settings["prior"], prior)
    raw = raw_settings | {"prior": str(prior)}
    before = registry.register(lake, raw)
    prior.write_bytes(prior.read_bytes() + b"\0")
    with pytest.raises(InputError, match="is taken by other content"):
        registry.register(lake, raw)
    with pytest.raises(InputError, match=r"has changed since it was registered as prior"):
        registry.refuse_changed_files(lake, before)
    assert registry.register(lake, raw, replace=True).data_version != before.data_version


def test_a_run_may_not_change_which_files_it_reads(lake, raw_settings):
    registration = registry.register(lake, raw_settings)
    with pytest.raises(InputError, match='--set "file"=x.h5ad: changes what the data set is'):
        registration.spec(['"file"=x.h5ad'])
    with pytest.raises(InputError, match="--set file=x.h5ad: changes what the data set is"):
        registration.spec(["file=x.h5ad"])


def test_a_large_file_is_hashed_again_only_if_it_changed(lake, tmp_path, monkeypatch):
    """Equal size and restored time stamps do not deceive it: the time of change cannot be set back."""
    import os

    from scmagnify_assets.datasets import hashes

    monkeypatch.setattr(hashes, "LARGE_BYTES", 4)
    path = tmp_path / "large.h5ad"
    path.write_bytes(b"first")
    reads = []
    monkeypatch.setattr(hashes, "file_sha256", lambda file: reads.append(file) or file_sha256(file))
    first = hashes.remembered_sha256(path, lake)
    assert hashes.remembered_sha256(path, lake) == first == hashlib.sha256(b"first").hexdigest()
    assert len(reads) == 1
    times = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hashes.remembered_sha256(path, lake) == hashlib.sha256(b"other").hexdigest()


def test_what_is_remembered_of_a_file_may_be_damaged(lake, tmp_path, monkeypatch):
    from scmagnify_assets.datasets import hashes

    monkeypatch.setattr(hashes, "LARGE_BYTES", 4)
    path = tmp_path / "large.h5ad"
    path.write_bytes(b"first")
    first = hashes.remembered_sha256(path, lake)
    (note,) = (lake.root / ".hashes").iterdir()
    note.write_text("{")
    assert hashes.remembered_sha256(path, lake) == first
