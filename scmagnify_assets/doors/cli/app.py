"""The ``scmagnify`` command: from a data file to SQL over every result.

Commands say what they do by example (``--help``). Heavy packages are imported where they are used, so that help and
typing errors answer at once.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

from scmagnify_assets.doors.rows import Format, format_of
from scmagnify_assets.doors.terminal import Terminal, print_rows
from scmagnify_core.errors import ScmagnifyError

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

NEXT_QUERY = """SELECT source, target, score, signed_score, lag, stability
FROM edges WHERE dataset = $name ORDER BY score DESC LIMIT 10"""

REFERENCES_EXAMPLE = """[hg38]
species = "human"
genome = "hg38.fa"
annotation = "gencode.v47.basic.annotation.gtf.gz"
motifs = "JASPAR2024_CORE_vertebrates_non-redundant_pfms_meme.txt"
tf_list = "human_tfs.txt"
"""


def main() -> None:
    """Entry point: the user's errors are printed without a traceback and end with status 1."""
    try:
        app()
    except ScmagnifyError as error:
        err.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)


@app.command()
def demo(
    seeds: Annotated[int, typer.Option(help="Models to train.")] = 3,
    cells: Annotated[int, typer.Option(help="Cells to simulate.")] = 1000,
) -> None:
    """Simulate RNA, ATAC and a genome with a planted network, run the whole method on them, show what was recovered.

    Example: `scmagnify demo`
    """
    from scmagnify_assets.datasets import registry
    from scmagnify_assets.lake.lakehouse import Lakehouse
    from scmagnify_core.simulation.simulated_genome import simulate_genome
    from scmagnify_core.simulation.simulation import SimulationConfig, simulate

    home = _home()
    with err.status("Simulating cells with a planted network, and their genome"):
        simulation = simulate(SimulationConfig(n_cells=cells))
        files = simulation.write(home.root / "demo", "demo")
        references = simulate_genome(simulation).write(home.root / "demo", "demo")
    raw = {
        "name": "demo", "file": str(files["data"]), "time_key": "pseudotime", "lineage_key": "lineage",
        "cluster_key": "cell_type", "sample_key": "sample", "seeds": seeds, "species": "simulated",
        "references": {key: str(path) for key, path in references.items()},
    } | {key: str(files[key]) for key in ("truth", "ligand_receptor", "receptor_tf")}  # fmt: skip
    lake = Lakehouse(home.lake)
    lake.create()
    registry.register(lake, raw, replace=True)
    n_true, n_peaks = len(simulation.truth), simulation.mudata["atac"].n_vars
    out.print(f"[bold]demo[/]: {cells:,} cells, {n_peaks:,} peaks in a genome with motifs, {n_true:,} true edges")
    _run(home, "demo")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="h5ad or h5mu file, or a TOML that describes one.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the data set; the file's name without ending by default.")
    ] = None,
    prior: Annotated[
        list[Path] | None,
        typer.Option(help="Base network: source, target[, weight] (parquet, CSV, TSV); may be repeated."),
    ] = None,
    references: Annotated[
        str | None, typer.Option(help="Genome, annotation and motifs to build the prior from; a declared name.")
    ] = None,
    curated: Annotated[
        Path | None, typer.Option(help="Edges that are candidates in any case: source, target[, weight].")
    ] = None,
    fragments: Annotated[
        Path | None, typer.Option(help="ATAC fragments (10x), for files without an ATAC modality.")
    ] = None,
    peaks: Annotated[Path | None, typer.Option(help="BED file of peaks, to count the fragments in.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Ground truth: source, target[, sign, lag, kind].")] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Network made elsewhere (CellOracle, SCENIC, ...), to compare: NAME=FILE; may be repeated."
        ),
    ] = None,
    time_key: Annotated[str | None, typer.Option(help="Column of obs with the pseudotime.")] = None,
    root: Annotated[
        str | None, typer.Option(help="Compute pseudotime from this barcode, cluster or column=value.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the expression; X by default.")] = None,
    values: Annotated[str | None, typer.Option(help="counts or log; looked up by default.")] = None,
    species: Annotated[str | None, typer.Option(help="Species, for the record.")] = None,
    cluster_key: Annotated[str | None, typer.Option(help="Column of obs with cell groups.")] = None,
    lineage_key: Annotated[str | None, typer.Option(help="Column of obs with lineages.")] = None,
    lineage: Annotated[list[str] | None, typer.Option(help="Keep only this lineage; may be repeated.")] = None,
    sample_key: Annotated[str | None, typer.Option(help="Column of obs with samples.")] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Method to run; may be repeated, or `all`. By default scmagnify.")
    ] = None,
    ligand_receptor: Annotated[Path | None, typer.Option(help="Ligand-receptor pairs.")] = None,
    receptor_tf: Annotated[Path | None, typer.Option(help="Receptor-TF pairs.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other key of the TOML, as key=value.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Allow new content under a name that is taken.")] = False,
) -> None:
    """Validate a data set, write its TOML and register it.

    The file stays where it is. Settings come from a TOML of the same name beside it, if there is one, over those of
    `$SCMAGNIFY_HOME/incoming/defaults.toml`, and the options are put over them; what results is written to
    `$SCMAGNIFY_HOME/incoming/NAME.toml`.

    Candidate edges come from a base network (`--prior`), from the data's own chromatin (`--references`, see
    `scmagnify references`), or both.

    Examples: `scmagnify add blood.h5ad --name blood --prior collectri.parquet --time-key dpt_pseudotime`,
    `scmagnify add marrow.h5mu --references hg38 --root HSC`,
    `scmagnify add blood.h5ad --network celloracle=links.csv --network scenic=adjacencies.tsv`

    Keys of the TOML: those of the options with underscores, and `gene_key`, `library_size_key`, `pca_key`,
    `transition_key`, `min_cells`, `n_top_genes`, `seeds`, `preset`, `memory_budget`, and the tables `[networks]`,
    `[gene_association]`, `[peak_gene_links]`, `[tf_binding]`, `[prior_network]`, `[diffusion]`, `[scmagnify]`,
    `[network]`, `[regfactors]`, `[activity]`, `[communication]`.
    """
    import tomli_w

    from scmagnify_assets.datasets import registry
    from scmagnify_assets.datasets.intake import complete, inspect
    from scmagnify_assets.lake.lakehouse import Lakehouse, check_name
    from scmagnify_assets.service.runner import open_instance
    from scmagnify_core.specification import merge, override, read_spec_file

    beside = file if file.suffix == ".toml" else file.with_suffix(".toml")
    raw: dict[str, Any] = read_spec_file(beside) if beside.is_file() or file.suffix == ".toml" else {}
    home = _home()
    if (shared := home.incoming / "defaults.toml").is_file():  # as for what arrives in that folder
        raw = merge(read_spec_file(shared), raw)
    if file.suffix != ".toml":
        raw["file"] = str(file.resolve())
    options = {
        "prior": prior, "truth": truth, "time_key": time_key, "root": root, "layer": layer, "values": values,
        "species": species, "cluster_key": cluster_key, "lineage_key": lineage_key, "lineages": lineage,
        "sample_key": sample_key, "ligand_receptor": ligand_receptor, "receptor_tf": receptor_tf, "methods": method,
        "references": references, "curated": curated, "fragments": fragments, "peaks": peaks,
        "networks": _named_paths(network or ()),
    }  # fmt: skip
    given = {
        key: str(value) if isinstance(value, Path) else list(map(str, value)) if isinstance(value, list) else value
        for key, value in options.items()
        if value
    }
    raw = complete(override(raw | given, settings or ()), Path.cwd(), home, name or file.stem)
    if name:
        raw["name"] = check_name(name)
    with err.status(f"Reading {file.name}"):
        found = inspect(raw, f"'{beside}'" if beside.is_file() else "options", needs_evidence=False)
    toml = home.incoming / f"{raw['name']}.toml"
    with open_instance(home) as instance:
        lake = Lakehouse(home.lake)
        registry.refuse_taken(lake, raw, replace=replace)
        # The file first: whoever watches the folder then finds in it what is registered.
        temporary = toml.with_suffix(".toml.part")
        temporary.write_text(tomli_w.dumps(registry.as_json(raw)), encoding="utf-8")
        temporary.replace(toml)
        registry.announce(instance, registry.register(lake, raw, replace=replace))

    first, *others = found.lines
    out.print(f"[bold]{raw['name']}[/]: {_escape(first)}", highlight=False)
    for line in others:
        out.print(f"  {_escape(line)}", highlight=False, soft_wrap=True)
    out.print(f"Registered in {toml}\nNext: [bold]{_program()} run {raw['name']}[/]", soft_wrap=True)


