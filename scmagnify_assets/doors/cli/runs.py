"""Runs: the methods on a data set, their settings, progress meanwhile and what one wants to see afterwards."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from scmagnify_assets.doors.cli.app import err, find_home, open_lake, out, program, rows_of
from scmagnify_assets.doors.terminal import print_rows

if TYPE_CHECKING:
    from scmagnify_assets.home import Home
    from scmagnify_core.specification import DatasetSpec

commands = typer.Typer()

STRONGEST = """SELECT source, target, score, signed_score, lag, stability
FROM edges WHERE dataset = $name ORDER BY score DESC LIMIT 10"""
SCORES = """SELECT truth, CASE prior_edges WHEN 'only' THEN 'order of candidates' ELSE 'whole truth' END AS asked,
       method, round(auprc_ratio, 2) AS auprc_ratio,
       printf('%.2f to %.2f', auprc_ratio_low, auprc_ratio_high) AS "95 % over TFs", round(epr, 2) AS epr,
       round(epr_ceiling, 1) AS epr_ceiling, round(sign_accuracy, 2) AS sign_accuracy,
       round(lag_spearman, 2) AS lag_spearman
FROM network_scores
WHERE dataset = $name AND prior_edges <> 'removed' AND variant = 'canonical' AND list_contains($methods, method)
ORDER BY truth, asked, auprc_ratio DESC"""


@commands.command(rich_help_panel="Runs")
def run(
    name: Annotated[str, typer.Argument(help="Name of a registered data set.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method of this run instead of those of the data set, or `all`. May be repeated."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Fits of each method, with seeds 0, 1, ...")] = None,
    preset: Annotated[str | None, typer.Option(help="Named set of settings: recommended or published.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Setting of this run, as table.key=value (`scmagnify settings`). May be repeated."
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="Only this asset. What it is made from must be there. May be repeated."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log.")] = False,
) -> None:
    """Run the methods of a data set, and what is made of their results.

    Results of the same data set are replaced. Those of others are not touched, and former versions stay readable.

    Examples: `scmagnify run blood --seeds 5`, `scmagnify run blood --method all`,
    `scmagnify run blood --set scmagnify.n_lags=3 --set scmagnify.device=cuda`,
    `scmagnify run blood --preset published`, `scmagnify run blood --select regfactors --select regfactor_activity`
    """
    own = (*(settings or ()), *([f"methods={json.dumps(method)}"] if method else ()))
    run_and_show(
        find_home(), name, seeds=seeds, settings=own, preset=preset, select=tuple(select or ()), verbose=verbose
    )


@commands.command(rich_help_panel="Runs")
def settings(
    key: Annotated[
        str | None, typer.Argument(help="Only this table or key, such as scmagnify or scmagnify.n_lags.")
    ] = None,
) -> None:
    """List every setting of a data set: what it may be, what it is when left out, and what it means.

    They stand in the data set's TOML, a key of a table under its name (`[scmagnify]`, then `n_lags = 3`), or on the
    command line, as `--set scmagnify.n_lags=3`.

    Examples: `scmagnify settings`, `scmagnify settings scmagnify`
    """
    from scmagnify_core import settings as declared

    known = declared.settings()
    found = known if key is None else _settings_under(key, known)
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


def _settings_under(key: str, known: Sequence[Any]) -> list[Any]:
    """The settings of a table or of one key; the table may be given by its former name."""
    from difflib import get_close_matches

    from scmagnify_core.errors import InputError
    from scmagnify_core.specification import FORMER_TABLES

    table, dot, rest = key.partition(".")
    present = f"{FORMER_TABLES.get(table, table)}{dot}{rest}"
    if found := [one for one in known if present in (one.key, one.table)]:
        return found
    spelled = {former: [name] for former, name in FORMER_TABLES.items()}
    # Also by the last part alone, which is what one remembers.
    for one in known:
        for spelling, meant in ((one.table, one.table), (one.key, one.key), (one.name, one.key)):
            if spelling and meant not in spelled.setdefault(spelling, []):
                spelled[spelling].append(meant)
    near = [f"'{meant}'" for one in get_close_matches(present, spelled, n=1) for meant in spelled[one]]
    tables = ", ".join(dict.fromkeys(one.table for one in known if one.table))
    said = f"Did you mean {' or '.join(dict.fromkeys(near))}?" if near else f"Tables: {tables}."
    raise InputError(f"'{key}'", "is no setting.", said)


def run_and_show(
    home: "Home",
    name: str,
    *,
    seeds: int | None = None,
    settings: Sequence[str] = (),
    preset: str | None = None,
    select: Sequence[str] = (),
    verbose: bool = False,
) -> None:
    """Run a data set with a line of progress for each asset, then show its results (`run_dataset`)."""
    from scmagnify_assets.datasets import registry
    from scmagnify_assets.service.runner import run_dataset

    level = "INFO" if verbose else "CRITICAL"
    with progress():
        run_dataset(home, name, seeds=seeds, settings=settings, preset=preset, select=select, log_level=level)
    summarize(registry.find(open_lake(home), name).spec(settings, preset))


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


def summarize(spec: "DatasetSpec") -> None:
    """Print what one wants to see first after a run: strongest edges, rows of each method, scores, what to ask next."""
    named, command = {"name": spec.name}, program()
    has_edges = False
    if spec.interpreted is not None:
        edges = rows_of(STRONGEST, named)
        if has_edges := bool(edges.num_rows):  # else some assets were selected, and none of them made a network
            others = f" (method {spec.interpreted})" if len(spec.methods) > 1 else ""
            out.print(f"\n[bold]Strongest edges of {spec.name}[/]{others}")
            print_rows(edges, out)
    made = _rows_of_methods(spec)
    if made and (len(spec.methods) > 1 or not has_edges):
        out.print(f"\n[bold]What the methods made of {spec.name}[/]")
        shown = RichTable("method", "table", box=None, header_style="bold", pad_edge=False)
        shown.add_column("rows", justify="right")
        for method, table, n_rows in made:
            shown.add_row(method, table, f"{n_rows:,}")
        out.print(shown)
    _show_scores(spec)
    if has_edges:
        query = f"FROM edge_provenance WHERE dataset = '{spec.name}' ORDER BY score DESC LIMIT 1"
        _suggest("\nAsk next, which seeds, file and code made the strongest edge:", f'{command} sql "{query}"')
        if rows_of("SELECT 1 FROM tf_binding WHERE dataset = $name LIMIT 1", named).num_rows:
            query = (
                "SELECT source, target, peak, distance_bp, correlation, motif, motif_start, strand, motif_pvalue "
                f"FROM edge_evidence WHERE dataset = '{spec.name}' ORDER BY score DESC LIMIT 5"
            )
            _suggest("Which peaks and motifs speak for it:", f'{command} sql "{query}"')
    elif made:
        query = f"FROM {made[0][1]} WHERE dataset = '{spec.name}' LIMIT 10"
        _suggest("\nLook at the rows:", f'{command} sql "{query}"')
    else:
        return
    _suggest("Look at the graph:", f"{command} ui")
    if rows_of("SELECT 1 FROM artifacts WHERE asset = 'report' AND dataset = $name LIMIT 1", named).num_rows:
        _suggest("All of it on one page, to read and to mail:", f"{command} report {spec.name} --open")


def _rows_of_methods(spec: "DatasetSpec") -> list[tuple[str, str, int]]:
    """Method, table and number of rows of what the methods of a data set say of it, as far as it was made."""
    from scmagnify_core.methods.families import METHODS

    lake, made = open_lake(find_home()), []
    for method in spec.methods:
        current = lake.current(METHODS[method].result_asset, spec.name)
        made += [(method, table, n) for table, n in (current.tables if current else {}).items() if n]
    return made


def _show_scores(spec: "DatasetSpec") -> None:
    """Scores of the data set's methods, of networks made elsewhere, and of all baselines and controls."""
    from scmagnify_core.methods.families import FAMILIES, METHODS

    beside = [name for name in FAMILIES if name not in METHODS]
    methods = [*(one.name for one in spec.network_methods), *spec.networks, *beside]
    scores = rows_of(SCORES, {"name": spec.name, "methods": methods})
    if scores.num_rows:
        out.print(
            "\n[bold]Against the ground truth[/]: 1 is a random order; every method ranks the candidates only, which "
            "alone beats random on the whole truth"
        )
        print_rows(scores, out)


def _suggest(why: str, command: str) -> None:
    out.print(f"{escape(why)}\n  {escape(command)}", soft_wrap=True, highlight=False)
