"""Data sets that were added: their file, its hash, and their settings.

Registering writes one row of the ``datasets`` table, which is what the asset ``raw_dataset`` stands for. The raw
settings are stored as given, defaults not filled in, so that presets and overrides of a later run still apply.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from scmagnify_assets.lakehouse import Lakehouse, check_name
from scmagnify_core.dataset import file_sha256
from scmagnify_core.errors import InputError, shorten
from scmagnify_core.specification import DatasetSpec, override, parse_spec

ASSET = "raw_dataset"


@dataclass(frozen=True)
class Registration:
    """A registered data set: ``raw`` settings, the file's hash, and when it was registered."""

    name: str
    raw: Mapping[str, Any]
    sha256: str
    registered_at: datetime
    materialization_id: str

    @property
    def data_version(self) -> str:
        """Changes with the file's content and with the settings, and with nothing else."""
        return hashlib.sha256(f"{self.sha256}{json.dumps(self.raw, sort_keys=True)}".encode()).hexdigest()

    def spec(self, settings: Sequence[str] = (), preset: str | None = None) -> DatasetSpec:
        """The settings with every default filled in, after a run's overrides."""
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
    return Registration(name, json.loads(row["spec"]), row["sha256"], row["registered_at"], row["materialization_id"])


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
    sha256 = file_sha256(spec.file)
    raw = json.loads(json.dumps(dict(raw), default=str))
    known = find(lake, spec.name) if spec.name in names(lake) else None
    if known is not None and known.sha256 == sha256 and known.raw == raw:
        return known
    if known is not None and not replace:
        what = "other content" if known.sha256 != sha256 else "other settings"
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
                "sha256": sha256,
                "size_bytes": spec.file.stat().st_size,
                "species": spec.species,
                "spec": json.dumps(raw, sort_keys=True),
                "registered_at": now,
            }
        ]
    )
    made = lake.write(
        ASSET, spec.name, None, {"datasets": row}, {}, run_id=run_id, inputs=(), parameters=raw, file_sha256=sha256
    )  # fmt: skip
    return Registration(spec.name, raw, sha256, now, made.materialization_id)


def refuse_changed_file(registration: Registration) -> None:
    """Refuse a file whose content is no longer the registered one: the lineage would be untrue.

    Raises
    ------
    InputError
        The hashes differ.
    """
    path = Path(registration.raw["file"])
    found = file_sha256(path)
    if found != registration.sha256:
        raise InputError(
            f"'{path}'",
            f"has changed since it was registered (sha256 {found[:12]}, then {registration.sha256[:12]}).",
            f"Register its new content: scmagnify add {path} --name {registration.name} --replace",
        )  # fmt: skip
