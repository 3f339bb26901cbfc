"""A data set before it is registered: its settings from all their sources, and whether it can be used.

`scmagnify add`, an arrival in the incoming folder and the nightly refresh all come through here, so that a data set is
held to the same whichever way it comes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import check_name
from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.data.references import refuse_missing_files
from scmagnify_core.errors import PriorError
from scmagnify_core.exchange import read_network
from scmagnify_core.prior import assemble_prior, read_base_network
from scmagnify_core.prior.base_network import read_table, rename_columns
from scmagnify_core.prior.evidence import plan_evidence
from scmagnify_core.prior.motifs import read_motifs
from scmagnify_core.prior.regions import parse_regions
from scmagnify_core.specification import DatasetSpec, absolute_paths, parse_spec, resolve_references


@dataclass(frozen=True)
class Inspection:
    """What was found in a data set that can be used, in lines for a person."""

    dataset: Dataset
    lines: tuple[str, ...]


def complete(raw: Mapping[str, Any], base: Path, home: Home, name: str) -> dict[str, Any]:
    """Raw settings with a name, absolute paths (relative ones start at ``base``) and references looked up.

    Raises
    ------
    InputError
        The name cannot be used, or the references are not declared.
    """
    result = resolve_references(absolute_paths(raw, base), home.references)
    result["name"] = check_name(str(result.get("name") or name))
    return result


def inspect(
    raw: Mapping[str, Any],
    where: str = "settings",
    *,
    needs_evidence: bool = True,
    reading: Callable[[str], None] = lambda file: None,
) -> Inspection:
    """Read and validate everything that the settings name, without storing anything.

    Parameters
    ----------
    needs_evidence
        Refuse a data set for which nothing says what may regulate what: it cannot be run yet.
    reading
        Called with the name of the data file once the settings are found good and the long part begins.

    Raises
    ------
    ScmagnifyError
        The settings or a file are not usable; the message says which, why, and what to do.
    """
    spec = parse_spec(raw, where)
    if spec.references is not None:
        refuse_missing_files(spec.references)
    reading(spec.file.name)
    dataset = read_dataset(spec.description)
    if spec.references is not None:
        if dataset.atac is not None:
            parse_regions(dataset.atac.var)
        if spec.references.motifs is not None:
            read_motifs(spec.references.motifs)
    peaks = "" if dataset.atac is None else f", {dataset.atac.n_vars:,} peaks"
    lines = [f"{dataset.rna.n_obs:,} cells x {dataset.rna.n_vars:,} genes{peaks}", *dataset.notes]
    for imported in spec.prior:
        candidates, coverage = assemble_prior(read_base_network(imported), dataset)
        lines.append(
            f"{coverage.n_edges:,} of {coverage.n_edges_given:,} edges of {imported.name} can be candidates: "
            f"{coverage.n_sources} TFs, {coverage.n_targets} targets, density {candidates.density:.1%}."
        )
    for name, path in spec.networks.items():
        _, notes = read_network(name, path, dataset.genes)
        lines.append(f"{'; '.join(notes)}.")
    _read_side_tables(spec)
    lines.append(f"Candidate edges: {_evidence(spec, dataset, needs_evidence)}")
    return Inspection(dataset, tuple(lines))


def _read_side_tables(spec: DatasetSpec) -> None:
    for path, names in (
        (spec.truth, ("source", "target")),
        (spec.curated, ("source", "target")),
        (spec.ligand_receptor, ("ligand", "receptor")),
        (spec.receptor_tf, ("receptor", "tf")),
    ):
        if path is not None:
            rename_columns(read_table(path), names, f"'{path.name}'")


def _evidence(spec: DatasetSpec, dataset: Dataset, is_needed: bool) -> str:
    try:
        plan = plan_evidence(
            spec.prior_network, spec.references, has_atac=dataset.atac is not None, n_imported=len(spec.prior),
            has_curated=spec.curated is not None,
        )  # fmt: skip
    except PriorError as error:
        if is_needed or spec.prior_network.evidence:
            raise
        return f"none yet: {error.found} {error.remedy}"  # the data may come before the prior
    return " ".join(plan.reasons)