@app.command()
def references() -> None:
    """List the declared reference files (genome, annotation, motifs, ...), and say how to declare and get them.

    They are declared once, in `$SCMAGNIFY_HOME/references.toml`; a data set names one of its tables, for instance
    `scmagnify add marrow.h5mu --references hg38`.

    Example: `scmagnify references`
    """
    from scmagnify_core.data.references import REFERENCE_FILES, SOURCES, References, read_references

    path = _home().references
    declared = read_references(path) if path.is_file() else {}
    table = RichTable("name", "file", "path", box=None, header_style="bold", pad_edge=False)
    is_whole = True
    for name, raw in declared.items():
        for key in REFERENCE_FILES:
            if key in raw:
                place = str(raw[key])
                is_there = Path(place).is_file()
                is_whole = is_whole and is_there
                table.add_row(name, key, _escape(place) if is_there else f"[red]missing[/] {_escape(place)}")
    if declared:
        out.print(table)
    else:
        out.print(f"No references are declared yet. Write {path}, for instance:\n", soft_wrap=True)
        out.print(_escape(REFERENCES_EXAMPLE), highlight=False)
    out.print("\n[bold]Reference files[/]")
    for key in REFERENCE_FILES:
        out.print(f"[bold]{key}[/]: {References.model_fields[key].description}", highlight=False)
        out.print(f"  {SOURCES[key].advice}", highlight=False, style="dim")
    if not is_whole:
        raise typer.Exit(1)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of a registered data set.")],
    seeds: Annotated[int | None, typer.Option(help="Models to train, with seeds 0, 1, ...")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting for this run, as key=value; may be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Method to run this time; may be repeated, or `all`.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="recommended or published.")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only this asset; may be repeated. What it needs must be there.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log.")] = False,
) -> None:
    """Run the whole method on a data set, or some assets of it.

    Results of the same data set are replaced, those of others are not touched, and former versions stay readable.

    Examples: `scmagnify run blood --seeds 5`, `scmagnify run blood --set scmagnify.n_lags=3`,
    `scmagnify run blood --set scmagnify.device=cuda`,
    `scmagnify run blood --preset published`, `scmagnify run blood --select regfactors --select regfactor_activity`
    """
    chosen = [f"methods={json.dumps(method)}"] if method else []
    options = {"seeds": seeds, "settings": [*(settings or ()), *chosen], "preset": preset, "select": select or ()}
    _run(_home(), name, verbose=verbose, **options)


