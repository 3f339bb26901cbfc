"""Partitions: one per data set, and one per data set and seed.

Data sets are dynamic: adding one adds its partition. Seeds are the fixed range 0 to 9, of which a data set uses the
first ``seeds``; a fixed range keeps "seeds 0 to 2 of this data set" one range of partitions, hence one run.

What is made of all data sets together has no partitions; in the lake it belongs to the data set ``all``.
"""

import dagster as dg

from scmagnify_core.specification import MAX_SEEDS

DATASETS = dg.DynamicPartitionsDefinition(name="dataset")
SEEDS = dg.StaticPartitionsDefinition([str(seed) for seed in range(MAX_SEEDS)])
DATASET_SEEDS = dg.MultiPartitionsDefinition({"dataset": DATASETS, "seed": SEEDS})

OVER_DATASETS = ("leaderboard",)

# Tags of a run over a range of partitions.
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def split_key(key: str) -> tuple[str, int | None]:
    """Data set and seed of a partition key; the seed is None where the asset has none."""
    if isinstance(key, dg.MultiPartitionKey):
        parts = key.keys_by_dimension
        return parts["dataset"], int(parts["seed"])
    return key, None


def join_key(dataset: str, seed: int) -> str:
    """The partition key of a data set's seed."""
    return dg.MultiPartitionKey({"dataset": dataset, "seed": str(seed)})
