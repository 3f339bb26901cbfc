"""Data sets: what is registered, and how more of them are."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from scmagnify_assets.doors.cli.app import err, find_home, out, program, rows_of
from scmagnify_assets.doors.cli.options import SettingsCommand
from scmagnify_assets.doors.cli.runs import run_and_show
from scmagnify_assets.doors.terminal import print_rows

commands = typer.Typer()
REFERENCES_EXAMPLE = """[hg38]
species = "human"
genome = "hg38.fa"
annotation = "gencode.v47.basic.annotation.gtf.gz"
motifs = "JASPAR2024_CORE_vertebrates_non-redundant_pfms_meme.txt"
tf_list = "human_tfs.txt"
"""


@commands.command(rich_help_panel="Data sets")
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

    home = find_home()
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
    run_and_show(home, "demo")


@commands.command(cls=SettingsCommand, rich_help_panel="Data sets")
def add(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="h5ad or h5mu file, or a TOML that describes one.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, as table.key=value (`scmagnify settings`). May be repeated."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Allow new content under a name that is taken.")] = False,
) -> None:
    """Validate a data set, write its TOML and register it.

    The file stays where it is. Settings come from a TOML of the same name beside it, if there is one, over those of
    `$SCMAGNIFY_HOME/incoming/defaults.toml`. The options are put over them. The result is written to
    `$SCMAGNIFY_HOME/incoming/NAME.toml`.

    Candidate edges come from a base network (`--prior`), from the data's own chromatin (`--references`, see
    `scmagnify references`), or both.

    Examples: `scmagnify add blood.h5ad --name blood --prior collectri.parquet --time-key dpt_pseudotime`,
    `scmagnify add marrow.h5mu --references hg38 --root HSC`,
    `scmagnify add blood.h5ad --network celloracle=links.csv --network scenic=adjacencies.tsv`
    """
    import tomli_w

    from scmagnify_assets.datasets import registry
    from scmagnify_assets.datasets.intake import complete, inspect
    from scmagnify_assets.lake.lakehouse import Lakehouse
    from scmagnify_assets.service.runner import open_instance
    from scmagnify_core.specification import merge, override, read_spec_file

    beside = file if file.suffix == ".toml" else file.with_suffix(".toml")
    raw: dict[str, Any] = read_spec_file(beside) if beside.is_file() or file.suffix == ".toml" else {}
    home = find_home()
    if (shared := home.incoming / "defaults.toml").is_file():  # as for what arrives in that folder
        raw = merge(read_spec_file(shared), raw)
    if file.suffix != ".toml":
        raw["file"] = str(file.resolve())
    raw = complete(override(raw | context.obj, settings or ()), Path.cwd(), home, file.stem)
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
    out.print(f"[bold]{raw['name']}[/]: {escape(first)}", highlight=False)
    for line in others:
        out.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    out.print(f"Registered in {toml}\nNext: [bold]{program()} run {raw['name']}[/]", soft_wrap=True)


@commands.command(rich_help_panel="Data sets")
def references() -> None:
    """List the declared reference files (genome, annotation, motifs, ...), and say how to declare and get them.

    They are declared once, in `$SCMAGNIFY_HOME/references.toml`; a data set names one of its tables, for instance
    `scmagnify add marrow.h5mu --references hg38`.

    Example: `scmagnify references`
    """
    from scmagnify_core.data.references import REFERENCE_FILES, SOURCES, References, read_references

    path = find_home().references
    declared = read_references(path) if path.is_file() else {}
    table = RichTable("name", "file", "path", box=None, header_style="bold", pad_edge=False)
    is_whole = True
    for name, raw in declared.items():
        for key in REFERENCE_FILES:
            if key in raw:
                place = str(raw[key])
                is_there = Path(place).is_file()
                is_whole = is_whole and is_there
                table.add_row(name, key, escape(place) if is_there else f"[red]missing[/] {escape(place)}")
    if declared:
        out.print(table)
    else:
        out.print(f"No references are declared yet. Write {path}, for instance:\n", soft_wrap=True)
        out.print(escape(REFERENCES_EXAMPLE), highlight=False)
    out.print("\n[bold]Reference files[/]")
    for key in REFERENCE_FILES:
        out.print(f"[bold]{key}[/]: {References.model_fields[key].description}", highlight=False)
        out.print(f"  {SOURCES[key].advice}", highlight=False, style="dim")
    if not is_whole:
        raise typer.Exit(1)


@commands.command(rich_help_panel="Data sets")
def datasets() -> None:
    """List the registered data sets and what there is of each.

    Example: `scmagnify datasets`
    """
    rows = rows_of(
        """
        SELECT dataset, species, n_cells AS cells, n_edges AS candidates, n_seeds AS seeds, n_selected AS selected,
               strftime(registered_at, '%Y-%m-%d %H:%M') AS registered, left(sha256, 12) AS sha256, file
        FROM dataset_summary ORDER BY dataset"""
    )
    if not rows.num_rows:
        out.print("No data sets yet. Add one: scmagnify add FILE --name NAME --prior PRIOR, or try: scmagnify demo")
        return
    print_rows(rows, out)
