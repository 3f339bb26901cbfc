"""Between the assets and the lakehouse: what an asset returns is written, what it asks for is read.

The IO manager records, for every write, exactly the materializations that the step read before: they are the
``inputs`` of its lineage. Assets with one partition per seed exchange ``{seed: value}``, so that one run can hold
several seeds.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import PrivateAttr

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import split_key
from scmagnify_assets.graph.codecs import CODECS
from scmagnify_assets.graph.describe import table_metadata
from scmagnify_assets.graph.resources import LakeResource, Specs
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_assets.steps.failures import final_user_errors
from scmagnify_assets.steps.progress import report
from scmagnify_core.errors import InputError
from scmagnify_core.specification import DatasetSpec, files_of
from scmagnify_core.tables.schema import STAMPED

OVER_SEEDS = ("multiscale_network", "report")  # steps that read all the seeds of a data set
AS_STORED = {"as_stored": True}  # metadata of an input that the asset reads itself, table by table: a `Stored`


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

    def artifact(self, name: str) -> Path:
        return self.lake.artifact_path(self.made.asset, self.made.dataset, self.made.seed, name, made=self.made)


class LakehouseIOManager(dg.ConfigurableIOManager):
    """Reads and writes assets through the lakehouse."""

    lake: LakeResource
    specs: Specs
    # Steps of a process run one after the other, so a step's reads come before its write. By what was read: a step
    # that is tried again in the same process reads everything again.
    _read: dict[str, dict[tuple[str, str, int | None], Materialization]] = PrivateAttr(default_factory=dict)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write the value of each partition, with its lineage.

        Dagster's data version is the content hash with that of the data set's files and settings: what is downstream
        reads some of them itself, so a change of any must reach it even where the content here stays the same.
        """
        with final_user_errors():
            self._write(context, obj)

    def _write(self, context: dg.OutputContext, obj: Any) -> None:
        asset = context.asset_key.to_user_string()
        lake = self.lake.open()
        inputs = list(self._read.pop(context.step_key, {}).values())
        report(asset, 1, 1, "storing")
        written: list[Materialization] = []
        effort = _effort(context)
        for key in sorted(context.asset_partition_keys):
            dataset, seed = split_key(key)
            used = [one for one in inputs if seed is None or one.seed in (None, seed)]
            spec = self._spec(context, dataset)
            registration = registry.find(lake, dataset)
            files = files_of(asset, spec)
            registry.refuse_changed_files(lake, registration, files)
            with tempfile.TemporaryDirectory(prefix="scmagnify-") as scratch:
                encoded = CODECS[asset].encode(obj if seed is None else obj[seed], Path(scratch))
                written.append(
                    lake.write(
                        asset, dataset, seed, encoded.tables, encoded.artifacts,
                        run_id=context.run_id,
                        inputs=[one.to_input() for one in used],
                        parameters=spec.parameters_of(asset)
                        | ({"sha256": {key: registration.files[key] for key in files}} if files else {}),
                        file_sha256=_root_file(asset, used),
                        seeds=[seed] if seed is not None else sorted({n for one in used for n in one.seeds or ()}),
                        **effort,
                    )
                )  # fmt: skip
                if seed is None:
                    context.add_output_metadata(_places(lake, written[0], encoded.artifacts))
        # Dagster has one data version per step. For several seeds it is joint: retraining one of them to the same
        # content then counts as a change, which costs a rerun of what follows, and misses none.
        version = hashlib.sha256("-".join(made.data_version for made in written).encode()).hexdigest()
        settings = hashlib.sha256(f"{registration.data_version}{spec.model_dump_json()}".encode()).hexdigest()
        context.step_context.set_data_version(context.asset_key, dg.DataVersion(f"{version[:32]}.{settings[:16]}"))
        context.add_output_metadata(table_metadata(asset, written))
        report(asset, 1, 1, "stored")

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the current value of each partition; an asset with seeds gives ``{seed: value}``."""
        with final_user_errors():
            return self._load(context)

    def _load(self, context: dg.InputContext) -> Any:
        asset = context.asset_key.to_user_string()
        lake = self.lake.open()
        step = context.step_context.step.key
        report(step, 0, 0, f"reading {asset}")
        read = self._read.setdefault(step, {})
        if asset == registry.ASSET:
            registration = registry.find(lake, context.asset_partition_key)
            registry.refuse_changed_files(lake, registration)
            made = lake.current(asset, registration.name)
            assert made is not None
            read[asset, made.dataset, None] = made
            return self._spec(context, registration.name)
        values: dict[int | None, Any] = {}
        for key in context.asset_partition_keys:
            dataset, seed = split_key(key)
            if step in OVER_SEEDS and seed is not None and seed >= self._spec(context, dataset).seeds:
                continue  # a leftover of a setting with more seeds
            made = lake.current(asset, dataset, seed)
            if made is not None and seed is not None and not any(made.tables.values()):
                made = None  # a retired seed (runner)
            if made is None and step in OVER_SEEDS:
                continue  # the asset itself names all that are missing
            if made is None:
                where = f"'{dataset}'" + ("" if seed is None else f", seed {seed}")
                raise InputError(
                    f"asset '{asset}'", f"is not materialized for {where}.",
                    f"Materialize it first, or run everything: scmagnify run {dataset}",
                )  # fmt: skip
            read[asset, dataset, seed] = made
            stored = _Stored(lake, made)
            values[seed] = stored if context.definition_metadata.get("as_stored") else CODECS[asset].decode(stored)
        return values.get(None, values)

    def _spec(self, context: dg.InputContext | dg.OutputContext, dataset: str) -> DatasetSpec:
        """Settings of this run. What the launchpad gives `specs` reaches the assets, and must reach the lineage."""
        run_config: Any = context.step_context.run_config
        given = run_config.get("resources", {}).get("specs", {}).get("config", {})
        settings = given.get("settings", self.specs.settings)
        preset = given.get("preset", self.specs.preset)
        return registry.find(self.lake.open(), dataset).spec(settings, preset or None)


def _effort(context: dg.OutputContext) -> dict[str, float]:
    """What the step used (`declare.asset` measures it); several partitions of one step share its time."""
    told = context.step_context.get_output_metadata(context.name) or {}
    found = {name: float(told[name]) for name in ("runtime_s", "peak_memory_mib") if name in told}
    if "runtime_s" in found:
        found["runtime_s"] = round(found["runtime_s"] / len(context.asset_partition_keys), 3)
    return found


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
