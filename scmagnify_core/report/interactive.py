"""What the choosers of the page draw from, in few bytes: plain values that become JSON.

Numbers that only decide a colour or a position go as bytes in base64: a colour scale has no more than 256 steps, and
4,000 cells x 60 activities are then 0.3 MB instead of 2.
"""

import base64
from typing import Any

import numpy as np
import pandas as pd

from scmagnify_core.report.summary import strongest_sources

N_TARGETS, N_REGULATORS = 20, 15  # shown around one gene
MAX_EDGES = 20_000
MAX_CELLS = 4_000
MAX_NAMES = 60  # activities to choose from
N_BINS = 24  # of pseudotime
MIN_CELLS = 25  # in a bin: means of fewer jump about
CLIP = 0.005  # share of values at either end that share the last colour: single cells would wash out all others


def network_data(edges: pd.DataFrame) -> dict[str, Any]:
    """The strongest edges around every gene: columns, with genes as indices of ``genes``.

    Of each gene the `N_TARGETS` strongest edges to targets and the `N_REGULATORS` strongest from TFs, of all these at
    most `MAX_EDGES`. ``n_out`` and ``n_in`` are the numbers of all candidate edges of each gene.
    """
    ranked = edges.sort_values(["rank", "source", "target"], kind="stable")
    is_near = (ranked.groupby("source", observed=True).cumcount() < N_TARGETS) | (
        ranked.groupby("target", observed=True).cumcount() < N_REGULATORS
    )
    near = ranked[is_near].head(MAX_EDGES)
    genes = pd.Index(sorted({*near["source"].astype(str), *near["target"].astype(str)}))
    n_out, n_in = (edges[side].astype(str).value_counts() for side in ("source", "target"))
    tops = [str(one) for one in strongest_sources(edges, 1)["source"]] or [str(one) for one in near["source"].head(1)]
    return {
        "genes": list(genes),
        "n_out": [int(n_out.get(gene, 0)) for gene in genes],
        "n_in": [int(n_in.get(gene, 0)) for gene in genes],
        "source": genes.get_indexer(near["source"].astype(str)).tolist(),
        "target": genes.get_indexer(near["target"].astype(str)).tolist(),
        **{
            name: _rounded(near[column], digits)
            for name, column, digits in (
                ("score", "score", 3), ("signed", "signed_score", 3), ("lag", "lag", 3), ("p", "pvalue", 2),
                ("fdr", "padj", 2), ("stability", "stability", 2),
            )
        },
        "rank": near["rank"].astype(int).tolist(),
        "selected": near["is_selected"].astype(int).tolist(),
        "shown": {"targets": N_TARGETS, "regulators": N_REGULATORS},
        "first": tops[0] if tops else None,
    }  # fmt: skip


def embedding_data(
    cells: pd.DataFrame, tf_activity: pd.DataFrame, regfactor_activity: pd.DataFrame, edges: pd.DataFrame
) -> dict[str, Any]:
    """Cells on their embedding with what can be shown on them: RegFactors, the strongest TFs, pseudotime, groups.

    Beyond `MAX_CELLS` a random sample is taken, always the same; means along pseudotime are of all cells.
    """
    order = cells.sort_values("cell", kind="stable").reset_index(drop=True)
    sample = order if len(order) <= MAX_CELLS else order.sample(MAX_CELLS, random_state=0).sort_index()
    values: list[dict[str, Any]] = []
    for kind, name, table in (("RegFactor", "regfactor", regfactor_activity), ("TF", "source", tf_activity)):
        if table.empty:
            continue
        known = set(table[name].astype(str).unique())
        if kind == "TF":
            ranked = strongest_sources(edges, len(known))["source"].astype(str)
            wanted = [one for one in ranked if one in known][: MAX_NAMES - len(values)]
        else:
            wanted = sorted(known, key=lambda one: (len(one), one))[: MAX_NAMES - 1]
        some = table[table[name].isin(wanted)]
        wide = some.pivot(index="cell", columns=name, values="activity").reindex(order["cell"])
        trends = _trends(order, wide)
        at = order["cell"].isin(sample["cell"]).to_numpy()
        for one in wanted:
            column = wide[one].to_numpy(dtype=np.float64)
            values.append({"name": one, "kind": kind, "trend": trends[one], **_in_bytes(column[at], symmetric=True)})
    return {
        "x": _in_bytes(sample["embedding_1"].to_numpy(dtype=np.float64), clip=0.0, n_bytes=2),
        "y": _in_bytes(sample["embedding_2"].to_numpy(dtype=np.float64), clip=0.0, n_bytes=2),
        "time": _in_bytes(sample["pseudotime"].to_numpy(dtype=np.float64), clip=0.0, n_bytes=2),
        "groups": _labels(sample["cluster"]),
        "lineages": _labels(sample["lineage"]),
        "values": values,
        "n_cells": len(cells),
        "n_shown": len(sample),
    }


