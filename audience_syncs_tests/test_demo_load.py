"""`demo load`: a folder of files becomes tables, whole or not at all, and nothing changes on the way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from audience_syncs.demo.load import BATCH_ROWS, LoadError, load_folder


@pytest.fixture
def engine(fresh_postgres_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(fresh_postgres_url)
    yield engine
    engine.dispose()


def rows(engine: sa.Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def test_parquet_keeps_its_types_and_values(engine: sa.Engine, tmp_path: Path) -> None:
    at = datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int64()),
            "name": pa.array(["Zoë", 'quote " comma , \n line', None]),
            "empty": pa.array(["", None, "x"]),
            "price": pa.array([Decimal("1.10"), None, Decimal("-3.00")], pa.decimal128(10, 2)),
            "at": pa.array([at, None, at], pa.timestamp("us", "UTC")),
            "local": pa.array([at.replace(tzinfo=None), None, None], pa.timestamp("us")),
            "emails": pa.array([["a@example.com", 'b"\\'], [], None]),
            "ok": pa.array([True, False, None]),
            "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
            "raw": pa.array([b"\x00\xff", b"", None]),
            "big": pa.array([2**64 - 1, 0, None], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "People.parquet")
    [loaded] = load_folder(engine, tmp_path, schema="real")
    assert (loaded.name, loaded.rows) == ("people", 3)
    found = rows(engine, "SELECT name, empty, price, at, local, emails, ok, kind, big FROM real.people ORDER BY id")
    assert found[0] == (
        "Zoë", "", Decimal("1.10"), at, at.replace(tzinfo=None), ["a@example.com", 'b"\\'], True, "a", 2**64 - 1
    )  # fmt: skip
    assert found[1][:2] == ('quote " comma , \n line', None)
    assert found[1][5] == []
    assert found[2][1:3] == ("x", Decimal("-3.00"))
    assert rows(engine, "SELECT raw FROM real.people WHERE id = 1")[0][0].tobytes() == b"\x00\xff"  # type: ignore[attr-defined]


def test_csv_types_are_those_that_fit_every_row_and_lose_nothing(engine: sa.Engine, tmp_path: Path) -> None:
    many = "".join(f"{n},0{n},{n}.5,2026-01-02,x\n" for n in range(1, BATCH_ROWS + 10))
    (tmp_path / "orders-2026.csv").write_text("id,zip,amount,day,late\n" + many + '7,00012,1,2026-02-03,"last"\n')
    [loaded] = load_folder(engine, tmp_path, schema="real")
    assert loaded.columns == {
        "id": "bigint", "zip": "text", "amount": "double precision", "day": "date", "late": "text"
    }  # fmt: skip
    assert rows(engine, "SELECT count(*), min(zip) FROM real.orders_2026") == [(BATCH_ROWS + 10, "00012")]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", ""], "bigint"),
        (["1", "x"], "text"),
        (["12345678901234567890"], "text"),
        (["1.5", "2"], "double precision"),
        (["true", "FALSE"], "boolean"),
        (["2026-01-01T00:00:00Z"], "timestamp with time zone"),
        (["2026-01-01 00:00:00"], "timestamp"),
        (["", ""], "text"),
        (["NaN"], "text"),
        (["+49 151"], "text"),
        (['""', "1"], "text"),
        (["ключ"], "text"),
    ],
)
def test_types_of_csv_columns(engine: sa.Engine, tmp_path: Path, values: list[str], kind: str) -> None:
    (tmp_path / "t.csv").write_text("k,v\n" + "".join(f"1,{value}\n" for value in values))
    [loaded] = load_folder(engine, tmp_path, schema="real")
    assert loaded.columns["v"] == kind


def test_an_unquoted_nothing_is_null_and_a_quoted_one_is_empty(engine: sa.Engine, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('k,v\n1,\n2,""\n3,"a ""b"",\nc"\n')
    load_folder(engine, tmp_path, schema="real")
    assert rows(engine, "SELECT v FROM real.t ORDER BY k") == [(None,), ("",), ('a "b",\nc',)]


def test_mistakes_name_the_file_and_what_to_do(engine: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such folder"):
        load_folder(engine, tmp_path / "nowhere", schema="real")
    with pytest.raises(LoadError, match=r"no Parquet or CSV files(.|\n)*What to do"):
        load_folder(engine, tmp_path, schema="real")
    with pytest.raises(LoadError, match="no name for a schema"):
        load_folder(engine, tmp_path, schema='x"; DROP SCHEMA public; --')
    (tmp_path / "a b.csv").write_text("x\n1\n")
    (tmp_path / "a_b.parquet").write_bytes(b"not parquet")
    with pytest.raises(LoadError, match="would become the same table 'a_b'"):
        load_folder(engine, tmp_path, schema="real")
    (tmp_path / "a b.csv").unlink()
    with pytest.raises(LoadError, match=r"a_b.parquet: the file cannot be read"):
        load_folder(engine, tmp_path, schema="real")


def test_a_file_that_breaks_half_way_leaves_the_table_as_it_was(engine: sa.Engine, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("v\nfirst\n")
    load_folder(engine, tmp_path, schema="real")
    with pytest.raises(LoadError, match="has already: t"):
        load_folder(engine, tmp_path, schema="real")
    (tmp_path / "t.csv").write_text("v\n" + "fine\n" * 100_000 + "bad \x00 value\n")
    with pytest.raises(LoadError, match=r"t\.csv"):
        load_folder(engine, tmp_path, schema="real", replace=True)
    assert rows(engine, "SELECT v FROM real.t") == [("first",)]
    assert rows(engine, "SELECT tablename FROM pg_tables WHERE schemaname = 'real'") == [("t",)]
    (tmp_path / "t.csv").write_text("v\nsecond\n")
    load_folder(engine, tmp_path, schema="real", replace=True)
    assert rows(engine, "SELECT v FROM real.t") == [("second",)]
