import tomllib

import pytest

from scmagnify_core.errors import InputError
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.specification import (
    DatasetSpec,
    absolute_paths,
    files_of,
    named_files,
    override,
    parse_setting,
    parse_spec,
    paths_in,
    read_spec_file,
    resolve_references,
)

BASE = {"name": "x", "file": "/data/x.h5ad"}


def test_published_preset_trains_the_published_model():
    spec = parse_spec(BASE | {"preset": "published"})
    assert spec.scmagnify == GrangerConfig()
    assert spec.diffusion.acyclic == "two_cycles"
    assert not spec.diffusion.standardize_lagged
    assert spec.network.max_cv == 0.2


def test_own_tables_win_over_the_preset_and_overrides_over_both():
    raw = BASE | {"scmagnify": {"sparsity": 0.5}}
    assert parse_spec(raw).scmagnify.sparsity == 0.5
    assert parse_spec(raw).scmagnify.output_init == "zero"  # the rest of the recommended preset stays
    spec = parse_spec(override(raw, ["scmagnify.sparsity=0.25", "scmagnify.hidden=[8, 4]", "root=a=b"], "published"))
    assert (spec.scmagnify.sparsity, spec.scmagnify.hidden, spec.root) == (0.25, (8, 4), "a=b")
    assert spec.scmagnify.output_init == "xavier"
    assert raw == BASE | {"scmagnify": {"sparsity": 0.5}}


def test_none_is_written_where_a_number_may_be_left_out():
    toml = """
    name = "x"
    file = "x.h5ad"
    preset = "published"
    diffusion.lag_step = "none"
    network.max_cv = "none"
    n_top_genes = "none"
    scmagnify.backbone = "none"
    """
    spec = parse_spec(tomllib.loads(toml))
    assert spec.diffusion.lag_step is None
    assert spec.network.max_cv is None
    assert spec.n_top_genes is None
    assert spec.scmagnify.backbone == "none"
    with pytest.raises(InputError, match=r"'diffusion.lag_step' = 'never'"):
        parse_spec({"name": "x", "file": "x.h5ad", "diffusion": {"lag_step": "never"}})


def test_a_resolved_spec_survives_a_round_trip():
    spec = parse_spec(BASE | {"seeds": 2, "scmagnify": {"n_lags": 3}})
    assert DatasetSpec.model_validate_json(spec.model_dump_json()) == spec


def test_toml_paths_are_relative_to_the_toml(tmp_path):
    (tmp_path / "x.toml").write_text(
        'name = "x"\nfile = "sub/x.h5ad"\nprior = "/abs/p.csv"\n[scmagnify]\nn_lags = 2\n'
    )
    raw = read_spec_file(tmp_path / "x.toml")
    assert raw["file"] == str(tmp_path / "sub" / "x.h5ad")
    assert raw["prior"] == "/abs/p.csv"
    assert parse_spec(raw).scmagnify.n_lags == 2


def test_unknown_key_names_the_nearest_known_one():
    with pytest.raises(InputError, match=r"'time_kye' is not a known key, did you mean 'time_key'\?"):
        parse_spec(BASE | {"time_kye": "t"})
    with pytest.raises(InputError, match=r"'scmagnify.n_lag' is not a known key, did you mean 'n_lags'\?"):
        parse_spec(BASE | {"scmagnify": {"n_lag": 3}})


def test_all_problems_are_listed_at_once():
    with pytest.raises(InputError, match=r"'name' is missing; .*'seeds' = 0: input should be greater"):
        parse_spec({"file": "x.h5ad", "seeds": 0})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scmagnify.n_lags", "not of the form key=value"),
        ("=3", "not of the form key=value"),
        ("name.x=1", "'name' is a value, not a table"),
        ("granger.hidden.x=1", "'hidden' is a value, not a table"),
        ("a..b=1", "'a..b': is no key"),
        ("SCENIC+=1", r"'SCENIC\+': is no key"),
        ("seeds = 1\nfile=x", r"'seeds' = '1\\nfile=x'"),
    ],
)
def test_overrides_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        parse_spec(override(BASE | {"scmagnify": {"hidden": [8]}}, [setting]))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("seeds=3", {"seeds": 3}),
        ("network.max_cv = 0.5", {"network": {"max_cv": 0.5}}),
        ('methods=["scmagnify", "x"]', {"methods": ["scmagnify", "x"]}),
        ("root=HSC", {"root": "HSC"}),
        ("root=cell type=HSC #1", {"root": "cell type=HSC #1"}),
        ('root="3"', {"root": "3"}),
        ("root=", {"root": ""}),
        ('root=a\\b"c', {"root": 'a\\b"c'}),
        ("root=1\nfile=2", {"root": "1\nfile=2"}),
        ('networks."SCENIC+"=~/s.tsv', {"networks": {"SCENIC+": "~/s.tsv"}}),
        ("network={max_cv=0.5, score='peak'}", {"network": {"max_cv": 0.5, "score": "peak"}}),
        ("granger.n_lags=3", {"scmagnify": {"n_lags": 3}}),
    ],
)
def test_a_setting_is_a_line_of_toml_or_text(setting, expected):
    assert parse_setting(setting) == expected


