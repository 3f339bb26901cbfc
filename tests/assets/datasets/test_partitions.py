"""A data set has a partition of its own, and one of each family that it runs."""

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from scmagnify_assets.datasets.partitions import (
    DATASETS,
    WHERE_IT_EXISTS,
    announce_partitions,
    is_wanted,
    partitions_of,
)
from scmagnify_core.specification import DatasetSpec

SPEC = DatasetSpec.model_validate({"name": "x", "file": "x.h5ad"})
OTHER = SPEC.model_copy(update={"methods": ()})


def test_partitions_are_of_the_family():
    assert partitions_of(None) is DATASETS
    assert partitions_of("scmagnify") is partitions_of("scmagnify")
    assert partitions_of("scmagnify") != DATASETS
    assert is_wanted(None, OTHER)
    assert is_wanted("scmagnify", SPEC)
    assert not is_wanted("scmagnify", OTHER)


def test_a_data_set_gets_and_loses_the_partitions_of_its_families():
    with dg.DagsterInstance.ephemeral() as instance:
        for spec, expected in ((SPEC, ["x"]), (SPEC, ["x"]), (OTHER, []), (SPEC, ["x"])):
            announce_partitions(instance, spec)
            assert instance.get_dynamic_partitions("dataset") == ["x"]
            assert instance.get_dynamic_partitions("dataset_scmagnify") == expected


@pytest.mark.parametrize(("runs", "expected"), [(["x", "y"], ["x"]), (["y"], [])])
def test_a_family_is_read_where_the_data_set_runs_it(runs, expected):
    family = partitions_of("scmagnify")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("dataset", ["x", "y"])
        instance.add_dynamic_partitions("dataset_scmagnify", runs)
        with partition_loading_context(dynamic_partitions_store=instance):
            wanted = DATASETS.subset_with_partition_keys(["x"])
            found = WHERE_IT_EXISTS.get_upstream_mapped_partitions_result_for_partitions(wanted, DATASETS, family)
            assert sorted(found.partitions_subset.get_partition_keys()) == expected
            assert found.required_but_nonexistent_subset.is_empty
            back = WHERE_IT_EXISTS.get_downstream_partitions_for_partitions(
                family.subset_with_partition_keys(runs), family, DATASETS
            )
            assert sorted(back.get_partition_keys()) == runs
