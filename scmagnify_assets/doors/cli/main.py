"""The ``scmagnify`` command: from a data file to SQL over every result."""

import sys

from rich.markup import escape

from scmagnify_assets.doors.cli import data, results, runs, upkeep
from scmagnify_assets.doors.cli.app import app, err
from scmagnify_core.errors import ScmagnifyError

__all__ = ["app", "main"]

for _group in (data, runs, results, upkeep):  # in the order of the help
    app.add_typer(_group.commands)


def main() -> None:
    """Entry point: the user's errors are printed without a traceback and end with status 1."""
    try:
        app()
    except ScmagnifyError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
