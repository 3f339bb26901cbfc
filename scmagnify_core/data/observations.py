"""Columns of the cells under fixed names: pseudotime, lineage, cluster and sample."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.data.description import DataDescription
from scmagnify_core.errors import InputError, MissingColumnError, shorten

if TYPE_CHECKING:
    from anndata import AnnData

FEW_TIMES = 10  # distinct values below which a pseudotime is more like sampling times
TIME_NAMES = ("pseudotime", "dpt_pseudotime", "palantir_pseudotime", "latent_time", "velocity_pseudotime")
CLUSTER_NAMES = ("cell_type", "celltype", "cell_types", "clusters", "cluster", "leiden", "louvain", "condition")


def observations(rna: "AnnData", description: DataDescription, notes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
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
