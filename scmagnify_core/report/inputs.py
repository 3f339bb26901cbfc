"""What a report is made of: tables, and the materializations that they came from. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Origin:
    """One materialization that the report goes back to.

    ``is_shown`` tells those whose tables are on the page from those that they were made from. ``parameters`` are the
    settings that the result depends on, by key of a data set's TOML, and under ``sha256`` the files that it read.
    ``made_at`` is in UTC.
    """

    asset: str
    seed: int | None
    materialization_id: str
    run_id: str
    code_version: str
    file_sha256: str
    made_at: datetime
    parameters: Mapping[str, Any]
    packages: Mapping[str, str]
    is_shown: bool


@dataclass(frozen=True)
class MethodResult:
    """A method that ran on the data set, and what it found, in words."""

    name: str
    title: str
    kind: str
    found: str
    reference: str


@dataclass(frozen=True)
class ReportInput:
    """Bodies of the tables of one data set, and where they came from.

    A table that a data set does not have (communication without ligand-receptor pairs, say) is an empty frame, and its
    section says so. ``method`` is the one whose network is shown, None where no method infers one. Of activities only
    cell, name and activity are looked at. ``histories`` is the history of each seed of
    that method; ``origins`` are in the order of the graph.
    """

    name: str
    cells: pd.DataFrame
    genes: pd.DataFrame
    prior_network: pd.DataFrame
    histories: Mapping[int, pd.DataFrame]
    multiscale_network: pd.DataFrame
    edges: pd.DataFrame
    seed_agreement: pd.DataFrame
    regfactors: pd.DataFrame
    regfactor_loadings: pd.DataFrame
    tf_activity: pd.DataFrame
    regfactor_activity: pd.DataFrame
    ligand_receptor: pd.DataFrame
    receptor_tf: pd.DataFrame
    communication_scores: pd.DataFrame
    network_scores: pd.DataFrame
    method: str | None = "scmagnify"
    results: tuple[MethodResult, ...] = ()
    origins: tuple[Origin, ...] = field(default=())
