"""The data dictionary: every table, view and function of the lake, and every column, with meaning, unit and example.

Generated from the declarations (`scmagnify_core.tables`, `views`) into two places: the tables ``tables`` and
``columns`` of ``lake.duckdb``, and a page of the documentation.
"""

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from scmagnify_assets.lake.views import VIEWS
from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.schema import Column

TABLE_COLUMNS = ("table_name", "kind", "call", "meaning", "row_key", "asset", "example")
COLUMN_COLUMNS = ("table_name", "position", "column_name", "type", "unit", "meaning", "is_nullable", "example")
# The dictionary lists itself.
_SELF = {
    "tables": ("The data dictionary: tables, views and functions.", TABLE_COLUMNS),
    "columns": ("The data dictionary: columns of tables, views and functions.", COLUMN_COLUMNS),
}
_SQL_TYPES = {
    pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN", pa.int16(): "SMALLINT", pa.int32(): "INTEGER",
    pa.int64(): "BIGINT", pa.float32(): "FLOAT", pa.float64(): "DOUBLE", pa.list_(pa.int16()): "SMALLINT[]",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip


def sql_type(column: Column) -> str:
    """DuckDB's name of a column's type."""
    return _SQL_TYPES[column.dtype]


def table_rows() -> list[tuple[str, ...]]:
    """One row per table, view and function, in `TABLE_COLUMNS`."""
    rows: list[tuple[str, ...]] = []
    for table in TABLES.values():
        where = "" if "dataset" not in table.schema.names or table.mode == "append" else " WHERE dataset = 'demo'"
        key = (*(name for name in table.partition_by if name not in table.key), *table.key)
        example = f"FROM {table.name}{where} LIMIT 10"
        rows.append((table.name, "table", table.name, table.meaning, ", ".join(key), table.asset, example))
    for view in VIEWS.values():
        kind = "function" if view.parameters else "view"
        rows.append((view.name, kind, view.call, view.meaning, "", "", view.example))
    rows += [(name, "table", name, meaning, "", "", f"FROM {name} LIMIT 10") for name, (meaning, _) in _SELF.items()]
    return rows


def column_rows() -> list[tuple[str, int, str, str, str, str, bool, str]]:
    """One row per column, in `COLUMN_COLUMNS`."""
    declared = {table.name: table.columns for table in TABLES.values()}
    declared |= {view.name: view.columns for view in VIEWS.values()}
    return [
        (name, position, one.name, sql_type(one), one.unit or "", one.meaning, one.nullable, one.example)
        for name, columns in declared.items()
        for position, one in enumerate(columns, start=1)
    ]


def statements(quote: Callable[[str], str]) -> list[str]:
    """Statements that make the tables ``tables`` and ``columns``; an empty text is stored as a null."""

    def literal(value: object) -> str:
        return ("NULL" if value == "" else quote(value)) if isinstance(value, str) else str(value)

    made = []
    parts: tuple[tuple[str, Sequence[Sequence[object]]], ...] = (("tables", table_rows()), ("columns", column_rows()))
    for name, rows in parts:
        meaning, names = _SELF[name]
        values = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
        made.append(f"CREATE TABLE {name} AS FROM (VALUES {values}) AS t({', '.join(names)})")
        made.append(f"COMMENT ON TABLE {name} IS {quote(meaning)}")
    return made


def as_markdown() -> str:
    """The dictionary as a page of the documentation."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Data dictionary"
    yield ""
    yield (
        "Every table, view and function of the lake, generated from their declarations. In SQL the same is in the\n"
        "tables `tables` and `columns`; `scmagnify sql .tables` and `scmagnify sql '.schema edges'` print it."
    )
    columns: dict[str, list[tuple[str, int, str, str, str, str, bool, str]]] = {}
    for column in column_rows():
        columns.setdefault(column[0], []).append(column)
    titles = {"table": "Tables", "view": "Views", "function": "Functions"}
    for kind, title in titles.items():
        yield from ("", f"## {title}")
        for name, of_kind, call, meaning, key, asset, example in table_rows():
            if of_kind != kind or name not in columns:
                continue
            yield from ("", f"### {name}", "", meaning)
            about = [f"Written by `{asset}`." if asset else "", f"One row per {key}." if key else ""]
            if said := " ".join(one for one in about if one):
                yield from ("", said)
            if kind == "function":
                yield from ("", f"`{call}`")
            yield from (
                "",
                "```sql",
                example,
                "```",
                "",
                "| column | type | unit | meaning | example |",
                "|---|---|---|---|---|",
            )
            for _, _, column_name, sql, unit, about_it, is_nullable, shown in columns[name]:
                null = "; may be null" if is_nullable else ""
                cells = (f"`{column_name}`", sql, unit, about_it + null, f"`{shown}`" if shown else "")
                yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
