"""Composition only: which assets, checks and resources make up the code location."""

from typing import Any

import dagster as dg

from scmagnify_assets.graph.catalogue import ASSETS
from scmagnify_assets.graph.checks import all as checks
from scmagnify_assets.graph.io_manager import LakehouseIOManager
from scmagnify_assets.graph.resources import LakeResource, Specs
from scmagnify_assets.graph.waves import awaited_assets
from scmagnify_assets.steps.executors import executor, refuse_unknown_assets
from scmagnify_assets.triggers.alerts import failed_run
from scmagnify_assets.triggers.arrivals import arrivals, receive_data_set
from scmagnify_assets.triggers.automation import automation_sensor
from scmagnify_assets.triggers.schedules import JOBS, SCHEDULES
from scmagnify_core.parallel import end_with_parent


def resources(lake: str = "", preset: str = "", settings: tuple[str, ...] = ()) -> dict[str, Any]:
    """Resources over one lake, with what a run puts over the data sets' settings."""
    lake_resource = LakeResource(root=lake)
    specs = Specs(lake=lake_resource, preset=preset, settings=list(settings))
    return {"lake": lake_resource, "specs": specs, "io_manager": LakehouseIOManager(lake=lake_resource, specs=specs)}


# A run worker that is killed leaves the process of its step behind, and a killed code server leaves its run workers:
# they would go on, hold the GPU, and write late. Such a write is harmless (it replaces the same rows), but the run is
# started again elsewhere.
end_with_parent()

refuse_unknown_assets([asset.key.to_user_string() for asset in ASSETS])

defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=checks.CHECKS,
    resources=resources(),
    executor=executor(),
    jobs=[receive_data_set, *JOBS],
    sensors=[arrivals, automation_sensor(awaited_assets()), failed_run],
    schedules=SCHEDULES,
)
