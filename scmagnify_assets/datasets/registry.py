"""Data sets that were added: their file, its hash, and their settings.

Registering writes one row of the ``datasets`` table, which is what the asset ``raw_dataset`` stands for. The raw
settings are stored as given, defaults not filled in, so that presets and overrides of a later run still apply.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from scmagnify_assets.datasets.hashes import remembered_sha256
from scmagnify_assets.datasets.partitions import announce_partitions
from scmagnify_assets.lake.lakehouse import Lakehouse, check_name, check_new_name
from scmagnify_core.data.references import refuse_missing_files
from scmagnify_core.errors import InputError, StorageError, shorten
from scmagnify_core.specification import PATH_FIELDS, DatasetSpec, named_files, override, parse_setting, parse_spec

ASSET = "raw_dataset"
DATA_VERSION = "dagster/data_version"


@dataclass(frozen=True)
class Registration:
    """A registered data set: ``raw`` settings, hashes of the files they name, and when it was registered."""

    name: str
    raw: Mapping[str, Any]
    files: Mapping[str, str]
    registered_at: datetime
    materialization_id: str

    @property
    def sha256(self) -> str:
        """Hash of the data file."""
        return self.files["file"]

    @property
    def data_version(self) -> str:
        """Changes with the content of the files and with the settings of the results, and with nothing else."""
        raw = {key: value for key, value in self.raw.items() if key != "memory_budget"}
        return hashlib.sha256(json.dumps([self.files, raw], sort_keys=True).encode()).hexdigest()

    def spec(self, settings: Sequence[str] = (), preset: str | None = None) -> DatasetSpec:
        """The settings with every default filled in, after a run's overrides.

        Raises
        ------
        InputError
            A setting is wrong, or changes what was registered: the name or a file.
        """
        for setting in settings:
            if not parse_setting(setting).keys().isdisjoint(("name", "references", *PATH_FIELDS)):
                raise InputError(
                    f"--set {setting}", "changes what the data set is, for one run only.",
                    f"Register it: scmagnify add ... --name {self.name} --replace, or under another name.",
                )  # fmt: skip
        return parse_spec(override(self.raw, settings, preset), f"settings of '{self.name}'")


def names(lake: Lakehouse) -> list[str]:
    """Registered data sets, sorted."""
    return sorted(lake.read("datasets", columns=["dataset"])["dataset"])


def read_all(lake: Lakehouse) -> dict[str, Registration]:
    """Every registration, by name, in one read."""
    rows = lake.read("datasets")
    return {str(row["dataset"]): _from_row(row) for row in rows.to_dict("records")}


def find(lake: Lakehouse, name: str) -> Registration:
    """The registration of a data set.

    Raises
    ------
    InputError
        It was never added.
    """
    rows = lake.read("datasets", check_name(name))
    if rows.empty:
        raise InputError(
            f"data set '{name}'", f"is not registered. Registered: {shorten(names(lake))}.",
            f"Add it: scmagnify add FILE --name {name}",
        )  # fmt: skip
    return _from_row(rows.to_dict("records")[-1])


def _from_row(row: Mapping[Any, Any]) -> Registration:
    raw, files = json.loads(row["spec"]), json.loads(row["files"])
    return Registration(row["dataset"], raw, files, row["registered_at"], row["materialization_id"])


def hash_files(lake: Lakehouse, spec: DatasetSpec) -> dict[str, str]:
    """Hashes of all files that the settings name, by the key that names them.

    Raises
    ------
    InputError
        A file is not there.
    """
    if spec.references is not None:
        refuse_missing_files(spec.references)
    return {key: remembered_sha256(path, lake) for key, path in named_files(spec).items()}


def is_registered(lake: Lakehouse, raw: Mapping[str, Any]) -> bool:
    """Whether a data set is registered with just these settings and the present content of its files."""
    known = read_all(lake).get(str(raw.get("name")))
    return known is not None and known.raw == as_json(raw) and known.files == hash_files(lake, parse_spec(raw))


def as_json(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Raw settings as they are stored: paths and dates are texts."""
    return dict(json.loads(json.dumps(dict(raw), default=str)))


