"""Rows as files and as text: all of them, in each format."""

import io
import json
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from scmagnify_assets.doors.rows import Counted, Format, format_of, records, write_text, write_whole
from scmagnify_core.errors import InputError

TABLE = pa.table(
    {
        "text": ["a,b", None, "x|y\nz"], "list": [[1, 2], [], None], "x": [0.5, float("nan"), 1e-9],
        "day": [datetime(2026, 1, 2), None, datetime(2026, 1, 3)],
    }
)  # fmt: skip


def reader(batch_size: int = 2) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches(max_chunksize=batch_size))


def written(format: Format) -> str:
    file = io.StringIO()
    write_text(file, reader(), format)
    return file.getvalue()


def test_rows_pass_in_order_and_are_counted() -> None:
    counted = Counted(reader(1))
    assert [row[0] for row in records(counted)] == ["a,b", None, "x|y\nz"]
    assert counted.n_rows == 3
    twice = pa.RecordBatchReader.from_batches(
        pa.schema([("a", pa.int64()), ("a", pa.int64())]),
        [pa.record_batch([pa.array([1]), pa.array([2])], ["a", "a"])],
    )
    assert list(records(twice)) == [(1, 2)]


def test_text_formats_keep_values() -> None:
    frame = pd.read_csv(io.StringIO(written(Format.csv)), keep_default_na=False)
    assert frame["text"].tolist() == ["a,b", "", "x|y\nz"]
    assert frame["list"].tolist() == ["[1, 2]", "[]", ""]
    assert frame["day"].tolist() == ["2026-01-02T00:00:00", "", "2026-01-03T00:00:00"]
    rows = json.loads(written(Format.json))
    assert rows[0] == {"text": "a,b", "list": [1, 2], "x": 0.5, "day": "2026-01-02T00:00:00"}
    assert rows[1]["text"] is None
    lines = written(Format.markdown).splitlines()
    assert len(lines) == 5, "a row is a line"
    assert lines[4].startswith("| x\\|y z |  | 1e-09 |")


@pytest.mark.parametrize("format", [Format.csv, Format.parquet, Format.json, Format.table])
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, format: Format) -> None:
    path = tmp_path / "rows"
    assert write_whole(path, reader(), format) == 3
    before = path.read_bytes()
    if format is Format.parquet:
        assert pd.read_parquet(path)["x"].notna().sum() == 2

    def failing():
        yield TABLE.to_batches()[0]
        raise RuntimeError("half way")

    broken = pa.RecordBatchReader.from_batches(TABLE.schema, failing())
    with pytest.raises(RuntimeError, match="half way"):
        write_whole(path, broken, format)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_format_of_follows_the_ending_and_keeps_what_is_there(tmp_path: Path) -> None:
    assert format_of(None, None) is Format.table
    assert format_of(tmp_path / "x.PARQUET", None) is Format.parquet
    assert format_of(tmp_path / "x.md", Format.markdown) is Format.markdown
    assert format_of(tmp_path / "x.txt", Format.csv) is Format.csv
    with pytest.raises(InputError, match="has no ending that says what to write"):
        format_of(tmp_path / "x.xlsx", None)
    with pytest.raises(InputError, match="is not for json"):
        format_of(tmp_path / "x.csv", Format.json)
    (tmp_path / "there.csv").touch()
    with pytest.raises(InputError, match="exists already"):
        format_of(tmp_path / "there.csv", None)
    assert format_of(tmp_path / "there.csv", None, force=True) is Format.csv
