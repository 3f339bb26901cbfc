"""What a lake of an earlier version of the product holds under another name, carried over without losing a row.

New tables and nullable columns are added by `Lakehouse.create` itself. Here are the tables that became part of another
one. Their folders stay as they are, for the version that made them.
"""

from typing import TYPE_CHECKING

import pyarrow.compute as pc
from deltalake import DeltaTable

from scmagnify_core.tables.network import NETWORKS

if TYPE_CHECKING:
    from scmagnify_assets.lake.lakehouse import Lakehouse

FORMER = "baseline_networks"  # table of an earlier version; the asset of that name writes `networks` now


def carry_over(lake: "Lakehouse") -> list[str]:
    """Copy the current rows of the former table ``baseline_networks`` into ``networks``; returns the data sets.

    Each data set is copied once, and only while its baselines have not been made again.
    """
    folder = lake.root / FORMER
    if not DeltaTable.is_deltatable(str(folder)):
        return []
    former = DeltaTable(str(folder)).to_pyarrow_dataset()
    carried = []
    for name in sorted(set(former.to_table(columns=["dataset"])["dataset"].to_pylist())):
        made = lake.current(FORMER, name)
        if made is None or NETWORKS.name in made.tables:
            continue
        rows = former.to_table(filter=(pc.field("dataset") == name)).to_pandas()
        rows = rows[rows["materialization_id"] == made.materialization_id].assign(context="all")
        lake.write(
            FORMER, name, None, {NETWORKS.name: rows.reindex(columns=[column.name for column in NETWORKS.body])}, {},
            run_id=made.run_id, inputs=[made.to_input()], parameters=made.parameters, file_sha256=made.file_sha256,
            runtime_s=made.runtime_s, peak_memory_mib=made.peak_memory_mib,
        )  # fmt: skip
        carried.append(name)
    return carried