@app.command()
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
    from scmagnify_core.errors import InputError

    found = [one for one in declared.settings() if key in (None, one.key, one.table)]
    if not found:
        raise InputError(f"'{key}'", "is no setting.", f"Tables: {', '.join(filter(None, declared.tables()))}.")
    for table, about in declared.tables().items():
        if not (own := [one for one in found if one.table == table]):
            continue
        out.print(f"[bold]{_escape(f'[{table}]')}[/] {about}" if table else f"[bold]{about}[/]", highlight=False)
        shown = RichTable("key", box=None, header_style="bold", padding=(0, 2, 0, 0))
        shown.add_column("values", max_width=22)
        shown.add_column("default", max_width=16, overflow="fold")
        shown.add_column("meaning", min_width=20)
        for one in own:
            default = one.default if one.published == one.default else f"{one.default}\n(published: {one.published})"
            shown.add_row(*map(_escape, (one.name, one.values, default.strip(), one.meaning)))
        out.print(shown, "")


@app.command()
def datasets() -> None:
    """List the registered data sets and what there is of each.

    Example: `scmagnify datasets`
    """
    rows = _query(
        """
        SELECT dataset, species, n_cells AS cells, n_edges AS candidates, n_seeds AS seeds, n_selected AS selected,
               strftime(registered_at, '%Y-%m-%d %H:%M') AS registered, left(sha256, 12) AS sha256, file
        FROM dataset_summary ORDER BY dataset"""
    )
    if not rows.num_rows:
        out.print("No data sets yet. Add one: scmagnify add FILE --name NAME --prior PRIOR, or try: scmagnify demo")
        return
    print_rows(rows, out)


