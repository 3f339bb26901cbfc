"""The typer application, its consoles, and what all commands share.

Commands say what they do by example (``--help``). Heavy packages are imported where they are used, so that help and
typing errors answer at once. `main` adds the groups of commands.
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    import pyarrow as pa

    from scmagnify_assets.home import Home
    from scmagnify_assets.lake.lakehouse import Lakehouse

app = typer.Typer(
    name="scmagnify",
    help="Gene-regulatory networks from single-cell data: add a file, run the method, query every result.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
out, err = Console(), Console(stderr=True)


def find_home() -> "Home":
    """The folder of data sets and results."""
    from scmagnify_assets.home import Home

    return Home.find()


def open_lake(home: "Home") -> "Lakehouse":
    """The lake, or the error that says how to get one."""
    from scmagnify_assets.home import VARIABLE
    from scmagnify_assets.lake.lakehouse import Lakehouse
    from scmagnify_core.errors import InputError

    if not home.lake.exists():
        raise InputError(
            f"'{home.root}'", "holds no results yet.",
            f"Try `scmagnify demo`, add a data set, or point {VARIABLE} at the folder of earlier results.",
        )  # fmt: skip
    return Lakehouse(home.lake)


def rows_of(query: str, parameters: Mapping[str, Any] | None = None) -> "pa.Table":
    """Rows of a query over the lake at home."""
    return open_lake(find_home()).sql(query, parameters)


def program() -> str:
    """What to type for this command here: its name where it is on the PATH, else where it lies."""
    import shutil

    return "scmagnify" if shutil.which("scmagnify") else os.path.relpath(sys.argv[0])
