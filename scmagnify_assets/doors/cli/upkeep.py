"""Upkeep: the platform on this machine, the lake, and what is wrong."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from scmagnify_assets.doors.cli.app import err, find_home, out

commands = typer.Typer()


@commands.command(rich_help_panel="Upkeep")
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on; only this machine by default.")] = "127.0.0.1",
) -> None:
    """Run the platform on this machine: the UI, and what makes it run by itself. Stop it with Ctrl-C.

    While it runs, a data file that is dropped into `$SCMAGNIFY_HOME/incoming` (or the folder or URL that
    SCMAGNIFY_INCOMING names) is validated, registered and run; so is what `scmagnify add` registers. What died is
    started again. The UI has no log-in: leave it on this machine, or put it behind a proxy that asks for one
    (`deploy/gpu-server`).

    Example: `scmagnify ui --port 3001`, then http://127.0.0.1:3001
    """
    from scmagnify_assets.service.runner import open_instance
    from scmagnify_assets.service.server import log_file, serve

    home = find_home()
    with open_instance(home):
        pass  # makes the folders, the lake and Dagster's configuration
    out.print(f"UI on http://{host}:{port}, watching {home.incoming_url} (stop with Ctrl-C)", soft_wrap=True)
    out.print(f"Log: {log_file(home)}", soft_wrap=True, highlight=False)
    if host not in ("127.0.0.1", "localhost", "::1"):
        err.print(
            f"[yellow]Anyone who reaches {host}:{port} can start runs and read results: there is no log-in.[/]",
            soft_wrap=True,
        )
    serve(home, host, port, lambda said: err.print(escape(said), highlight=False))


@commands.command(rich_help_panel="Upkeep")
def maintain(
    keep_days: Annotated[
        int | None, typer.Option(min=7, help="Days that former versions stay readable; SCMAGNIFY_KEEP_DAYS or 90.")
    ] = None,
) -> None:
    """Merge small files of the lake, and remove former versions that are older than a period.

    The platform does this every Sunday. Current results are never removed.

    Example: `scmagnify maintain --keep-days 30`
    """
    from scmagnify_assets.lake.lakehouse import Lakehouse
    from scmagnify_assets.lake.maintenance import maintain as maintain_lake
    from scmagnify_assets.triggers.schedules import keep_days_of_environment

    with err.status("Maintaining the lake"):
        report = maintain_lake(Lakehouse(find_home().lake), keep_days=keep_days or keep_days_of_environment())
    out.print(str(report), highlight=False)


@commands.command(rich_help_panel="Upkeep")
def doctor() -> None:
    """Say what is installed, where the results are, what the devices are, and what is wrong and how to mend it.

    Example: `scmagnify doctor`
    """
    from scmagnify_assets.doors.doctor import examine

    findings = examine(find_home())
    table = RichTable("", "what", "found", "remedy", box=None)
    for finding in findings:
        mark = "[green]ok[/]" if finding.is_good else "[red]no[/]"
        table.add_row(mark, finding.what, escape(finding.found), escape(finding.remedy))
    out.print(table)
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(1)
