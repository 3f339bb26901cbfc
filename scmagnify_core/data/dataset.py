"""Read a single-cell file, refuse what cannot be analysed, and normalise what can.

A data set is a file plus a :class:`DataDescription` that says how to read it. :func:`read_dataset` returns a
:class:`Dataset` whose tables have fixed names, so that nothing downstream asks again where the pseudotime is.

Decisions
---------
* Normalisation uses *all* genes of the file (or a library size that the file records), and only then are
  genes selected: a size factor must not depend on which genes a model happens to look at.
* Counts are kept as they came, in ``layers['counts']``; the caller's object and file are never modified.
* Everything that can be refused is refused here, before any work, with the culprit and the remedy.

Choosing sources and targets belongs to ``prior``, because only the prior knows which genes are regulators.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.fragments import count_fragments, read_peaks
from scmagnify_core.data.trajectory import diffusion_pseudotime, principal_components
from scmagnify_core.errors import InputError, MissingColumnError, shorten

if TYPE_CHECKING:
    from anndata import AnnData

_Read = TypeVar("_Read")
TARGET_SUM = 1e4  # counts per cell after normalisation, the field's convention
FEW_TIMES = 10  # distinct values below which a pseudotime is more like sampling times
TIME_NAMES = ("pseudotime", "dpt_pseudotime", "palantir_pseudotime", "latent_time", "velocity_pseudotime")
DUPLICATE_GENES = "Make gene names unique, for instance by summing repeated genes."
DUPLICATE_BARCODES = "Make barcodes unique, for instance by adding the sample's name."
CLUSTER_NAMES = ("cell_type", "celltype", "cell_types", "clusters", "cluster", "leiden", "louvain", "condition")


@dataclass(frozen=True)
class Dataset:
    """A validated, normalised data set.

    ``rna.X`` holds log(1 + counts per 10,000) as CSR float32, ``rna.layers['counts']`` the untouched counts where
    the file has them. ``rna.obs`` has ``pseudotime`` and, where known, ``lineage``, ``cluster``, ``sample`` and
    ``n_counts``; ``rna.obsm`` has ``X_pca`` and ``X_embedding`` (two columns); ``rna.obsp['transition']`` a given
    graph. ``atac`` has the same cells in the same order. ``notes`` says, in words, what was decided on the way.
    """

    rna: "AnnData"
    atac: "AnnData | None"
    description: DataDescription
    notes: tuple[str, ...]

    @property
    def genes(self) -> pd.Index:
        """Gene names, in the order of the expression's columns."""
        return self.rna.var_names

    @property
    def cells(self) -> pd.Index:
        """Cell barcodes, in the order of the expression's rows."""
        return self.rna.obs_names

    @property
    def pseudotime(self) -> Float[np.ndarray, " cell"]:
        """Pseudotime of each cell, in the file's unit."""
        return self.rna.obs["pseudotime"].to_numpy(dtype=np.float64)

    def labels(self, column: Literal["lineage", "cluster", "sample"]) -> np.ndarray | None:
        """Labels of the cells as strings, missing ones as 'nan'; None where the data set has no such column."""
        return self.rna.obs[column].astype(str).to_numpy() if column in self.rna.obs else None

    def expression(self, genes: Sequence[str]) -> Float[np.ndarray, "cell gene"]:
        """Dense normalised expression of the named genes, float32.

        Raises
        ------
        KeyError
            A gene is not in the data set.
        """
        columns = self.rna.var_names.get_indexer(list(genes))
        if (columns < 0).any():
            absent = [gene for gene, column in zip(genes, columns, strict=True) if column < 0]
            raise KeyError(f"genes not in the data set: {shorten(absent)}")
        return self.rna.X[:, columns].toarray()

    def cells_table(self) -> pd.DataFrame:
        """Body of the ``cells`` table."""
        obs = self.rna.obs
        frame = pd.DataFrame({"cell": self.cells.astype(str), "pseudotime": self.pseudotime})
        for column in ("lineage", "cluster", "sample"):
            labels = self.labels(column)
            frame[column] = None if labels is None else pd.Series(labels).mask(obs[column].isna().to_numpy(), None)
        frame["n_counts"] = obs["n_counts"].to_numpy() if "n_counts" in obs else np.nan
        frame[["embedding_1", "embedding_2"]] = self.rna.obsm["X_embedding"]
        return frame

    def genes_table(self) -> pd.DataFrame:
        """Body of the ``genes`` table."""
        columns = ["n_cells", "mean_expression", "is_highly_variable", "is_eligible"]
        return self.rna.var[columns].rename_axis("gene").reset_index()

    def write(self, path: Path) -> None:
        """Write to ``path`` as h5mu; :meth:`load` reads it back."""
        import mudata

        modalities = {"rna": self.rna} if self.atac is None else {"rna": self.rna, "atac": self.atac}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = mudata.MuData(modalities)
            whole.uns["description"] = self.description.model_dump_json()
            whole.uns["notes"] = json.dumps(self.notes)
            whole.write_h5mu(path, compression="lzf")

    @classmethod
    def load(cls, path: Path) -> "Dataset":
        """Read what :meth:`write` wrote."""
        return _read_file(path, cls._stored)

    @classmethod
    def _stored(cls, path: Path) -> "Dataset":
        """The modalities by themselves: putting a MuData together takes longer than reading them."""
        import h5py
        from anndata.io import read_elem

        with h5py.File(path, "r") as file:
            modalities = {name: read_elem(file["mod"][name]) for name in file["mod"]}
            about = {name: read_elem(file["uns"][name]) for name in ("description", "notes")}
        return cls(
            rna=modalities["rna"],
            atac=modalities.get("atac"),
            description=DataDescription.model_validate_json(about["description"]),
            notes=tuple(json.loads(about["notes"])),
        )


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


