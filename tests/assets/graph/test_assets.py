"""Assets called directly with values, and their codecs: what goes in comes out."""

import json
from datetime import UTC, datetime

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmagnify_assets.datasets import registry
from scmagnify_assets.graph import catalogue  # noqa: F401  (fills the records)
from scmagnify_assets.graph.assets.activity import regfactor_activity, tf_activity
from scmagnify_assets.graph.assets.association import gene_association
from scmagnify_assets.graph.assets.communication import communication_scores
from scmagnify_assets.graph.assets.dataset import dataset
from scmagnify_assets.graph.assets.diffusion import diffusion_operators
from scmagnify_assets.graph.assets.evaluation import baseline_networks, imported_networks, leaderboard, network_scores
from scmagnify_assets.graph.assets.families import MODELS, RESULTS
from scmagnify_assets.graph.assets.network import multiscale_network
from scmagnify_assets.graph.assets.prior import peak_gene_links, prior_network, tf_binding
from scmagnify_assets.graph.assets.regfactors import regfactors
from scmagnify_assets.graph.assets.report import report
from scmagnify_assets.graph.codecs import Fitted
from scmagnify_assets.graph.describe import table_preview
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.resources import LakeResource, Specs
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core.data.dataset import read_dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import InputError
from scmagnify_core.interpretation.activity import Activity
from scmagnify_core.methods.grn.granger.family import trained_model
from scmagnify_core.prior import assemble_prior, read_base_network
from scmagnify_core.tables.catalogue import TABLES, tables_of
from scmagnify_core.tables.schema import STAMPED


@pytest.fixture
def specs(home, raw_settings):
    others = {"networks": {"elsewhere": raw_settings["prior"]}}
    registry.register(Lakehouse(home.lake), raw_settings | others | {"seeds": 1})
    return Specs(lake=LakeResource(root=str(home.lake)))


def context(key: str = "small") -> dg.AssetExecutionContext:
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("dataset", ["small"])
    return dg.build_asset_context(partition_key=key, instance=instance)


def figures(of: dg.AssetExecutionContext) -> set[str]:
    """Names of the figures that an asset has put on its page."""
    metadata = of.get_output_metadata("result") or {}
    shown = {name for name in metadata if name.startswith("figure")}
    assert all("data:image/png;base64," in metadata[name].value for name in shown)
    return shown


class InMemory:
    """Encoded tables and files as a codec reads them back from storage."""

    def __init__(self, encoded, folder, made=None, upstream=()):
        self.encoded, self.folder, self.made, self.upstream = encoded, folder, made, upstream

    def ancestry(self):
        return [self.made, *self.upstream]

    def table(self, name, columns=None):
        table = TABLES[name].validate(self.encoded.tables[name])
        return (table if columns is None else table.select(list(columns))).to_pandas()

    def artifact_names(self):
        return list(self.encoded.artifacts)

    def artifact(self, name):
        content = self.encoded.artifacts[name]
        if isinstance(content, bytes):
            path = self.folder / name
            path.write_bytes(content)
            return path
        return content