def refuse_taken(lake: Lakehouse, raw: Mapping[str, Any], *, replace: bool = False) -> None:
    """Refuse a name that other content or other settings have, unless they are to be replaced.

    Raises
    ------
    InputError
        The name is taken.
    """
    known, files = read_all(lake).get(str(raw["name"])), hash_files(lake, parse_spec(raw))
    if known is None or known.files != files or known.raw != as_json(raw):
        _refuse_taken(known, files, replace)


def _refuse_taken(known: Registration | None, files: Mapping[str, str], replace: bool) -> None:
    if known is None or replace:
        return
    what = "other settings" if known.files == files else "other content"
    raise InputError(
        f"name '{known.name}'",
        f"is taken by {what} (file {Path(known.raw['file']).name}, sha256 {known.sha256[:12]}, "
        f"registered {known.registered_at:%Y-%m-%d %H:%M} UTC).",
        "Choose another --name, or pass --replace: former results stay readable by time travel.",
    )


def register(
    lake: Lakehouse,
    raw: Mapping[str, Any],
    *,
    replace: bool = False,
    run_id: str = "none",
    validated: Mapping[str, str] | None = None,
) -> Registration:
    """Register a data set; the same content again changes nothing.

    Parameters
    ----------
    raw
        Settings with absolute paths; ``name`` and ``file`` are required.
    validated
        Hashes of the files that were validated; others are refused, because nobody has looked at them.
    replace
        Allow other content or settings under a name that is taken. Former results stay readable by time travel.

    Raises
    ------
    InputError
        The settings are wrong, the file is not there, or the name is taken by other content.
    """
    spec = parse_spec(raw)
    files = hash_files(lake, spec)
    if validated is not None and validated != files:
        changed = [key for key in files if validated.get(key) != files[key]]
        raise StorageError(f"{shorten(changed)} of '{spec.name}' changed while being read. It is read again.")
    raw = as_json(raw)
    with lake.claim(check_name(spec.name)):  # two who come with one new name: the second finds it taken
        known = read_all(lake)
        check_new_name(spec.name, known)
        mine = known.get(spec.name)
        if mine is not None and mine.files == files and mine.raw == raw:
            return mine
        _refuse_taken(mine, files, replace)
        now = datetime.now(UTC)
        row = pd.DataFrame(
            [
                {
                    "file": str(spec.file),
                    "sha256": files["file"],
                    "files": json.dumps(files, sort_keys=True),
                    "size_bytes": spec.file.stat().st_size,
                    "species": spec.species,
                    "spec": json.dumps(raw, sort_keys=True),
                    "registered_at": now,
                }
            ]
        )
        made = lake.write(
            ASSET, spec.name, None, {"datasets": row}, {},
            run_id=run_id, inputs=(), parameters=raw, file_sha256=files["file"],
        )  # fmt: skip
    return Registration(spec.name, raw, files, now, made.materialization_id)


def refuse_changed_files(lake: Lakehouse, registration: Registration, only: Collection[str] | None = None) -> None:
    """Refuse files (all, or those under the keys ``only``) whose content is no longer the registered one.

    What the lineage says of a result would be untrue otherwise.

    Raises
    ------
    InputError
        A file is gone or its hash differs.
    """
    paths = named_files(parse_spec(registration.raw))
    for key, registered in registration.files.items():
        if only is not None and key not in only:
            continue
        path = paths[key]
        found = remembered_sha256(path, lake)
        if found != registered:
            raise InputError(
                f"'{path}'",
                f"has changed since it was registered as {key} (sha256 {found[:12]}, then {registered[:12]}).",
                f"Register its new content: scmagnify add {registration.raw['file']} --name {registration.name} "
                "--replace, with the other options as before.",
            )


def announce(instance: dg.DagsterInstance, registration: Registration) -> None:
    """Tell Dagster of a registered data set: its partition, and a new version of its file where there is one."""
    announce_partitions(instance, registration.spec())
    key = dg.AssetKey(ASSET)
    known = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[registration.name]), limit=1
    ).records
    latest = known[0].asset_materialization if known else None
    if latest is not None and (latest.tags or {}).get(DATA_VERSION) == registration.data_version:
        return
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=key,
            partition=registration.name,
            metadata={"file": str(registration.raw["file"]), "sha256": registration.sha256},
            tags={DATA_VERSION: registration.data_version},
        )
    )
