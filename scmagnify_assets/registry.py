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

import pandas as pd

from scmagnify_assets.lakehouse import Lakehouse, check_name
from scmagnify_core.dataset import file_sha256
from scmagnify_core.errors import InputError, shorten
from scmagnify_core.references import refuse_missing_files
from scmagnify_core.specification import PATH_FIELDS, DatasetSpec, named_files, override, parse_spec

ASSET = "raw_dataset"


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
        """Changes with the content of the files and with the settings, and with nothing else."""
        return hashlib.sha256(json.dumps([self.files, self.raw], sort_keys=True).encode()).hexdigest()

    def spec(self, settings: Sequence[str] = (), preset: str | None = None) -> DatasetSpec:
        """The settings with every default filled in, after a run's overrides.

        Raises
        ------
        InputError
            A setting is wrong, or changes what was registered: the name or a file.
        """
        for setting in settings:
            key = setting.partition("=")[0].strip()
            if key in ("name", "references", *PATH_FIELDS) or key.startswith("references."):
                raise InputError(
                    f"--set {setting}", "changes what the data set is, for one run only.",
                    f"Register it: scmagnify add ... --name {self.name} --replace, or under another name.",
                )  # fmt: skip
        return parse_spec(override(self.raw, settings, preset), f"settings of '{self.name}'")


def names(lake: Lakehouse) -> list[str]:
    """Registered data sets, sorted."""
    return sorted(lake.read("datasets", columns=["dataset"])["dataset"])


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
    row = rows.iloc[-1]
    raw, files = json.loads(row["spec"]), json.loads(row["files"])
    return Registration(name, raw, files, row["registered_at"], row["materialization_id"])


def _hash_files(spec: DatasetSpec) -> dict[str, str]:
    if spec.references is not None:
        refuse_missing_files(spec.references)
    return {key: file_sha256(path) for key, path in named_files(spec).items()}


def register(lake: Lakehouse, raw: Mapping[str, Any], *, replace: bool = False, run_id: str = "none") -> Registration:
    """Register a data set; the same content again changes nothing.

    Parameters
    ----------
    raw
        Settings with absolute paths; ``name`` and ``file`` are required.
    replace
        Allow other content or settings under a name that is taken. Former results stay readable by time travel.

    Raises
    ------
    InputError
        The settings are wrong, the file is not there, or the name is taken by other content.
    """
    spec = parse_spec(raw)
    check_name(spec.name)
    files = _hash_files(spec)
    raw = json.loads(json.dumps(dict(raw), default=str))
    known = find(lake, spec.name) if spec.name in names(lake) else None
    if known is not None and known.files == files and known.raw == raw:
        return known
    if known is not None and not replace:
        what = "other settings" if known.files == files else "other content"
        raise InputError(
            f"name '{spec.name}'",
            f"is taken by {what} (file {Path(known.raw['file']).name}, sha256 {known.sha256[:12]}, "
            f"registered {known.registered_at:%Y-%m-%d %H:%M} UTC).",
            "Choose another --name, or pass --replace: former results stay readable by time travel.",
        )
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


def refuse_changed_files(registration: Registration, only: Collection[str] | None = None) -> None:
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
        found = file_sha256(path)
        if found != registered:
            raise InputError(
                f"'{path}'",
                f"has changed since it was registered as {key} (sha256 {found[:12]}, then {registered[:12]}).",
                f"Register its new content: scmagnify add {registration.raw['file']} --name {registration.name} "
                "--replace, with the other options as before.",
            )