def _trends(cells: pd.DataFrame, wide: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Mean activity over bins of equally many cells, per lineage where there are several."""
    lineage = cells["lineage"].astype(object).where(cells["lineage"].notna(), None)
    names = sorted(lineage.dropna().unique())
    parts = {str(one): (lineage == one).to_numpy() for one in names} if len(names) > 1 else {}
    parts = {one: part for one, part in parts.items() if part.sum() >= MIN_CELLS} or {
        "all cells": np.ones(len(cells), dtype=bool)
    }
    found: dict[str, list[dict[str, Any]]] = {str(name): [] for name in wide}
    for lineage_name, part in parts.items():
        some, values = cells[part], wide[part]
        rank = some["pseudotime"].rank(method="first").to_numpy() - 1
        bins = (rank * min(N_BINS, max(3, len(some) // MIN_CELLS)) // len(some)).astype(int)
        time = _rounded(some["pseudotime"].groupby(bins).mean(), 4)
        means = values.groupby(bins).mean()
        for name in wide:
            found[str(name)].append({"lineage": lineage_name, "time": time, "mean": _rounded(means[name], 3)})
    return found


def _labels(column: pd.Series) -> dict[str, Any] | None:
    """Categories, and the index of each cell's; None where no cell has any."""
    known = column.dropna()
    if known.empty:
        return None
    names = sorted(known.astype(str).unique())
    codes = pd.Index(names).get_indexer(column.astype(object).where(column.notna(), "").astype(str))
    return {"names": names, "codes": codes.tolist()}


def _in_bytes(values: np.ndarray, *, clip: float = CLIP, n_bytes: int = 1, symmetric: bool = False) -> dict[str, Any]:
    """Values as unsigned integers between ``low`` and ``high``, in base64, little-endian; NaN as the middle."""
    known = values[np.isfinite(values)]
    low, high = (float(np.quantile(known, share)) for share in (clip, 1 - clip)) if len(known) else (0.0, 1.0)
    if symmetric:  # 0 is the middle of a diverging scale
        high = max(abs(low), abs(high))
        low = -high
    if high <= low:
        low, high = low - 0.5, low + 0.5
    steps = 256**n_bytes - 1
    filled = np.where(np.isfinite(values), values, (low + high) / 2)
    codes = np.rint(np.clip((filled - low) / (high - low), 0, 1) * steps).astype(f"<u{n_bytes}")
    packed = base64.b64encode(codes.tobytes()).decode()
    return {"low": float(f"{low:.4g}"), "high": float(f"{high:.4g}"), "bytes": n_bytes, "data": packed}


def _rounded(values: pd.Series, digits: int) -> list[float | None]:
    """To so many significant digits; None where there is no number, as JSON has no NaN."""
    return [float(f"{one:.{digits}g}") if np.isfinite(one) else None for one in values.astype(float)]
