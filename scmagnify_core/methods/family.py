"""What a family of methods is: one frozen record, beside the code that it describes.

A family is a module with two functions and this record below them, and one line in `families`. Everything else
follows from the record: the keys of a data set's TOML, the assets, the rows in SQL, names and colours in figures, the
words of the report, a page of the documentation, and the property suite that every family must pass.

`fit` does the long work and returns one `Fit` per seed: named arrays, the history of the fit, and notes. `read` turns a
fit into what it says (a network, programs, a model of samples) and is cheap, so that whoever has a stored fit can read
it without the library that made it. Heavy packages are imported inside `fit`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import InputError
from scmagnify_core.methods.results import Programs, SampleModel
from scmagnify_core.network.network import Network
from scmagnify_core.tables.schema import Table


class Kind(StrEnum):
    """What `Family.read` returns, and so which assets and tables a family has."""

    NETWORK = "network"
    PROGRAMS = "programs"
    SAMPLES = "samples"


class Input(StrEnum):
    """What a family reads of a data set. A data set that lacks one of them is refused before any work starts."""

    COUNTS = "counts"
    EXPRESSION = "expression"
    CANDIDATES = "candidates"
    LAGS = "lags"
    PSEUDOTIME = "pseudotime"
    SAMPLES = "samples"
    CASES = "cases"
    ATAC = "atac"


@dataclass(frozen=True)
class Size:
    """What the cost of a family depends on."""

    n_cells: int
    n_genes: int
    n_sources: int = 0
    n_targets: int = 0
    n_edges: int = 0
    n_lags: int = 0
    n_samples: int = 0


@dataclass(frozen=True)
class Inputs:
    """What a family is given: of the parts that it reads, none is None.

    ``memory_budget`` is in bytes; None is most of what the machine allows (`memory.resolve_budget`).
    """

    dataset: Dataset
    candidates: PriorNetwork | None = None
    operators: DiffusionOperators | None = None
    memory_budget: int | None = None

    @property
    def prior(self) -> PriorNetwork:
        """The candidate edges.

        Raises
        ------
        InputError
            The data set has none.
        """
        if self.candidates is None:
            raise InputError(
                "candidate edges", "were not given to a method that reads them.",
                "Give a prior (--prior FILE), or references to build one from.",
            )  # fmt: skip
        return self.candidates

    @property
    def lags(self) -> DiffusionOperators:
        """The diffusion operators, with the lagged expression of the TFs.

        Raises
        ------
        InputError
            The data set has none, as it has no pseudotime.
        """
        if self.operators is None:
            raise InputError(
                "lagged expression", "was not given to a method that reads it.",
                "Give a pseudotime (--time-key COLUMN) or a root (--root CELL).",
            )  # fmt: skip
        return self.operators

    def targets(self) -> Float[np.ndarray, "cell target"]:
        """Normalised expression of the candidate targets."""
        return self.dataset.expression(self.prior.targets)

    @property
    def size(self) -> Size:
        """What the cost of a family depends on."""
        prior, operators = self.candidates, self.operators
        samples = self.dataset.labels("sample")
        return Size(
            n_cells=self.dataset.rna.n_obs,
            n_genes=self.dataset.rna.n_vars,
            n_sources=0 if prior is None else len(prior.sources),
            n_targets=0 if prior is None else len(prior.targets),
            n_edges=0 if prior is None else prior.n_edges,
            n_lags=0 if operators is None else operators.lagged.shape[1],
            n_samples=0 if samples is None else len(set(samples)),
        )


def _no_history() -> pd.DataFrame:
    return pd.DataFrame(columns=["epoch"])


@dataclass(frozen=True)
class Fit:
    """One seed of a fitted family, as it is stored: one codec serves all families.

    ``history`` has ``epoch`` and a column for each measure. ``notes`` are JSON values that belong to the result.
    ``measured`` is what differs between equal runs (device, seconds): it is shown and not stored.
    """

    arrays: Mapping[str, np.ndarray]
    history: pd.DataFrame = field(default_factory=_no_history)
    notes: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)


Progress = Callable[[int, int, str], None]  # done, total (0: not known), what is being done
Fitter = Callable[[Inputs, Any, Sequence[int], Progress], dict[int, Fit]]
Reader = Callable[[Fit, Inputs], Network | Programs | SampleModel]
Estimate = Callable[[Size, Any], float]
Rows = Callable[[Mapping[int, Fit], Inputs], Mapping[str, pd.DataFrame]]


class NoSettings(BaseModel):
    """A family without settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class About:
    """The words of a family's page in the documentation; ``formula`` is TeX."""

    assumes: str
    formula: str
    use_when: str
    avoid_when: str
    measured: str = ""


@dataclass(frozen=True)
class Family:
    """One family of methods.

    Parameters
    ----------
    name
        Its name everywhere: table of the TOML, value of ``method``, prefix of its assets.
    title
        Its name in a sentence of the report, such as "boosted trees on the same lags".
    role
        ``method``: chosen by a data set's ``methods``. ``baseline`` and ``control``: made beside them for every data
        set that has a ground truth.
    reads
        What it needs of a data set.
    config
        Its settings: a frozen pydantic model whose fields have descriptions.
    fit, read
        See the module's docstring. ``fit`` is deterministic for a seed and independent of the order of cells and genes
        up to rounding.
    work, memory
        Multiplications, to the order of magnitude, and peak bytes of a fit of one seed.
    presets
        Settings by name of a preset, over the defaults of ``config``.
    tables, rows
        Tables of its own beyond those of its kind, and their rows.
    """

    name: str
    title: str
    reference: str
    colour: str
    role: Literal["method", "baseline", "control"]
    kind: Kind
    reads: frozenset[Input]
    fit: Fitter
    read: Reader
    work: Estimate
    memory: Estimate
    about: About
    config: type[BaseModel] = NoSettings
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    rows: Rows = lambda fits, inputs: {}

    @property
    def model_asset(self) -> str:
        """Name of the asset that holds its fits."""
        return f"{self.name}_model"

    @property
    def result_asset(self) -> str:
        """Name of the asset that holds what its fits say."""
        return f"{self.name}_{self.kind.value}"

    @property
    def has_settings(self) -> bool:
        """Whether it has a table in the TOML."""
        return bool(self.config.model_fields)


def candidate_network(
    prior: PriorNetwork,
    weight: Float[np.ndarray, " edge"] | Float[np.ndarray, "lag edge"],
    **known: Any,
) -> Network:
    """A network over all candidates from a signed weight per edge, or per lag and edge.

    ``known`` are further fields of `Network`. Families without lags have one, K = 1.
    """
    weight = np.atleast_2d(np.asarray(weight, dtype=np.float32))
    magnitude = known.pop("magnitude", np.abs(weight))
    return Network(
        prior.sources, prior.targets, prior.source_index, prior.target_index,
        weight, magnitude, known.pop("cv", np.full_like(weight, np.nan)), **known,
    )  # fmt: skip
