"""Of which settings and files a result is: what its lineage records, its version hashes, and automation compares."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scmagnify_assets.datasets.registry import Registration
from scmagnify_assets.graph.record import RECORDS, Record
from scmagnify_core.specification import DatasetSpec, files_of


def parameters_of(
    record: Record, registration: Registration, spec: DatasetSpec
) -> tuple[dict[str, Any], Mapping[str, Path]]:
    """The settings that an asset reads itself, with the hashes of the files among them; and those files."""
    files = files_of(record.settings, spec)
    hashes = {"sha256": {key: registration.files[key] for key in files}} if files else {}
    return spec.parameters(record.settings) | hashes, files


def settings_below(asset: str) -> frozenset[str]:
    """The settings that an asset and everything upstream of it read."""
    record = RECORDS[asset]
    below = (settings_below(name) for name in record.inputs if name in RECORDS)
    return frozenset(record.settings).union(*below)


def is_of_settings(parameters: Mapping[str, Any], record: Record, registration: Registration) -> bool:
    """Whether a result with these recorded parameters is what the registered settings would give."""
    wanted, _ = parameters_of(record, registration, registration.spec())
    return json.dumps(dict(parameters), sort_keys=True) == json.dumps(wanted, sort_keys=True)
