"""Core's values as tables and artefacts, and back: one pair of functions per asset.

An encoder returns frames with the body columns that ``tables.py`` declares and, where a value does not fit a table,
files. Files are h5mu and safetensors, never pickle. Storage itself is the lakehouse's business.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.interpretation.activity import Activity
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.result import BackboneReport, TrainingResult
from scmagnify_core.network.network import MultiscaleNetwork, Network

REPORT = "report.html"


@dataclass(frozen=True)
class Encoded:
    """What goes to storage: tables by name, files by name (content or path)."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    artifacts: Mapping[str, bytes | Path] = field(default_factory=dict)


@runtime_checkable
class Stored(Protocol):
    """One materialization in storage, its tables and files read when they are asked for."""

    @property
    def made(self) -> Materialization:
        """What is recorded of it."""

    def ancestry(self) -> list[Materialization]:
        """It, and everything that it was made from, back to the data file."""

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Rows of a table that this materialization wrote: its body, or these columns of it."""

    def artifact(self, name: str) -> Path:
        """Path of a file that this materialization wrote."""


@dataclass(frozen=True)
class Codec:
    """How the value of one asset is stored; ``folder`` is scratch space for files."""

    encode: Callable[[Any, Path], Encoded]
    decode: Callable[[Stored], Any]


def _encode_dataset(value: Dataset, folder: Path) -> Encoded:
    path = folder / "dataset.h5mu"
    value.write(path)
    return Encoded({"cells": value.cells_table(), "genes": value.genes_table()}, {path.name: path})


def _encode_operators(value: DiffusionOperators, folder: Path) -> Encoded:
    path = folder / "operators.safetensors"
    value.write(path)
    return Encoded(artifacts={path.name: path})


def _encode_model(value: TrainingResult, folder: Path) -> Encoded:
    from safetensors.torch import save

    about = {
        "config": value.config.model_dump(mode="json"),
        "seed": value.seed,
        "best_epoch": value.best_epoch,
        "stopped_by": value.stopped_by,
        "backbone": None if value.backbone is None else asdict(value.backbone),
    }
    # Its hash tells whether the model is the same: device and run time stay out, and the metadata is one entry,
    # because safetensors writes several in random order.
    content = save(value.weights, metadata={"about": json.dumps(about, sort_keys=True)})
    return Encoded({"training_history": value.history}, {"weights.safetensors": content})


def _decode_model(stored: Stored) -> TrainingResult:
    from safetensors import safe_open

    with safe_open(stored.artifact("weights.safetensors"), framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return TrainingResult(
        weights=weights,
        history=stored.table("training_history"),
        seed=about["seed"],
        best_epoch=about["best_epoch"],
        stopped_by=about["stopped_by"],
        device="stored",
        runtime_s=float("nan"),
        config=GrangerConfig.model_validate(about["config"]),
        backbone=BackboneReport(**backbone) if (backbone := about.get("backbone")) else None,
    )


def _encode_multiscale(value: MultiscaleNetwork, folder: Path) -> Encoded:
    return Encoded({"multiscale_network": value.to_table(), "edges": value.edges, "seed_agreement": value.agreement})


def _decode_multiscale(stored: Stored) -> MultiscaleNetwork:
    table = stored.table("multiscale_network")
    network = Network.from_table(table.assign(cv=np.nan))
    spread = table.sort_values(["lag", "target", "source"], kind="stable")["weight_sd"].to_numpy()
    edges = network.edge_names().merge(stored.table("edges"), on=["source", "target"], how="left", validate="1:1")
    return MultiscaleNetwork(network, spread.reshape(network.n_lags, -1), edges, stored.table("seed_agreement"))


def _frames(*names: str) -> Codec:
    """An asset whose value is its tables, by name."""
    return Codec(
        lambda value, folder: Encoded({name: value[name] for name in names}),
        lambda stored: {name: stored.table(name) for name in names},
    )


CODECS: Mapping[str, Codec] = {
    "dataset": Codec(_encode_dataset, lambda stored: Dataset.load(stored.artifact("dataset.h5mu"))),
    "gene_association": _frames("gene_association"),
    "peak_gene_links": _frames("peak_gene_links", "peaks"),
    "tf_binding": _frames("tf_binding", "motifs"),
    "prior_network": Codec(
        lambda value, folder: Encoded({"prior_network": value.to_table()}),
        lambda stored: PriorNetwork.from_table(stored.table("prior_network")),
    ),
    "diffusion_operators": Codec(
        _encode_operators, lambda stored: DiffusionOperators.load(stored.artifact("operators.safetensors"))
    ),
    "trained_model": Codec(_encode_model, _decode_model),
    "seed_network": Codec(
        lambda value, folder: Encoded({"seed_network": value.to_table()}),
        lambda stored: Network.from_table(stored.table("seed_network")),
    ),
    "multiscale_network": Codec(_encode_multiscale, _decode_multiscale),
    "regfactors": _frames("regfactors", "regfactor_loadings", "regfactor_components", "regfactor_core"),
    "tf_activity": Codec(
        lambda value, folder: Encoded({"tf_activity": value.table}),
        lambda stored: Activity(stored.table("tf_activity"), {}),
    ),
    "regfactor_activity": Codec(
        lambda value, folder: Encoded({"regfactor_activity": value.table}),
        lambda stored: Activity(stored.table("regfactor_activity"), {}),
    ),
    "communication_scores": _frames("ligand_receptor", "receptor_tf", "communication_scores"),
    "imported_networks": _frames("imported_networks"),
    "baseline_networks": _frames("baseline_networks"),
    "network_scores": _frames("network_scores"),
    "report": Codec(
        lambda value, folder: Encoded(artifacts={REPORT: value.encode()}),
        lambda stored: stored.artifact(REPORT).read_text(encoding="utf-8"),
    ),
}
