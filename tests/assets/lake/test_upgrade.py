"""A lake of an earlier version of the product is brought up to date without losing a row."""

import shutil

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.upgrade import carry_over

FORMER = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False), pa.field("method", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False), pa.field("target", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False), pa.field("signed_score", pa.float64(), nullable=False),
        pa.field("lag", pa.float32()), pa.field("rank", pa.int32(), nullable=False),
        pa.field("runtime_s", pa.float64(), nullable=False), pa.field("peak_memory_mib", pa.float64()),
        pa.field("materialization_id", pa.string(), nullable=False),
    ]
)  # fmt: skip
MADE = {"run_id": "r", "inputs": [], "parameters": {"name": "x"}, "file_sha256": "f" * 64}


@pytest.fixture
def former(lake: Lakehouse) -> Lakehouse:
    """A lake that lacks `networks`, and has two states of the former table, of which the second is current."""
    for score in (1.0, 2.0):
        # A write of an asset without rows of any table that is still declared, as its lineage is stored.
        made = lake.write("baseline_networks", "x", None, {}, {"former.txt": str(score).encode()}, **MADE)
        rows = pd.DataFrame(
            {
                "dataset": "x", "method": ["ridge", "random"], "source": "TF", "target": ["a", "b"], "score": score,
                "signed_score": 0.0, "lag": [2.0, None], "rank": [1, 2], "runtime_s": 3.0, "peak_memory_mib": None,
                "materialization_id": made.materialization_id,
            }
        )  # fmt: skip
        table = pa.Table.from_pandas(rows, schema=FORMER, preserve_index=False)
        write_deltalake(str(lake.root / "baseline_networks"), table, mode="append", partition_by=["dataset"])
    shutil.rmtree(lake.root / "networks")
    return lake


def test_rows_of_the_former_baselines_are_carried_over_once(former: Lakehouse) -> None:
    before = former.current("baseline_networks", "x")
    former.create()
    rows = former.sql("FROM baseline_networks WHERE dataset = 'x' ORDER BY rank").to_pylist()
    assert [(row["method"], row["target"], row["score"], row["lag"], row["rank"]) for row in rows] == [
        ("ridge", "a", 2.0, 2.0, 1), ("random", "b", 2.0, None, 2),
    ]  # fmt: skip
    made = former.current("baseline_networks", "x")
    assert [one.materialization_id for one in made.inputs] == [before.materialization_id]
    assert made.file_sha256 == before.file_sha256
    former.create()
    assert former.current("baseline_networks", "x") == made
    assert DeltaTable(str(former.root / "baseline_networks")).to_pyarrow_dataset().count_rows() == 4  # left as it is


def test_a_lake_without_former_tables_is_left_alone(lake: Lakehouse) -> None:
    assert carry_over(lake) == []
