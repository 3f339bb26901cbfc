"""The order in which the graph of one data set runs, derived from the graph itself.

A run of Dagster is over one partitions definition. All data sets share one, every family has its own
(`partitions`), and what is made of all data sets has none. A wave is what can go into one run: assets of one
definition, each after all that it is made from.
"""

from collections.abc import Collection
from dataclasses import dataclass

from scmagnify_assets.graph.catalogue import ASSETS
from scmagnify_assets.graph.record import RECORDS, Record, order_of_assets

OVER_DATASETS = frozenset(
    asset.key.to_user_string() for asset in ASSETS if asset.partitions_def is None
)  # made of all data sets together


@dataclass(frozen=True)
class Wave:
    """Assets of one run: of a family, of no family, or of all data sets together."""

    assets: tuple[str, ...]
    family: str | None
    is_over_datasets: bool


def waves(methods: Collection[str]) -> list[Wave]:
    """The waves of a data set that runs these methods, in order."""
    wanted = [
        RECORDS[name] for name in order_of_assets()
        if name in RECORDS and RECORDS[name].family in (None, *methods)
    ]  # fmt: skip
    stage: dict[str, int] = {}
    for record in wanted:
        above = [RECORDS[name] for name in record.inputs if name in stage]
        stage[record.name] = max((stage[one.name] + (_run(one) != _run(record)) for one in above), default=0)
    runs = sorted({(stage[one.name], _run(one)) for one in wanted}, key=lambda run: (run[0], str(run[1])))
    return [
        Wave(
            tuple(one.name for one in wanted if (stage[one.name], _run(one)) == (number, run)),
            family=run[0],
            is_over_datasets=run[1],
        )
        for number, run in runs
    ]


def _run(record: Record) -> tuple[str | None, bool]:
    return record.family, record.name in OVER_DATASETS


def awaited_assets() -> list[str]:
    """Assets for which assets of another wave wait."""
    waits = {
        name
        for record in RECORDS.values()
        for name in record.inputs
        if name in RECORDS and _run(RECORDS[name]) != _run(record)
    }
    return [name for name in order_of_assets() if name in waits]
