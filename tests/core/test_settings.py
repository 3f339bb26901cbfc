from pathlib import Path

import pytest

from scmagnify_core.settings import as_markdown, settings, tables
from scmagnify_core.specification import DatasetSpec, override, parse_spec

REQUIRED = {"name": "x", "file": "/data/x.h5ad"}


def test_every_key_of_every_table_is_listed_once_with_its_meaning():
    found = settings()
    keys = [one.key for one in found]
    assert len(keys) == len(set(keys))
    spec = parse_spec(REQUIRED).model_dump()
    in_tables = {f"{table}.{key}" for table in tables() if table for key in spec[table]}
    assert set(keys) == in_tables | {key for key in DatasetSpec.model_fields if key not in tables()}
    assert all(one.meaning.endswith(".") and one.values for one in found)


@pytest.mark.parametrize("preset", ["recommended", "published"])
def test_what_is_said_to_be_the_default_changes_nothing_when_written(preset):
    written = []
    for one in settings():
        value = one.default if preset == "recommended" else one.published
        if value and one.key != "preset":
            written.append(f"{one.key}={value}")
    assert len(written) > 50
    raw = REQUIRED | {"preset": preset}
    assert parse_spec(override(raw, written)) == parse_spec(raw)


def test_values_tell_bounds_choices_and_whether_none_is_one():
    values = {one.key: one.values for one in settings()}
    assert values["scmagnify.n_lags"] == "integer >= 1 and <= 50"
    assert values["network.score"] == "total, peak"
    assert values["diffusion.lag_step"] == "number > 0 and <= 0.5 or none"
    assert values["regfactors.rank"] == "list of integer > 0 or none"
    assert values["species"] == "text"


def test_the_page_of_the_settings_is_of_these_declarations():
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text() == as_markdown(), "write it anew: make pages"
