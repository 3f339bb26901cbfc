"""What happens by the clock: changed files are noticed, and the lake is kept within its period."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from scmagnify_assets.datasets import registry
from scmagnify_assets.definitions import defs
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.service.runner import open_instance
from scmagnify_assets.triggers.schedules import keep_days_of_environment, maintain_lake, refresh_data_sets
from scmagnify_core.errors import InputError

NO_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with open_instance(home) as found:
        yield found


@pytest.fixture
def own_files(raw_settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Settings whose data and prior may be changed."""
    data, prior = tmp_path / f"own{Path(raw_settings['file']).suffix}", tmp_path / "prior.parquet"
    shutil.copyfile(raw_settings["file"], data)
    shutil.copyfile(raw_settings["prior"], prior)
    return raw_settings | {"file": str(data), "prior": str(prior)}


def refresh(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return refresh_data_sets.execute_in_process(instance=instance, raise_on_error=False, run_config=NO_LOG)


def versions(instance: dg.DagsterInstance, name: str) -> list[str]:
    filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey("raw_dataset"), asset_partitions=[name])
    records = instance.fetch_materializations(filters, limit=9).records
    return [record.asset_materialization.tags[registry.DATA_VERSION] for record in records]


def test_refresh_registers_what_changed_and_leaves_the_rest(
    home: Home, instance: dg.DagsterInstance, raw_settings: dict[str, Any], own_files: dict[str, Any]
) -> None:
    lake = Lakehouse(home.lake)
    for raw in (raw_settings, own_files | {"name": "own"}):
        registry.announce(instance, registry.register(lake, raw))
    assert refresh(instance).success
    assert len(versions(instance, "own")) == len(versions(instance, "small")) == 1
    import pandas as pd

    pd.read_parquet(own_files["prior"]).iloc[:-1].to_parquet(own_files["prior"])
    assert refresh(instance).success
    assert len(versions(instance, "small")) == 1
    assert len(set(versions(instance, "own"))) == 2
    assert versions(instance, "own")[0] == registry.find(lake, "own").data_version


def test_refresh_names_what_cannot_be_refreshed_and_goes_on(
    home: Home, instance: dg.DagsterInstance, raw_settings: dict[str, Any], own_files: dict[str, Any]
) -> None:
    lake = Lakehouse(home.lake)
    for name in ("aaa", "zzz"):
        registry.register(lake, own_files | {"name": name} if name == "aaa" else raw_settings | {"name": name})
    Path(own_files["file"]).unlink()
    result = refresh(instance)
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert "1 data sets cannot be refreshed" in event.step_failure_data.user_failure_data.description
    assert "aaa: '" in event.step_failure_data.user_failure_data.description
    assert len(versions(instance, "zzz")) == 1  # told again to a Dagster that did not know it
    assert registry.find(lake, "aaa").raw["file"] == own_files["file"]


def test_the_weekly_job_keeps_a_record_of_itself(
    home: Home, instance: dg.DagsterInstance, raw_settings: dict[str, Any]
) -> None:
    registry.register(Lakehouse(home.lake), raw_settings)
    result = maintain_lake.execute_in_process(
        instance=instance, run_config={"ops": {"maintain_tables": {"config": {"keep_days": 30}}}, **NO_LOG}
    )
    assert result.success
    (row,) = Lakehouse(home.lake).read("maintenance").to_dict("records")
    assert row["keep_days"] == 30
    assert registry.find(Lakehouse(home.lake), "small").name == "small"


@pytest.mark.parametrize("given", ["0", "6", "-1", "many", "1.5"])
def test_keep_days_refuses_what_is_no_period(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMAGNIFY_KEEP_DAYS", given)
    with pytest.raises(InputError, match="SCMAGNIFY_KEEP_DAYS"):
        keep_days_of_environment()


def test_keep_days_is_that_of_the_environment_or_ninety(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCMAGNIFY_KEEP_DAYS", raising=False)
    assert keep_days_of_environment() == 90
    monkeypatch.setenv("SCMAGNIFY_KEEP_DAYS", "365")
    assert keep_days_of_environment() == 365


def test_sensors_and_schedules_run_from_the_first_start() -> None:
    repository = defs.get_repository_def()
    sensors = {sensor.name: sensor.default_status for sensor in repository.sensor_defs}
    schedules = {schedule.name: schedule.default_status for schedule in repository.schedule_defs}
    assert set(sensors) == {"automation", "arrivals", "failed_run"}
    assert set(schedules) == {"nightly_refresh", "weekly_maintenance"}
    assert set(sensors.values()) == {dg.DefaultSensorStatus.RUNNING}
    assert set(schedules.values()) == {dg.DefaultScheduleStatus.RUNNING}
