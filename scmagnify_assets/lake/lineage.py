"""Who made what, from what: the description of one write, as plain values.

A `Materialization` is one completed or attempted write of one asset's partition. Its identifier is stamped on
every row and every artefact that the write produces, so that "which seeds, which file, which code made this
edge?" is one JOIN with the ``lineage`` table.

Decisions:

- The identifier is random (uuid4), not derived from the content: writing the same content twice is two
  events. Whether the content changed is the question of ``data_version``, a hash of the content alone.
- The code version is the package's version *and* a hash of its source, because a development install keeps
  its version number while its code changes.

Storing and finding these descriptions belongs to `scmagnify_assets.lake.lakehouse`; nothing here reads the lake.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

DISTRIBUTION = "scmagnify-platform"
SOURCE_PACKAGES = ("scmagnify_assets", "scmagnify_core")
SOURCE_SUFFIXES = (".py", ".j2", ".css", ".js")
PACKAGES = (
    "torch", "numba", "numpy", "scipy", "pandas", "scanpy", "anndata", "faiss-cpu", "lightgbm", "tensorly", "dagster",
    "deltalake", "duckdb",
)  # fmt: skip


@cache
def code_version() -> str:
    """Version of the installed package and 12 hex digits of the hash of its source.

    The hash covers the relative path and content of every ``*.py`` of the two packages, and of the report's template,
    style and script, in sorted order, so that any edit, rename or removal shows. Computed once per process: code does
    not change under a run.
    """
    digest = hashlib.sha256()
    for package in SOURCE_PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None, package
        assert spec.submodule_search_locations, package
        folder = Path(spec.submodule_search_locations[0])
        found = (path for path in folder.rglob("*") if path.suffix in SOURCE_SUFFIXES)
        for file in sorted(found, key=lambda path: path.relative_to(folder).as_posix()):
            content = file.read_bytes()
            # The length keeps two files apart whose concatenation is the same.
            digest.update(f"{package}/{file.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return f"{importlib.metadata.version(DISTRIBUTION)}+{digest.hexdigest()[:12]}"


@cache
def package_versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that results depend on; 'absent' for one not installed."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def new_materialization_id() -> str:
    """Make a fresh identifier: 32 hex digits."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Input:
    """One materialization that another was made from.

    ``data_version`` is the content hash at the time of reading; ``seed`` is None for an asset without seeds.
    """

    asset: str
    dataset: str
    seed: int | None
    materialization_id: str
    data_version: str


@dataclass(frozen=True)
class Materialization:
    """One write of one asset's partition: a row of the ``lineage`` table.

    ``seed`` is the partition's own seed, ``seeds`` are all the seeds that entered (of an aggregate, say).
    ``tables`` maps each table that was written to its number of rows; ``file_sha256`` is the hash of the data
    file at the root of the graph; ``created_at`` is when the write began, in UTC; ``packages`` the versions that it was
    made with. ``runtime_s`` and ``peak_memory_mib`` are what its step used, None where nothing measured it; a step that
    makes several seeds shares its time equally between them.
    """

    materialization_id: str
    run_id: str
    asset: str
    dataset: str
    seed: int | None
    code_version: str
    data_version: str
    file_sha256: str
    seeds: tuple[int, ...] | None
    inputs: tuple[Input, ...]
    parameters: dict[str, Any]
    tables: dict[str, int]
    created_at: datetime
    packages: Mapping[str, str] = field(default_factory=package_versions)
    runtime_s: float | None = None
    peak_memory_mib: float | None = None

    def to_input(self) -> Input:
        """This materialization as the input of another."""
        return Input(self.asset, self.dataset, self.seed, self.materialization_id, self.data_version)

    def to_row(self) -> dict[str, Any]:
        """The description as a row of the ``lineage`` table.

        Raises
        ------
        TypeError
            A parameter is not JSON: pass ``config.model_dump(mode="json")``.
        """
        row = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return row | {
            "seeds": None if self.seeds is None else list(self.seeds),
            "inputs": json.dumps([asdict(one) for one in self.inputs], sort_keys=True),
            "parameters": json.dumps(self.parameters, sort_keys=True),
            "packages": json.dumps(dict(self.packages), sort_keys=True),
            "tables": json.dumps(self.tables, sort_keys=True),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Materialization":
        """Rebuild the description from a row of the ``lineage`` table; the inverse of `to_row`."""
        values = {name: row[name] for name in cls.__dataclass_fields__ if name in row}
        return cls(
            **values
            | {
                "seeds": None if row["seeds"] is None else tuple(row["seeds"]),
                "inputs": tuple(Input(**one) for one in json.loads(row["inputs"])),
                "parameters": json.loads(row["parameters"]),
                "tables": json.loads(row["tables"]),
                "packages": json.loads(row["packages"]),
            }
        )
