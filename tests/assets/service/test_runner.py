"""The graph wired up: lineage and data versions as Dagster and the lake record them, and what checks catch."""

import html
import re
from dataclasses import replace

import dagster as dg
import pytest

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.registry import announce
from scmagnify_assets.graph.codecs import REPORT
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.versions import is_of_settings, settings_below
from scmagnify_assets.graph.waves import waves
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import ALL, Lakehouse
from scmagnify_assets.service.runner import RunError, open_instance, run_dataset
from scmagnify_assets.steps.failures import DATASET_TAG
from scmagnify_core.tables.catalogue import TABLES


@pytest.fixture(scope="module")
def ran(tmp_path_factory, settings_of_simulated):
    """A home in which the small data set ran; later tests of this module run it again."""
    home = Home(tmp_path_factory.mktemp("ran"))
    home.create()
    lake = Lakehouse(home.lake)
    lake.create()
    registry.register(lake, settings_of_simulated)
    run_dataset(home, "small", log_level="CRITICAL")
    return home


def latest(instance: dg.DagsterInstance, asset: str, partition: str) -> dg.AssetMaterialization:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
    ).records
    assert records, f"{asset} has no materialization for {partition}"
    return records[0].asset_materialization


def test_run_records_lineage_versions_and_metadata(ran):
    lake = Lakehouse(ran.lake)
    assets = [asset for wave in waves(["scmagnify"]) for asset in wave.assets if not wave.is_over_datasets]
    made = {asset: lake.current(asset, "small") for asset in assets}
    assert all(made.values())
    # Each write names the writes it was made from, back to the file.
    inputs = {asset: {one.asset for one in made[asset].inputs} for asset in assets}
    assert inputs["dataset"] == {"raw_dataset"}
    for asset in assets:
        assert inputs[asset] == set(RECORDS[asset].inputs), asset
    assert made["prior_network"].parameters["sha256"]["prior"] == registry.find(lake, "small").files["prior"]
    (scores,) = lake.current("leaderboard", ALL).inputs
    assert scores.materialization_id == made["network_scores"].materialization_id
    assert set(lake.read("leaderboard")["method"]) == set(lake.read("network_scores")["method"])
    known = {one.materialization_id for one in made.values()} | {registry.find(lake, "small").materialization_id}
    for asset in assets:
        for one in made[asset].inputs:
            assert one.materialization_id in known, (asset, one)
    assert {one.file_sha256 for one in made.values()} == {registry.find(lake, "small").sha256}
    assert made["scmagnify_model"].seeds == made["multiscale_network"].seeds == (0, 1)
    # What each step took is told with it, and of our own network beside that of the baselines.
    assert all(one.runtime_s > 0 and one.peak_memory_mib > 50 for one in made.values())
    told = lake.read("network_scores", "small").groupby("method")[["runtime_s", "peak_memory_mib"]].first()
    assert told.notna().all(axis=None)
    model, network = made["scmagnify_model"], made["scmagnify_network"]
    assert model.runtime_s < told.loc["scmagnify", "runtime_s"] < model.runtime_s + network.runtime_s
    assert told.loc["scmagnify", "peak_memory_mib"] == model.peak_memory_mib

    with open_instance(ran) as instance:
        event = latest(instance, "multiscale_network", "small")
        content = made["multiscale_network"].data_version[:32]
        assert event.tags["dagster/data_version"].startswith(f"{content}.")
        assert event.metadata["dagster/row_count"].value == made["multiscale_network"].tables["multiscale_network"]
        assert "data:image/png;base64" in event.metadata["figure"].value
        assert latest(instance, "scmagnify_model", "small").metadata["device"].value == "cpu"
        (board,) = instance.fetch_materializations(dg.AssetKey("leaderboard"), limit=1).records
        assert "data:image/png;base64" in board.asset_materialization.metadata["figure"].value
        assert board.asset_materialization.metadata["runtime_s"].value > 0
        assert (
            latest(instance, "raw_dataset", "small").metadata["sha256"].value == registry.find(lake, "small").sha256
        )
        (run,) = instance.get_runs(
            dg.RunsFilter(tags={DATASET_TAG: "small"}), limit=1
        )  # the last wave of the data set
        checks = instance.get_records_for_run(run.run_id).records
        evaluations = [
            record.event_log_entry.dagster_event.asset_check_evaluation_data
            for record in checks
            if record.event_log_entry.dagster_event is not None
            and record.event_log_entry.dagster_event.event_type_value == "ASSET_CHECK_EVALUATION"
        ]
        assert {one.check_name for one in evaluations} >= {"schema_of_edges", "network_is_not_empty"}
        assert all(one.passed for one in evaluations)