@app.command()
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
    home = _home()
    terminal = Terminal(_lake(home), format_of(output, format, force=force), output, is_paging=pager)
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.read()
    if query is None:
        terminal.prompt(home.root / ".sql_history" if os.access(home.root, os.W_OK) else None)
    else:
        terminal.ask(query)


@app.command()
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

    lake = _lake(_home())
    with err.status(f"Writing {_escape(output)}"):
        choice = Choice(selected, top, max_padj)
        done = export_results(lake, name, output, format=format, layout=layout, choice=choice, force=force)
    size = f"{done.size_bytes / 1e6:.1f} MB" if done.size_bytes >= 1e5 else f"{done.size_bytes / 1e3:.1f} kB"
    out.print(f"[bold]{name}[/]: {_escape(done.holds)}, in {_escape(str(done.path))} ({size})", soft_wrap=True)
    out.print(f"In Python: {_escape(done.hint)}", highlight=False, soft_wrap=True)


@app.command()
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

    lake = _lake(_home())
    registration = registry.find(lake, name)
    made = lake.current("report", registration.name)
    if made is None:
        raise InputError(f"report of '{name}'", "has not been made yet.", f"Make it: {_program()} run {name}")
    target = output or Path(f"{name}.html")
    if target.is_dir():
        target = target / f"{name}.html"
    stored = lake.artifact_path("report", name, None, REPORT, made=made)
    with written_whole(target, ".html") as temporary:
        shutil.copyfile(stored, temporary)
    out.print(f"{_escape(str(target.resolve()))}", soft_wrap=True, highlight=False)
    if open_:
        import webbrowser

        if not webbrowser.open(target.resolve().as_uri()):
            err.print("No browser could be started here: open the file yourself.")


@app.command()
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

    home = _home()
    with open_instance(home):
        pass  # makes the folders, the lake and Dagster's configuration
    out.print(f"UI on http://{host}:{port}, watching {home.incoming_url} (stop with Ctrl-C)", soft_wrap=True)
    out.print(f"Log: {log_file(home)}", soft_wrap=True, highlight=False)
    if host not in ("127.0.0.1", "localhost", "::1"):
        err.print(f"[yellow]Anyone who reaches {host}:{port} can start runs and read results: there is no log-in.[/]")
    serve(home, host, port, lambda said: err.print(_escape(said), highlight=False))


@app.command()
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
        report = maintain_lake(Lakehouse(_home().lake), keep_days=keep_days or keep_days_of_environment())
    out.print(str(report), highlight=False)


@app.command()
def doctor() -> None:
    """Say what is installed, where the results are, what the devices are, and what is wrong and how to mend it.

    Example: `scmagnify doctor`
    """
    from scmagnify_assets.doors.doctor import examine

    findings = examine(_home())
    table = RichTable("", "what", "found", "remedy", box=None)
    for finding in findings:
        mark = "[green]ok[/]" if finding.is_good else "[red]no[/]"
        table.add_row(mark, finding.what, _escape(finding.found), _escape(finding.remedy))
    out.print(table)
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(1)


