"""How a persisted table is declared: columns, types, key, units and meaning; and the columns that many tables share.

A frame that does not match its declaration never reaches storage.

Three columns are *stamped* by the lakehouse and never produced by the method: ``dataset``, ``seed`` (only
where a table has one row set per seed) and ``materialization_id``, the key into ``lineage``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from scmagnify_core.errors import SchemaError

STAMPED = ("dataset", "asset", "materialization_id")

TEXT, FLAG = pa.string(), pa.bool_()
INT16, INT32, INT64 = pa.int16(), pa.int32(), pa.int64()
FLOAT32, FLOAT64 = pa.float32(), pa.float64()
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it means and, where it has one, its unit.

    ``is_measured`` values, such as seconds, differ between equal runs: they are no part of what the content is.
    ``example`` is a value as a query prints it, for the data dictionary.
    """

    name: str
    dtype: pa.DataType
    meaning: str
    unit: str | None = None
    nullable: bool = False
    is_measured: bool = False
    example: str = ""

    @property
    def field(self) -> pa.Field:
        """The column as an Arrow field."""
        return pa.field(self.name, self.dtype, nullable=self.nullable)


@dataclass(frozen=True)
class Table:
    """One persisted table.

    ``asset`` is the asset that writes it, or several; ``<method>`` stands for each method. ``key`` identifies a row
    within a partition; ``sort`` is the order
    of rows on disk, chosen so that the commonest filter skips row groups. ``over_datasets`` tables hold results of all
    data sets together.
    """

    name: str
    asset: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ("dataset",)
    mode: Literal["replace", "append"] = "replace"
    over_datasets: bool = False

    @property
    def writers(self) -> tuple[str, ...]:
        """Names of the assets that write it; ``<method>`` stands for each method."""
        return tuple(self.asset.split(", "))

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the stored table, stamped columns included."""
        return pa.schema([column.field for column in self.columns])

    @property
    def body(self) -> tuple[Column, ...]:
        """The columns the method produces, in order: all but the stamped ones."""
        if self.mode == "append":
            return self.columns
        return tuple(column for column in self.columns if column.name not in STAMPED)

    def validate(self, frame: pd.DataFrame) -> pa.Table:
        """Check a frame of body columns and return it as Arrow, rows in key order.

        Integers may widen and floats may narrow to the declared type; nothing else is converted, because a
        silent cast is how a float64 p-value of 1e-50 becomes 0.

        Raises
        ------
        SchemaError
            Missing or unknown columns, a wrong kind of type, nulls or non-finite numbers where none are
            allowed, or two rows with the same key. Every problem is listed, not only the first.
        """
        problems: list[str] = []
        names = [column.name for column in self.body]
        missing = [name for name in names if name not in frame.columns]
        unknown = [str(name) for name in frame.columns if name not in names]
        repeated = sorted({name for name in names if list(frame.columns).count(name) > 1})
        if repeated:
            problems.append(f"repeated column {', '.join(repeated)}")
        if missing:
            problems.append(f"missing column {', '.join(missing)}")
        if unknown:
            problems.append(f"unknown column {', '.join(unknown)}")
        if problems:
            raise SchemaError(self.name, problems)

        arrays: list[pa.Array] = []
        for column in self.body:
            try:
                arrays.append(_to_arrow(frame[column.name], column))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                problems.append(f"column {column.name} is not {column.dtype} ({error})")
                continue
            if not column.nullable and arrays[-1].null_count:
                problems.append(f"column {column.name} has {arrays[-1].null_count} nulls")
        if problems:
            raise SchemaError(self.name, problems)
        key = [name for name in self.key if name in names]
        if key and (n_doubles := int(frame.duplicated(subset=key).sum())):
            raise SchemaError(self.name, [f"{n_doubles} rows repeat the key ({', '.join(key)})"])
        table = pa.Table.from_arrays(arrays, schema=pa.schema([column.field for column in self.body]))
        # Sorted as Arrow: a categorical column of pandas would sort by its categories, not by its values.
        return table.sort_by([(name, "ascending") for name in key]) if key else table


def _to_arrow(values: pd.Series, column: Column) -> pa.Array:
    """Convert one column. Arrow and numpy would cast '1.5', 1.9 or b'x' in silence, so the kind is checked first."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        if column.dtype == TEXT and pd.api.types.infer_dtype(values.cat.categories) in ("string", "empty"):
            # By way of Arrow's dictionary: ten million motif hits must not become ten million Python strings.
            return pa.array(values, from_pandas=True).cast(TEXT)
        values = values.astype(object)
    if values.isna().all():  # no value, so no kind: an empty column is a float64 to pandas
        return pa.nulls(len(values), column.dtype)
    kind, expected = pd.api.types.infer_dtype(values, skipna=True), _kinds(column.dtype)
    if expected is not None and kind not in expected:
        raise TypeError(f"found {kind}")
    if pa.types.is_floating(column.dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(numbers).any():
            raise ValueError("infinite values")
        if column.dtype == FLOAT32 and (np.abs(numbers) > np.finfo(np.float32).max).any():
            raise ValueError("values beyond its range")
        return pa.array(numbers, type=column.dtype, from_pandas=True)
    return pa.array(values.tolist() if values.dtype == object else values, type=column.dtype, from_pandas=True)


def _kinds(dtype: pa.DataType) -> tuple[str, ...] | None:
    """Kinds of values, in pandas' words, that may become ``dtype``; None where Arrow is strict itself."""
    if pa.types.is_floating(dtype):
        return "floating", "integer", "mixed-integer-float"
    if pa.types.is_integer(dtype):
        return ("integer",)
    if pa.types.is_string(dtype):
        return ("string",)
    return ("boolean",) if pa.types.is_boolean(dtype) else None


DATASET = Column("dataset", TEXT, "name of the data set", example="demo")
ASSET = Column("asset", TEXT, "asset that wrote the row", example="scmagnify_network")
METHOD = Column("method", TEXT, "method, baseline or control", example="scmagnify")
SEED = Column("seed", INT16, "random seed of the trained model", example="0")
MADE_BY = Column(
    "materialization_id",
    TEXT,
    "the materialization that wrote the row; key into `lineage`",
    example="7e97b447e32c...",
)
SOURCE = Column("source", TEXT, "regulator (TF)", example="TF12")
TARGET = Column("target", TEXT, "regulated gene", example="G013")
LAG = Column(
    "lag", INT16, "lag, counted from 1; by default each is a twentieth of pseudotime's range", "lags", example="2"
)
CELL = Column("cell", TEXT, "cell barcode", example="cell00001")
PVALUE = Column("pvalue", FLOAT64, "p-value of the test", example="0.1775")
PADJ = Column("padj", FLOAT64, "Benjamini-Hochberg adjusted p-value", example="0.6615")
