"""Three families that are not part of the product: one of each kind, each in a few lines, as a user would add them."""

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from scmagnify_core.methods.family import About, Family, Fit, Input, Kind, candidate_network
from scmagnify_core.methods.packing import pack, unpack
from scmagnify_core.methods.results import Programs, SampleModel

ABOUT = About("Hardly anything.", "y = x", "You test the seam.", "You want a result.")


class ToyConfig(BaseModel):
    """Settings of the toy network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shrink: float = Field(0.5, ge=0, description="Share of the correlation that is kept.")


def fit_network(inputs, config, seeds, progress):
    prior, fits = inputs.prior, {}
    sources = inputs.dataset.expression(prior.sources)
    correlation = np.corrcoef(sources.T, inputs.targets().T)[: len(prior.sources), len(prior.sources) :]
    weight = config.shrink * np.nan_to_num(correlation[prior.source_index, prior.target_index])
    for seed in seeds:
        progress(seed + 1, len(seeds), f"seed {seed}")
        history = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5]})
        known = {"probability": np.abs(weight), "posterior_sd": np.full(len(weight), 0.1)}
        fits[seed] = Fit(pack(candidate_network(prior, weight, **known)), history, {"shrink": config.shrink})
    return fits


def fit_programs(inputs, config, seeds, progress):
    values = inputs.dataset.rna.X.toarray()
    order = np.argsort(-values.var(axis=0), kind="stable")[:10]
    weight = np.zeros((2, values.shape[1]))
    weight[0, order[:5]], weight[1, order[5:]] = 1.0, 0.5
    usage = values @ weight.T
    return {seed: Fit({"weight": weight, "usage": usage}) for seed in seeds}


def read_programs(fit, inputs):
    genes, cells = tuple(inputs.dataset.genes), tuple(inputs.dataset.cells.astype(str))
    kinds = ("baseline", "case")
    return Programs(("p1", "p2"), kinds, genes, cells, fit.arrays["weight"], fit.arrays["usage"])


def fit_samples(inputs, config, seeds, progress):
    labels, values = inputs.dataset.labels("sample"), inputs.dataset.rna.X.toarray()
    means = np.stack([values[labels == one].mean(axis=0) for one in sorted(set(labels))])
    distance = np.linalg.norm(means[:, None] - means[None], axis=2)
    return {
        seed: Fit({"distance": distance, "u": values[:, :2]}, notes={"samples": sorted(set(labels))})
        for seed in seeds
    }


def read_samples(fit, inputs):
    names, distance = fit.notes["samples"], fit.arrays["distance"]
    pairs = [(a, b, distance[i, j]) for i, a in enumerate(names) for j, b in enumerate(names)]
    table = pd.DataFrame(pairs, columns=["sample_a", "sample_b", "distance"]).assign(cluster="all")
    return SampleModel(tuple(inputs.dataset.cells.astype(str)), table, {"toy_u": fit.arrays["u"]})


COMMON = {
    "reference": "", "role": "method", "about": ABOUT,
    "work": lambda size, config: float(size.n_cells), "memory": lambda size, config: 2.0**28,
}  # fmt: skip
FAMILIES = (
    Family(
        name="toy_network", title="the toy network", colour="#111111", kind=Kind.NETWORK, fit=fit_network, read=unpack,
        reads=frozenset({Input.EXPRESSION, Input.CANDIDATES}), config=ToyConfig, **COMMON,
    ),
    Family(
        name="toy_programs", title="the toy programs", colour="#222222", kind=Kind.PROGRAMS, fit=fit_programs,
        read=read_programs, reads=frozenset({Input.EXPRESSION}), **COMMON,
    ),
    Family(
        name="toy_samples", title="the toy samples", colour="#333333", kind=Kind.SAMPLES, fit=fit_samples,
        read=read_samples, reads=frozenset({Input.EXPRESSION, Input.SAMPLES}), **COMMON,
    ),
)  # fmt: skip