def _named_paths(given: Sequence[str]) -> dict[str, str]:
    """Paths by name, from arguments of the form NAME=FILE."""
    from scmagnify_core.errors import InputError

    paths: dict[str, str] = {}
    for one in given:
        name, _, path = one.partition("=")
        if not name or not path:
            raise InputError(
                f"--network {one}", "is not of the form NAME=FILE.", "Say, --network celloracle=links.csv"
            )
        if name in paths:
            raise InputError(f"--network {one}", f"gives '{name}' once more.", "Give each network its own name.")
        paths[name] = path
    return paths


def _home() -> "Home":
    from scmagnify_assets.home import Home

    return Home.find()


def _run(home: "Home", name: str, *, verbose: bool = False, **options: Any) -> None:
    from scmagnify_assets.service.runner import run_dataset

    with _progress():
        run_dataset(home, name, log_level="INFO" if verbose else "CRITICAL", **options)
    _summarize(name)


@contextmanager
def _progress() -> Iterator[None]:
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


def _summarize(name: str) -> None:
    """What one wants to see first after a run."""
    edges = _query(NEXT_QUERY, {"name": name})
    if not edges.num_rows:  # some assets were selected, and none of them made a network
        return
    out.print(f"\n[bold]Strongest edges of {name}[/]")
    print_rows(edges, out)
    scores = _query(
        """SELECT truth, CASE prior_edges WHEN 'only' THEN 'order of candidates' ELSE 'whole truth' END AS asked,
                   method, round(auprc_ratio, 2) AS auprc_ratio,
                   printf('%.2f to %.2f', auprc_ratio_low, auprc_ratio_high) AS "95 % over TFs", round(epr, 2) AS epr,
                   round(epr_ceiling, 1) AS epr_ceiling, round(sign_accuracy, 2) AS sign_accuracy,
                   round(lag_spearman, 2) AS lag_spearman
            FROM network_scores WHERE dataset = $name AND prior_edges <> 'removed' AND variant = 'canonical'
                AND method NOT IN ('ridge', 'lagged_correlation', 'spearman', 'shuffled_prior')
            ORDER BY truth, asked, auprc_ratio DESC""",
        {"name": name},
    )
    if scores.num_rows:
        out.print(
            "\n[bold]Against the ground truth[/]: 1 is a random order; every method ranks the candidates only, which "
            "alone beats random on the whole truth"
        )
        print_rows(scores, out)
    program = _program()
    query = f"FROM edge_provenance WHERE dataset = '{name}' ORDER BY score DESC LIMIT 1"
    out.print(
        f'\nAsk next, which seeds, file and code made the strongest edge:\n  {program} sql "{query}"', soft_wrap=True
    )
    has_motifs = _query("SELECT 1 FROM tf_binding WHERE dataset = $name LIMIT 1", {"name": name}).num_rows
    if has_motifs:
        query = (
            "SELECT source, target, peak, distance_bp, correlation, motif, motif_start, strand, motif_pvalue "
            f"FROM edge_evidence WHERE dataset = '{name}' ORDER BY score DESC LIMIT 5"
        )
        out.print(f'Which peaks and motifs speak for it:\n  {program} sql "{query}"', soft_wrap=True)
    out.print(f"Look at the graph:\n  {program} ui", highlight=False)
    made = "SELECT 1 FROM artifacts WHERE asset = 'report' AND dataset = $name LIMIT 1"
    if _query(made, {"name": name}).num_rows:
        out.print(f"All of it on one page, to read and to mail:\n  {program} report {name} --open", highlight=False)


def _program() -> str:
    """What to type for this command here: its name where it is on the PATH, else where it lies."""
    import shutil

    return "scmagnify" if shutil.which("scmagnify") else os.path.relpath(sys.argv[0])


def _query(query: str, parameters: Mapping[str, Any] | None = None) -> "pa.Table":
    return _lake(_home()).sql(query, parameters)


def _lake(home: "Home") -> "Lakehouse":
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


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
