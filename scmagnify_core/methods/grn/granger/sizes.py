"""What training takes of memory, from sizes alone: apart from training, so that asking does not import torch."""

from itertools import pairwise

from scmagnify_core.methods.grn.granger.config import GrangerConfig


def n_networks_of(config: GrangerConfig) -> int:
    """Networks psi of a model. Those of one lag are neighbours: by lag, then branch (page), or one per branch."""
    return config.n_lags * (config.n_lags + 1) // 2 if config.branching == "page" else config.n_lags


def weight_bytes(n_sources: int, n_edges: int, config: GrangerConfig) -> int:
    """Bytes of the weights of one model."""
    n_networks = n_networks_of(config)
    hidden = sum(n_in * n_out for n_in, n_out in pairwise((n_sources, *config.hidden)))
    return 4 * n_networks * (n_edges * (config.hidden[-1] + 1) + hidden)


def seed_bytes(n_cells: int, n_sources: int, n_targets: int, n_edges: int, config: GrangerConfig) -> int:
    """Bytes that each seed takes while it trains: its weights, two moments of each, and the best ones so far.

    With a backbone also the inner products of the lagged features, and twice what the backbone leaves over of the
    targets.
    """
    needed = 4 * weight_bytes(n_sources, n_edges, config)
    if config.backbone != "none":
        width = config.n_lags * n_sources
        needed += 24 * width**2 + 16 * width * n_targets + 8 * n_cells * n_targets
    return needed


def fit_bytes(n_cells: int, n_sources: int, n_targets: int, n_edges: int, config: GrangerConfig) -> int:
    """Peak bytes of a fit of one seed, what the process holds before it left out."""
    shared = 8 * n_cells * n_targets + 4 * n_cells * config.n_lags * n_sources + 2**27
    return (
        shared + weight_bytes(n_sources, n_edges, config) + seed_bytes(n_cells, n_sources, n_targets, n_edges, config)
    )
