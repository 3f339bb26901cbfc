"""All assets, as a list; importing it fills the records (`record`)."""

import dagster as dg

from scmagnify_assets.graph.assets import (
    activity,
    association,
    communication,
    dataset,
    diffusion,
    evaluation,
    families,
    network,
    prior,
    regfactors,
    report,
)

ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [
    dataset.raw_dataset,
    dataset.dataset,
    association.gene_association,
    prior.peak_gene_links,
    prior.tf_binding,
    prior.prior_network,
    diffusion.diffusion_operators,
    *(asset for name in families.MODELS for asset in (families.MODELS[name], families.RESULTS[name])),
    network.multiscale_network,
    regfactors.regfactors,
    activity.tf_activity,
    activity.regfactor_activity,
    communication.communication_scores,
    evaluation.imported_networks,
    evaluation.baseline_networks,
    evaluation.network_scores,
    report.report,
    evaluation.leaderboard,
]
