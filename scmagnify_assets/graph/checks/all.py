"""What must hold: a schema check per table, and what science expects of the numbers.

Checks look at storage rather than at values in memory: what they pass is what readers get. Each runs for one
partition, or for the seeds of one run.

Two kinds, and nothing between them:

- **Blocking, severity ERROR**: what is wrong whatever the data (a schema, an edge that is no candidate, a network
  without edges). The run fails, nothing downstream is made of it, and people are told (`alerts`).
- **Not blocking, severity WARN**: what is odd and may be meant (ATAC that tells little, a network unlike its former
  ones). The result stands, and the UI shows a warning to look at.

What is usual is learnt from the data set's own history, the last `HISTORY` former materializations: networks differ by
orders of magnitude between data sets and hardly within one. Former states are read from the lake as they were, two
columns of one partition each (20 ms for 2,500 edges, measured), so that no second record can disagree with it. A
former version that maintenance has removed counts as absent.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from scmagnify_assets.graph.catalogue import ASSETS
from scmagnify_assets.graph.checks import network, prior
from scmagnify_assets.graph.checks.schema import schema_check
from scmagnify_assets.graph.freshness import results_are_of_current_file
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.resources import LakeResource
from scmagnify_assets.steps.failures import RETRY
from scmagnify_core.methods.families import METHODS, NETWORK_METHODS


def _together(asset: str, checks: Sequence[dg.AssetChecksDefinition]) -> dg.AssetChecksDefinition:
    """All checks of an asset as one step: each step is a process, and most checks take less time than to start one."""
    specs = [spec for check in checks for spec in check.check_specs]

    @dg.multi_asset_check(name=f"checks_of_{asset}", specs=specs, retry_policy=RETRY)
    def run(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        for check, spec in zip(checks, specs, strict=True):
            result = check.op.compute_fn.decorated_fn(context, lake)  # type: ignore[union-attr]
            yield result._replace(asset_key=spec.asset_key, check_name=spec.name)

    return run


EACH = [
    *(
        schema_check(record, table)
        for asset in ASSETS
        if (record := RECORDS.get(asset.key.to_user_string())) is not None
        for table in record.tables
    ),
    prior.links_exceed_chance,
    prior.hits_lie_in_their_peaks,
    prior.evidence_is_on_record,
    *(network.loss_fell(family) for family in METHODS.values()),
    *(network.edges_are_candidates(family) for family in NETWORK_METHODS.values()),
    network.network_is_not_empty,
    network.edge_counts_are_usual,
    network.seeds_agree_as_usual,
    results_are_of_current_file,
]
_asset_of = {check: next(iter(check.check_specs)).asset_key.to_user_string() for check in EACH}
CHECKS = [
    _together(asset, [check for check in EACH if _asset_of[check] == asset])
    for asset in dict.fromkeys(_asset_of.values())
]