def read_dataset(
    description: DataDescription, progress: Callable[[int, int, str], None] = lambda done, total, detail: None
) -> Dataset:
    """Read, validate and normalise the file that ``description`` names, and count fragments where it names some.

    Memory is that of the file's matrix, twice. The same file gives the same values bit for bit.

    Parameters
    ----------
    progress
        Follows the counting of fragments: bytes read, bytes of the file, and how many fragments they held.

    Raises
    ------
    InputError
        The file is unreadable or takes data from other files; names repeat; values are NaN, infinite, negative or
        not what ``values`` says; the pseudotime is missing, constant or not a number; a named column, layer or
        lineage is absent;
        fragments come without peaks, beside an ATAC modality, or fit neither the cells nor the peaks.
    """
    rna, atac = _modalities(description.file)
    peaks = _peaks_of_fragments(description, has_atac=atac is not None)
    notes: list[str] = []
    rna = _with_gene_names(rna, description)
    genes = "var_names" if description.gene_key is None else f"var['{description.gene_key}']"
    _refuse_duplicates(genes, rna.var_names, DUPLICATE_GENES)
    _refuse_duplicates("obs_names", rna.obs_names, DUPLICATE_BARCODES)
    rna, atac = _select_lineages(rna, atac, description)
    values = _expression(rna, description.layer)
    is_counts = _check_values(values, rna, description)
    obs, keep = _observations(rna, description, notes)

    normalised, library_size = _normalise(values, rna, description, notes) if is_counts else (values, None)
    if library_size is not None:
        obs["n_counts"] = library_size
    clean = _assemble(rna, normalised, values if is_counts else None, obs, description, notes)
    if not is_counts:
        notes.append("The values are log-normalised as given; no counts are kept.")
    if "pseudotime" not in clean.obs:
        clean.obs["pseudotime"] = diffusion_pseudotime(clean, description)
        notes.append(f"Diffusion pseudotime was computed from the root '{description.root}'.")
    if not keep.all():
        clean = clean[keep].copy()
        atac = None if atac is None else atac[keep].copy()
    if description.fragments is not None and peaks is not None:
        atac = _counted(description.fragments, peaks, clean.obs_names, notes, progress)
    _mark_genes(clean, description)
    return Dataset(clean, atac, description, tuple(notes))


def _read_any(path: Path) -> Any:
    import anndata
    import mudata

    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else mudata.read_h5mu(path)


def _read_file(path: Path, read: Callable[[Path], _Read]) -> _Read:
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


