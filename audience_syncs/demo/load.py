"""Any folder of Parquet or CSV files becomes tables of a schema: for trying audiences on data of one's own.

File by file, in batches, through COPY. A table appears whole or not at all: it is filled under a temporary name and
put in its place in the same transaction.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import sqlalchemy as sa

from audience_syncs.demo.infer import text_columns, typed_columns
from audience_syncs.model.errors import AudienceSyncsError

BATCH_ROWS = 50_000
_SUFFIXES = (".parquet", ".csv")


class LoadError(AudienceSyncsError):
    """A folder or file that cannot be loaded. ``where`` names the file."""

    code = "LOAD"


@dataclass(frozen=True, slots=True)
class LoadedTable:
    name: str
    rows: int
    columns: dict[str, str]
    """Column -> PostgreSQL type."""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    table: str


def load_folder(
    engine: sa.Engine,
    path: Path,
    *,
    schema: str,
    replace: bool = False,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> list[LoadedTable]:
    """Loads every Parquet and CSV file of the folder; the file's name becomes the table's.

    ``progress`` is told the file, the rows done and, where it is known, the rows in all. Raises LoadError for an empty
    folder, an unreadable file, two files of one name, and, without ``replace``, a table that is there already; tables
    loaded before the error stay.
    """
    if re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema) is None:
        raise LoadError(f"{schema!r} is no name for a schema", remedy="use lower-case letters, digits and underscores")
    files = _files(path)
    known = set(sa.inspect(engine).get_table_names(schema=schema))
    there = sorted(file.table for file in files if file.table in known)
    if there and not replace:
        raise LoadError(
            f"the schema {schema} has already: {', '.join(there)}",
            where=str(path),
            remedy="replace them with --replace",
        )
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    return [_load(engine, file, schema, progress or (lambda *_: None)) for file in files]


def _files(path: Path) -> list[_File]:
    if not path.is_dir():
        raise LoadError("there is no such folder", where=str(path), remedy="name a folder with Parquet or CSV files")
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not found:
        raise LoadError(
            "the folder has no Parquet or CSV files", where=str(path), remedy="files end in .parquet or .csv"
        )
    files = [_File(file, _identifier(file.stem)) for file in found]
    for file in files:
        same = [other.path.name for other in files if other.table == file.table]
        if len(same) > 1:
            raise LoadError(
                f"{' and '.join(same)} would become the same table {file.table!r}", where=str(path), remedy="rename one"
            )
    return files


def _identifier(text: str) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_") or "table"
    return (f"t_{name}" if name[0].isdigit() else name)[:60]


def _load(engine: sa.Engine, file: _File, schema: str, progress: Callable[[str, int, int | None], None]) -> LoadedTable:
    where = str(file.path)
    try:
        arrow_schema, total = _shape(file.path)
        if not arrow_schema.names:
            raise LoadError("the file has no columns", where=where, remedy="give it a header line")
        columns = {field.name: _postgres_type(field.type) for field in arrow_schema}
        twice = {name for name in arrow_schema.names if arrow_schema.names.count(name) > 1}
        if twice:
            raise LoadError(f"columns are named twice: {', '.join(sorted(twice))}", where=where, remedy="rename one")
        rows = _write(engine, file, schema, columns, arrow_schema, total, progress)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise LoadError(
            f"the file cannot be read: {str(error).splitlines()[0][:200]}",
            where=where,
            remedy="is it whole, and of the type its name says?",
        ) from None
    except sa.exc.DBAPIError as error:
        words = str(error.orig).strip().splitlines()[0]
        raise LoadError(
            f"PostgreSQL refused it: {words[:200]}", where=where, remedy="mend that value in the file"
        ) from None
    return LoadedTable(file.table, rows, columns)


def _shape(path: Path) -> tuple[pa.Schema, int | None]:
    """The columns with their types, and how many rows there are."""
    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as parquet:
            return parquet.schema_arrow, parquet.metadata.num_rows
    return typed_columns(path)


def _batches(path: Path, arrow_schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as parquet:
            yield from parquet.iter_batches(batch_size=BATCH_ROWS)
        return
    # As text: PostgreSQL reads numbers and times itself.
    yield from text_columns(path)


def _write(
    engine: sa.Engine,
    file: _File,
    schema: str,
    columns: dict[str, str],
    arrow_schema: pa.Schema,
    total: int | None,
    progress: Callable[[str, int, int | None], None],
) -> int:
    quote = engine.dialect.identifier_preparer.quote_identifier
    final, loading = f"{schema}.{quote(file.table)}", f"{schema}.{quote(file.table + '_ld')}"
    rows = 0
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {loading}")
        body = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
        connection.exec_driver_sql(f"CREATE TABLE {loading} ({body})", execution_options={"no_parameters": True})
        driver_connection: Any = connection.connection.driver_connection
        for batch in _batches(file.path, arrow_schema):
            try:
                with driver_connection.cursor() as cursor:
                    cursor.copy_expert(f"COPY {loading} FROM STDIN (FORMAT csv)", io.BytesIO(_as_csv(batch)))
            except engine.dialect.dbapi.Error as error:  # type: ignore[union-attr]
                raise sa.exc.DBAPIError("COPY", None, error) from None
            rows += batch.num_rows
            progress(file.path.name, rows, total)
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {final}")
        connection.exec_driver_sql(f"ALTER TABLE {loading} RENAME TO {quote(file.table)}")
        connection.exec_driver_sql(f"ANALYZE {final}")
    return rows


def _as_csv(batch: pa.RecordBatch) -> bytes:
    """The batch as COPY reads it: values quoted, nulls not."""
    columns = [_plain(column) for column in batch.columns]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_arrays(columns, names=[str(i) for i in range(len(columns))])
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(include_header=False, quoting_style="all_valid"))
    return bytes(sink.getvalue())


def _plain(column: pa.Array) -> pa.Array:
    """A column that CSV can hold: arrays as PostgreSQL writes them, nested values as JSON, bytes as hex."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.array([None if v is None else _array_text(v) for v in column.to_pylist()], pa.string())
    if pa.types.is_nested(kind):
        return pa.array([None if v is None else json.dumps(v, default=str) for v in column.to_pylist()], pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else f"\\x{v.hex()}" for v in column.to_pylist()], pa.string())
    if pa.types.is_decimal(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
    return column


def _array_text(values: list[Any]) -> str:
    def element(value: Any) -> str:
        if value is None:
            return "NULL"
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "{" + ",".join(element(value) for value in values) + "}"


def _postgres_type(kind: pa.DataType) -> str:
    is_ = pa.types
    if is_.is_dictionary(kind):
        return _postgres_type(kind.value_type)
    if is_.is_list(kind) or is_.is_large_list(kind):
        return f"{_postgres_type(kind.value_type)}[]"
    if is_.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp"
    if is_.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})" if kind.scale >= 0 else "numeric"
    simple = (
        (is_.is_boolean, "boolean"),
        (is_.is_uint64, "numeric(20)"),
        (is_.is_integer, "bigint"),
        (is_.is_floating, "double precision"),
        (is_.is_date, "date"),
        (is_.is_time, "time"),
        (is_.is_duration, "interval"),
        (is_.is_binary, "bytea"),
        (is_.is_large_binary, "bytea"),
        (is_.is_fixed_size_binary, "bytea"),
        (is_.is_nested, "jsonb"),
    )
    return next((name for test, name in simple if test(kind)), "text")
