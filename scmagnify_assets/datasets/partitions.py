"""Partitions: one per data set. A family has a partition for each data set that runs it, and for no other.

Data sets are dynamic: adding one adds its partition. Seeds are no partitions: all seeds of a fit are made together, in
one step, and are rows of one result. So the UI lists what is wanted and nothing that is not.

What is made of all data sets together has no partitions; in the lake it belongs to the data set ``all``.
"""

from functools import cache
from typing import Any

import dagster as dg
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster_shared.record import replace

from scmagnify_core.methods.families import METHODS
from scmagnify_core.specification import DatasetSpec

DATASETS = dg.DynamicPartitionsDefinition(name="dataset")


@cache
def partitions_of(family: str | None) -> dg.DynamicPartitionsDefinition:
    """The data sets that run a family; all data sets for None."""
    return DATASETS if family is None else dg.DynamicPartitionsDefinition(name=f"dataset_{family}")


class WhereItExists(dg.PartitionMapping):
    """A data set's partition of an upstream family, if it has one.

    Dagster's identity mapping refuses a step whose upstream partition does not exist. Here that means that the data set
    does not run the family, and the step reads what there is.
    """

    _same = dg.IdentityPartitionMapping()

    def get_upstream_mapped_partitions_result_for_partitions(self, *given: Any, **named: Any) -> Any:
        """The same partitions, without those that do not exist."""
        result = self._same.get_upstream_mapped_partitions_result_for_partitions(*given, **named)
        return replace(result, required_but_nonexistent_subset=DefaultPartitionsSubset(set()))

    def get_downstream_partitions_for_partitions(self, *given: Any, **named: Any) -> Any:
        """The same partitions."""
        return self._same.get_downstream_partitions_for_partitions(*given, **named)

    def validate_partition_mapping(self, *given: Any, **named: Any) -> None:
        """As the identity mapping."""
        self._same.validate_partition_mapping(*given, **named)

    @property
    def description(self) -> str:
        """What the UI shows."""
        return "The same data set, if it runs the method."


WHERE_IT_EXISTS = WhereItExists()


def is_wanted(family: str | None, spec: DatasetSpec) -> bool:
    """Whether a data set runs a family."""
    return family is None or family in spec.methods


def announce_partitions(instance: dg.DagsterInstance, spec: DatasetSpec) -> None:
    """Give a data set its partitions: its own, one for each family that it runs, and none for another."""
    for family in (None, *METHODS):
        name = str(partitions_of(family).name)
        if is_wanted(family, spec):
            instance.add_dynamic_partitions(name, [spec.name])
        elif instance.has_dynamic_partition(name, spec.name):
            instance.delete_dynamic_partition(name, spec.name)
