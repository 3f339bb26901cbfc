"""Two assets for each family of methods: its fits, and what they say.

They exist for data sets that name the family in ``methods``. Nothing here knows any family: all of it follows from the
records in `scmagnify_core.methods.families`.
"""

import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from scmagnify_assets.graph.codecs import Fitted, fit_codec, frames
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata, table_preview
from scmagnify_assets.graph.resources import LakeResource, Specs
from scmagnify_assets.steps.executors import training_needs
from scmagnify_assets.steps.progress import report
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import InputError
from scmagnify_core.methods.families import METHODS
from scmagnify_core.methods.family import Family, Fit, Input, Inputs, Kind
from scmagnify_core.methods.results import Programs, SampleModel
from scmagnify_core.network.network import Network, aggregate_seeds
from scmagnify_core.plots.training import plot_history
from scmagnify_core.specification import DatasetSpec
from scmagnify_core.tables import network, programs, samples

TABLES = {
    Kind.NETWORK: (network.NETWORKS,),
    Kind.PROGRAMS: (programs.GENE_PROGRAMS, programs.PROGRAM_USAGE),
    Kind.SAMPLES: (samples.SAMPLE_DISTANCES, samples.CELL_EMBEDDINGS),
}
OF_INPUTS = {Input.CANDIDATES: "prior_network", Input.LAGS: "diffusion_operators"}


def _ins(family: Family) -> dict[str, dg.AssetIn]:
    return {name: dg.AssetIn() for one, name in OF_INPUTS.items() if one in family.reads}


def inputs_of(
    spec: DatasetSpec,
    dataset: Dataset,
    prior_network: PriorNetwork | None = None,
    diffusion_operators: DiffusionOperators | None = None,
) -> Inputs:
    """What a family is given, of the assets that it reads."""
    return Inputs(dataset, prior_network, diffusion_operators, spec.memory_budget)


def model_asset(family: Family) -> dg.AssetsDefinition:
    """The fits of a family: all seeds of a data set in one step, so that they can share what they have in common."""

    def compute(context: dg.AssetExecutionContext, dataset: Dataset, specs: Specs, **inputs: Any) -> Fitted:
        spec = specs.get(context.partition_key)
        given = inputs_of(spec, dataset, **inputs)
        fits = family.fit(
            given, spec.config_of(family), range(spec.seeds),
            lambda done, total, detail: report(family.model_asset, done, total, detail),
        )  # fmt: skip
        measured = next(iter(fits.values())).measured
        histories = {seed: fit.history for seed, fit in fits.items() if len(fit.history)}
        figures = {"figure": figure_metadata(plot_history(histories))} if histories else {}
        seeds = pd.DataFrame(
            [{"seed": seed, **_progress_of(fit), **_scalars(fit.notes)} for seed, fit in fits.items()]
        )
        # The mean over seeds as a number, so that the UI plots it over time.
        final = {"final_loss": float(seeds["final_loss"].mean())} if "final_loss" in seeds else {}
        context.add_output_metadata({**measured, **final, **figures, "seeds": table_preview(seeds)})
        return Fitted(fits, family.rows(fits, given))

    return asset(
        name=family.model_asset,
        description=f"Fits of {family.title}, all seeds together.",
        group=family.name,
        kinds=("python", "safetensors", "deltalake"),
        codec=fit_codec(family.name),
        settings=(*([family.name] if family.has_settings else []), "seeds"),
        family=family.name,
        tables=(network.FIT_HISTORY, *family.tables),
        may_be_empty=(network.FIT_HISTORY.name,),
        needs=training_needs(),
        pool="gpu",
        ins=_ins(family),
        url=family.reference,
    )(compute)


