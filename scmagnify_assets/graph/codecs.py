"""Core's values as tables and artifacts, and back: one pair of functions per kind of value.

An encoder returns frames with the body columns that ``tables.py`` declares and, where a value does not fit a table,
files. Files are h5mu and safetensors, never pickle. Storage itself is the lakehouse's business.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.interpretation.activity import Activity
from scmagnify_core.methods.family import Fit
from scmagnify_core.network.network import MultiscaleNetwork, Network
from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.network import FIT_HISTORY
from scmagnify_core.tables.schema import Table

REPORT = "report.html"
NOTHING = "nothing"  # a file without content, in the place of a value that a data set does not have


@dataclass(frozen=True)
class Encoded:
    """What goes to storage: tables by name, files by name (content or path), and the seeds that they hold."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    artifacts: Mapping[str, bytes | Path] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None  # that were fitted


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

    def artifact_names(self) -> list[str]:
        """Names of the files that this materialization wrote."""


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


@dataclass(frozen=True)
class Fitted:
    """What a family's model asset makes: a fit of each seed, and rows of the tables that only this family has."""

    fits: Mapping[int, Fit]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def fit_codec(method: str) -> Codec:
    """The codec of every family's fits: arrays and notes as safetensors, one file a seed, the history as rows."""

    def encode(value: Fitted, folder: Path) -> Encoded:
        from safetensors.numpy import save

        files = {
            # The hash tells whether the fit is the same: what was measured stays out, and the metadata is one entry,
            # because safetensors writes several in random order.
            _file_of(seed): save(dict(fit.arrays), {"about": json.dumps(dict(fit.notes), sort_keys=True)})
            for seed, fit in value.fits.items()
        }
        histories = [_long(fit.history, method, seed) for seed, fit in sorted(value.fits.items())]
        tables = {FIT_HISTORY.name: pd.concat(histories, ignore_index=True), **value.tables}
        return Encoded(tables, files, tuple(sorted(value.fits)))

    def decode(stored: Stored) -> Fitted:
        from safetensors import safe_open

        history = stored.table(FIT_HISTORY.name)
        fits = {}
        for seed in stored.made.seeds or ():
            with safe_open(stored.artifact(_file_of(seed)), framework="numpy") as file:
                notes = json.loads(file.metadata()["about"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            fits[seed] = Fit(arrays, _wide(history[history["seed"] == seed]), notes)
        return Fitted(fits)

    return Codec(encode, decode)


def _file_of(seed: int) -> str:
    return f"seed_{seed}.safetensors"


def _long(history: pd.DataFrame, method: str, seed: int) -> pd.DataFrame:
    """The history of a fit as rows of ``fit_history``."""
    rows = history.melt(id_vars="epoch", var_name="measure", value_name="value")
    rows = rows.astype({"epoch": np.int32, "measure": object, "value": np.float64})
    return rows.assign(method=method, seed=np.int16(seed))


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``fit_history`` of one seed as the history of a fit."""
    wide = rows.pivot(index="epoch", columns="measure", values="value").reset_index()
    return wide.rename_axis(columns=None)


def _encode_multiscale(value: MultiscaleNetwork, folder: Path) -> Encoded:
    return Encoded({"multiscale_network": value.to_table(), "edges": value.edges, "seed_agreement": value.agreement})


def _decode_multiscale(stored: Stored) -> MultiscaleNetwork:
    table = stored.table("multiscale_network")
    network = Network.from_table(table.assign(cv=np.nan))
    spread = table.sort_values(["lag", "target", "source"], kind="stable")["weight_sd"].to_numpy()
    edges = network.edge_names().merge(stored.table("edges"), on=["source", "target"], how="left", validate="1:1")
    return MultiscaleNetwork(network, spread.reshape(network.n_lags, -1), edges, stored.table("seed_agreement"))


def frames(*names: str) -> Codec:
    """An asset whose value is its tables, by name."""
    return Codec(
        lambda value, folder: Encoded({name: value[name] for name in names}),
        lambda stored: {name: stored.table(name) for name in names},
    )


def optional(codec: Codec, *names: str) -> Codec:
    """A codec whose value may be None, for a data set that has nothing of the kind: its tables then have no rows."""

    def encode(value: Any, folder: Path) -> Encoded:
        if value is None:
            return Encoded({name: no_rows(TABLES[name]) for name in names}, {NOTHING: b""})
        return codec.encode(value, folder)

    def decode(stored: Stored) -> Any:
        return None if NOTHING in stored.artifact_names() else codec.decode(stored)

    return Codec(encode, decode)


DATASET = Codec(_encode_dataset, lambda stored: Dataset.load(stored.artifact("dataset.h5mu")))
PRIOR = optional(
    Codec(
        lambda value, folder: Encoded({"prior_network": value.to_table()}),
        lambda stored: PriorNetwork.from_table(stored.table("prior_network")),
    ),
    "prior_network",
)
OPERATORS = optional(
    Codec(_encode_operators, lambda stored: DiffusionOperators.load(stored.artifact("operators.safetensors")))
)
MULTISCALE = optional(Codec(_encode_multiscale, _decode_multiscale), "multiscale_network", "edges", "seed_agreement")
PAGE = Codec(
    lambda value, folder: Encoded(artifacts={REPORT: value.encode()}),
    lambda stored: stored.artifact(REPORT).read_text(encoding="utf-8"),
)


def activity_codec(name: str) -> Codec:
    """The codec of activities, which are one table; None where there is no network."""
    return Codec(lambda value, folder: Encoded({name: value.table}), lambda stored: Activity(stored.table(name), {}))


def no_rows(table: Table) -> pd.DataFrame:
    """A body of the table without rows."""
    return pd.DataFrame(columns=[column.name for column in table.body])
