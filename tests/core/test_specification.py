import pytest

from scmagnify_core.errors import InputError
from scmagnify_core.methods.granger.config import GrangerConfig
from scmagnify_core.specification import DatasetSpec, override, parse_spec, read_spec_file

BASE = {"name": "x", "file": "/data/x.h5ad"}


def test_published_preset_trains_the_published_model():
    spec = parse_spec(BASE | {"preset": "published"})
    assert spec.granger == GrangerConfig()
    assert spec.diffusion.acyclic == "two_cycles"
    assert not spec.diffusion.standardize_lagged
    assert spec.network.max_cv == 0.2


def test_own_tables_win_over_the_preset_and_overrides_over_both():
    raw = BASE | {"granger": {"sparsity": 0.5}}
    assert parse_spec(raw).granger.sparsity == 0.5
    assert parse_spec(raw).granger.output_init == "zero"  # the rest of the recommended preset stays
    spec = parse_spec(override(raw, ["granger.sparsity=0.25", "granger.hidden=[8, 4]", "root=a=b"], "published"))
    assert (spec.granger.sparsity, spec.granger.hidden, spec.root) == (0.25, (8, 4), "a=b")
    assert spec.granger.output_init == "xavier"
    assert raw == BASE | {"granger": {"sparsity": 0.5}}


def test_a_resolved_spec_survives_a_round_trip():
    spec = parse_spec(BASE | {"seeds": 2, "granger": {"n_lags": 3}})
    assert DatasetSpec.model_validate_json(spec.model_dump_json()) == spec


def test_toml_paths_are_relative_to_the_toml(tmp_path):
    (tmp_path / "x.toml").write_text('name = "x"\nfile = "sub/x.h5ad"\nprior = "/abs/p.csv"\n[granger]\nn_lags = 2\n')
    raw = read_spec_file(tmp_path / "x.toml")
    assert raw["file"] == str(tmp_path / "sub" / "x.h5ad")
    assert raw["prior"] == "/abs/p.csv"
    assert parse_spec(raw).granger.n_lags == 2


def test_unknown_key_names_the_nearest_known_one():
    with pytest.raises(InputError, match=r"'time_kye' is not a known key, did you mean 'time_key'\?"):
        parse_spec(BASE | {"time_kye": "t"})
    with pytest.raises(InputError, match=r"'granger.n_lag' is not a known key, did you mean 'n_lags'\?"):
        parse_spec(BASE | {"granger": {"n_lag": 3}})


def test_all_problems_are_listed_at_once():
    with pytest.raises(InputError, match=r"'name' is missing; .*'seeds' = 0: input should be greater"):
        parse_spec({"file": "x.h5ad", "seeds": 0})


@pytest.mark.parametrize(
    ("setting", "message"),
    [("granger.n_lags", "not of the form key=value"), ("name.x=1", "'name' is a value, not a table")],
)
def test_overrides_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        override(BASE, [setting])


def test_broken_toml_says_where(tmp_path):
    (tmp_path / "x.toml").write_text("name = ")
    with pytest.raises(InputError, match="is not valid TOML .Invalid value"):
        read_spec_file(tmp_path / "x.toml")