def result_asset(family: Family) -> dg.AssetsDefinition:
    """What the fits of a family say, aggregated over seeds."""

    def compute(
        context: dg.AssetExecutionContext, dataset: Dataset, specs: Specs, lake: LakeResource, **inputs: Any
    ) -> Mapping[str, pd.DataFrame]:
        started, spec = time.monotonic(), specs.get(context.partition_key)
        fitted: Fitted = inputs.pop(family.model_asset)
        given = inputs_of(spec, dataset, **inputs)
        said = {seed: family.read(fit, given) for seed, fit in sorted(fitted.fits.items())}
        refuse_missing_seeds(family, said, spec)
        if family.kind is not Kind.NETWORK:
            return _rows(context, family, said)
        networks = {seed: one for seed, one in said.items() if isinstance(one, Network)}
        value = aggregate_seeds(networks, spec.network)
        made = lake.open().current(family.model_asset, context.partition_key)
        effort = {
            "runtime_s": np.nan if made is None or made.runtime_s is None else made.runtime_s
            + time.monotonic() - started,
            "peak_memory_mib": np.nan if made is None or made.peak_memory_mib is None else made.peak_memory_mib,
        }  # fmt: skip
        table = value.ranked_table(family.name).assign(**effort)
        top = table.sort_values("rank").head(10)
        context.add_output_metadata(
            {
                "n_edges": len(table),
                "n_seeds": len(networks),
                "jaccard_of_seeds": float(value.agreement["jaccard"].mean()) if len(value.agreement) else 1.0,
                "top_edges": table_preview(top[["source", "target", "score", "signed_score", "lag", "stability"]]),
            }
        )
        return {network.NETWORKS.name: table}

    tables = TABLES[family.kind]
    return asset(
        name=family.result_asset,
        description=f"{family.kind.value.capitalize()} of {family.title}, over all seeds.",
        group=family.name,
        codec=frames(*(table.name for table in tables)),
        settings=("network",) if family.kind is Kind.NETWORK else (),
        family=family.name,
        tables=tables,
        may_be_empty=() if family.kind is Kind.NETWORK else tuple(table.name for table in tables),
        column_sources={"source": (("prior_network", "source"),), "target": (("prior_network", "target"),)}
        if family.kind is Kind.NETWORK
        else {},
        ins={family.model_asset: dg.AssetIn(), **_ins(family)},
        url=family.reference,
    )(compute)


def refuse_missing_seeds(family: Family, found: Mapping[int, object], spec: DatasetSpec) -> None:
    """Refuse fits of other seeds than the settings ask for.

    Raises
    ------
    InputError
        A seed is missing.
    """
    if missing := sorted(set(range(spec.seeds)) - set(found)):
        raise InputError(
            f"seeds {missing} of {family.title} for '{spec.name}'", "have not been fitted yet.",
            f"Run everything: scmagnify run {spec.name} --seeds {spec.seeds}",
        )  # fmt: skip


def _rows(
    context: dg.AssetExecutionContext, family: Family, said: Mapping[int, object]
) -> Mapping[str, pd.DataFrame]:
    """Rows of programs or of a model of samples: those of the first seed, which other seeds are held against."""
    first = next(iter(said.values()))
    if isinstance(first, Programs):
        context.add_output_metadata({"n_programs": len(first.names), "n_cells": len(first.cells)})
        found = {
            programs.GENE_PROGRAMS.name: first.genes_table(),
            programs.PROGRAM_USAGE.name: first.usage_table(),
        }
    else:
        assert isinstance(first, SampleModel), type(first)
        embeddings = first.embeddings_table()
        names = embeddings.pop("embedding")
        context.add_output_metadata({"n_pairs": len(first.distances), "embeddings": ", ".join(first.embeddings)})
        return {
            samples.SAMPLE_DISTANCES.name: first.distances.assign(method=family.name),
            samples.CELL_EMBEDDINGS.name: embeddings.assign(method=names),
        }
    return {name: frame.assign(method=family.name) for name, frame in found.items()}


def _progress_of(fit: Fit) -> dict[str, float]:
    """Epochs and the smallest loss of a fit that has a loss."""
    if "loss" not in fit.history or not len(fit.history):
        return {}
    return {"epochs": len(fit.history), "final_loss": float(fit.history["loss"].min())}


def _scalars(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in notes.items() if isinstance(value, str | int | float | bool)}


MODELS = {name: model_asset(family) for name, family in METHODS.items()}
RESULTS = {name: result_asset(family) for name, family in METHODS.items()}
