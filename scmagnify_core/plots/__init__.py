"""Figures: tables of the lake in, a matplotlib ``Figure`` out; one module per thing drawn.

``from scmagnify_core.plots import plot_network`` serves notebooks, the UI and the report alike. A figure is no part of
pyplot: show it by naming it in a cell, write it with ``figure.savefig``. ``docs/plots.md`` has a call for each.

Matplotlib and the method itself are imported when something is drawn, not before.
"""

from scmagnify_core.plots.activity import plot_activity, plot_activity_on_embedding, plot_trends
from scmagnify_core.plots.agreement import plot_difference, plot_stability
from scmagnify_core.plots.association import plot_association
from scmagnify_core.plots.communication import plot_cascades, plot_communication
from scmagnify_core.plots.dataset import plot_embedding
from scmagnify_core.plots.evaluation import plot_leaderboard, plot_scores
from scmagnify_core.plots.network import (
    plot_lag_heatmap,
    plot_lags,
    plot_neighbourhood,
    plot_network,
    plot_ranking,
)
from scmagnify_core.plots.peak_gene_links import plot_links, plot_locus
from scmagnify_core.plots.prior import plot_candidates
from scmagnify_core.plots.regfactors import plot_regfactor_card, plot_regfactors
from scmagnify_core.plots.tf_binding import plot_hits
from scmagnify_core.plots.training import plot_history

__all__ = [  # noqa: RUF022 (in the order of the pipeline)
    # the data set
    "plot_embedding",
    "plot_association",
    # evidence of the candidates
    "plot_links",
    "plot_locus",
    "plot_hits",
    "plot_candidates",
    # training
    "plot_history",
    # the network: all of it, one gene, over seeds, against another
    "plot_network",
    "plot_ranking",
    "plot_lags",
    "plot_lag_heatmap",
    "plot_neighbourhood",
    "plot_stability",
    "plot_difference",
    # its modules, and what is active where and when
    "plot_regfactors",
    "plot_regfactor_card",
    "plot_activity",
    "plot_activity_on_embedding",
    "plot_trends",
    # signalling
    "plot_communication",
    "plot_cascades",
    # against a ground truth
    "plot_scores",
    "plot_leaderboard",
]
