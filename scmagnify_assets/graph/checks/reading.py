"""How checks read: rows as they are stored now, and a network's former states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core.errors import ScmagnifyError

# Former materializations that say what is usual. Two odd ones among five do not move the median, and a change that is
# meant is usual from its third run on.
HISTORY = 5


def stored_rows(lake: Lakehouse, table: str, dataset: str, asset: str) -> pd.DataFrame:
    """What is stored of a data set in a table, of a shared one only what this asset wrote."""
    rows = lake.read(table, dataset)
    return rows[rows["asset"] == asset] if "asset" in rows else rows


@dataclass(frozen=True)
class History:
    """A table of the network now and in its former materializations (newest first), and what changed since."""

    made: Materialization
    now: pd.DataFrame
    former: list[pd.DataFrame]
    n_unreadable: int
    changed: list[str]

    def metadata(self) -> dict[str, Any]:
        """What every check against history says."""
        found: dict[str, Any] = {"former_materializations": len(self.former), "changed_since_the_last": self.changed}
        return found | ({"former_that_were_removed": self.n_unreadable} if self.n_unreadable else {})


def read_history(store: Lakehouse, table: str, dataset: str, columns: Sequence[str]) -> History | None:
    """Read one of the network's tables, now and before; None if there is no complete network.

    Only what is before the current materialization counts, so that a check that is repeated says the same.
    """
    made = store.current("multiscale_network", dataset)
    if made is None:
        return None
    now = store.read(table, dataset, columns=columns, materialization_id=made.materialization_id)
    versions = store.versions(table, dataset)
    own = versions.loc[versions["materialization_id"] == made.materialization_id, "version"].min()
    before = versions[versions["version"] < own].tail(HISTORY).iloc[::-1]
    former, n_unreadable = [], 0
    for version, n_rows in zip(before["version"], before["n_rows"], strict=True):
        if not n_rows:
            former.append(pd.DataFrame(columns=list(columns)))
            continue
        try:
            former.append(store.read(table, dataset, columns=columns, version=int(version)))
        except (ScmagnifyError, ValueError):  # removed by maintenance; ValueError is Arrow's word for a damaged file
            n_unreadable += 1
    return History(made, now, former, n_unreadable, _changes(store, made, before["materialization_id"]))


def _changes(store: Lakehouse, made: Materialization, before: "pd.Series[str]") -> list[str]:
    """In what the current network differs from the one before, as a person would look for a reason."""
    if before.empty:
        return []
    rows = store.read("lineage", made.dataset).set_index("materialization_id")
    last = Materialization.from_row({"materialization_id": before.iloc[0]} | dict(rows.loc[before.iloc[0]]))
    differs = {
        "data file": made.file_sha256 != last.file_sha256,
        "settings of the network": made.parameters != last.parameters,
        "seeds": made.seeds != last.seeds,
        "inputs": {(one.asset, one.data_version) for one in made.inputs}
        != {(one.asset, one.data_version) for one in last.inputs},
        "code": made.code_version != last.code_version,
    }
    return [what for what, does in differs.items() if does]
