"""What the results go back to, as the foot of the page tells it: settings, files, versions, and a query.

Everything is read off the materializations themselves, never off what is registered or installed now: a page that is
made again from old results must tell of the old settings. Files are named without their folders, because pages are
mailed to people whom the folders are no business of.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from scmagnify_core.report.inputs import Origin
from scmagnify_core.specification import PATH_FIELDS, DatasetSpec

RAW = "raw_dataset"  # its parameters are the settings as given, of which the others hold what they used
NO_SETTING = ("name", "preset", "sha256", "references", *PATH_FIELDS)


@dataclass(frozen=True)
class Setting:
    """A setting that is not what the preset says; ``preset`` is None where this version has no such setting."""

    key: str
    value: str
    preset: str | None


@dataclass(frozen=True)
class UsedFile:
    """A file that the results go back to."""

    key: str
    name: str
    sha256: str


def preset_of(origins: Sequence[Origin]) -> str:
    """Name of the preset; several, if results of different ones were put together."""
    found = dict.fromkeys(str(one.parameters["preset"]) for one in _with_settings(origins))
    return ", ".join(found) or "unknown"


def setting_of(origins: Sequence[Origin], table: str, key: str) -> Any:
    """The value of a setting, such as ``diffusion`` and ``lag_step``; None where no result records it."""
    for one in _with_settings(origins):
        if key in (values := one.parameters.get(table) or {}):
            return values[key]
    return None


def differing_settings(origins: Sequence[Origin]) -> list[Setting]:
    """Settings that differ from those of the preset, by key.

    A key may come twice, with two values: then results of different settings were put together.
    """
    found: dict[tuple[str, str], Setting] = {}
    for one in _with_settings(origins):
        preset = one.parameters["preset"]
        usual = _flat(
            DatasetSpec.model_validate({"name": "x", "file": "x", "preset": preset}).model_dump(mode="json")
        )
        for key, value in _flat(one.parameters).items():
            if key.partition(".")[0] in NO_SETTING or (key in usual and usual[key] == value):
                continue
            found[key, value] = Setting(key, value, usual.get(key))
    return [found[at] for at in sorted(found)]


def used_files(origins: Sequence[Origin]) -> list[UsedFile]:
    """The data file first, then the others that the results were made from, each with the hash of what was read."""
    found: dict[tuple[str, str], UsedFile] = {}
    for one in origins:
        if one.asset == RAW:
            continue
        for key, sha256 in one.parameters.get("sha256", {}).items():
            found[key, sha256] = UsedFile(key, _file_name(one.parameters, key), sha256)
    return sorted(found.values(), key=lambda file: (file.key != "file", file.key, file.sha256))


def package_versions(origins: Sequence[Origin]) -> dict[str, str]:
    """Versions of Python and packages; of several runs with different versions all are named."""
    found: dict[str, dict[str, None]] = {}
    for one in origins:
        for package, version in one.packages.items():
            found.setdefault(package, {})[version] = None
    return {package: ", ".join(versions) for package, versions in sorted(found.items())}


def edge_query(name: str, n_rows: int, materialization_id: str | None) -> str:
    """The SQL that gives the page's table of edges, of just the network that the page shows."""
    exactly = f"\n  AND e.materialization_id = '{materialization_id}'" if materialization_id else ""
    return (
        "SELECT e.rank, e.source, e.target, e.signed_score, e.score, e.lag, e.pvalue, e.padj, e.stability,\n"
        "       p.evidence, p.n_peaks\n"
        "FROM edges e JOIN prior_network p USING (dataset, source, target)\n"
        f"WHERE dataset = '{name}'{exactly}\n"
        f"ORDER BY e.rank, e.source, e.target LIMIT {n_rows}"
    )


def _with_settings(origins: Sequence[Origin]) -> list[Origin]:
    return [one for one in origins if one.asset != RAW and "preset" in one.parameters]


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Dotted keys and values as JSON."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[above + key] = json.dumps(value)
    return found


def _file_name(parameters: Mapping[str, Any], key: str) -> str:
    """Name of the file under a key such as ``file``, ``prior.2`` or ``references.genome``."""
    place, _, part = key.partition(".")
    value = parameters.get(place)
    if isinstance(value, Mapping):
        value = value.get(part)
    elif isinstance(value, list):
        number = int(part or 1)
        value = value[number - 1] if number <= len(value) else None
    return PurePath(str(value)).name if value else "unknown"
