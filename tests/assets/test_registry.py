import shutil
from pathlib import Path

import pytest

from scmagnify_assets import registry
from scmagnify_assets.lakehouse import Lakehouse
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
    assert found.spec(["granger.n_lags=2"]).granger.n_lags == 2


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


def test_find_unknown_data_set_says_what_there_is(lake, raw_settings):
    registry.register(lake, raw_settings)
    with pytest.raises(InputError, match=r"'nothing': is not registered. Registered: 'small'. Add it: scmagnify add"):
        registry.find(lake, "nothing")


def test_a_file_that_changed_after_registration_is_refused(lake, raw_settings, tmp_path):
    copy = tmp_path / "copy.h5mu"
    shutil.copy(raw_settings["file"], copy)
    registration = registry.register(lake, raw_settings | {"file": str(copy)})
    registry.refuse_changed_files(registration)
    with copy.open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(InputError, match="has changed since it was registered .* --replace"):
        registry.refuse_changed_files(registration)


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
        registry.refuse_changed_files(before)
    assert registry.register(lake, raw, replace=True).data_version != before.data_version


def test_a_run_may_not_change_which_files_it_reads(lake, raw_settings):
    registration = registry.register(lake, raw_settings)
    with pytest.raises(InputError, match="--set file=x.h5ad: changes what the data set is"):
        registration.spec(["file=x.h5ad"])
