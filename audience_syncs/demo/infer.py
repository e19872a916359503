"""The types of a CSV file's columns, from all of its rows: a guess from the first block breaks in the second.

Only what no information is lost by: an id with leading zeros, or too long for a bigint, stays text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

_TIME = r"^[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"

# From the narrowest to the widest; a column gets the first that fits all of its values.
_KINDS: tuple[tuple[pa.DataType, str], ...] = (
    (pa.int64(), r"^(0|-?[1-9][0-9]{0,17})$"),
    (pa.float64(), r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?$"),
    (pa.bool_(), r"^(true|false|True|False|TRUE|FALSE)$"),
    (pa.date32(), r"^[0-9]{4}-[01][0-9]-[0-3][0-9]$"),
    (
        pa.timestamp("us", "UTC"),
        _TIME + r"(Z|[+-][0-9]{2}:?[0-9]{2})$",
    ),
    (
        pa.timestamp("us"),
        _TIME + "$",
    ),
)


def text_columns(path: Path) -> Iterator[pa.RecordBatch]:
    """The file in batches, every column as text; an unquoted nothing is null, a quoted one is an empty text."""
    names = _header(path)
    yield from pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(block_size=4 << 20),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )


def typed_columns(path: Path) -> tuple[pa.Schema, int]:
    """The columns with the narrowest type that fits all values, and the number of rows."""
    names = _header(path)
    possible = {name: list(_KINDS) for name in names}
    filled = dict.fromkeys(names, False)
    rows = 0
    for batch in text_columns(path):
        rows += batch.num_rows
        for name, column in zip(names, batch.columns, strict=True):
            values = column.drop_null()
            if len(values):
                filled[name] = True
                possible[name] = [
                    (kind, form)
                    for kind, form in possible[name]
                    if pc.all(pc.match_substring_regex(values, form)).as_py()
                ]
    kinds = {name: possible[name][0][0] if filled[name] and possible[name] else pa.string() for name in names}
    return pa.schema([(name, kinds[name]) for name in names]), rows


def _header(path: Path) -> list[str]:
    with pa_csv.open_csv(path, parse_options=pa_csv.ParseOptions(newlines_in_values=True)) as reader:
        return list(reader.schema.names)
