"""Results: SQL over all of them, files for other tools, the report."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from scmagnify_assets.doors.cli.app import err, find_home, open_lake, out, program
from scmagnify_assets.doors.rows import Format, format_of
from scmagnify_assets.doors.terminal import Terminal

commands = typer.Typer()


@commands.command(rich_help_panel="Results")
def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            help="A query, or .tables, .schema NAME, .datasets; without one a pipe is read or a prompt opens."
        ),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="How to print the rows; by --output's ending, else table.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the rows, whole or not at all.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --output.")] = False,
    pager: Annotated[bool, typer.Option(help="Page tables that are longer than the screen.")] = True,
) -> None:
    """Query every result with SQL (DuckDB's dialect). Nothing can be changed through it.

    `.tables` lists tables, views and functions, `.schema edges` the columns of one with unit, meaning and example; the
    prompt has `.help`. A table ends after some hundred rows, the other formats never do.

    Examples: `scmagnify sql "FROM top_regulators('blood', 'Hba-a2')"`,
    `scmagnify sql "FROM edges WHERE target = 'Hba-a2' ORDER BY score DESC LIMIT 5"`,
    `scmagnify sql .tables`, `scmagnify sql "FROM edge_provenance LIMIT 1" --format json`,
    `scmagnify sql "FROM edges WHERE dataset = 'blood'" --output edges.parquet`
    """
    home = find_home()
    terminal = Terminal(open_lake(home), format_of(output, format, force=force), output, is_paging=pager)
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.read()
    if query is None:
        terminal.prompt(home.root / ".sql_history" if os.access(home.root, os.W_OK) else None)
    else:
        terminal.ask(query)


@commands.command(rich_help_panel="Results")
def export(
    name: Annotated[str, typer.Argument(help="Name of a data set that was run.")],
    output: Annotated[
        str, typer.Argument(help="File to write; its ending says as what. A folder (ending in /) gets every table.")
    ],
    format: Annotated[
        str | None, typer.Option(help="What to write, for an OUTPUT whose ending does not say: h5mu, csv, ...")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Columns of a list of edges. decoupler: source, target, weight. celloracle: source, target, "
            "coef_mean, coef_abs, p, -logp. scenic: TF, target, importance."
        ),
    ] = None,
    selected: Annotated[
        bool, typer.Option("--selected", help="Only edges that pass the network's threshold.")
    ] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Only so many edges, the strongest.")] = None,
    max_padj: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only edges of at most this false discovery rate.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write the results of a data set as a file that other tools read.

    | OUTPUT | what it holds | read by |
    |---|---|---|
    | `.h5mu` | cells, genes, TF and RegFactor activities, network | mudata, muon, scanpy, decoupler |
    | `.h5ad` | the same in one AnnData | scanpy, decoupler, anndata |
    | `.graphml` | network with attributes of genes and edges | Cytoscape, Gephi, networkx, igraph |
    | `.gexf` | the same | Gephi, networkx |
    | `.csv` `.tsv` `.parquet` | list of edges | decoupler; `--layout`: CellOracle, SCENIC |
    | `folder/` | every table as parquet, and `provenance.json` | pandas, polars, DuckDB, R |

    By default all edges leave that the model keeps (`has_weight`), strongest first; weights are signed, negative
    represses. A file appears only once it is whole.

    Examples: `scmagnify export blood blood.h5mu`, `scmagnify export blood top.graphml --top 300`,
    `scmagnify export blood net.csv --max-padj 0.05`, `scmagnify export blood adjacencies.tsv --layout scenic`,
    `scmagnify export blood tables/`
    """
    from scmagnify_assets.doors.export import Choice, export_results

    lake = open_lake(find_home())
    with err.status(f"Writing {escape(output)}"):
        choice = Choice(selected, top, max_padj)
        done = export_results(lake, name, output, format=format, layout=layout, choice=choice, force=force)
    size = f"{done.size_bytes / 1e6:.1f} MB" if done.size_bytes >= 1e5 else f"{done.size_bytes / 1e3:.1f} kB"
    out.print(f"[bold]{name}[/]: {escape(done.holds)}, in {escape(str(done.path))} ({size})", soft_wrap=True)
    out.print(f"In Python: {escape(done.hint)}", highlight=False, soft_wrap=True)


@commands.command(rich_help_panel="Results")
def report(
    name: Annotated[str, typer.Argument(help="Name of a data set that was run.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder to write to; NAME.html here by default.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the report of a data set: one HTML file with its figures, tables and provenance.

    The file needs no network and no server: mail it, or open it anywhere. It shows the results of the last run.

    Examples: `scmagnify report blood`, `scmagnify report blood --output ~/Desktop --open`
    """
    import shutil

    from scmagnify_assets.datasets import registry
    from scmagnify_assets.graph.codecs import REPORT
    from scmagnify_assets.lake.files import written_whole
    from scmagnify_core.errors import InputError

    lake = open_lake(find_home())
    registration = registry.find(lake, name)
    made = lake.current("report", registration.name)
    if made is None:
        raise InputError(f"report of '{name}'", "has not been made yet.", f"Make it: {program()} run {name}")
    target = output or Path(f"{name}.html")
    if target.is_dir():
        target = target / f"{name}.html"
    stored = lake.artifact_path("report", name, None, REPORT, made=made)
    with written_whole(target, ".html") as temporary:
        shutil.copyfile(stored, temporary)
    out.print(f"{escape(str(target.resolve()))}", soft_wrap=True, highlight=False)
    if open_:
        import webbrowser

        if not webbrowser.open(target.resolve().as_uri()):
            err.print("No browser could be started here: open the file yourself.")
