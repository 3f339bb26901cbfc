"""The order in which the graph of one data set runs, derived from the graph itself.

A run of Dagster is over one partitions definition. All data sets share one, every family has its own
(`partitions`), and what is made of all data sets has none. A wave is what can go into one run: assets of one
definition, each after all that it is made from.
"""

from collections.abc import Collection
from dataclasses import dataclass

from scmagnify_assets.graph.catalogue import ASSETS
from scmagnify_assets.graph.record import RECORDS, order_of_assets
from scmagnify_core.methods.families import METHODS

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
    place = _places([None, *methods])
    return [
        Wave(
            tuple(name for name in place if place[name] == (stage, run)),
            family=run[0],
            is_over_datasets=run[1],
        )
        for stage, run in sorted(set(place.values()), key=lambda one: (one[0], str(one[1])))
    ]


def _places(families: Collection[str | None]) -> dict[str, tuple[int, tuple[str | None, bool]]]:
    """The stage and the run of every asset of these families, in the order of the graph.

    Assets of one stage wait for none of each other's runs.
    """
    place: dict[str, tuple[int, tuple[str | None, bool]]] = {}
    for name in order_of_assets():
        if name in RECORDS and RECORDS[name].family in families:
            run = (RECORDS[name].family, name in OVER_DATASETS)
            above = [place[one] for one in RECORDS[name].inputs if one in place]
            place[name] = max((stage + (one != run) for stage, one in above), default=0), run
    return place


def awaited_assets() -> list[str]:
    """Assets for which assets of another wave wait, but for those that are there anyway once another one is."""
    place = _places([None, *METHODS])
    inputs = {name: [one for one in RECORDS[name].inputs if one in place] for name in place}

    def above(name: str) -> set[str]:
        return set(inputs[name]).union(*(above(one) for one in inputs[name]))

    waits = {
        one
        for name in place
        for one in inputs[name]
        if place[one] != place[name] and not any(one in above(other) for other in inputs[name])
    }
    return [name for name in place if name in waits]