def test_an_override_merges_into_its_table_and_leaves_the_given_settings_alone():
    raw = BASE | {"network": {"max_cv": 0.5, "score": "peak"}}
    assert override(raw, ["network.max_cv=0.1"])["network"] == {"max_cv": 0.1, "score": "peak"}
    assert override(raw, ["network={max_cv=0.1}"])["network"] == {"max_cv": 0.1, "score": "peak"}
    assert override(BASE | {"references": "hg38"}, ['references={species="human"}'])["references"] == {
        "species": "human"
    }
    assert raw["network"] == {"max_cv": 0.5, "score": "peak"}


@pytest.mark.parametrize("written", ["granger", "scmagnify"])
@pytest.mark.parametrize("overridden", ["granger", "scmagnify"])
def test_an_override_wins_under_the_former_name_of_a_table_and_over_it(written, overridden):
    raw = BASE | {written: {"n_lags": 2, "sparsity": 0.5}}
    spec = parse_spec(override(raw, [f"{overridden}.n_lags=4"]))
    assert (spec.scmagnify.n_lags, spec.scmagnify.sparsity) == (4, 0.5)


def test_a_toml_is_read_under_present_names(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("[granger]\nn_lags = 2\n")
    assert read_spec_file(path) == {"scmagnify": {"n_lags": 2}}
    path.write_text("[granger]\nn_lags = 2\n[scmagnify]\nn_lags = 3\n")
    with pytest.raises(InputError, match=r"\[granger\]: is the former name of \[scmagnify\], and both are given"):
        read_spec_file(path)


def test_paths_may_start_at_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    raw = {"file": "~/x.h5ad", "prior": ["~/a.csv", "b.csv"], "networks": {"n": "~/n.csv"},
           "references": {"genome": "~/g.fa"}}  # fmt: skip
    assert absolute_paths(raw, tmp_path) == {
        "file": str(tmp_path / "me/x.h5ad"), "prior": [str(tmp_path / "me/a.csv"), str(tmp_path / "b.csv")],
        "networks": {"n": str(tmp_path / "me/n.csv")}, "references": {"genome": str(tmp_path / "me/g.fa")},
    }  # fmt: skip
    nobody = "~nobody-of-this-name/x.h5ad"
    assert absolute_paths({"file": nobody}, tmp_path) == {"file": str(tmp_path / nobody)}


def test_broken_toml_says_where(tmp_path):
    (tmp_path / "x.toml").write_text("name = ")
    with pytest.raises(InputError, match="is not valid TOML .Invalid value"):
        read_spec_file(tmp_path / "x.toml")


def test_named_files_lists_every_file_by_the_key_that_names_it(tmp_path):
    raw = {
        "name": "x", "file": "x.h5mu", "prior": ["a.csv", "b.csv"], "curated": "mine.csv",
        "networks": {"SCENIC+": "s.tsv", "celloracle": "/abs/links.csv"},
        "references": {"species": "human", "genome": "g.fa", "annotation": "a.gtf", "motifs": "m.meme"},
    }  # fmt: skip
    spec = parse_spec(absolute_paths(raw, tmp_path))
    files = named_files(spec)
    assert sorted(map(str, files.values())) == sorted(paths_in(absolute_paths(raw, tmp_path)) + [
        str(tmp_path / name) for name in ("g.fa", "a.gtf", "m.meme")
    ])  # fmt: skip
    assert files == {
        key: tmp_path / name
        for key, name in (
            ("file", "x.h5mu"), ("prior", "a.csv"), ("prior.2", "b.csv"), ("curated", "mine.csv"),
            ("networks.SCENIC+", "s.tsv"), ("networks.celloracle", "/abs/links.csv"),
            ("references.genome", "g.fa"), ("references.annotation", "a.gtf"), ("references.motifs", "m.meme"),
        )
    }  # fmt: skip
    assert set(files_of(("tf_binding", "references"), spec)) == {
        f"references.{key}" for key in ("genome", "annotation", "motifs")
    }
    assert {"prior", "prior.2", "curated"} <= set(files_of(("prior_network", "prior", "curated"), spec))
    assert set(files_of(("networks",), spec)) == {"networks.SCENIC+", "networks.celloracle"}
    assert files_of(("scmagnify", "seeds"), spec) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ridge", "'ridge' is a method of this product's own: give the network another name"),
        ("scMagnify", "'scMagnify' is a method of this product's own"),
        ("a/b", "a name may hold letters, digits"),
    ],
)
def test_networks_may_not_take_the_name_of_an_own_method(name, message):
    with pytest.raises(InputError, match=message):
        parse_spec(BASE | {"networks": {name: "links.csv"}})


def test_resolve_references_replaces_a_name_by_its_table(tmp_path):
    toml = tmp_path / "references.toml"
    toml.write_text('[hg38]\nmotifs = "m.meme"\n')
    raw = {"name": "x", "references": "hg38"}
    assert resolve_references(raw, toml)["references"] == {"motifs": str(tmp_path / "m.meme")}
    assert raw["references"] == "hg38"
    assert resolve_references({"name": "x"}, tmp_path / "none.toml") == {"name": "x"}


def test_parse_spec_names_an_unknown_key_inside_references():
    with pytest.raises(InputError, match=r"'references.motif' is not a known key, did you mean 'motifs'"):
        parse_spec({"name": "x", "file": "x.h5ad", "references": {"motif": "m.meme"}})


def test_parse_spec_refuses_references_of_another_species():
    raw = {"name": "x", "file": "x.h5ad", "species": "mouse", "references": {"species": "human"}}
    with pytest.raises(InputError, match=r"species is 'mouse', but the references are of 'human'"):
        parse_spec(raw)
