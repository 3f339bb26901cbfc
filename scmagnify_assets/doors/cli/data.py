"""Data sets: what is registered, and how more of them are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from scmagnify_assets.doors.cli.app import err, find_home, out, program, rows_of
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


@commands.command(rich_help_panel="Data sets")
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
    `[gene_association]`, `[peak_gene_links]`, `[tf_binding]`, `[prior_network]`, `[diffusion]`, `[granger]`,
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
    home = find_home()
    if (shared := home.incoming / "defaults.toml").is_file():  # as for what arrives in that folder
        raw = merge(read_spec_file(shared), raw)
    if file.suffix != ".toml":
        raw["file"] = str(file.resolve())
    options = {
        "prior": prior, "truth": truth, "time_key": time_key, "root": root, "layer": layer, "values": values,
        "species": species, "cluster_key": cluster_key, "lineage_key": lineage_key, "lineages": lineage,
        "sample_key": sample_key, "ligand_receptor": ligand_receptor, "receptor_tf": receptor_tf,
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
