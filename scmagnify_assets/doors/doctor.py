"""What is installed, where results are, and what is wrong: facts for the ``doctor`` command."""

import shutil
from dataclasses import dataclass

from scmagnify_assets.home import VARIABLE, Home
from scmagnify_assets.lake.lakehouse import Lakehouse, extension_path
from scmagnify_assets.lake.lineage import code_version, package_versions
from scmagnify_core.errors import ScmagnifyError

MIN_FREE_GIB = 5


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``remedy`` is empty where nothing is wrong."""

    what: str
    found: str
    is_good: bool = True
    remedy: str = ""


def examine(home: Home) -> list[Finding]:
    """Look at packages, devices, disk and lake; changes nothing."""
    versions = package_versions()
    findings = [Finding("scmagnify", code_version())]
    findings += [
        Finding(name, version, version != "absent", "" if version != "absent" else f"pip install {name}")
        for name, version in versions.items()
    ]
    findings += [_device(), _extension(), Finding("home", f"{home.root} ({VARIABLE})"), _disk(home), _lake(home)]
    return findings


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", f"CUDA: {torch.cuda.get_device_name()}")
    return Finding("device", "CPU only; for a GPU install a CUDA build of torch and its driver")


def _extension() -> Finding:
    path = extension_path()
    if path is None:
        return Finding(
            "duckdb delta",
            "missing: SQL works, slower",
            False,
            "pip install duckdb-extension-delta==<duckdb's version>",
        )
    return Finding("duckdb delta", "loads without a network")


def _disk(home: Home) -> Finding:
    folder = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    free = shutil.disk_usage(folder).free / 2**30
    return Finding(
        "disk", f"{free:.0f} GiB free", free >= MIN_FREE_GIB,
        "" if free >= MIN_FREE_GIB else f"Free some space, or set {VARIABLE} to a larger disk",
    )  # fmt: skip


def _lake(home: Home) -> Finding:
    if not home.lake.exists():
        return Finding("lake", "none yet; the first `scmagnify add` or `demo` makes it")
    try:
        lake = Lakehouse(home.lake)
        n_datasets = lake.sql("SELECT count(*) FROM datasets").column(0)[0].as_py()
    except ScmagnifyError as error:
        return Finding("lake", str(error), False, "See the message, and `scmagnify sql` for what can be read")
    return Finding("lake", f"{home.lake}, {n_datasets} data sets")
