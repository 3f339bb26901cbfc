"""Whether results are up to date: a check for each data set, and a policy for the whole lake.

A network does not age. It is out of date when its data set has got other content, whenever that was, and it is up to
date for years if nothing changes. Hence `results_are_of_current_file`, for each data set, compares content, not time.

Dagster's own freshness policy looks at time, and at the asset as a whole: the newest materialization of *any*
partition (1.13.27 evaluates ``AssetRecord.last_materialization``; there is no policy per partition). It can say
one thing that the check cannot, which runs only where runs run: that nothing happens any more. `FRESHNESS` says that,
with wide windows, because data sets arrive irregularly and the nightly refresh makes nothing where nothing changed. It
belongs on ``multiscale_network`` alone: it is where every way through the graph comes together, and the same warning on
each asset downstream would be one fact, shown six times.

The policy is evaluated by Dagster's daemon every 30 seconds, from 1.13 on unless ``freshness: enabled: false`` stands
in ``dagster.yaml``. Nothing runs or is stopped because of it.
"""

from datetime import timedelta

import dagster as dg

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import DATASETS
from scmagnify_assets.graph.resources import LakeResource

# A month without any network is worth a look; after a quarter either nobody uses the platform or it has stopped.
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=90), warn_window=timedelta(days=30))


@dg.asset_check(asset="multiscale_network", partitions_def=DATASETS)
def results_are_of_current_file(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """The network goes back to the files of the data set that are registered now.

    Every write on the way from the file to the network is asked which content it read: of the data file, and of the
    other files that a step reads itself, such as the prior. Files that the network does not go back to (a ground
    truth) do not matter, nor does a touched file of the same content.

    Not blocking: the network is a right result of the former content, and the next run replaces it.
    """
    store, dataset = lake.open(), context.partition_key
    made = store.current("multiscale_network", dataset)
    if made is None:
        return dg.AssetCheckResult(
            passed=True,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"verdict": f"There is no network of '{dataset}' yet.", "remedy": f"scmagnify run {dataset}"},
        )
    registered = registry.find(store, dataset)
    read: dict[str, set[str]] = {}
    for one in store.ancestry(made):
        for key, sha256 in ({"file": one.file_sha256} | one.parameters.get("sha256", {})).items():
            read.setdefault(key, set()).add(sha256)
    former = sorted(key for key, found in read.items() if found != {registered.files.get(key)})
    return dg.AssetCheckResult(
        passed=not former,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "of_former_content": former,
            "files_compared": sorted(read),
            "registered_at": f"{registered.registered_at:%Y-%m-%d %H:%M} UTC",
            "network_made_at": f"{made.created_at:%Y-%m-%d %H:%M} UTC",
            "remedy": f"scmagnify run {dataset}" if former else "none needed",
        },
    )
