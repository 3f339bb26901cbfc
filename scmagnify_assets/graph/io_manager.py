"""Between the assets and the lakehouse: what an asset returns is written, what it asks for is read.

The IO manager records, for every write, exactly the materializations that the step read before: they are the
``inputs`` of its lineage.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import PrivateAttr

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import is_wanted
from scmagnify_assets.graph.describe import table_metadata
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.resources import LakeResource, Specs
from scmagnify_assets.graph.versions import parameters_of, settings_below
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_assets.steps.failures import final_user_errors
from scmagnify_assets.steps.progress import report
from scmagnify_core.errors import InputError
from scmagnify_core.specification import DatasetSpec
from scmagnify_core.tables.schema import STAMPED


@dataclass(frozen=True)
class _Stored:
    """One materialization, as the codecs read it."""

    lake: Lakehouse
    made: Materialization

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        rows = self.lake.read(
            name, self.made.dataset, self.made.seed, columns, materialization_id=self.made.materialization_id
        )
        return rows.drop(columns=[column for column in STAMPED if column in rows])

    def ancestry(self) -> list[Materialization]:
        return self.lake.ancestry(self.made)

    def artifact_names(self) -> list[str]:
        rows = self.lake.read("artifacts", columns=["name"], materialization_id=self.made.materialization_id)
        return sorted(rows["name"])

    def artifact(self, name: str) -> Path:
        return self.lake.artifact_path(self.made.asset, self.made.dataset, self.made.seed, name, made=self.made)


class LakehouseIOManager(dg.ConfigurableIOManager):
    """Reads and writes assets through the lakehouse."""

    lake: LakeResource
    specs: Specs
    # Steps of a process run one after the other, so a step's reads come before its write. By what was read: a step
    # that is tried again in the same process reads everything again.
    _read: dict[str, dict[str, Materialization]] = PrivateAttr(default_factory=dict)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write the value of a partition, with its lineage.

        Dagster's data version is the content hash, with a hash of the settings that the asset and its inputs read
        and of no others: a knob of one family changes no version of another.
        """
        with final_user_errors():
            self._write(context, obj)

    def _write(self, context: dg.OutputContext, obj: Any) -> None:
        asset, dataset = context.asset_key.to_user_string(), context.asset_partition_key
        record, lake = RECORDS[asset], self.lake.open()
        assert record.codec is not None
        used = list(self._read.pop(context.step_key, {}).values())
        report(asset, 1, 1, "storing")
        registration, spec = registry.find(lake, dataset), self._spec(context, dataset)
        parameters, files = parameters_of(record, registration, spec)
        registry.refuse_changed_files(lake, registration, files)
        with tempfile.TemporaryDirectory(prefix="scmagnify-") as scratch:
            encoded = record.codec.encode(obj, Path(scratch))
            if set(encoded.tables) != {table.name for table in record.tables}:
                raise ValueError(f"the codec of {asset!r} gives the tables {sorted(encoded.tables)}")
            seeds = sorted({n for one in used for n in one.seeds or ()}) if encoded.seeds is None else encoded.seeds
            made = lake.write(
                asset, dataset, None, encoded.tables, encoded.artifacts,
                run_id=context.run_id,
                inputs=[one.to_input() for one in used],
                parameters=parameters,
                file_sha256=_root_file(asset, used),
                seeds=seeds,
                **_effort(context),
            )  # fmt: skip
        context.add_output_metadata(_places(lake, made, encoded.artifacts))
        settings = hashlib.sha256(json.dumps(spec.parameters(settings_below(asset))).encode()).hexdigest()
        version = dg.DataVersion(f"{made.data_version[:32]}.{settings[:16]}")
        context.step_context.set_data_version(context.asset_key, version)
        context.add_output_metadata(table_metadata(record, [made]))
        report(asset, 1, 1, "stored")

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the current value of a partition; None for what the data set does not have."""
        with final_user_errors():
            return self._load(context)

    def _load(self, context: dg.InputContext) -> Any:
        asset, lake = context.asset_key.to_user_string(), self.lake.open()
        if not (keys := list(context.asset_partition_keys)):
            return None  # a family that this data set does not run
        (dataset,) = keys
        spec = self._spec(context, dataset)
        metadata = context.definition_metadata
        if asset in RECORDS:
            family = RECORDS[asset].family
            if not is_wanted(family, spec) or (metadata.get("interpreted") and family != spec.interpreted):
                return None
        step = context.step_context.step.key
        report(step, 0, 0, f"reading {asset}")
        made = lake.current(asset, dataset)
        if asset == registry.ASSET:
            registry.refuse_changed_files(lake, registry.find(lake, dataset))
        elif made is None:
            raise InputError(
                f"asset '{asset}'", f"is not materialized for '{dataset}'.",
                f"Materialize it first, or run everything: scmagnify run {dataset}",
            )  # fmt: skip
        assert made is not None
        self._read.setdefault(step, {})[asset] = made
        if asset == registry.ASSET:
            return spec
        codec, stored = RECORDS[asset].codec, _Stored(lake, made)
        assert codec is not None
        return stored if metadata.get("as_stored") else codec.decode(stored)

    def _spec(self, context: dg.InputContext | dg.OutputContext, dataset: str) -> DatasetSpec:
        """Settings of this run. What the launchpad gives `specs` reaches the assets, and must reach the lineage."""
        run_config: Any = context.step_context.run_config
        given = run_config.get("resources", {}).get("specs", {}).get("config", {})
        settings = given.get("settings", self.specs.settings)
        preset = given.get("preset", self.specs.preset)
        return registry.find(self.lake.open(), dataset).spec(settings, preset or None)


def _effort(context: dg.OutputContext) -> dict[str, float]:
    """What the step used (`declare.asset` measures it)."""
    told = context.step_context.get_output_metadata(context.name) or {}
    return {name: float(told[name]) for name in ("runtime_s", "peak_memory_mib") if name in told}


def _places(lake: Lakehouse, made: Materialization, names: Iterable[str]) -> dict[str, Any]:
    """Where the files of a materialization lie, for the UI."""
    paths = {name: lake.artifact_path(made.asset, made.dataset, made.seed, name, made=made) for name in names}
    return {f"file/{name}": dg.MetadataValue.path(path) for name, path in paths.items()}


def _root_file(asset: str, inputs: list[Materialization]) -> str:
    """Hash of the data file that all inputs go back to.

    Raises
    ------
    InputError
        They go back to different files: some were made before the data set was replaced.
    """
    hashes = {one.file_sha256 for one in inputs}
    if len(hashes) != 1:
        raise InputError(
            f"inputs of '{asset}'", f"come from {len(hashes)} versions of the data file.",
            f"Run the whole data set again: scmagnify run {inputs[0].dataset if inputs else 'NAME'}",
        )  # fmt: skip
    return hashes.pop()
