"""Between the assets and the lakehouse: what an asset returns is written, what it asks for is read.

The IO manager records, for every write, exactly the materializations that the step read before: they are the
``inputs`` of its lineage. Assets with one partition per seed exchange ``{seed: value}``, so that one run can hold
several seeds.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import PrivateAttr

from scmagnify_assets import registry
from scmagnify_assets.codecs import CODECS
from scmagnify_assets.describe import table_metadata
from scmagnify_assets.lakehouse import Lakehouse
from scmagnify_assets.lineage import Input, Materialization
from scmagnify_assets.partitions import split_key
from scmagnify_assets.progress import report
from scmagnify_assets.resources import LakeResource, Specs
from scmagnify_core.errors import InputError
from scmagnify_core.tables import STAMPED


@dataclass(frozen=True)
class _Stored:
    """One materialization, as the codecs read it."""

    lake: Lakehouse
    made: Materialization

    def table(self, name: str) -> pd.DataFrame:
        rows = self.lake.read(
            name, self.made.dataset, self.made.seed, materialization_id=self.made.materialization_id
        )
        return rows.drop(columns=[column for column in STAMPED if column in rows])

    def artifact(self, name: str) -> Path:
        return self.lake.artifact_path(self.made.asset, self.made.dataset, self.made.seed, name)


class LakehouseIOManager(dg.ConfigurableIOManager):
    """Reads and writes assets through the lakehouse."""

    lake: LakeResource
    specs: Specs
    # Steps of a process run one after the other, so a step's reads come before its write.
    _read: dict[str, list[Input]] = PrivateAttr(default_factory=dict)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write the value of each partition, with its lineage; the content hash becomes Dagster's data version."""
        asset = context.asset_key.to_user_string()
        lake = self.lake.open()
        inputs = self._read.pop(context.step_key, [])
        report(asset, 1, 1, "storing")
        written: list[Materialization] = []
        for key in context.asset_partition_keys:
            dataset, seed = split_key(key)
            value = obj if seed is None else obj[seed]
            spec = self.specs.get(dataset)
            with tempfile.TemporaryDirectory(prefix="scmagnify-") as scratch:
                encoded = CODECS[asset].encode(value, Path(scratch))
                written.append(
                    lake.write(
                        asset, dataset, seed, encoded.tables, encoded.artifacts,
                        run_id=context.run_id,
                        inputs=[one for one in inputs if seed is None or one.seed in (None, seed)],
                        parameters=spec.model_dump(mode="json"),
                        file_sha256=registry.find(lake, dataset).sha256,
                        seeds=[seed] if seed is not None else _seeds_of(inputs),
                    )
                )  # fmt: skip
        version = "-".join(made.data_version for made in written)
        context.step_context.set_data_version(context.asset_key, dg.DataVersion(version))
        context.add_output_metadata(table_metadata(asset, written))
        report(asset, 1, 1, "stored")

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the current value of each partition; an asset with seeds gives ``{seed: value}``."""
        asset = context.asset_key.to_user_string()
        lake = self.lake.open()
        step = context.step_context.step.key
        report(step, 0, 0, f"reading {asset}")
        if asset == registry.ASSET:
            registration = registry.find(lake, context.asset_partition_key)
            registry.refuse_changed_file(registration)
            made = lake.current(asset, registration.name)
            assert made is not None
            self._read.setdefault(step, []).append(made.to_input())
            return self.specs.get(registration.name)
        values: dict[int | None, Any] = {}
        for key in context.asset_partition_keys:
            dataset, seed = split_key(key)
            if seed is not None and seed >= self.specs.get(dataset).seeds and len(context.asset_partition_keys) > 1:
                continue  # partitions beyond the data set's number of seeds are leftovers of an earlier setting
            made = lake.current(asset, dataset, seed)
            if made is None:
                where = f"'{dataset}'" + ("" if seed is None else f", seed {seed}")
                raise InputError(
                    f"asset '{asset}'", f"is not materialized for {where}.",
                    f"Materialize it first, or run everything: scmagnify run {dataset}",
                )  # fmt: skip
            self._read.setdefault(step, []).append(made.to_input())
            values[seed] = CODECS[asset].decode(_Stored(lake, made))
        return values.get(None, values)


def _seeds_of(inputs: list[Input]) -> list[int]:
    return sorted({one.seed for one in inputs if one.seed is not None})