def _modalities(path: Path) -> tuple["AnnData", "AnnData | None"]:
    """The RNA and, where there is one, the ATAC modality, cells aligned to those that both measured."""
    data = _read_file(path, _read_any)
    if path.suffix == ".h5ad":
        return data, None
    if "rna" not in data.mod:
        raise MissingColumnError("mod", "rna", list(data.mod), "Name the RNA modality 'rna'.")
    for name, modality in data.mod.items():
        _refuse_duplicates(f"mod['{name}'].obs_names", modality.obs_names, DUPLICATE_BARCODES)
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


def _peaks_of_fragments(description: DataDescription, has_atac: bool) -> pd.DataFrame | None:
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


def _counted(
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


def _with_gene_names(rna: "AnnData", description: DataDescription) -> "AnnData":
    if description.gene_key is None:
        return rna
    if description.gene_key not in rna.var:
        raise MissingColumnError("var", description.gene_key, list(rna.var), "Pass one of them as gene_key.")
    rna = rna.copy()
    rna.var_names = rna.var[description.gene_key].astype(str).to_numpy()
    return rna


def _refuse_duplicates(what: str, names: pd.Index, remedy: str) -> None:
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        raise InputError(what, f"{len(repeated)} names occur more than once: {shorten(repeated)}.", remedy)


def _select_lineages(
    rna: "AnnData", atac: "AnnData | None", description: DataDescription
) -> tuple["AnnData", "AnnData | None"]:
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


def _expression(rna: "AnnData", layer: str | None) -> sparse.csr_matrix:
    if layer is not None and layer not in rna.layers:
        raise MissingColumnError("layers", layer, list(rna.layers), "Pass one of them, or leave layer out to use X.")
    values = rna.X if layer is None else rna.layers[layer]
    if values is None:
        raise InputError("X", "is empty.", f"Name a layer: {shorten(list(rna.layers))}.")
    matrix = sparse.csr_matrix(values, dtype=np.float32, copy=True)
    matrix.sum_duplicates()  # sorts, too
    matrix.eliminate_zeros()  # a stored zero must not count as a detection
    return matrix


def _check_values(values: sparse.csr_matrix, rna: "AnnData", description: DataDescription) -> bool:
    """Refuse values that are no expression; return whether they are counts."""
    where = "X" if description.layer is None else f"layers['{description.layer}']"
    if not values.shape[0] or not values.shape[1] or not values.nnz:
        raise InputError(where, f"has shape {values.shape} and no non-zero value.", "Check the file or its layer.")
    for bad, what in (
        (~np.isfinite(values.data), "NaN or infinite"),
        (values.data < 0, "negative"),
    ):
        if n_bad := int(bad.sum()):
            first = int(np.flatnonzero(bad)[0])
            cell = int(np.searchsorted(values.indptr, first, side="right") - 1)
            gene = rna.var_names[values.indices[first]]
            scaled = what == "negative" and description.values != "counts"
            raise InputError(
                where, f"{n_bad} {what} values, the first at cell '{rna.obs_names[cell]}', gene '{gene}'.",
                "Scaled (z-scored) data cannot be used: name the layer with counts or log values as layer."
                if scaled else "Repair the file, or name another layer.",
            )  # fmt: skip
    whole = bool(np.array_equal(values.data, np.rint(values.data)))
    if description.values == "counts" and not whole:
        share = float(np.mean(values.data != np.rint(values.data)))
        raise InputError(
            where, f"values = 'counts', but {share:.0%} of the non-zero values are not whole numbers.",
            "Set values = 'log' for log-normalised data, or name the layer that holds counts.",
        )  # fmt: skip
    return whole if description.values == "auto" else description.values == "counts"


def _observations(rna: "AnnData", description: DataDescription, notes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Canonical columns of obs, and which cells have a pseudotime."""
    obs = pd.DataFrame(index=rna.obs_names.astype(str))
    keep = np.ones(rna.n_obs, dtype=bool)
    if description.root is not None and description.time_key is not None:
        raise InputError(
            "root", f"is '{description.root}', but time_key is '{description.time_key}'.",
            "Give one of them: root computes a pseudotime, time_key takes one from the file.",
        )  # fmt: skip
    if description.root is None:
        key = _time_key(rna.obs, description.time_key)
        time = pd.to_numeric(rna.obs[key], errors="coerce").to_numpy(dtype=np.float64)
        if np.isinf(time).any():
            raise InputError(
                f"obs['{key}']", f"{int(np.isinf(time).sum())} cells are infinitely far from the root.",
                "They are not connected to it: remove them, or compute pseudotime per connected part.",
            )  # fmt: skip
        keep = ~np.isnan(time)
        if not keep.any() or np.ptp(time[keep]) == 0:
            found = "has no number in it." if not keep.any() else f"is constant ({time[keep][0]:g}) over all cells."
            raise InputError(f"obs['{key}']", found, "Name a pseudotime that varies as time_key, or pass a root.")
        if not keep.all():
            notes.append(f"{int((~keep).sum())} cells without a value in obs['{key}'] were left out.")
        n_distinct = len(np.unique(time[keep]))
        if n_distinct < FEW_TIMES:
            notes.append(
                f"obs['{key}'] has only {n_distinct} distinct values, so that lags beyond {n_distinct - 1} steps "
                "coincide: pass a root instead to have a continuous pseudotime computed."
            )
        obs["pseudotime"] = time
    root_column, _, root_value = (description.root or "").rpartition("=")
    if root_column in rna.obs:  # a root given as column=value may name any column of the file
        labels = rna.obs[root_column].astype(str)
        obs["is_root"] = (labels == root_value).to_numpy()
        if not obs["is_root"].any() and description.root not in rna.obs_names:
            raise InputError(
                f"root = '{description.root}'",
                f"is in no cell: obs['{root_column}'] has {shorten(sorted(set(labels)))}.",
                "Choose among those.",
            )
    keys: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
        ("lineage", description.lineage_key, ("lineage",)),
        ("cluster", description.cluster_key, CLUSTER_NAMES),
        ("sample", description.sample_key, ()),
    )
    for column, asked, guesses in keys:
        if asked is not None and asked not in rna.obs:
            raise MissingColumnError("obs", asked, list(rna.obs), f"Pass one of them as {column}_key.")
        chosen = asked or next((guess for guess in guesses if guess in rna.obs), None)
        if chosen is not None:
            labels = rna.obs[chosen].astype(object)
            obs[column] = pd.Categorical(labels.where(labels.isna(), labels.astype(str)))
            if asked is None:
                notes.append(f"obs['{chosen}'] is taken as the {column}.")
    return obs, keep


def _time_key(obs: pd.DataFrame, asked: str | None) -> str:
    numeric = [str(name) for name in obs.columns if pd.api.types.is_numeric_dtype(obs[name])]
    if asked is not None:
        if asked not in obs:
            raise MissingColumnError(
                "obs",
                asked,
                numeric,
                "Pass one of these numeric columns as time_key, or a root to compute pseudotime.",
            )
        if asked not in numeric:
            raise InputError(
                f"obs['{asked}']", f"is {obs[asked].dtype}, not a number.", f"Numeric columns are {shorten(numeric)}."
            )
        return asked
    found = [name for name in TIME_NAMES if name in numeric]
    if not found:
        raise InputError(
            "time_key", f"is not set and no column of obs is named like a pseudotime. Numeric: {shorten(numeric)}.",
            "Pass time_key to name one, or root (a barcode, a cluster or column=value) to have it computed.",
        )  # fmt: skip
    return found[0]


def _normalise(
    counts: sparse.csr_matrix, rna: "AnnData", description: DataDescription, notes: list[str]
) -> tuple[sparse.csr_matrix, np.ndarray]:
    key = description.library_size_key
    if key is None:
        size = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
        notes.append(
            f"Counts were normalised to {TARGET_SUM:g} per cell over all {counts.shape[1]} genes of the file."
        )
    elif key not in rna.obs:
        raise MissingColumnError("obs", key, list(rna.obs), "Pass one of them as library_size_key.")
    else:
        size = pd.to_numeric(rna.obs[key], errors="coerce").to_numpy(dtype=np.float64)
        notes.append(f"Counts were normalised to {TARGET_SUM:g} per cell by the library size in obs['{key}'].")
    empty = ~((size > 0) & np.isfinite(size))
    if empty.any():
        what = "no counts" if key is None else "no positive number there"
        raise InputError(
            "counts" if key is None else f"obs['{key}']",
            f"{int(empty.sum())} cells have {what}, the first is '{rna.obs_names[int(np.argmax(empty))]}'.",
            "Filter empty cells before adding the data set."
            if key is None
            else "Name a column of total counts as library_size_key, or leave it out to sum the counts of the file.",
        )
    normalised = sparse.diags(TARGET_SUM / size).dot(counts).tocsr().astype(np.float32)
    np.log1p(normalised.data, out=normalised.data)
    return normalised, size


def _assemble(
    rna: "AnnData",
    normalised: sparse.csr_matrix,
    counts: sparse.csr_matrix | None,
    obs: pd.DataFrame,
    description: DataDescription,
    notes: list[str],
) -> "AnnData":
    """A new AnnData that holds only what the platform uses, under fixed names."""
    import anndata

    clean = anndata.AnnData(normalised, obs=obs, var=pd.DataFrame(index=rna.var_names.astype(str)))
    if counts is not None:
        clean.layers["counts"] = counts
    if description.pca_key in rna.obsm:
        clean.obsm["X_pca"] = np.asarray(rna.obsm[description.pca_key], dtype=np.float32)
        notes.append(f"obsm['{description.pca_key}'] of the file is used for the cell graph.")
    else:
        clean.obsm["X_pca"] = principal_components(normalised)
    given = next((key for key in ("X_umap", "X_tsne") if key in rna.obsm), None)
    embedding = np.asarray(clean.obsm["X_pca"] if given is None else rna.obsm[given], dtype=np.float32)[:, :2]
    clean.obsm["X_embedding"] = np.pad(embedding, ((0, 0), (0, 2 - embedding.shape[1])))  # a line is drawn flat
    for key, name in ((description.pca_key, "X_pca"), (given, "X_embedding")):
        if not np.isfinite(clean.obsm[name]).all():
            raise InputError(f"obsm['{key}']", "has NaN or infinite values.", "Compute it anew, or drop it.")
    if description.transition_key is not None:
        if description.transition_key not in rna.obsp:
            raise MissingColumnError(
                "obsp",
                description.transition_key,
                list(rna.obsp),
                "Pass one of them as transition_key, or leave it out.",
            )
        clean.obsp["transition"] = sparse.csr_matrix(rna.obsp[description.transition_key], dtype=np.float32)
    return clean


def _mark_genes(rna: "AnnData", description: DataDescription) -> None:
    """Flag genes that may enter the model; selection itself waits for the prior."""
    import scanpy
    from sklearn.utils.sparsefuncs import mean_variance_axis

    matrix = rna.X
    rna.var["n_cells"] = matrix.getnnz(axis=0).astype(np.int32)
    mean, variance = mean_variance_axis(matrix, axis=0)  # in two passes: constant genes must give 0, not rounding
    rna.var["mean_expression"] = mean.astype(np.float32)
    rna.var["is_eligible"] = (rna.var["n_cells"] >= description.min_cells) & (variance > 1e-8)
    if not rna.var["is_eligible"].any():
        raise InputError(
            "min_cells", f"no gene is detected in {description.min_cells} cells and varies.",
            "Lower min_cells, or check that the layer holds expression.",
        )  # fmt: skip
    limit = description.n_top_genes
    if limit is None or limit >= int(rna.var["is_eligible"].sum()):
        rna.var["is_highly_variable"] = rna.var["is_eligible"]
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eligible = rna[:, rna.var["is_eligible"]]
        marks = scanpy.pp.highly_variable_genes(eligible, n_top_genes=limit, inplace=False)
    # scanpy marks all genes that tie at the limit; genes alone in their bin of means always tie.
    order = marks.reset_index(drop=True).sort_values(["dispersions_norm", "dispersions"], ascending=False)
    rna.var["is_highly_variable"] = False
    rna.var.loc[eligible.var_names[order.index[:limit]], "is_highly_variable"] = True
