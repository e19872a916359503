"""Rows to CSV (RFC 4180, UTF-8, line feeds, a header) or Parquet, all columns text. A value that is missing is empty, or null."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from typing import IO, Any, Protocol

from audience_syncs.destinations.files.declaration import FilesSettings


class RowWriter(Protocol):
    """Writes rows to a stream."""

    def write(self, members: Sequence[Mapping[str, Any]]) -> None: ...

    def close(self) -> None:
        """Writes what is left; the stream stays open."""
        ...


def suffix(settings: FilesSettings) -> str:
    """What the names of files end in."""
    return settings.format + (".gz" if settings.compression == "gzip" else "")


def writer(settings: FilesSettings, stream: IO[bytes], columns: Sequence[str]) -> RowWriter:
    """What writes rows of these columns to the stream."""
    if settings.format == "parquet":
        return _Parquet(stream, columns)
    return _Csv(stream, columns, compressed=settings.compression == "gzip")


class _Csv:
    def __init__(self, stream: IO[bytes], columns: Sequence[str], *, compressed: bool) -> None:
        self._columns = columns
        # Without a time in its header, the same rows are the same bytes.
        self._compressed = gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, filename="") if compressed else None
        self._stream: Any = self._compressed or stream
        self._write([list(columns)])

    def write(self, members: Sequence[Mapping[str, Any]]) -> None:
        self._write([[_text(member.get(name)) or "" for name in self._columns] for member in members])

    def close(self) -> None:
        if self._compressed is not None:
            self._compressed.close()

    def _write(self, rows: Sequence[Sequence[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._stream.write(text.getvalue().encode())


class _Parquet:
    def __init__(self, stream: IO[bytes], columns: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema([(name, pa.string()) for name in columns])
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd")

    def write(self, members: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa

        columns = [[_text(member.get(name)) for member in members] for name in self._schema.names]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
