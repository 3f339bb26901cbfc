"""Runs: the method on a data set, its settings, progress meanwhile and what one wants to see afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from scmagnify_assets.doors.cli.app import err, find_home, out, program, rows_of
from scmagnify_assets.doors.terminal import print_rows

if TYPE_CHECKING:
    from scmagnify_assets.home import Home

NEXT_QUERY = """SELECT source, target, score, signed_score, lag, stability
FROM edges WHERE dataset = $name ORDER BY score DESC LIMIT 10"""

commands = typer.Typer()


@commands.command(rich_help_panel="Runs")
def run(
    name: Annotated[str, typer.Argument(help="Name of a registered data set.")],
    seeds: Annotated[int | None, typer.Option(help="Models to train, with seeds 0, 1, ...")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting for this run, as key=value; may be repeated.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="recommended or published.")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only this asset; may be repeated. What it needs must be there.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log.")] = False,
) -> None:
    """Run the whole method on a data set, or some assets of it.

    Results of the same data set are replaced, those of others are not touched, and former versions stay readable.

    Examples: `scmagnify run blood --seeds 5`, `scmagnify run blood --set granger.n_lags=3 --set granger.device=cuda`,
    `scmagnify run blood --preset published`, `scmagnify run blood --select regfactors --select regfactor_activity`
    """
    home = find_home()
    run_and_show(
        home, name, seeds=seeds, settings=settings or (), preset=preset, select=select or (), verbose=verbose
    )


@commands.command(rich_help_panel="Runs")
def settings(
    key: Annotated[
        str | None, typer.Argument(help="Only this table or key, such as granger or granger.n_lags.")
    ] = None,
) -> None:
    """List every setting of a data set: what it may be, what it is when left out, and what it means.

    They stand in the data set's TOML, a key of a table under its name (`[granger]`, then `n_lags = 3`), or on the
    command line, as `--set granger.n_lags=3`.

    Examples: `scmagnify settings`, `scmagnify settings granger`
    """
    from scmagnify_core import settings as declared
    from scmagnify_core.errors import InputError

    found = [one for one in declared.settings() if key in (None, one.key, one.table)]
    if not found:
        raise InputError(f"'{key}'", "is no setting.", f"Tables: {', '.join(filter(None, declared.tables()))}.")
    for table, about in declared.tables().items():
        if not (own := [one for one in found if one.table == table]):
            continue
        out.print(f"[bold]{escape(f'[{table}]')}[/] {about}" if table else f"[bold]{about}[/]", highlight=False)
        shown = RichTable("key", box=None, header_style="bold", padding=(0, 2, 0, 0))
        shown.add_column("values", max_width=22)
        shown.add_column("default", max_width=16, overflow="fold")
        shown.add_column("meaning", min_width=20)
        for one in own:
            default = one.default if one.published == one.default else f"{one.default}\n(published: {one.published})"
            shown.add_row(*map(escape, (one.name, one.values, default.strip(), one.meaning)))
        out.print(shown, "")


def run_and_show(home: "Home", name: str, *, verbose: bool = False, **options: Any) -> None:
    """Run the graph of a data set with a bar per asset, then show the results (options: `run_dataset`)."""
    from scmagnify_assets.service.runner import run_dataset

    with progress():
        run_dataset(home, name, log_level="INFO" if verbose else "CRITICAL", **options)
    summarize(name)


@contextmanager
def progress() -> Iterator[None]:
    """One line per asset: waiting, working (with a bar where the work is long), stored."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from scmagnify_assets.steps.progress import listening

    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description:22}"), BarColumn(bar_width=24),
        TextColumn("{task.fields[detail]:36}"), TimeElapsedColumn(),
    )  # fmt: skip
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=err, transient=False) as bars:

        def show(task: str, done: int, total: int, detail: str) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=None, detail="")
            bars.update(tasks[task], completed=done, total=total or None, detail=detail)

        with listening(show):
            yield


def summarize(name: str) -> None:
    """What one wants to see first after a run."""
    edges = rows_of(NEXT_QUERY, {"name": name})
    if not edges.num_rows:  # some assets were selected, and none of them made a network
        return
    out.print(f"\n[bold]Strongest edges of {name}[/]")
    print_rows(edges, out)
    scores = rows_of(
        """SELECT truth, CASE prior_edges WHEN 'only' THEN 'order of candidates' ELSE 'whole truth' END AS asked,
                   method, round(auprc_ratio, 2) AS auprc_ratio,
                   printf('%.2f to %.2f', auprc_ratio_low, auprc_ratio_high) AS "95 % over TFs", round(epr, 2) AS epr,
                   round(epr_ceiling, 1) AS epr_ceiling, round(sign_accuracy, 2) AS sign_accuracy,
                   round(lag_spearman, 2) AS lag_spearman
            FROM network_scores WHERE dataset = $name AND prior_edges <> 'removed' AND variant = 'canonical'
                AND (method IN ('scmagnify', 'group_lasso', 'boosted_trees', 'correlation', 'prior', 'random')
                     OR method IN (SELECT method FROM imported_networks WHERE dataset = $name))
            ORDER BY truth, asked, auprc_ratio DESC""",
        {"name": name},
    )
    if scores.num_rows:
        out.print(
            "\n[bold]Against the ground truth[/]: 1 is a random order; every method ranks the candidates only, which "
            "alone beats random on the whole truth"
        )
        print_rows(scores, out)
    command = program()
    query = f"FROM edge_provenance WHERE dataset = '{name}' ORDER BY score DESC LIMIT 1"
    out.print(
        f'\nAsk next, which seeds, file and code made the strongest edge:\n  {command} sql "{query}"', soft_wrap=True
    )
    has_motifs = rows_of("SELECT 1 FROM tf_binding WHERE dataset = $name LIMIT 1", {"name": name}).num_rows
    if has_motifs:
        query = (
            "SELECT source, target, peak, distance_bp, correlation, motif, motif_start, strand, motif_pvalue "
            f"FROM edge_evidence WHERE dataset = '{name}' ORDER BY score DESC LIMIT 5"
        )
        out.print(f'Which peaks and motifs speak for it:\n  {command} sql "{query}"', soft_wrap=True)
    out.print(f"Look at the graph:\n  {command} ui", highlight=False)
    made = "SELECT 1 FROM artifacts WHERE asset = 'report' AND dataset = $name LIMIT 1"
    if rows_of(made, {"name": name}).num_rows:
        out.print(f"All of it on one page, to read and to mail:\n  {command} report {name} --open", highlight=False)
