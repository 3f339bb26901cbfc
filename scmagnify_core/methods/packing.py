"""A network as the arrays of a fit, and back: what families of networks share."""

import numpy as np
import pandas as pd

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.errors import InputError
from scmagnify_core.methods.family import Fit, Inputs
from scmagnify_core.network.network import Network

ARRAYS = ("weight", "magnitude", "cv")
OPTIONAL = ("dense", "strength", "lag", "probability", "posterior_sd")
ENDS = ("source_index", "target_index")  # only of a network whose edges are not the candidates


def pack(network: Network, *, own_edges: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a network over the candidates or, with ``own_edges``, over other pairs of their genes."""
    names = (
        *ARRAYS,
        *(name for name in OPTIONAL if getattr(network, name) is not None),
        *(ENDS if own_edges else ()),
    )
    return {name: np.ascontiguousarray(getattr(network, name)) for name in names}


def unpack(fit: Fit, inputs: Inputs) -> Network:
    """The network that a fit holds.

    Raises
    ------
    InputError
        It was fitted to other candidates.
    """
    prior, arrays = inputs.prior, fit.arrays
    ends = [arrays.get(name, getattr(prior, name)) for name in ENDS]
    if len(ends[0]) != arrays["weight"].shape[1]:
        raise InputError(
            "the fit", f"has {arrays['weight'].shape[1]:,} edges for {len(ends[0]):,} candidates: one is older.",
            "Run the data set again.",
        )  # fmt: skip
    known = {name: arrays[name] for name in OPTIONAL if name in arrays}
    return Network(prior.sources, prior.targets, *ends, *(arrays[name] for name in ARRAYS), **known)


def fit_of_scores(edges: pd.DataFrame, prior: PriorNetwork | None = None) -> Fit:
    """A fit from ``score, signed_score`` and, where known, ``lag`` of each edge.

    Edges are in the order of the candidates or, with ``prior``, any pairs of its TFs and targets.
    """
    signed = edges["signed_score"].to_numpy(dtype=np.float64)[None]
    arrays = {
        "weight": signed,
        "magnitude": np.abs(signed),
        "cv": np.full_like(signed, np.nan),
        "strength": edges["score"].to_numpy(dtype=np.float64),
    }
    if "lag" in edges:
        arrays["lag"] = edges["lag"].to_numpy(dtype=np.float64)
    if prior is not None:
        arrays["source_index"] = pd.Index(prior.sources).get_indexer(pd.Index(edges["source"]))
        arrays["target_index"] = pd.Index(prior.targets).get_indexer(pd.Index(edges["target"]))
    return Fit(arrays)