def test_the_report_is_of_just_what_it_says_it_read(ran):
    lake = Lakehouse(ran.lake)
    made = lake.current("report", "small")
    page = lake.artifact_path("report", "small", None, REPORT, made=made, verify=True).read_text(encoding="utf-8")
    assert {one.asset for one in made.inputs} == {
        "scmagnify_model", "scmagnify_network", "dataset", "prior_network", "multiscale_network", "regfactors",
        "tf_activity", "regfactor_activity", "communication_scores", "network_scores",
    }  # fmt: skip
    for one in lake.ancestry(made)[1:]:  # all that stands behind it is named, back to the file
        assert one.materialization_id in page, one.asset
        assert one.run_id in page
    assert registry.find(lake, "small").sha256 in page
    # The query at the foot gives the page's own table.
    query = re.search(r"<pre><code>(SELECT .*?)</code></pre>", page, re.DOTALL)[1]
    rows = lake.sql(html.unescape(query)).to_pylist()
    shown = re.findall(r'<td class="number">(\d+)</td><td>([^<]+)</td><td>([^<]+)</td>', page)
    assert [(str(row["rank"]), row["source"], row["target"]) for row in rows] == shown

    with open_instance(ran) as instance:
        metadata = latest(instance, "report", "small").metadata
    assert metadata["size_mb"].value < 8
    assert metadata["open"].value == "scmagnify report small --open"
    assert metadata[f"file/{REPORT}"].value == str(lake.artifact_path("report", "small", None, REPORT, made=made))
    assert "data:image/png;base64" in metadata["figure"].value


def test_the_report_again_of_the_same_results_is_the_same(ran):
    lake = Lakehouse(ran.lake)
    before = lake.current("report", "small")
    run_dataset(ran, "small", select=["report"], log_level="CRITICAL")
    again = lake.current("report", "small")
    assert again.materialization_id != before.materialization_id
    assert again.data_version == before.data_version


def test_seeds_of_an_earlier_setting_take_no_part(ran):
    select = ["scmagnify_model", "scmagnify_network", "multiscale_network", "regfactors", "report"]
    run_dataset(ran, "small", seeds=1, select=select, log_level="CRITICAL")
    lake = Lakehouse(ran.lake)
    assert lake.current("multiscale_network", "small").seeds == (0,)
    assert set(lake.read("edges", "small")["n_seeds"]) == {1}
    assert set(lake.read("seed_network", "small")["seed"]) == {0}  # rows of the former content are gone
    former = lake.versions("seed_network", "small")["version"].iloc[0]
    assert set(lake.read("seed_network", "small", version=int(former))["seed"]) == {0, 1}  # and stay readable
    model = lake.current("scmagnify_model", "small").to_input()
    assert model in lake.current("report", "small").inputs


def test_announce_reports_a_version_once(home, raw_settings):
    registration = registry.register(Lakehouse(home.lake), raw_settings)
    with open_instance(home) as instance:
        for _ in range(2):
            announce(instance, registration)
        assert instance.get_dynamic_partitions("dataset") == ["small"]
        filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey("raw_dataset"))
        assert len(instance.fetch_materializations(filters, limit=10).records) == 1


def test_a_missing_upstream_says_what_to_run(home, raw_settings):
    registry.register(Lakehouse(home.lake), raw_settings)
    with pytest.raises(RunError, match=r"'dataset': is not materialized for 'small'. .*scmagnify run small"):
        run_dataset(home, "small", select=["prior_network"], log_level="CRITICAL")


def test_a_seed_that_was_not_fitted_is_missing(ran):
    with pytest.raises(RunError, match=r"seeds \[1\] of scMagnify for 'small': have not been fitted yet"):
        run_dataset(ran, "small", seeds=2, select=["multiscale_network"], log_level="CRITICAL")


def test_a_failed_blocking_check_stops_what_is_downstream(ran):
    """A penalty that leaves no coefficient: the network is written, but nothing may be built on it."""
    lake = Lakehouse(ran.lake)
    before = lake.current("regfactors", "small")
    with pytest.raises(RunError, match="network_is_not_empty"):
        run_dataset(ran, "small", seeds=1, settings=["scmagnify.backbone_strength=50"])
    assert not lake.read("edges", "small")["has_weight"].any()
    assert lake.current("regfactors", "small") == before


def test_every_replaceable_table_belongs_to_an_asset_of_the_graph():
    for table in TABLES.values():
        for writer in table.writers:
            own = [record for name, record in RECORDS.items() if name == writer.replace("<method>", "scmagnify")]
            of_other_kind = writer in ("<method>_programs", "<method>_samples")  # no such family yet
            assert table.mode == "append" or writer == "raw_dataset" or of_other_kind or table in own[0].tables


def test_a_knob_of_a_family_is_no_part_of_what_others_are(ran):
    """The settings that a version hashes are those of the asset and of what it is made from."""
    below = {name: settings_below(name) for name in RECORDS}
    assert {name for name, settings in below.items() if "scmagnify" in settings} == {
        "scmagnify_model", "scmagnify_network", "multiscale_network", "regfactors", "tf_activity",
        "regfactor_activity", "communication_scores", "network_scores", "report", "leaderboard",
    }  # fmt: skip
    lake = Lakehouse(ran.lake)
    registration = registry.find(lake, "small")
    other = replace(registration, raw=registration.raw | {"scmagnify": {"sparsity": 0.3}})
    made = {name: lake.current(name, "small") for name in ("dataset", "baseline_networks", "scmagnify_model")}
    is_current = {name: is_of_settings(one.parameters, RECORDS[name], other) for name, one in made.items()}
    assert is_current == {"dataset": True, "baseline_networks": True, "scmagnify_model": False}
