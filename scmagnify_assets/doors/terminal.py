"""``scmagnify sql``: queries in the terminal, tables with types and pages, a prompt, and commands with a dot.

A table ends after as many rows as one may want to page through; every other format (`rows`) has all of
them. Notes on a query go to stderr.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from scmagnify_assets.doors.notebook import near_spellings
from scmagnify_assets.doors.rows import Counted, Format, records, write_parquet, write_text, write_whole
from scmagnify_core.errors import InputError, ScmagnifyError, shorten

if TYPE_CHECKING:
    import pyarrow as pa

    from scmagnify_assets.lake.lakehouse import Connection, Lakehouse

MAX_SHOWN = 200  # rows of a table that is not paged
MAX_UPRIGHT = 3  # rows that are printed one value a line where they are too wide
MAX_PAGED = 500
# A query over so many rows of all data sets may be meant, but is worth a word before one waits.
MANY_ROWS = 1_000_000

HELP = """\
.tables           tables, views and functions
.schema NAME      columns of one of them: type, unit, meaning, example
.datasets         registered data sets
.format FORMAT    table, csv, json or markdown, from now on
.help             this text
.quit             leave (also Ctrl-D)
Anything else is SQL (DuckDB's dialect); a query ends with the line. Tab completes names, the up arrow repeats."""


class Terminal:
    """Queries over one lake, on one connection, printed to one console.

    Parameters
    ----------
    lake
        Where to ask.
    output
        File that takes the rows instead of the terminal.
    is_paging
        Whether tables longer than the screen open in a pager, as far as the output is a terminal.
    """

    def __init__(
        self, lake: "Lakehouse", format: Format, output: Path | None = None, *, is_paging: bool = True
    ) -> None:
        self.lake, self.format, self.output, self.is_paging = lake, format, output, is_paging
        self.console, self.notes = Console(), Console(stderr=True)
        self._connection: Connection | None = None

    @property
    def connection(self) -> "Connection":
        """Opened with the first question."""
        if self._connection is None:
            self._connection = self.lake.connect()
        return self._connection

    def ask(self, text: str) -> None:
        """Answer queries and commands with a dot, one after the other; a command has a line to itself.

        Raises
        ------
        InputError
            There is none, one is neither, there is no such table, or several are to go into one file.
        """
        asked = list(self._parts(text))
        if not asked:
            raise InputError("SQL", "there is no query.", "Write SELECT ... or FROM ..., or .help.")
        if self.output is not None and len(asked) > 1:
            raise InputError(f"--output {self.output}", f"takes one query, not {len(asked)}.", "Ask one at a time.")
        for one in asked:
            command, _, argument = one.rstrip(";").partition(" ")
            if command.startswith("."):
                self._command(command, argument.strip())
                continue
            n_rows = self.lake.rows_of_all_datasets(one, connection=self.connection)
            if n_rows >= MANY_ROWS:
                self._note(f"This reads {n_rows:,} rows of all data sets. One alone: WHERE dataset = '...'.")
            with self.lake.stream(one, connection=self.connection) as rows:
                if not self._print(rows):
                    self._hint(one)

    def _parts(self, text: str) -> Iterator[str]:
        """Commands, and single statements where DuckDB can tell them apart."""
        for is_command, lines in groupby(text.splitlines(), lambda line: line.lstrip().startswith(".")):
            if is_command:
                yield from (line.strip() for line in lines)
            elif query := "\n".join(lines).strip():
                found = self.lake.split(query, self.connection)
                yield from found

    def _hint(self, query: str) -> None:
        """After a query without rows: names in it that no data set and no gene has, but nearly."""
        for one, near in near_spellings(self.lake, re.findall(r"'([^']+)'", query), self.connection).items():
            if near:
                self._note(f"No data set, gene or RegFactor is called '{one}'. Did you mean {shorten(near)}?")

    def _command(self, command: str, argument: str) -> None:
        match command:
            case ".tables":
                self._query("SELECT call AS name, kind, meaning FROM tables ORDER BY kind, table_name")
            case ".schema" if argument:
                query = (
                    "SELECT column_name, type, unit, is_nullable, meaning, example "
                    "FROM columns WHERE table_name = $name ORDER BY position"
                )
                if not self.lake.sql(query, {"name": argument}, self.connection).num_rows:
                    raise InputError(f"'{argument}'", "is no table, view or function.", ".tables lists them.")
                self._query(query, {"name": argument})
            case ".schema":
                self._query("SELECT table_name, column_name, type, unit, meaning FROM columns")
            case ".datasets":
                self._query("FROM dataset_summary ORDER BY dataset")
            case ".format":
                if argument not in (known := [str(one) for one in Format if one is not Format.parquet]):
                    raise InputError(f"'.format {argument}'", "is no format.", f"Choose one of {', '.join(known)}.")
                self.format = Format(argument)
            case ".help":
                self.console.print(HELP, highlight=False)
            case _:
                raise InputError(f"'{command} {argument}'".replace(" '", "'"), "is no command.", ".help lists them.")

    def _query(self, query: str, parameters: Mapping[str, Any] | None = None) -> None:
        with self.lake.stream(query, parameters, self.connection) as rows:
            self._print(rows)

    def _print(self, rows: "pa.RecordBatchReader") -> int:
        """Print or write all rows; returns how many there were, at least 1 where a table ended before they did."""
        if self.output is not None:
            n_rows = write_whole(self.output, rows, self.format)
            self._note(f"{_rows(n_rows)} in {self.output}")
            return n_rows
        if self.format is Format.table:
            return self.print_table(rows)
        counted = Counted(rows)
        if self.format is not Format.parquet:
            write_text(sys.stdout, counted, self.format)
        elif sys.stdout.isatty():
            found = "is not for a terminal."
            raise InputError("Parquet", found, "Name a file: --output FILE, or send it there: > FILE.")
        else:
            write_parquet(sys.stdout.buffer, counted)
        return counted.n_rows

    def print_table(self, rows: "pa.RecordBatchReader") -> int:
        """Rows as a table with the types of its columns, paged where it is longer than the screen.

        A few rows that are wider than the screen are printed one value a line. Returns how many were printed.
        """
        is_screen = self.console.is_terminal
        most = MAX_PAGED if is_screen and self.is_paging else MAX_SHOWN
        shown = list(islice(records(rows), most + 1))
        is_more = len(shown) > most
        shown = shown[:most]
        table = RichTable(box=None, header_style="bold", pad_edge=False)
        for field in rows.schema:
            kind = _type_name(field.type)
            is_number = kind in _NUMBERS
            table.add_column(
                f"{escape(field.name)}\n[dim not bold]{escape(kind)}[/]", justify="right" if is_number else "left",
                overflow="fold",
            )  # fmt: skip
        for row in shown:
            table.add_row(*(_cell(value) for value in row))
        # A pipe has no width: keep each row on its line.
        console = self.console if is_screen else Console(width=max(200, self.console.width))
        said = _rows(len(shown)) if not is_more else f"the first {len(shown):,} rows; --format csv prints all"
        width = console.measure(table, options=console.options.update(width=10_000)).maximum
        if is_screen and len(shown) <= MAX_UPRIGHT and width > console.width:  # of none, only the number
            for row in shown:
                upright = RichTable(box=None, show_header=False, pad_edge=False)
                for name, value in zip(rows.schema.names, row, strict=True):
                    upright.add_row(f"[bold]{escape(name)}[/]", _cell(value))
                console.print(upright, end="\n\n")
        elif is_screen and self.is_paging and len(shown) + 4 > console.height:
            os.environ.setdefault("LESS", "-RSF")  # colours, and wide rows unwrapped
            wide = Console(width=max(console.width, width))
            with wide.pager(styles=True):
                wide.print(table)
        else:
            console.print(table)
        console.print(f"[dim]{said}[/]", highlight=False)
        return len(shown)

    def _note(self, text: str) -> None:
        self.notes.print(f"[dim]{escape(text)}[/]", highlight=False, soft_wrap=True)

    def prompt(self, history: Path | None) -> None:
        """Read queries until the end of input; ``history`` keeps them for the next time."""
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.history import FileHistory, InMemoryHistory
        from prompt_toolkit.lexers import PygmentsLexer
        from pygments.lexers.sql import SqlLexer

        session: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)) if history else InMemoryHistory(),
            completer=WordCompleter(self.words(), ignore_case=True, WORD=True, sentence=False),
            lexer=PygmentsLexer(SqlLexer),
            complete_while_typing=False,
            multiline=Condition(lambda: self._is_unfinished(session.default_buffer.text)),
            prompt_continuation="      ...> ",
        )
        self.console.print("SQL over every result. .tables lists what there is, .help the rest; Ctrl-D ends.")
        while True:
            try:
                text = session.prompt("scmagnify> ").strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if text.rstrip(";") in (".quit", ".exit", "quit", "exit"):
                return
            if not text:
                continue
            if text.rstrip(";") == "help":
                text = ".help"
            try:
                self.ask(text)
            except ScmagnifyError as error:
                self.notes.print(f"[red]{escape(str(error))}[/]", highlight=False)
            except KeyboardInterrupt:
                self._note("Stopped.")

    def _is_unfinished(self, text: str) -> bool:
        """Whether Enter shall begin another line; after an empty one it never does."""
        if text.lstrip().startswith(".") or not text.strip() or text.endswith("\n"):
            return False
        return text.rstrip().endswith(",") or self.lake.is_unfinished(text, self.connection)

    def words(self) -> list[str]:
        """What completes: tables, views, functions, their columns, data sets, keywords and commands."""
        from scmagnify_assets.lake.dictionary import column_rows, table_rows

        names = self.lake.sql("SELECT dataset FROM datasets", connection=self.connection)["dataset"].to_pylist()
        words = {row[2].partition("(")[0] + ("(" if "(" in row[2] else "") for row in table_rows()}
        words |= {row[2] for row in column_rows()} | {f"'{name}'" for name in names}
        return sorted(words | set(_KEYWORDS) | {line.split()[0] for line in HELP.splitlines() if line[0] == "."})


