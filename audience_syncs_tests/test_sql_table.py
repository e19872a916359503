"""A SQL table as a destination, on real PostgreSQL and on SQLite: whose rows are whose, and what cannot go wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.registry import check_destination, check_sync, open_destination, spec_for
from audience_syncs.destinations.sql_table.account import SqlTable
from audience_syncs.model.config import DestinationConfig, Mode, SyncConfig
from audience_syncs.model.errors import (
    AccessRefused,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, VerdictKind

PASSWORD = "pass-word-of-the-test"
HOSTILE = 'Bobby\'); DROP TABLE people; -- "Käufer" 100%(x)s :y'


def config(**settings: Any) -> DestinationConfig:
    return DestinationConfig.model_validate(
        {"name": "shop_db", "platform": "sql_table", "credentials": {"url": {"env": "URL"}}, "settings": settings}
    )


def table_at(url: str, **settings: Any) -> SqlTable:
    opened = open_destination(config(**settings), {"URL": url})
    assert isinstance(opened, SqlTable)
    return opened


def batch(*members: dict[str, Any], fields: tuple[str, ...] = ()) -> Batch:
    return Batch([Outgoing(member) for member in members], total=len(members), fields=fields)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/lists.db"
    return str(request.getfixturevalue("fresh_postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"), poolclass=sa.pool.NullPool)
    yield made
    made.dispose()


def rows(engine: sa.Engine, table: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = sa.Table(table, sa.MetaData(), autoload_with=connection)
        return [dict(row) for row in connection.execute(sa.select(found).order_by(found.c[0])).mappings()]


def execute(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_table_is_made_filled_changed_and_emptied(url: str, engine: sa.Engine) -> None:
    shop = table_at(url, columns={"orders": "integer", "spent": "numeric", "active": "boolean"})
    made = shop.ensure_list(ListRequest("buyers"))
    assert (made.id, made.created) == ("buyers", True)
    assert not shop.ensure_list(ListRequest("buyers")).created
    mapped = ("id", "email", "orders", "spent", "active")
    people = batch(
        {"id": "1", "email": "a@example.com", "orders": "3", "spent": "10.50", "active": "true"},
        {"id": "2", "email": "b@example.com"},
        fields=mapped,
    )
    assert kinds(shop.add("buyers", people)) == ["accepted", "accepted"]
    first, second = rows(engine, "buyers")
    assert (first["email"], first["orders"], first["spent"], first["active"]) == (
        "a@example.com",
        3,
        Decimal("10.5"),
        True,
    )
    assert second["orders"] is None
    # A value that is gone at the source is gone in the table, too.
    shop.add("buyers", batch({"id": "1", "orders": "4"}, fields=mapped))
    assert [(row["email"], row["orders"]) for row in rows(engine, "buyers")] == [(None, 4), ("b@example.com", None)]
    assert shop.matched_users("buyers").upper == 2
    assert sorted(str(member.fields["id"]) for page in shop.members("buyers") for member in page) == ["1", "2"]
    assert kinds(shop.remove("buyers", batch({"id": "1"}, {"id": "nobody"}, {"id": ["2", "2b"]}))) == ["accepted"] * 3
    assert rows(engine, "buyers") == []


def test_rows_of_others_are_joined_left_again_and_never_deleted(url: str, engine: sa.Engine) -> None:
    execute(
        engine,
        "CREATE TABLE customers (id varchar(20) PRIMARY KEY, name varchar(50) NOT NULL, email varchar(50), "
        "_synced_at timestamp, _synced_row varchar(10))",
        "INSERT INTO customers (id, name) VALUES ('1', 'Anna'), ('stranger', 'Zoë')",
    )
    shop = table_at(url)
    shop.ensure_list(ListRequest("customers"))
    assert kinds(shop.add("customers", batch({"id": "1", "email": "a@example.com"}))) == ["accepted"]
    assert [(r["id"], r["name"], r["email"], r["_synced_row"]) for r in rows(engine, "customers")] == [
        ("1", "Anna", "a@example.com", "joined"),
        ("stranger", "Zoë", None, None),
    ]
    assert [m.fields["id"] for page in shop.members("customers") for m in page] == ["1"]
    shop.remove("customers", batch({"id": "1"}, {"id": "stranger"}))
    assert [(r["id"], r["name"], r["_synced_row"]) for r in rows(engine, "customers")] == [
        ("1", "Anna", None),
        ("stranger", "Zoë", None),
    ]
    assert shop.matched_users("customers").upper == 0
    # A column of theirs that must not be null: the batch is refused in the database's words, and nothing of it stays.
    with pytest.raises(BatchRefused) as refused:
        shop.add("customers", batch({"id": "1", "email": "x@example.com"}, {"id": "new", "email": "n@example.com"}))
    assert "name" in refused.value.reason
    assert "n@example.com" not in str(refused.value)
    assert rows(engine, "customers")[0]["email"] == "a@example.com"


def test_a_table_that_no_sync_made_is_not_taken_for_a_list(url: str, engine: sa.Engine) -> None:
    execute(engine, "CREATE TABLE customers (id varchar(20) PRIMARY KEY)", "CREATE TABLE log (id varchar(20))")
    with pytest.raises(DestinationError) as refused:
        table_at(url).ensure_list(ListRequest("customers"))
    assert refused.value.code == "TABLE_NOT_OURS"
    assert "_synced_row" in refused.value.remedy
    with pytest.raises(DestinationError) as refused:
        table_at(url).ensure_list(ListRequest("log"))
    assert refused.value.code == "TABLE_WITHOUT_KEY"
    with pytest.raises(ListMissing):
        table_at(url).ensure_list(ListRequest("customers", id="gone"))


def test_leaving_may_clear_fields_or_delete_the_record(url: str, engine: sa.Engine) -> None:
    shop = table_at(url)
    shop.ensure_list(ListRequest("vips"))
    shop.add("vips", batch({"id": "1", "tier": "gold"}, {"id": "2", "tier": "gold"}, {"id": "3", "tier": "gold"}))
    execute(engine, "UPDATE vips SET _synced_row = 'joined' WHERE id = '2'")
    shop.clear_fields("vips", batch({"id": "1"}), ["tier"])
    shop.delete_records("vips", batch({"id": "2"}, {"id": "1"}))
    assert [(r["id"], r["tier"], r["_synced_row"]) for r in rows(engine, "vips")] == [
        ("1", None, None),
        ("3", "gold", "made"),
    ]


def test_records_are_written_without_touching_columns_of_others(url: str, engine: sa.Engine) -> None:
    execute(
        engine,
        "CREATE TABLE people (id integer PRIMARY KEY, email varchar(50), note varchar(50) DEFAULT 'theirs')",
        "INSERT INTO people VALUES (1, 'old@example.com', 'mine')",
    )
    shop = table_at(url, records_table="people")
    one, two = {"id": "1", "email": "new@example.com"}, {"id": "2", "email": "b@example.com"}
    update = shop.write(batch(one, two, fields=("id", "email")), Mode.UPDATE)
    assert kinds(update) == ["accepted", "rejected"]
    assert update[1].reason_code == "NOT_FOUND"
    assert kinds(shop.write(batch({"id": "1", "email": "x"}, two), Mode.INSERT)) == ["accepted", "accepted"]
    assert kinds(shop.write(batch({"id": "2"}, {"id": "3"}, fields=("id", "email")), Mode.UPSERT)) == ["accepted"] * 2
    assert [tuple(row.values()) for row in rows(engine, "people")] == [
        (1, "new@example.com", "mine"),
        (2, None, "theirs"),
        (3, None, "theirs"),
    ]
    with pytest.raises(DestinationError, match="no column 'tier'"):
        shop.write(batch({"id": "1", "tier": "gold"}), Mode.UPSERT)


@pytest.mark.parametrize("name", [HOSTILE, "select", "Käufer 🛒", "a.b", "Robert`]"])
def test_names_of_lists_columns_and_keys_are_quoted_never_run(name: str, url: str, engine: sa.Engine) -> None:
    execute(engine, "CREATE TABLE people (id integer PRIMARY KEY)")
    name = name[:40]
    shop = table_at(url, key=name)
    shop.ensure_list(ListRequest(name))
    evil = "x'); DELETE FROM people; --"
    assert kinds(shop.add(name, batch({name: evil, f"{name} 2": evil}, {name: "2"}))) == ["accepted", "accepted"]
    assert kinds(shop.add(name, batch({name: evil, f"{name} 2": "b"}))) == ["accepted"]
    (found,) = [row for row in rows(engine, name) if row[name] == evil]
    assert found[f"{name} 2"] == "b"
    assert sa.inspect(engine).has_table("people")
    shop.remove(name, batch({name: evil}))
    assert len(rows(engine, name)) == 1


@pytest.mark.parametrize("name", [" ", "a\0b"])
def test_a_name_that_no_table_can_have_is_refused(name: str, url: str) -> None:
    with pytest.raises(DefinitionError, match="cannot be the name"):
        table_at(url).ensure_list(ListRequest(name))


def test_a_name_that_the_database_would_cut_is_refused(fresh_postgres_url: str) -> None:
    shop = table_at(fresh_postgres_url)
    with pytest.raises(DefinitionError, match="cannot be the name"):
        shop.ensure_list(ListRequest("ü" * 32))
    shop.ensure_list(ListRequest("people"))
    with pytest.raises(DefinitionError, match="cannot be the name"):
        shop.add("people", batch({"id": "1", "x" * 64: "1"}))


HOSTILE_VALUES = [
    ("integer", "12.5"),
    ("integer", "twelve"),
    ("numeric", "NaN"),
    ("float", "inf"),
    ("boolean", "maybe"),
    ("date", "2026-02-30"),
    ("timestamp", "yesterday"),
    ("text", "half\0"),
]


@pytest.mark.parametrize(("kind", "value"), HOSTILE_VALUES)
def test_a_value_that_its_column_does_not_take_rejects_its_member_only(kind: str, value: str, url: str) -> None:
    shop = table_at(url, columns={"x": kind})
    shop.ensure_list(ListRequest("people"))
    verdicts = shop.add("people", batch({"id": "1", "x": value}, {"id": "2"}, fields=("id", "x")))
    assert kinds(verdicts) == ["rejected", "accepted"]
    assert verdicts[0].reason_code == "WRONG_TYPE"
    assert value not in verdicts[0].reason
    assert [m.fields["id"] for page in shop.members("people") for m in page] == ["2"]


def test_a_number_beyond_its_column_refuses_the_batch_without_showing_it(fresh_postgres_url: str) -> None:
    shop = table_at(fresh_postgres_url, columns={"x": "integer"})
    shop.ensure_list(ListRequest("people"))
    with pytest.raises(BatchRefused) as refused:
        shop.add("people", batch({"id": "1", "x": "99999999999999999999"}, {"id": "2"}))
    assert "9999" not in str(refused.value)


def test_a_key_that_would_not_be_found_again_is_rejected(url: str, engine: sa.Engine) -> None:
    execute(engine, "CREATE TABLE t (id integer PRIMARY KEY, _synced_at timestamp, _synced_row varchar(10))")
    shop = table_at(url)
    shop.ensure_list(ListRequest("t"))
    assert kinds(shop.add("t", batch({"id": "007"}, {"id": "7"}, {"id": "x"}))) == ["rejected", "accepted", "rejected"]
    assert kinds(shop.remove("t", batch({"id": "x"}, {"id": "7"}))) == ["accepted", "accepted"]
    assert rows(engine, "t") == []


def test_two_members_with_one_key_are_one_row_and_both_accepted(url: str, engine: sa.Engine) -> None:
    shop = table_at(url)
    shop.ensure_list(ListRequest("people"))
    assert kinds(shop.add("people", batch({"id": "1", "x": "a"}, {"id": "1", "x": "b"}))) == ["accepted", "accepted"]
    assert [row["x"] for row in rows(engine, "people")] == ["b"]


def test_batches_at_the_same_time_neither_lose_a_row_nor_lock_each_other_out(url: str, engine: sa.Engine) -> None:
    shop = table_at(url)
    shop.ensure_list(ListRequest("people"))
    shop.add("people", batch({"id": "0", "x": "0"}))
    failed: list[BaseException] = []

    def write(turn: int) -> None:
        # Each pair of threads writes the same keys, in opposite order.
        keys = [f"{turn // 2}-{n}" for n in range(300)]
        try:
            for _ in range(3):
                shop.add("people", batch(*({"id": k, "x": str(turn)} for k in (keys if turn % 2 else keys[::-1]))))
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=write, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(rows(engine, "people")) == 901


def test_a_table_that_is_dropped_is_a_list_that_is_gone(url: str, engine: sa.Engine) -> None:
    shop = table_at(url)
    shop.ensure_list(ListRequest("people"))
    shop.add("people", batch({"id": "1"}))
    execute(engine, "DROP TABLE people")
    for call in (shop.add, shop.remove):
        with pytest.raises(ListMissing):
            call("people", batch({"id": "1"}))
    with pytest.raises(ListMissing):
        shop.matched_users("people")
    with pytest.raises(ListMissing):
        list(table_at(url).members("people"))


def test_a_connection_lost_before_the_commit_applies_nothing_and_during_it_nobody_knows(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = table_at(fresh_postgres_url)
    shop.ensure_list(ListRequest("people"))
    shop.add("people", batch({"id": "0"}))

    def cut() -> None:
        connection = psycopg2.connect(fresh_postgres_url.replace("+psycopg2", ""))
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        connection.close()

    def before_insert(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT"):
            cut()

    sa.event.listen(shop._database._engine, "before_cursor_execute", before_insert)
    with pytest.raises(NotApplied):
        shop.add("people", batch({"id": "1"}))
    sa.event.remove(shop._database._engine, "before_cursor_execute", before_insert)
    sa.event.listen(shop._database._engine, "commit", lambda _: cut())
    with pytest.raises(NoAnswer):
        shop.add("people", batch({"id": "2"}))
    assert [m.fields["id"] for page in table_at(fresh_postgres_url).members("people") for m in page] == ["0"]


def test_a_statement_that_takes_too_long_is_not_applied(fresh_postgres_url: str) -> None:
    shop = table_at(fresh_postgres_url, timeout_s=0.2)
    shop.ensure_list(ListRequest("people"))
    shop.add("people", batch({"id": "1", "x": "a"}))
    other = sa.create_engine(fresh_postgres_url, poolclass=sa.pool.NullPool)
    with other.begin() as connection:
        connection.exec_driver_sql("UPDATE people SET x = 'theirs'")
        with pytest.raises(NotApplied):
            shop.add("people", batch({"id": "1", "x": "b"}))
    assert kinds(shop.add("people", batch({"id": "1", "x": "b"}))) == ["accepted"]


def test_the_url_and_its_password_are_never_shown(fresh_postgres_url: str, tmp_path: Path) -> None:
    bad = [
        f"postgresql://nobody:{PASSWORD}@127.0.0.1:1/x",
        f"{PASSWORD}",
        f"nosuch://u:{PASSWORD}@host/db",
        f"postgresql+nosuch://u:{PASSWORD}@host/db",
        f"sqlite:////{tmp_path}/{PASSWORD}/no/folder.db",
        "sqlite://",
        sa.make_url(fresh_postgres_url).set(database=PASSWORD).render_as_string(hide_password=False),
    ]
    for url in bad:
        with pytest.raises((AccessRefused, NotApplied, DefinitionError)) as refused:
            table_at(url).ensure_list(ListRequest("people"))
        shown = f"{refused.value} {refused.value.__cause__} {refused.value!r}"
        assert PASSWORD not in shown, shown
        assert PASSWORD not in repr(config())


def test_a_user_who_may_not_write_stops_the_run(fresh_postgres_url: str) -> None:
    engine = sa.create_engine(fresh_postgres_url.replace("postgresql://", "postgresql+psycopg2://"))
    table_at(fresh_postgres_url).ensure_list(ListRequest("people"))
    execute(engine, "DROP ROLE IF EXISTS reader", "CREATE ROLE reader", "GRANT SELECT ON people TO reader")
    engine.dispose()
    shop = table_at(fresh_postgres_url)
    sa.event.listen(shop._database._engine, "begin", lambda connection: connection.exec_driver_sql("SET ROLE reader"))
    with pytest.raises(AccessRefused, match="permission denied"):
        shop.add("people", batch({"id": "1"}))


def test_what_the_yaml_asks_is_held_against_the_settings() -> None:
    def problems(**settings: Any) -> list[tuple[tuple[str | int, ...], str]]:
        return [(problem.path, problem.message) for problem in check_destination(config(**settings))]

    assert problems() == []
    assert problems(key="email", columns={"orders": "integer"}) == []
    assert problems(colums={})[0][0] == ("settings", "colums")
    assert problems(columns={"orders": "int"})[0][0] == ("settings", "columns", "orders")
    assert "is ours" in problems(key="_synced_at")[0][1]
    assert problems(columns=[1])[0][0] == ("settings", "columns")

    def asked(settings: dict[str, Any], **sync: Any) -> list[str]:
        written = {"destination": "shop_db", "mapping": {"id": "id"}} | sync
        return [problem.message for problem in check_sync(config(**settings), SyncConfig.model_validate(written))]

    assert asked({}) == []
    assert asked({}, mode="upsert") == ["SQL table cannot do mode `upsert`"]
    assert asked({"records_table": "people"}, mode="upsert") == []
    assert asked({"key": "email"}) == ["SQL table needs the field `email`"]
    assert asked({"key": "email"}, mapping={"email": "email", "id": "id", "any thing": "x"}) == []
    assert spec_for(config(key="email")).fields[0].rule == "generic.email"
    assert VerdictKind.REJECTED