def through_storage(asset, value, folder):
    """Encode, check that each declared table is there, and decode."""
    encoded = RECORDS[asset].codec.encode(value, folder)
    assert set(encoded.tables) == {table.name for table in RECORDS[asset].tables}
    made = Materialization(
        "id", "run-1", asset, "small", None, "1+abc", "version", "f" * 64, encoded.seeds, (), {}, {},
        datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return RECORDS[asset].codec.decode(InMemory(encoded, folder, made))


def test_every_asset_called_with_values_gives_what_storage_gives_back(specs, tmp_path):
    data = dataset(context(), specs.get("small"))
    again = through_storage("dataset", data, tmp_path)
    np.testing.assert_array_equal(again.rna.X.toarray(), data.rna.X.toarray())
    np.testing.assert_array_equal(again.rna.layers["counts"].toarray(), data.rna.layers["counts"].toarray())
    assert again.description == data.description
    assert again.notes == data.notes
    assert again.atac.shape == data.atac.shape

    moving = through_storage("gene_association", gene_association(context(), again, specs=specs), tmp_path)
    assert moving["gene_association"]["is_associated"].any()
    links = through_storage("peak_gene_links", peak_gene_links(context(), again, specs=specs), tmp_path)
    assert links["peak_gene_links"]["is_linked"].any()
    assert links["peaks"]["gc_content"].between(0.2, 0.8).all()
    page = context()
    binding = through_storage("tf_binding", tf_binding(page, again, links, specs=specs), tmp_path)
    assert figures(page) == {"figure", "figure_locus"}
    assert set(binding["motifs"]["source"]) <= set(again.genes)
    prior = prior_network(context(), again, moving, links, binding, specs=specs)
    assert {"imported", "imported+motif_atac"} == set(prior.evidence["evidence"])
    prior = through_storage("prior_network", prior, tmp_path)
    operators = diffusion_operators(context(), again, prior, specs=specs)
    stored = through_storage("diffusion_operators", operators, tmp_path)
    np.testing.assert_array_equal(stored.lagged, operators.lagged)
    np.testing.assert_array_equal(stored.transition.toarray(), operators.transition.toarray())
    assert stored.sources == prior.sources

    fitted = MODELS["scmagnify"](
        context(), dataset=again, specs=specs, prior_network=prior, diffusion_operators=stored
    )
    model = through_storage("scmagnify_model", fitted, tmp_path)
    assert set(model.fits) == {0}
    assert trained_model(model.fits[0]).config == specs.get("small").scmagnify
    for name, value in fitted.fits[0].arrays.items():
        np.testing.assert_array_equal(model.fits[0].arrays[name], value)
    assert set(fitted.tables) == {"training_history", "seed_network"}
    inputs = {"prior_network": prior, "diffusion_operators": stored}
    ranked = RESULTS["scmagnify"](
        context(), dataset=again, specs=specs, lake=specs.lake, scmagnify_model=model, **inputs
    )  # fmt: skip
    ranked = through_storage("scmagnify_network", ranked, tmp_path)
    assert len(ranked["networks"]) == prior.n_edges

    page = context()
    aggregate = multiscale_network(page, dataset=again, specs=specs, scmagnify_model=model, **inputs)
    assert figures(page) == {"figure", "figure_ranking", "figure_lags", "figure_stability"}
    restored = through_storage("multiscale_network", aggregate, tmp_path)
    np.testing.assert_array_equal(restored.network.tensor(), aggregate.network.tensor())
    np.testing.assert_array_equal(restored.weight_sd, aggregate.weight_sd)
    pd.testing.assert_frame_equal(
        restored.edges.sort_values("rank", ignore_index=True),
        aggregate.edges.sort_values("rank", ignore_index=True),
        check_dtype=False,
    )

    factors = through_storage("regfactors", regfactors(context(), restored, specs=specs), tmp_path)
    assert factors["regfactors"]["energy_share"].sum() == pytest.approx(1, abs=1e-3)
    page = context()
    activities = through_storage("tf_activity", tf_activity(page, again, restored, specs=specs), tmp_path)
    assert figures(page) == {"figure", "figure_trends", "figure_embedding"}
    assert set(activities.table["cell"]) == set(again.cells)
    through_storage("regfactor_activity", regfactor_activity(context(), again, factors, specs=specs), tmp_path)
    links = communication_scores(context(), again, activities, specs=specs)
    assert not through_storage("communication_scores", links, tmp_path)["ligand_receptor"].empty
    others = through_storage("imported_networks", imported_networks(context(), again, prior, specs=specs), tmp_path)
    assert others["imported_networks"]["is_candidate"].all()
    page = context()
    simpler = through_storage(
        "baseline_networks", baseline_networks(page, again, prior, stored, specs=specs), tmp_path
    )
    told = page.get_output_metadata("result")
    for effort in ("runtime_s", "peak_memory_mib"):
        assert {f"{effort}/{one}" for one in ("ridge", "boosted_trees", "random")} <= set(told)
    scores = network_scores(context(), again, prior, others, simpler, specs=specs, scmagnify_network=ranked)
    found = through_storage("network_scores", scores, tmp_path)["network_scores"]
    assert set(found["method"]) == {
        "scmagnify", "lagged_correlation", "ridge", "group_lasso", "boosted_trees", "correlation", "spearman", "prior",
        "shuffled_prior", "random", "elsewhere",
    }  # fmt: skip
    assert set(found["preset"]) == {"recommended"}
    none_yet = {"networks": simpler["networks"].iloc[:0]}
    with pytest.raises(
        InputError, match=r"'small': were made while it had no ground truth.*--select baseline_networks"
    ):
        network_scores(context(), again, prior, others, none_yet, specs=specs, scmagnify_network=ranked)

    values = {
        "dataset": again, "prior_network": prior, "multiscale_network": restored, "regfactors": factors,
        "tf_activity": activities, "regfactor_activity": regfactor_activity(context(), again, factors, specs=specs),
        "communication_scores": links, "network_scores": scores,
    }  # fmt: skip
    shown = {asset: kept(asset, value, tmp_path) for asset, value in values.items()}
    shown |= {
        "scmagnify_model": kept("scmagnify_model", fitted, tmp_path),
        "scmagnify_network": kept("scmagnify_network", ranked, tmp_path),
    }
    page = report(context(), specs=specs, **shown)
    assert through_storage("report", page, tmp_path) == page
    for name in (*shown, "operators"):
        assert f"id-of-{name}" in page
    assert str(len(again.cells)) in page


def kept(asset, value, folder):
    """A value in storage, made of something that is not shown itself."""
    encoded = RECORDS[asset].codec.encode(value, folder)
    counts = {name: len(rows) for name, rows in encoded.tables.items()}
    made, origin = (
        Materialization(
            f"id-of-{name}", "run-1", name, "small", None, "1+abc", "version", "f" * 64, None, (), {}, counts,
            datetime(2026, 1, 1, tzinfo=UTC),
        )
        for name in (asset, "operators")
    )  # fmt: skip
    return InMemory(encoded, folder, made, (origin,))


def scores_of(**ratios):
    """Rows of `network_scores`, by method."""
    same = {"truth": "chip", "prior_edges": "only", "n_true": 5, "n_universe": 50, "density": 0.1, "auprc": 0.2}
    same |= {"epr": 1.0, "epr_ceiling": 10.0, "variant": "canonical", "preset": "recommended"}
    rows = pd.DataFrame([{"method": method, "auprc_ratio": ratio} | same for method, ratio in ratios.items()])
    return rows.reindex(columns=[column.name for column in TABLES["network_scores"].body])


def write_scores(lake, name, frame):
    return lake.write(
        "network_scores", name, None, {"network_scores": frame}, {},
        run_id="none", inputs=(), parameters={}, file_sha256=name,
    )  # fmt: skip


def test_leaderboard_is_made_of_the_scores_of_all_data_sets(home, raw_settings):
    store, resource = Lakehouse(home.lake), LakeResource(root=str(home.lake))
    for name in ("a", "b", "without"):
        registry.register(store, raw_settings | {"name": name})
    made = [write_scores(store, "a", scores_of(scmagnify=3.0, random=1.0))]
    made.append(write_scores(store, "b", scores_of(scmagnify=5.0, random=1.0)))
    write_scores(store, "without", scores_of().iloc[:0])
    first = leaderboard(dg.build_asset_context(), lake=resource)
    board = store.read("leaderboard").set_index(["truth", "method"])
    assert board.loc[("all", "scmagnify"), ["n_datasets", "auprc_ratio", "mean_rank"]].tolist() == [2, 4.0, 1.0]
    assert set(board["dataset"]) == {"all"}
    assert first.metadata["n_datasets"] == 2
    assert "data:image/png" in first.metadata["figure"].value
    inputs = {one.materialization_id for one in store.current("leaderboard", "all").inputs}
    assert inputs >= {one.materialization_id for one in made}
    # The same scores again are the same board, whatever time they took; others are not.
    slower = scores_of(scmagnify=5.0, random=1.0).assign(runtime_s=9.0)
    assert write_scores(store, "b", slower).data_version == made[1].data_version
    assert leaderboard(dg.build_asset_context(), lake=resource).data_version == first.data_version
    assert store.read("leaderboard")["runtime_s"].max() == 9.0
    write_scores(store, "b", scores_of(scmagnify=6.0, random=1.0))
    assert leaderboard(dg.build_asset_context(), lake=resource).data_version != first.data_version


def test_tables_in_the_ui_leave_empty_what_is_not_known():
    shown = table_preview(pd.DataFrame({"method": ["ours", "theirs"], "runtime_s": [1.23456, np.nan]}))
    assert [record.data for record in shown.records] == [
        {"method": "ours", "runtime_s": 1.235}, {"method": "theirs", "runtime_s": ""},
    ]  # fmt: skip
    assert json.loads(dg.serialize_value(shown), parse_constant=pytest.fail)  # NaN is no JSON


def test_leaderboard_without_any_truth_is_empty(home, raw_settings):
    registry.register(Lakehouse(home.lake), raw_settings)
    result = leaderboard(dg.build_asset_context(), lake=LakeResource(root=str(home.lake)))
    assert result.metadata["dagster/row_count"] == 0
    assert "figure" not in result.metadata


def test_stored_values_do_not_depend_on_when_they_were_made(specs, tmp_path):
    """The content hash tells whether anything changed: the same value must give the same bytes."""
    files = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = dataset(context(), specs.get("small"))
        files.append(RECORDS["dataset"].codec.encode(data, folder).artifacts["dataset.h5mu"].read_bytes())
    assert files[0] == files[1]


def test_prior_network_without_a_prior_says_how_to_give_one(home, raw_settings, specs):
    raw = {key: value for key, value in raw_settings.items() if key not in ("prior", "references")} | {"name": "bare"}
    registry.register(Lakehouse(home.lake), raw)
    data = read_dataset(specs.get("bare").description)
    nothing = {table.name: pd.DataFrame() for name in ("peak_gene_links", "tf_binding") for table in tables_of(name)}
    moving = gene_association(context("bare"), data, specs=specs)
    with pytest.raises(InputError, match=r"no evidence for any edge.*--prior FILE"):
        prior_network(context("bare"), data, moving, nothing, nothing, specs=specs)


def test_multiscale_network_names_missing_seeds(specs):
    data = dataset(context(), specs.get("small"))
    prior, _ = assemble_prior(read_base_network(specs.get("small").prior[0]), data)
    operators = DiffusionOperators(sparse.csr_matrix((0, 0)), np.empty((0, 1, len(prior.sources))), prior.sources)
    with pytest.raises(InputError, match=r"seeds \[0\] of scMagnify for 'small': have not been fitted yet"):
        multiscale_network(
            context(), dataset=data, prior_network=prior, diffusion_operators=operators, specs=specs,
            scmagnify_model=Fitted({}),
        )  # fmt: skip


def test_optional_inputs_give_empty_tables(home, raw_settings, specs):
    raw = {key: raw_settings[key] for key in ("file", "prior")} | {"name": "plain"}
    registry.register(Lakehouse(home.lake), raw)
    spec = specs.get("plain")
    data = read_dataset(spec.description)
    (path,) = spec.prior
    prior, _ = assemble_prior(read_base_network(path), data)
    none = DiffusionOperators(sparse.csr_matrix((0, 0)), np.empty((0, 1, prior.n_edges)), prior.sources)
    activity = Activity(pd.DataFrame(columns=["cell", "source", "activity", "pvalue", "padj"]), {})
    for name, value in (
        ("communication_scores", communication_scores(context("plain"), data, activity, specs=specs)),
        ("imported_networks", (others := imported_networks(context("plain"), data, prior, specs=specs))),
        ("baseline_networks", (simpler := baseline_networks(context("plain"), data, prior, none, specs=specs))),
        (
            "network_scores",
            network_scores(context("plain"), data, prior, others, simpler, specs=specs, scmagnify_network=None),
        ),
        ("peak_gene_links", (links := peak_gene_links(context("plain"), data, specs=specs))),
        ("tf_binding", tf_binding(context("plain"), data, links, specs=specs)),
    ):
        for table in RECORDS[name].tables:
            assert table.validate(value[table.name]).num_rows == 0
            assert not set(value[table.name].columns) & set(STAMPED)