_KEYWORDS = (
    "SELECT", "FROM", "WHERE", "ORDER BY", "GROUP BY", "LIMIT", "JOIN", "USING", "DESC", "DESCRIBE", "HAVING", "AND",
    "count(*)", "round(", "avg(", "max(", "min(", "sum(",
)  # fmt: skip
_NUMBERS = frozenset(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UBIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL"))


def print_rows(rows: "pa.Table", console: Console) -> None:
    """A small result of the program's own as a table, without types."""
    import pyarrow as pa

    table = RichTable(box=None, header_style="bold", pad_edge=False)
    for field in rows.schema:
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(field.name, justify="right" if is_number else "left", overflow="fold")
    for row in rows.to_pylist():
        table.add_row(*(_cell(value) for value in row.values()))
    wide = console if console.is_terminal else Console(width=max(200, console.width))
    wide.print(table)


def _rows(n_rows: int) -> str:
    return "1 row" if n_rows == 1 else f"{n_rows:,} rows"


def _type_name(kind: "pa.DataType") -> str:
    """DuckDB's name of a type, as the data dictionary has it."""
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return "DECIMAL"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{_type_name(kind.value_type)}[]"
    names = {
        "string": "VARCHAR", "large_string": "VARCHAR", "string_view": "VARCHAR", "bool": "BOOLEAN", "int8": "TINYINT",
        "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "uint64": "UBIGINT", "float": "FLOAT",
        "double": "DOUBLE", "date32[day]": "DATE",
    }  # fmt: skip
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    return names.get(str(kind), str(kind).upper())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else escape(str(value))
