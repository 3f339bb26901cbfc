"""The questions of the field: each view and function against a plain computation on the rows it is made of."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scmagnify_assets.doors.notebook import Lake, open_lake
from scmagnify_assets.lake import dictionary
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.views import VIEWS
from scmagnify_core.errors import InputError
from scmagnify_core.tables.catalogue import TABLES

MADE = {"run_id": "none", "inputs": (), "parameters": {}, "file_sha256": "f" * 64}
ARGUMENTS = {
    "in_dataset": "'a'", "of_target": "'g1'", "of_source": "'T1'", "of_name": "'T1'", "dataset_a": "'a'",
    "dataset_b": "'b'", "at_version": "0",
}  # fmt: skip


def edges(rng: np.random.Generator, sources: int = 4, targets: int = 6, n_seeds: int = 3) -> pd.DataFrame:
    """Candidate edges with random scores: every third is not kept by the model."""
    index = pd.MultiIndex.from_product(
        [[f"T{i}" for i in range(sources)], [f"g{i}" for i in range(targets)]], names=["source", "target"]
    )
    n = len(index)
    signed = rng.normal(size=n)
    table = pd.DataFrame(
        {
            "score": np.abs(signed), "signed_score": signed, "lag": rng.uniform(1, 5, n), "peak_lag": 1,
            "n_seeds": n_seeds, "stability": rng.choice([0.5, 1.0], n), "sign_agreement": rng.choice([0.5, 1.0], n),
            "score_sd": 0.1, "is_selected": np.abs(signed) > 1, "has_weight": np.arange(n) % 3 > 0, "pvalue": 0.01,
            "padj": 0.02,
        },
        index=index,
    ).reset_index()  # fmt: skip
    return table.assign(rank=table["score"].rank(ascending=False, method="first").astype(int))


def write_network(lake: Lakehouse, dataset: str, table: pd.DataFrame) -> None:
    lags = table[["source", "target"]].assign(
        lag=1, weight=table["signed_score"], magnitude=table["score"], weight_sd=0
    )
    agreement = pd.DataFrame({"seed_a": [0], "seed_b": [1], "n_top": 3, "jaccard": 0.5, "spearman": 0.5})
    tables = {"multiscale_network": lags, "edges": table, "seed_agreement": agreement}
    lake.write("multiscale_network", dataset, None, tables, {}, **MADE)


@pytest.fixture(scope="module")
def networks() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    return {"a": edges(rng), "b": edges(rng, targets=7), "c": edges(rng, sources=3), "single": edges(rng, n_seeds=1)}


@pytest.fixture(scope="module")
def store(networks: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """Four networks, one of them written twice, with what the other views need of data set `a`."""
    lake = Lakehouse(tmp_path_factory.mktemp("views") / "it's a lake")  # a quote in the path, too
    lake.create()
    for name in networks:
        row = pd.DataFrame(
            {"file": [f"/in/{name}.h5ad"], "sha256": "a" * 64, "size_bytes": 1, "files": "{}", "species": "mouse",
             "spec": "{}", "registered_at": pd.Timestamp("2026-01-01", tz="UTC")}
        )  # fmt: skip
        lake.write("raw_dataset", name, None, {"datasets": row}, {}, **MADE)
    write_network(lake, "a", networks["a"].assign(signed_score=0.25, score=0.25).head(20))
    for name, table in networks.items():
        write_network(lake, name, table)
    cells = pd.DataFrame(
        {"cell": [f"c{i:02d}" for i in range(30)], "pseudotime": np.linspace(0, 1, 30)[::-1], "lineage": None,
         "cluster": "x", "sample": None, "n_counts": 1.0, "embedding_1": 0.0, "embedding_2": 0.0}
    )  # fmt: skip
    genes = pd.DataFrame({"gene": ["g1", "Klf1"], "n_cells": 3, "mean_expression": 1.0, "is_highly_variable": True,
                          "is_eligible": True})  # fmt: skip
    lake.write("dataset", "a", None, {"cells": cells, "genes": genes}, {}, **MADE)
    activity = pd.DataFrame({"cell": cells["cell"], "source": "T1", "activity": np.arange(30.0), "pvalue": 0.5,
                             "padj": 0.5})  # fmt: skip
    lake.write("tf_activity", "a", None, {"tf_activity": activity}, {}, **MADE)
    factor = activity.rename(columns={"source": "regfactor"}).assign(regfactor="RF1", activity=-np.arange(30.0))
    lake.write("regfactor_activity", "a", None, {"regfactor_activity": factor}, {}, **MADE)
    return lake


@pytest.fixture(scope="module")
def lake(store: Lakehouse) -> Lake:
    return open_lake(store.root)


def test_open_lake_finds_a_home_or_a_lake_and_says_where_there_is_none(store: Lakehouse, tmp_path: Path) -> None:
    assert open_lake(store.root).names == ["a", "b", "c", "single"]
    assert "datasets=['a', 'b', 'c', 'single']" in repr(open_lake(str(store.root)))
    with pytest.raises(InputError, match="holds no results yet"):
        open_lake(tmp_path)


def test_every_view_has_the_declared_columns_and_types(lake: Lake) -> None:
    for view in VIEWS.values():
        given = [ARGUMENTS[name] for name in (one.partition(" ")[0] for one in view.parameters) if name in ARGUMENTS]
        call = f"{view.name}({', '.join(given)})" if view.parameters else view.name
        found = lake.sql(f"DESCRIBE FROM {call}")
        assert list(zip(found["column_name"], found["column_type"], strict=True)) == [
            (column.name, dictionary.sql_type(column)) for column in view.columns
        ], view.name


def test_every_example_of_the_dictionary_runs(lake: Lake) -> None:
    for name, example in lake.sql("SELECT table_name, example FROM tables").itertuples(index=False):
        if name not in ("edges_at", "edge_changes"):  # of a version that this small lake lacks
            lake.sql(example.replace("'demo'", "'a'").replace("'demo2'", "'b'"))


def test_dictionary_lists_each_declared_column_once_with_a_meaning(lake: Lake) -> None:
    listed = lake.dictionary
    declared = {(table.name, column.name) for table in TABLES.values() for column in table.columns}
    declared |= {(view.name, column.name) for view in VIEWS.values() for column in view.columns}
    assert not listed.duplicated(["table_name", "column_name"]).any()
    assert set(zip(listed["table_name"], listed["column_name"], strict=True)) == declared
    assert listed[["type", "meaning", "example"]].notna().all(axis=None)


def test_the_page_of_the_dictionary_is_of_these_declarations() -> None:
    page = Path(__file__).parents[3] / "docs" / "dictionary.md"
    assert page.read_text() == dictionary.as_markdown(), "write it anew: make pages"


def test_top_regulators_and_targets_are_the_best_of_the_rows(lake: Lake, networks: dict[str, pd.DataFrame]) -> None:
    table = networks["a"].sort_values("rank")
    expected = table[table["target"] == "g1"]["source"].head(2).tolist()
    assert lake.top_regulators("a", "g1", n=2)["source"].tolist() == expected
    assert lake.top_targets("a", "T1")["target"].tolist() == table[table["source"] == "T1"]["target"].tolist()
    assert lake.top_regulators("a", "Klf1").empty


def test_stable_edges_need_every_seed_and_one_sign(lake: Lake, networks: dict[str, pd.DataFrame]) -> None:
    for name, table in networks.items():
        expected = table[(table["stability"] == 1) & (table["sign_agreement"] == 1) & (table["n_seeds"] > 1)]
        found = lake.stable_edges(name)
        assert set(zip(found["source"], found["target"], strict=True)) == set(
            zip(expected["source"], expected["target"], strict=True)
        )
    assert lake.stable_edges("single").empty


def test_regulators_sum_up_what_the_model_keeps(lake: Lake, networks: dict[str, pd.DataFrame]) -> None:
    found = lake.regulators("b").set_index("source").sort_index()
    kept = networks["b"][networks["b"]["has_weight"]]
    by = kept.groupby("source")
    assert found["n_candidates"].tolist() == [7] * 4
    assert found["n_targets"].tolist() == by.size().tolist()
    np.testing.assert_allclose(found["total_score"], by["score"].sum(), rtol=1e-6)
    np.testing.assert_allclose(found["share_activating"], by["signed_score"].agg(lambda s: (s > 0).mean()))
    mean = (kept["score"] * kept["lag"]).groupby(kept["source"]).sum() / by["score"].sum()
    np.testing.assert_allclose(found["mean_lag"], mean, rtol=1e-6)


def test_edge_differences_compare_percentiles_and_change_sign_when_turned(
    lake: Lake, networks: dict[str, pd.DataFrame]
) -> None:
    found = lake.edge_differences("a", "b").set_index(["source", "target"])
    share = {name: networks[name].set_index(["source", "target"])["score"].rank(pct=True) for name in "ab"}
    assert len(found) == len(share["a"].index.union(share["b"].index))
    expected = (share["a"] - share["b"]).reindex(found.index)
    np.testing.assert_allclose(found["difference"].to_numpy(float), expected)
    assert found["difference"].abs().dropna().is_monotonic_decreasing
    with pytest.raises(InputError, match="There is no network of nobody"):
        lake.sql("FROM edge_differences('a', 'nobody')")
    turned = lake.edge_differences("b", "a").set_index(["source", "target"])["difference"]
    np.testing.assert_allclose(turned.reindex(found.index).to_numpy(float), -found["difference"].to_numpy(float))


def test_consensus_edges_count_over_data_sets(lake: Lake, networks: dict[str, pd.DataFrame]) -> None:
    rows = pd.concat(table.assign(p=1 - (table["rank"] - 1) / len(table)) for table in networks.values())
    by = rows.groupby(["source", "target"])
    found = lake.consensus_edges().set_index(["source", "target"]).sort_index()
    assert found["n_datasets"].to_dict() == by.size().to_dict()
    assert found["n_selected"].to_dict() == by["is_selected"].sum().to_dict()
    assert found["n_activating"].to_dict() == by["signed_score"].agg(lambda s: (s > 0).sum()).to_dict()
    np.testing.assert_allclose(found["mean_percentile"], by["p"].mean())


def test_activity_trend_is_the_mean_over_equal_bins_of_pseudotime(lake: Lake) -> None:
    found = lake.activity_trend("a", "T1", bins=3)
    assert found["n_cells"].tolist() == [10, 10, 10]
    assert found["activity"].tolist() == [24.5, 14.5, 4.5]  # the last cells come first in pseudotime
    assert found["pseudotime"].is_monotonic_increasing
    np.testing.assert_allclose(found["activity_se"], np.std(np.arange(10), ddof=1) / np.sqrt(10))
    assert lake.activity_trend("a", "RF1", bins=3)["activity"].tolist() == [-24.5, -14.5, -4.5]


def test_edge_changes_tell_new_edges_and_how_far_others_moved(lake: Lake, networks: dict[str, pd.DataFrame]) -> None:
    version = int(lake.time_travel("a", table_name="edges")["version"].min())
    former = lake.edges_at(version)
    assert (len(former), set(former["dataset"])) == (20, {"a"})
    found = lake.edge_changes("a", version)
    assert found["change"].value_counts().to_dict() == {"kept": 20, "new": 4}
    assert found.loc[found["change"] == "new", "percentile_then"].isna().all()
    now = networks["a"].set_index(["source", "target"])["score"].rank(pct=True)
    np.testing.assert_allclose(found.set_index(["source", "target"])["percentile_now"].reindex(now.index), now)
    with pytest.raises(InputError, match="At that version there is no network of b"):
        lake.edge_changes("b", version)
    with pytest.raises(InputError, match="version that does not exist. FROM time_travel lists"):
        lake.edges_at(99)


def test_edges_at_takes_a_number_and_nothing_else(lake: Lake) -> None:
    with pytest.raises(InputError, match="Could not convert"):
        lake.sql("FROM edges_at('0) UNION ALL FROM lineage --')")


def test_a_table_is_a_method_that_filters(lake: Lake, networks: dict[str, pd.DataFrame]) -> None:
    table = networks["c"]
    assert len(lake.edges("c", source="T1")) == (table["source"] == "T1").sum()
    assert len(lake.edges("c", source=["T1", "T2"], target="g0")) == 2
    assert len(lake.edges("c", source=[])) == 0
    assert lake.edges("c", columns=["source", "score"], limit=2).shape == (2, 2)
    assert lake.edges(arrow=True).num_rows == sum(len(one) for one in networks.values())
    assert len(lake.cells("a", lineage=None)) == 30
    assert "source: regulator (TF)" in lake.edges.__doc__
    assert {"edges", "top_regulators", "sql"} <= set(dir(lake))


def test_a_misspelt_gene_does_not_look_like_a_gene_without_edges(lake: Lake) -> None:
    with pytest.raises(InputError, match="'klf1': is no gene of 'a'. Did you mean 'Klf1'"):
        lake.top_regulators("a", "klf1")
    with pytest.raises(InputError, match="'Klf11': is no gene of any data set. Did you mean 'Klf1'"):
        lake.edges(source="Klf11")
    with pytest.raises(InputError, match="'nothing like it': is no gene of 'a'. genes"):
        lake.edges("a", target="nothing like it")
    assert lake.edges("a", target="Klf1").empty
    assert lake.top_regulators("a", "Klf1").empty


def test_wrong_names_say_what_there_is(lake: Lake) -> None:
    with pytest.raises(InputError, match="'nobody'.*is not registered. Registered: 'a'"):
        lake.edges("nobody")
    with pytest.raises(InputError, match="Column 'tf' of 'edges'.*Columns: dataset, source"):
        lake.edges("a", tf="T1")
    with pytest.raises(AttributeError, match="Tables and views: datasets, cells"):
        _ = lake.nothing
    with pytest.raises(InputError, match="'nobody'.*is not registered"):
        lake.top_regulators("nobody", "g1")
    with pytest.raises(TypeError, match="of_target"):
        lake.top_regulators("a")


def test_rows_of_all_datasets_counts_unfiltered_scans_alone(
    store: Lakehouse, networks: dict[str, pd.DataFrame]
) -> None:
    n_rows = sum(len(table) for table in networks.values())
    counted = {
        "FROM edges": n_rows, "SELECT count(*) FROM edges WHERE source = 'T1'": None,
        "FROM consensus_edges": 2 * n_rows,
        "FROM edges WHERE dataset = 'a'": 0, "FROM edges LIMIT 3": 0, "FROM top_targets('a', 'T1')": 0,
        "FROM edges WHERE dataset IN ('a', 'b')": 0, "FROM tables": 0, "DELETE FROM edges": 0, "FROM nowhere": 0,
    }  # fmt: skip
    for query, expected in counted.items():
        found = store.rows_of_all_datasets(query)
        assert found == expected if expected is not None else found > 0, query
