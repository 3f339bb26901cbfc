"""The Python door: every result of a lake as pandas or Arrow, for notebooks.

    from scmagnify_assets import open_lake

    lake = open_lake()
    lake.edges("blood", source="Klf1")
    lake.top_regulators("blood", "Hba-a2", n=5)
    lake.sql("SELECT dataset, count(*) AS n FROM edges GROUP BY dataset")

Every table and view of the data dictionary is a method that takes the data set and columns to filter by; every
function one that takes its parameters. Nothing can be changed through it.

It asks the same SQL views as everybody else, so a question has one answer. Writing, and reading exactly what one
materialization wrote, belong to `scmagnify_assets.lake.lakehouse`.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property, partial
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from scmagnify_core.errors import InputError, shorten

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scmagnify_assets.lake.lakehouse import Connection, Lakehouse
    from scmagnify_assets.lake.views import View
    from scmagnify_core.data.dataset import Dataset
    from scmagnify_core.tables.schema import Column

DATASET_PARAMETERS = frozenset(("in_dataset", "dataset_a", "dataset_b"))  # of functions of the lake
GENES = frozenset(("source", "target", "gene", "tf", "of_source", "of_target", "of_name"))  # what names a gene


def open_lake(path: str | Path | None = None) -> "Lake":
    """Open a lake for reading.

    Parameters
    ----------
    path
        Folder of results (with ``lake/`` in it) or the lake itself; SCMAGNIFY_HOME, or ``./scmagnify_home``, when None.

    Raises
    ------
    InputError
        There is no lake.
    """
    from scmagnify_assets.home import VARIABLE, Home

    given = Home.find().root if path is None else Path(path).expanduser().resolve()
    root = given / "lake" if (given / "lake").is_dir() else given
    if not (root / "lineage").is_dir():
        remedy = f"Try `scmagnify demo`, add a data set, or point {VARIABLE} at the folder of earlier results."
        raise InputError(f"'{given}'", "holds no results yet.", remedy)
    return Lake(root)


def near_spellings(lakehouse: "Lakehouse", words: Sequence[str], connection: "Connection") -> dict[str, list[str]]:
    """Those words that are the name of no data set, gene or RegFactor, each with up to three names like it.

    If a data set is among the words, genes and RegFactors are those of the data set.
    """
    known = set(lakehouse.sql("SELECT dataset FROM datasets", connection=connection)["dataset"].to_pylist())
    of = [one for one in words if one in known] or sorted(known)
    query = """SELECT DISTINCT gene AS name FROM genes WHERE list_contains($names, dataset)
               UNION SELECT DISTINCT regfactor FROM regfactors WHERE list_contains($names, dataset)"""
    names = known | set(lakehouse.sql(query, {"names": of}, connection)["name"].to_pylist())
    folded = {name.casefold(): name for name in names}
    return {
        one: [folded[one.casefold()]] if one.casefold() in folded else get_close_matches(one, names, n=3)
        for one in words if one not in names
    }  # fmt: skip


class Lake:
    """Every result below one folder; see the module's docstring. Made by `open_lake`.

    One connection is kept open, which makes the second question fast; it is not for use by several threads at once.
    """

    def __init__(self, root: Path) -> None:
        from scmagnify_assets.lake.lakehouse import Lakehouse

        self._lakehouse = Lakehouse(root)

    def __repr__(self) -> str:
        """Where it is and what it holds."""
        return f"Lake({str(self._lakehouse.root)!r}, datasets={self.names})"

    @cached_property
    def _connection(self) -> "Connection":
        return self._lakehouse.connect()

    @overload
    def sql(self, query: str, parameters: Any = None, *, arrow: Literal[False] = False) -> "pd.DataFrame": ...
    @overload
    def sql(self, query: str, parameters: Any = None, *, arrow: Literal[True]) -> "pa.Table": ...
    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None, *, arrow: bool = False
    ) -> "pd.DataFrame | pa.Table":
        """Run a query in DuckDB's SQL; a DataFrame, or an Arrow table.

        ``parameters`` take the places of ``$name`` or ``?`` in the query.

        Raises
        ------
        InputError
            It is not a query, or DuckDB does not understand it.
        """
        rows = self._lakehouse.sql(query, parameters, self._connection)
        return rows if arrow else rows.to_pandas()

    @property
    def names(self) -> list[str]:
        """Names of the registered data sets."""
        return [str(name) for name in self.sql("SELECT dataset FROM datasets ORDER BY dataset")["dataset"]]

    @property
    def dictionary(self) -> "pd.DataFrame":
        """Every column of every table, view and function: type, unit, meaning, example."""
        return self.sql("FROM columns ORDER BY table_name, position")

    def get(
        self,
        name: str,
        dataset: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        arrow: bool = False,
        **where: Any,
    ) -> "pd.DataFrame | pa.Table":
        """Rows of a table or view; ``lake.edges(...)`` is ``lake.get("edges", ...)``.

        Parameters
        ----------
        name
            A table or view of the data dictionary.
        dataset
            Only rows of this data set; None is all.
        columns
            Only these columns; None is all.
        limit
            At most so many rows, of no particular choice: order with `sql`.
        arrow
            An Arrow table instead of a DataFrame.
        **where
            Columns and the value, or list of values, that they must have; None is null.

        Raises
        ------
        InputError
            There is no such table, column or data set, or no rows because there is no such gene.
        """
        declared = {column.name for column in _columns_of(name)}
        if dataset is not None:
            if "dataset" in declared and name != "leaderboard":
                self._refuse_unknown(dataset)
            where = {"dataset": dataset, **where}
        for column in (*where, *(columns or ())):
            if column not in declared:
                found = f"does not exist. Columns: {', '.join(one.name for one in _columns_of(name))}."
                raise InputError(f"Column '{column}' of '{name}'", found, "Name one of them.")
        conditions, values = [], []
        for column, value in where.items():
            if value is None:
                conditions.append(f'"{column}" IS NULL')
            elif isinstance(value, list | tuple | set | frozenset):
                conditions.append(f'"{column}" IN ({", ".join("?" * len(value)) or "NULL"})')
                values += list(value)
            else:
                conditions.append(f'"{column}" = ?')
                values.append(value)
        query = "SELECT " + (", ".join(f'"{column}"' for column in columns) if columns else "*") + f" FROM {name}"
        if conditions:
            query += " WHERE " + " AND ".join(conditions)
        if limit is not None:
            query += f" LIMIT {int(limit)}"
        rows = self.sql(query, values, arrow=True)
        if not rows.num_rows:
            self._refuse_unknown_genes(dataset, where)
        return rows if arrow else rows.to_pandas()

    def _refuse_unknown(self, dataset: str) -> None:
        if dataset not in (names := self.names):
            raise InputError(f"Data set '{dataset}'", f"is not registered. Registered: {shorten(names)}.", "")

    def _refuse_unknown_genes(self, dataset: str | None, given: Mapping[str, Any]) -> None:
        """For a question without an answer: a misspelt gene must not look like a gene without edges."""
        genes = [value for name, value in given.items() if name in GENES and isinstance(value, str)]
        unknown = near_spellings(self._lakehouse, [*genes, *([dataset] if dataset else [])], self._connection)
        for one in set(unknown).intersection(genes):
            found = f"is no gene of {f'{dataset!r}' if dataset else 'any data set'}."
            raise InputError(
                f"'{one}'", found, f"Did you mean {shorten(unknown[one])}?" if unknown[one] else "genes() lists them."
            )

    def dataset(self, name: str) -> "Dataset":
        """The cells as they were analysed: ``.rna`` and ``.atac`` are AnnData, normalised, with their counts.

        Raises
        ------
        StorageError
            The data set has not been run.
        """
        from scmagnify_core.data.dataset import Dataset

        return Dataset.load(self._lakehouse.artifact_path("dataset", name, None, "dataset.h5mu"))

    def _call(self, view: "View", *arguments: Any, arrow: bool = False, **named: Any) -> "pd.DataFrame | pa.Table":
        """A function of the lake; wrong arguments raise Python's own TypeError."""
        given = _signature(view).bind(*arguments, **named).arguments
        for parameter in DATASET_PARAMETERS & set(given):
            self._refuse_unknown(given[parameter])
        # Written out, not bound: where a parameter names a version, DuckDB must see a constant.
        optional = [f"{name} := {_literal(value)}" for name, value in given.items() if name in view.defaults]
        required = [_literal(value) for name, value in given.items() if name not in view.defaults]
        rows = self.sql(f"FROM {view.name}({', '.join(required + optional)})", arrow=True)
        if not rows.num_rows:
            self._refuse_unknown_genes(given.get("in_dataset"), given)
        return rows if arrow else rows.to_pandas()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A table, view or function of the data dictionary, as a method."""
        from scmagnify_assets.lake.views import VIEWS
        from scmagnify_core.tables.catalogue import TABLES

        if name.startswith("_"):
            raise AttributeError(name)
        if (view := VIEWS.get(name)) is not None and view.parameters:
            return _documented(partial(self._call, view), view.name, view.meaning)
        try:
            _columns_of(name)
        except InputError as error:
            raise AttributeError(str(error)) from error
        meaning = TABLES[name].meaning if name in TABLES else VIEWS[name].meaning
        return _documented(partial(self.get, name), name, meaning)

    def __dir__(self) -> list[str]:
        """What completes with Tab in a notebook."""
        from scmagnify_assets.lake.views import VIEWS
        from scmagnify_core.tables.catalogue import TABLES

        return sorted({*super().__dir__(), *TABLES, *VIEWS})


def _documented(method: Callable[..., Any], name: str, meaning: str) -> Callable[..., Any]:
    """With the meaning and columns of the data dictionary, for ``help`` and for Tab in a notebook."""
    from scmagnify_assets.lake.views import VIEWS

    columns = VIEWS[name].columns if name in VIEWS else _columns_of(name)
    units = {one.name: f" [{one.unit}]" if one.unit else "" for one in columns}
    method.__doc__ = meaning + "\n\n" + "\n".join(f"{one.name}: {one.meaning}{units[one.name]}" for one in columns)
    return method


def _columns_of(name: str) -> "tuple[Column, ...]":
    from scmagnify_assets.lake.views import VIEWS
    from scmagnify_core.tables.catalogue import TABLES

    if name in TABLES:
        return TABLES[name].columns
    if name in VIEWS and not VIEWS[name].parameters:
        return VIEWS[name].columns
    plain = [*TABLES, *(view.name for view in VIEWS.values() if not view.parameters)]
    raise InputError(f"Table '{name}'", f"does not exist. Tables and views: {', '.join(plain)}.", "Name one of them.")


def _signature(view: "View") -> Signature:
    kind = Parameter.POSITIONAL_OR_KEYWORD
    names = [one.partition(" ")[0] for one in view.parameters]
    return Signature([Parameter(name, kind, default=view.defaults.get(name, Parameter.empty)) for name in names])


def _literal(value: Any) -> str:
    """A value as SQL text."""
    from scmagnify_assets.lake.lakehouse import quote

    return repr(value) if isinstance(value, int | float) else quote(str(value))
