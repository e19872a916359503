"""The SQL table: what is promised of every destination, over a real PostgreSQL that is cut at every statement."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.sql_table import SqlTable
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, VerdictKind
from audience_syncs_tests.conftest import create_database
from audience_syncs_tests.sync_bench import Bench, sync_config

HOSTILE = ['x"; DROP TABLE people; --', "50%s %(key)s :name", "Größe 🎉", "select", "a.b", "$1 \\ '"]


def opened(url: str, **settings: Any) -> SqlTable:
    return SqlTable(Account("crm", {"url": url}, settings), {})


@pytest.fixture
def table(fresh_postgres_url: str) -> Iterator[SqlTable]:
    table = opened(fresh_postgres_url)
    yield table
    table._engine.dispose()


def rows(table: SqlTable, query: str) -> list[tuple[Any, ...]]:
    with table._engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query, execution_options={"no_parameters": True})]


def execute(table: SqlTable, statement: str) -> None:
    with table._engine.begin() as connection:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def member(key: str, **fields: str) -> Outgoing:
    return Outgoing({"key": key, **fields})


def test_rows_of_others_are_neither_changed_nor_deleted_nor_taken_for_members(table: SqlTable) -> None:
    assert table.ensure_list(ListRequest("vips")).created
    assert not table.ensure_list(ListRequest("vips")).created
    table.add("vips", Batch([member("a", city="Kiel")]))
    execute(table, "INSERT INTO vips (key, city) VALUES ('theirs', 'Bonn')")
    verdicts = table.add("vips", Batch([member("theirs", city="Rom"), member("b"), member("a", city="Ulm")]))
    assert [v.kind for v in verdicts] == [VerdictKind.REJECTED, VerdictKind.ACCEPTED, VerdictKind.ACCEPTED]
    assert rows(table, "SELECT key, city FROM vips ORDER BY key") == [("a", "Ulm"), ("b", None), ("theirs", "Bonn")]
    assert [m.fields["key"] for page in table.members("vips") for m in page] == ["a", "b"]
    table.remove("vips", Batch([member("theirs"), member("a"), member("nobody")]))
    assert rows(table, "SELECT key FROM vips ORDER BY key") == [("b",), ("theirs",)]


def test_a_value_that_went_away_is_null_also_where_nobody_in_the_batch_has_one(table: SqlTable) -> None:
    table.ensure_list(ListRequest("vips"))
    table.add("vips", Batch([member("a", city="Kiel")]))
    execute(table, "ALTER TABLE vips ADD COLUMN note text; UPDATE vips SET note = 'keep me'")
    table.add("vips", Batch([member("a")]))
    assert rows(table, "SELECT city, note FROM vips") == [(None, "keep me")]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_values_are_names_and_values(table: SqlTable, name: str) -> None:
    execute(table, "CREATE TABLE people (id int)")
    made = table.ensure_list(ListRequest(name))
    assert table.ensure_list(ListRequest("x", id=made.id)).id == name
    fields = {"key": name, name: name}
    assert table.add(made.id, Batch([Outgoing(fields)]))[0].kind is VerdictKind.ACCEPTED
    assert table.add(made.id, Batch([Outgoing(fields)]))[0].kind is VerdictKind.ACCEPTED
    path = '"' + name.replace('"', '""') + '"'
    assert rows(table, f"SELECT key, {path} FROM {path}") == [(name, name)]
    table.remove(made.id, Batch([member(name)]))
    assert rows(table, f"SELECT count(*) FROM {path}") == [(0,)]
    assert rows(table, "SELECT count(*) FROM people") == [(0,)]


def test_what_is_in_the_way_is_said(table: SqlTable) -> None:
    execute(table, "CREATE TABLE theirs (key text PRIMARY KEY, city text)")
    with pytest.raises(DestinationError, match="not made by audience-syncs"):
        table.ensure_list(ListRequest("theirs"))
    with pytest.raises(DestinationError, match="63 bytes"):
        table.ensure_list(ListRequest("ü" * 40))
    table.ensure_list(ListRequest("vips"))
    execute(table, "ALTER TABLE vips ADD COLUMN city text, ADD CONSTRAINT short CHECK (length(key) < 5)")
    with pytest.raises(DestinationError, match="map to another name"):
        table.add("vips", Batch([member("a", city="Kiel")]))
    with pytest.raises(DestinationError, match="map to another name"):
        table.add("vips", Batch([member("a", audience_syncs_owner="me")]))
    with pytest.raises(BatchRefused) as refused:
        table.add("vips", Batch([member("secret-of-anna")]))
    assert "anna" not in str(refused.value)
    with pytest.raises(BatchRefused, match="NUL") as refused:
        table.add("vips", Batch([member("a"), member("b\0")]))
    assert refused.value.position == 1
    execute(table, "DROP TABLE vips")
    for call in (
        lambda: table.add("vips", Batch([member("a")])),
        lambda: table.remove("vips", Batch([member("a")])),
        lambda: table.ensure_list(ListRequest("vips", id="vips")),
        lambda: list(table.members("vips")),
    ):
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_no_permission_no_connection_and_other_databases(fresh_postgres_url: str) -> None:
    owner = opened(fresh_postgres_url)
    owner.ensure_list(ListRequest("vips"))
    execute(owner, "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'hunter2'")
    url = sa.make_url(fresh_postgres_url).set(username="reader", password="hunter2")
    reader = opened(url.render_as_string(hide_password=False))
    with pytest.raises(AccessRefused, match="What to do"):
        reader.add("vips", Batch([member("a")]))
    closed = opened("postgresql://u:hunter2@127.0.0.1:9/x")
    with pytest.raises(NotApplied) as unreachable:
        closed.ensure_list(ListRequest("vips"))
    missing = url.set(username=sa.make_url(fresh_postgres_url).username, database="nowhere")
    with pytest.raises(AccessRefused):
        opened(missing.render_as_string(hide_password=False)).ensure_list(ListRequest("vips"))
    for wrong in ("mysql://u:hunter2@h/x", "hunter2", "postgresql://u:hunter2@h:port/x"):
        with pytest.raises(DefinitionError) as refused:
            opened(wrong)
        assert "hunter2" not in str(refused.value)
    assert "hunter2" not in str(unreachable.value)
    assert "hunter2" not in repr(closed.__dict__)


def cut_at(table: SqlTable, number: int, *, after_commit: bool) -> None:
    """At the n-th statement or commit, counted from now, the server ends the connection (or just after the commit)."""
    left = itertools.count(number, -1)

    def end(connection: sa.Connection) -> None:
        pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
        other = sa.create_engine(table._engine.url, poolclass=sa.pool.NullPool)
        with other.connect() as killer:
            killer.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    def before(connection: sa.Connection, *_: object) -> None:
        if next(left) == 0:
            end(connection)

    def commit(connection: sa.Connection) -> None:
        if next(left) != 0:
            return
        if after_commit:
            connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            end(connection)
            raise sa.exc.OperationalError("COMMIT", {}, Exception("the answer was lost"), connection_invalidated=True)
        end(connection)

    sa.event.listen(table._engine, "before_cursor_execute", before)
    sa.event.listen(table._engine, "commit", commit)


def test_a_connection_lost_before_the_commit_is_not_applied_and_while_committing_is_no_answer(table: SqlTable) -> None:
    table.ensure_list(ListRequest("vips"))
    table.add("vips", Batch([member("a")]))
    cut_at(table, 0, after_commit=False)
    with pytest.raises(NotApplied):
        table.add("vips", Batch([member("b")]))
    assert rows(table, "SELECT key FROM vips") == [("a",)]
    for after in (False, True):
        cut_at(table, 1, after_commit=after)
        with pytest.raises(NoAnswer):
            table.add("vips", Batch([member("c")]))
        assert rows(table, "SELECT count(*) FROM vips") == [(2 if after else 1,)]


@pytest.mark.parametrize("after_commit", [False, True])
def test_cut_at_every_statement_the_next_run_makes_the_table_the_audience(
    postgres_server: str, after_commit: bool
) -> None:
    bench, url = Bench(create_database(postgres_server)), create_database(postgres_server)
    bench.sync = sync_config(
        mapping={"key": "email", "name": "first_name"}, guard={"allow_empty": True, "max_unusable_percent": 100}
    )
    keeper = opened(url)
    keeper.ensure_list(ListRequest("People"))
    execute(keeper, "INSERT INTO \"People\" (key) VALUES ('stranger@example.com')")
    raised = 0
    for number in range(14):
        first = number % 3
        bench.people(*((str(n), f"p{n}@example.com") for n in range(first, first + 4)), ("x", f"x{number}@example.com"))
        bench.list = opened(url)  # type: ignore[assignment]
        cut_at(bench.list, number, after_commit=after_commit)  # type: ignore[arg-type]
        try:
            bench.run()
        except AudienceSyncsError:
            raised += 1
        bench.people(*((str(n), f"p{n}@example.com") for n in range(first + 1, first + 5)))
        bench.list = opened(url)  # type: ignore[assignment]
        bench.run()
        held = {key for (key,) in rows(keeper, 'SELECT key FROM "People"')}
        assert held == {f"p{n}@example.com" for n in range(first + 1, first + 5)} | {"stranger@example.com"}
    assert raised, "nothing was cut"
    bench.warehouse.close()
