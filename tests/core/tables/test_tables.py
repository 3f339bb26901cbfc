"""Declared tables: what passes, what is refused and that nothing is cast in silence."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmagnify_core.errors import SchemaError
from scmagnify_core.tables.catalogue import TABLES, tables_of
from scmagnify_core.tables.schema import STAMPED, Column, Table

TABLE = Table(
    "made", "asset", "A table of every type.",
    (
        Column("dataset", pa.string(), "stamped"),
        Column("name", pa.string(), "text"),
        Column("lag", pa.int16(), "integer"),
        Column("value", pa.float64(), "float"),
        Column("small", pa.float32(), "narrow float", nullable=True),
        Column("is_on", pa.bool_(), "flag"),
        Column("note", pa.string(), "optional text", nullable=True),
        Column("materialization_id", pa.string(), "stamped"),
    ),
    key=("name", "lag"),
)  # fmt: skip


def frame():
    return pd.DataFrame(
        {
            "name": ["b", "a", "a"],
            "lag": [1, 2, 1],
            "value": [1e-300, 2.0, 3.0],
            "small": [0.5, np.nan, 1.0],
            "is_on": [True, False, True],
            "note": ["x", None, None],
        }
    )


def one_column(dtype, values, nullable=True):
    table = Table("made", "asset", "One column.", (Column("x", dtype, "it", nullable=nullable),), key=())
    return table.validate(pd.DataFrame({"x": values})).column("x").to_pylist()


# ---------------------------------------------------------------- what passes


def test_validate_returns_declared_types_in_declared_order_and_rows_in_key_order():
    got = TABLE.validate(frame()[["note", "lag", "value", "small", "is_on", "name"]])
    assert got.schema == pa.schema([column.field for column in TABLE.body])
    assert got.to_pylist() == [
        {"name": "a", "lag": 1, "value": 3.0, "small": 1.0, "is_on": True, "note": None},
        {"name": "a", "lag": 2, "value": 2.0, "small": None, "is_on": False, "note": None},
        {"name": "b", "lag": 1, "value": 1e-300, "small": 0.5, "is_on": True, "note": "x"},
    ]


@given(st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_validate_does_not_depend_on_the_order_of_rows(order):
    whole = pd.DataFrame(
        {
            "name": [f"n{i % 4}" for i in range(12)],
            "lag": [i // 4 for i in range(12)],
            "value": np.arange(12.0),
            "small": np.arange(12.0),
            "is_on": [i % 3 == 0 for i in range(12)],
            "note": [None if i % 2 else "x" for i in range(12)],
        }
    )
    got = TABLE.validate(whole.iloc[list(order)])
    assert got.equals(TABLE.validate(whole))
    pd.testing.assert_frame_equal(
        got.to_pandas(), whole.sort_values(["name", "lag"], ignore_index=True), check_dtype=False
    )


def test_validate_sorts_categories_by_their_names():
    data = frame()
    data["name"] = pd.Categorical(data["name"], categories=["b", "a"])
    assert TABLE.validate(data).equals(TABLE.validate(frame()))


def test_validate_leaves_the_frame_as_it_was():
    data = frame()
    TABLE.validate(data)
    pd.testing.assert_frame_equal(data, frame())


def test_validate_keeps_what_a_narrow_type_would_lose():
    """The reason for not casting: a p-value of 1e-300 must not become 0."""
    assert one_column(pa.float64(), [1e-300]) == [1e-300]


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (pa.float64(), pd.Series([1, 2]), [1.0, 2.0]),
        (pa.float32(), pd.Series([0.5, None], dtype="Float64"), [0.5, None]),
        (pa.float32(), pd.Series([1, 2.5], dtype=object), [1.0, 2.5]),
        (pa.float64(), pd.Series([None, None], dtype=object), [None, None]),
        (pa.int16(), pd.Series([1, 2], dtype="uint8"), [1, 2]),
        (pa.int64(), pd.Series([1, 2], dtype="int8"), [1, 2]),
        (pa.int16(), pd.Series([1, None], dtype="Int32"), [1, None]),
        (pa.int16(), pd.Series([3, 4], dtype="category"), [3, 4]),
        (pa.string(), pd.Series(["a", None], dtype="string"), ["a", None]),
        (pa.string(), pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        (pa.string(), pd.Series([None, None], dtype=object), [None, None]),
        (pa.bool_(), pd.Series([True, None], dtype=object), [True, None]),
        (pa.string(), pd.Series([np.nan, np.nan]), [None, None]),
        (pa.int16(), pd.Series([np.nan, np.nan]), [None, None]),
    ],
)
def test_validate_accepts_widening_and_missing_values(dtype, values, expected):
    assert one_column(dtype, values) == expected


@pytest.mark.parametrize("name", TABLES)
def test_validate_accepts_every_declared_table_without_rows(name):
    body = TABLES[name].body
    got = TABLES[name].validate(pd.DataFrame({column.name: [] for column in body}))
    assert got.num_rows == 0
    assert got.schema.names == [column.name for column in body]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("dtype", "values", "found"),
    [
        (pa.float64(), ["1.5"], "found string"),
        (pa.float64(), [True], "found boolean"),
        (pa.float64(), pd.to_datetime(["2020-01-01"]), "found datetime64"),
        (pa.float64(), [np.inf], "infinite values"),
        (pa.float32(), [1e300], "beyond its range"),
        (pa.int16(), [1.0], "found floating"),
        (pa.int16(), pd.Series([1.9], dtype=object), "found floating"),
        (pa.int16(), pd.Series([True], dtype=object), "found boolean"),
        (pa.int16(), [70_000], "70000 not in range"),
        (pa.string(), [1], "found integer"),
        (pa.string(), [b"a"], "found bytes"),
        (pa.string(), pd.Series(["a", 1], dtype=object), "found mixed-integer"),
        (pa.bool_(), [1], "found integer"),
        (pa.bool_(), ["yes"], "found string"),
        (pa.timestamp("us", tz="UTC"), [1.5], "Unsupported cast"),
    ],
)
def test_validate_casts_nothing_in_silence(dtype, values, found):
    with pytest.raises(SchemaError, match=rf"Table 'made'.*column x is not {re.escape(str(dtype))} \(.*{found}"):
        one_column(dtype, values)


def test_validate_refuses_keys_of_mixed_types():
    with pytest.raises(SchemaError, match=r"column name is not string \(found mixed-integer\)"):
        TABLE.validate(frame().assign(name=["a", 1, 2]))


def test_validate_lists_every_missing_unknown_and_repeated_column():
    data = frame().drop(columns=["lag", "is_on"]).assign(lags=1, extra=2)
    with pytest.raises(SchemaError, match="missing column lag, is_on; unknown column lags, extra"):
        TABLE.validate(data)
    with pytest.raises(SchemaError, match="repeated column value"):
        TABLE.validate(pd.concat([frame(), frame()[["value"]]], axis=1))


def test_validate_refuses_stamped_columns_in_a_body():
    with pytest.raises(SchemaError, match="unknown column dataset"):
        TABLE.validate(frame().assign(dataset="mine"))


def test_validate_lists_every_bad_column():
    data = frame().assign(value=[1.0, np.nan, np.nan], is_on="x", note=5)
    with pytest.raises(SchemaError) as error:
        TABLE.validate(data)
    assert [problem.split()[1] for problem in error.value.problems] == ["value", "is_on", "note"]
    assert "column value has 2 nulls" in error.value.problems


def test_validate_refuses_nulls_in_a_key():
    with pytest.raises(SchemaError, match="column name has 1 nulls"):
        TABLE.validate(frame().assign(name=["a", "b", None]))


def test_validate_refuses_rows_that_repeat_a_key():
    with pytest.raises(SchemaError, match=r"2 rows repeat the key \(name, lag\)"):
        TABLE.validate(frame().assign(name="a", lag=1))


# ---------------------------------------------------------------- declarations


@pytest.mark.parametrize("name", TABLES)
def test_tables_declare_keys_and_partitions_among_their_columns(name):
    table = TABLES[name]
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    assert {*table.key, *table.partition_by} <= set(names)
    nullable = {column.name for column in table.columns if column.nullable}
    added = {"variant"}  # null in rows of an older product, and in no new one
    assert not (nullable - added) & {*table.key, *table.partition_by}
    assert table.schema.names == names
    assert all(column.meaning for column in table.columns)
    if table.mode == "replace":
        assert [column.name for column in table.body] == [name for name in names if name not in STAMPED]
        assert "materialization_id" in names


def test_tables_of_gives_each_table_to_its_assets():
    written = [(asset, table.name) for table in TABLES.values() for asset in table.writers]
    assert sorted((asset, one.name) for asset in {a for a, _ in written} for one in tables_of(asset)) == sorted(
        written
    )
    shared = {table.name for table in TABLES.values() if len(table.writers) > 1 or "<method>" in table.asset}
    # Only what says who wrote a row can be written by several: else a write would replace another's rows.
    assert shared == {table.name for table in TABLES.values() if "asset" in table.partition_by}
    assert [table.name for table in tables_of("dataset")] == ["cells", "genes"]
    assert tables_of("nothing") == []
