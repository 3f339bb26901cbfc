"""Read a single-cell file: its modalities, the names of its genes and cells, and the lineages that were asked for.

Everything here is about what lies in the file; nothing changes a value. A file that takes data from other files is
refused before it is read.
"""

import hashlib
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.fragments import count_fragments, read_peaks
from scmagnify_core.errors import InputError, MissingColumnError, shorten

if TYPE_CHECKING:
    from anndata import AnnData

_Read = TypeVar("_Read")
DUPLICATE_GENES = "Make gene names unique, for instance by summing repeated genes."
DUPLICATE_BARCODES = "Make barcodes unique, for instance by adding the sample's name."


def file_sha256(path: Path) -> str:
    """Hash of a file's content, read in pieces.

    Raises
    ------
    InputError
        The file is not there.
    """
    if not path.is_file():
        raise InputError(f"'{path}'", "there is no such file.", "Check the path.")
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, mtime_ns: int, ctime_ns: int, inode: int) -> str:
    """A genome is gigabytes and several steps of one process ask for its hash; its state tells whether it changed."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_file(path: Path, read: Callable[[Path], _Read]) -> _Read:
    """Open an h5ad or h5mu; the reader's own errors say nothing that a user could act on."""
    if not path.is_file():
        raise InputError(f"'{path}'", "there is no such file.", "Check the path.")
    if path.suffix not in (".h5ad", ".h5mu"):
        raise InputError(
            f"'{path.name}'", f"'{path.suffix}' is not a format this reads.", "Give an h5ad or h5mu file."
        )
    try:
        _refuse_other_files_data(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(path)
    except InputError:
        raise
    except Exception as error:
        # Whatever h5py, anndata or mudata raise on a damaged file, the user can only do one thing about it.
        raise InputError(
            f"'{path}'",
            f"cannot be read as {path.suffix[1:]} ({type(error).__name__}: {str(error).partition(chr(10))[0][:160]}).",
            "The file may be truncated or still being copied: compare its size with the original and copy it again.",
        ) from error


def _read_any(path: Path) -> Any:
    import anndata
    import mudata

    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else mudata.read_h5mu(path)


def _refuse_other_files_data(path: Path) -> None:
    """Refuse an HDF5 file that takes data from other files, before any data are read.

    Such a file could pass off whatever this machine can read, ``/etc/passwd`` for instance, as part of a data set; and
    its hash would not tell when those data change. HDF5 has three ways: links to objects in other files, datasets whose
    values are stored in other files, and virtual datasets, made up of parts of others. Nothing else in HDF5 leads out
    of a file, and nothing that anndata or h5py read from one is ever run: opaque values stay bytes.
    """
    import h5py

    with h5py.File(path, "r") as file:
        groups, seen = [file["/"]], set()  # a group may hold itself
        while groups:
            group = groups.pop()
            if (address := h5py.h5o.get_info(group.id).addr) in seen:
                continue
            seen.add(address)
            for name in group:
                place = f"{group.name.rstrip('/')}/{name}"
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    _refuse(path, place, f"is a link into another file, '{link.filename}'")
                if not isinstance(link, h5py.HardLink):
                    continue  # a soft link leads to what is found by its own name, or to nothing
                item = group.get(name)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                elif isinstance(item, h5py.Dataset) and item.external:
                    _refuse(path, place, f"keeps its values in another file, '{item.external[0][0]}'")
                elif isinstance(item, h5py.Dataset) and item.is_virtual:
                    _refuse(path, place, "is a virtual dataset, made up of parts of others")


def _refuse(path: Path, place: str, what: str) -> NoReturn:
    raise InputError(
        f"'{path}'", f"{place} {what}; a data set must hold its own data.",
        "Write it anew from where it was made: anndata.read_h5ad(...).write_h5ad(...), or the same with mudata.",
    )  # fmt: skip


def read_modalities(path: Path) -> tuple["AnnData", "AnnData | None"]:
    """The RNA and, where there is one, the ATAC modality, cells aligned to those that both measured."""
    data = read_file(path, _read_any)
    if path.suffix == ".h5ad":
        return data, None
    if "rna" not in data.mod:
        raise MissingColumnError("mod", "rna", list(data.mod), "Name the RNA modality 'rna'.")
    for name, modality in data.mod.items():
        refuse_duplicates(f"mod['{name}'].obs_names", modality.obs_names, DUPLICATE_BARCODES)
    rna = data["rna"]
    for column in data.obs.columns:  # columns of the whole object count as columns of its cells
        if column not in rna.obs and ":" not in column:
            rna.obs[column] = data.obs[column].reindex(rna.obs_names).to_numpy()
    if "atac" not in data.mod:
        return rna, None
    atac = data["atac"]
    _refuse_bad_accessibility(atac)
    shared = rna.obs_names.intersection(atac.obs_names, sort=False)
    if shared.empty:
        raise InputError(
            "mod['atac']", "shares no cell barcode with mod['rna'].",
            "Give paired data with the same barcodes in both modalities, or leave the ATAC modality out.",
        )  # fmt: skip
    return rna[shared].copy(), atac[shared].copy()


def _refuse_bad_accessibility(atac: "AnnData") -> None:
    if atac.X is None:
        raise InputError(
            "mod['atac'].X", f"is empty. Layers: {shorten(list(atac.layers))}.",
            "Put the counts of peaks into X, or leave the ATAC modality out.",
        )  # fmt: skip
    values = atac.X.data if sparse.issparse(atac.X) else np.asarray(atac.X)
    if n_bad := int((~np.isfinite(values)).sum()):
        raise InputError("mod['atac'].X", f"has {n_bad} NaN or infinite values.", "Give counts of peaks.")


def peaks_of_fragments(description: DataDescription, has_atac: bool) -> pd.DataFrame | None:
    """The peaks to count fragments in, read before any work; None where no fragments are given."""
    fragments, peaks = description.fragments, description.peaks
    if fragments is None and peaks is None:
        return None
    if has_atac:
        raise InputError(
            "fragments" if fragments is not None else "peaks",
            f"is given, but '{description.file.name}' has an ATAC modality of its own.",
            "Leave fragments and peaks out, or give a file without the modality 'atac'.",
        )
    if fragments is None:
        raise InputError(
            f"peaks = '{peaks}'", "is given without fragments.",
            "Give the fragment file as fragments, or leave peaks out.",
        )  # fmt: skip
    if not fragments.is_file():
        raise InputError(f"fragments = '{fragments}'", "there is no such file.", "Check the path.")
    if peaks is None:
        raise InputError(
            f"fragments = '{fragments}'", "has no peaks to be counted in.",
            "Give a BED file as peaks: atac_peaks.bed of Cell Ranger ARC, or, where there is none, call peaks first: "
            f"`macs3 callpeak -f FRAG -t {fragments.name} -g hs -n called` (-g mm for mouse) writes "
            "called_peaks.narrowPeak.",
        )  # fmt: skip
    return read_peaks(peaks)


def counted_fragments(
    fragments: Path,
    peaks: pd.DataFrame,
    cells: pd.Index,
    notes: list[str],
    progress: Callable[[int, int, str], None],
) -> "AnnData":
    """Cut sites of the cells in the peaks, as an ATAC modality."""
    import anndata

    counts = count_fragments(fragments, peaks, list(cells), progress)
    notes.append(
        f"{counts.n_fragments} fragments of '{fragments.name}' were counted in {len(peaks)} peaks: "
        f"{counts.n_in_cells / counts.n_fragments:.0%} are of the cells, and "
        f"{counts.n_in_peaks / counts.n_in_cells:.0%} of those are cut in a peak."
    )
    return anndata.AnnData(counts.matrix, obs=pd.DataFrame(index=cells), var=peaks.set_index("peak"))


def with_gene_names(rna: "AnnData", description: DataDescription) -> "AnnData":
    """The data under the gene names of ``gene_key``."""
    if description.gene_key is None:
        return rna
    if description.gene_key not in rna.var:
        raise MissingColumnError("var", description.gene_key, list(rna.var), "Pass one of them as gene_key.")
    rna = rna.copy()
    rna.var_names = rna.var[description.gene_key].astype(str).to_numpy()
    return rna


def refuse_duplicates(what: str, names: pd.Index, remedy: str) -> None:
    """Refuse names of genes or cells that occur more than once."""
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        raise InputError(what, f"{len(repeated)} names occur more than once: {shorten(repeated)}.", remedy)


def select_lineages(
    rna: "AnnData", atac: "AnnData | None", description: DataDescription
) -> tuple["AnnData", "AnnData | None"]:
    """Only the cells of the lineages that were asked for."""
    if not description.lineages:
        return rna, atac
    key = description.lineage_key or "lineage"
    if key not in rna.obs:
        raise MissingColumnError("obs", key, list(rna.obs), "Name the column of lineage labels as lineage_key.")
    labels = rna.obs[key].astype(str)
    unknown = sorted(set(description.lineages) - set(labels))
    if unknown:
        raise InputError(
            f"lineages = {shorten(unknown)}", f"not in obs['{key}'], which has {shorten(sorted(set(labels)))}.",
            "Choose among those.",
        )  # fmt: skip
    keep = labels.isin(description.lineages).to_numpy()
    return rna[keep].copy(), None if atac is None else atac[keep].copy()
