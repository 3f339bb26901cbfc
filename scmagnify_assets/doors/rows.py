"""Rows of a query as CSV, JSON, Markdown or Parquet: streamed, so that a file takes all of them whatever the memory."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from scmagnify_assets.lake.files import written_whole
from scmagnify_core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


class Format(StrEnum):
    """How rows are printed or written."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    parquet = "parquet"


def format_of(output: Path | None, format: Format | None, *, force: bool = False) -> Format:
    """How rows are written: as the ending of ``output`` says, or as is asked for where it says nothing.

    Raises
    ------
    InputError
        The ending says nothing, or something else than ``format``, or there is a file and ``force`` is not given.
    """
    if output is None:
        return format or Format.table
    if output.exists() and not force:
        raise InputError(f"'{output}'", "exists already.", "Choose another name, or pass --force to replace it.")
    endings = {"csv": Format.csv, "json": Format.json, "md": Format.markdown, "parquet": Format.parquet}
    said = endings.get(output.suffix.lstrip(".").lower())
    if format is None and said is None:
        known = ", ".join(f".{ending}" for ending in endings)
        raise InputError(f"'{output}'", "has no ending that says what to write.", f"Give it one of {known}.")
    if format is not None and said not in (None, format):
        raise InputError(f"'{output}'", f"is not for {format}.", "Leave out --format, or name another file.")
    return said or format or Format.csv


def records(rows: "pa.RecordBatchReader | Counted") -> Iterator[tuple[Any, ...]]:
    """Rows as tuples: two columns may have one name."""
    for batch in rows:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def write_whole(path: Path, rows: "pa.RecordBatchReader", format: Format) -> int:
    """Write rows to a file, all of them or, on an error, none; returns how many."""
    counted = Counted(rows)
    with written_whole(path, path.suffix) as temporary:
        if format is Format.parquet:
            with temporary.open("wb") as binary:
                write_parquet(binary, counted)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as text:
                write_text(text, counted, Format.csv if format is Format.table else format)
    return counted.n_rows


class Counted:
    """A reader that knows how many rows went through it."""

    def __init__(self, rows: "pa.RecordBatchReader") -> None:
        self.rows, self.schema, self.n_rows = rows, rows.schema, 0

    def __iter__(self) -> "Iterator[pa.RecordBatch]":
        """Batches, counted as they pass."""
        for batch in self.rows:
            self.n_rows += batch.num_rows
            yield batch


def write_parquet(file: Any, rows: "pa.RecordBatchReader | Counted") -> None:
    """Write rows to a binary file."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)


def write_text(file: TextIO, rows: "pa.RecordBatchReader | Counted", format: Format) -> None:
    """Write rows as CSV, JSON or Markdown."""
    names = list(rows.schema.names)
    if format is Format.json:
        _write_json(file, names, records(rows))
    elif format is Format.markdown:
        for line in ([names], [["---"] * len(names)], records(rows)):
            for row in line:
                file.write(f"| {' | '.join(_markdown(value) for value in row)} |\n")
    else:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_plain(value) for value in row] for row in records(rows))


def _write_json(file: TextIO, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    separator = "[\n"
    for row in rows:
        record = dict(zip(names, row, strict=True))
        file.write(f"{separator}{json.dumps(record, default=_in_words)}")
        separator = ",\n"
    file.write("\n]\n" if separator != "[\n" else "[]\n")


def _in_words(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _plain(value: Any) -> Any:
    """A value as a CSV reader takes it: lists as JSON, times in ISO form, nothing for a null."""
    if isinstance(value, list | dict):
        return json.dumps(value, default=_in_words)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _markdown(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
