"""A person asks to be forgotten: out of every list, out of every later plan, and nothing left but evidence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from audience_syncs.engine import forget_in_sync
from audience_syncs.model.errors import AccessRefused
from audience_syncs.model.values import SyncReport
from audience_syncs.warehouse.forgotten import evidence, key_digest, request_forgetting
from audience_syncs_tests.sync_bench import Bench, email_hash, sync_config

A, B = "a@example.com", "b@example.com"


def request(bench: Bench, key: str) -> list[str]:
    with bench.warehouse.connect() as connection:
        holding = request_forgetting(
            connection, bench.warehouse, {"people": bench.audience}, "id", key, by="maria", now=datetime.now(UTC)
        )
        connection.commit()
    return holding


def forget(bench: Bench) -> SyncReport:
    return forget_in_sync(bench.audience, bench.sync, bench.list, bench.warehouse, run_id="forget")


def shown(bench: Bench, key: str) -> list[str]:
    with bench.warehouse.connect() as connection:
        return [str(record["status"]) for record in evidence(connection, bench.warehouse, key)]


def everything_kept(bench: Bench) -> str:
    """All rows of all state tables, as text."""
    tables = bench.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'audience_syncs' ORDER BY 1")
    return "\n".join(
        str(row) for (table,) in tables for row in bench.rows(f'SELECT t.*::text FROM audience_syncs."{table}" t')
    )


def test_a_forgotten_person_leaves_the_list_at_once_and_never_comes_back(bench: Bench) -> None:
    bench.people(("1", A), ("2", B), ("3", None))
    bench.run()
    assert request(bench, "1") == ["people/list"]
    report = forget(bench)
    assert (report.removed, bench.list.emails()) == (1, {email_hash(B)})
    assert shown(bench, "1") == ["removed"]
    snapshot = bench.run()
    assert (snapshot.in_audience, bench.list.emails()) == (2, {email_hash(B)})
    bench.run(full_resync=True)
    assert bench.list.emails() == {email_hash(B)}


def test_nothing_is_left_of_a_forgotten_person_but_a_digest(bench: Bench) -> None:
    bench.people(("person-17", A), ("2", B))
    bench.run()
    bench.run()
    request(bench, "person-17")
    forget(bench)
    bench.run()
    kept = everything_kept(bench)
    for trace in ("person-17", A, email_hash(A)):
        assert trace not in kept
    assert email_hash(B) in kept, "or this test would find nothing anywhere"
    assert key_digest("person-17") in kept


def test_an_email_that_somebody_else_has_too_stays_for_them(bench: Bench) -> None:
    bench.people(("1", A), ("2", A))
    bench.run()
    request(bench, "1")
    forget(bench)
    assert bench.list.emails() == {email_hash(A)}
    assert set(bench.ledger()) == {"2"}
    assert shown(bench, "1") == ["removed"]


@pytest.mark.parametrize("settings", [{"mode": "add"}, {"removal": "keep"}, {"removal": "delete_record"}])
def test_whoever_is_forgotten_is_taken_out_whatever_the_mode(bench: Bench, settings: dict[str, Any]) -> None:
    bench.sync = sync_config(**settings)
    bench.people(("1", A), ("2", B))
    bench.run()
    request(bench, "1")
    forget(bench)
    assert bench.list.emails() == {email_hash(B)}


@pytest.mark.parametrize("settings", [{"mode": "mirror"}, {"mode": "add"}])
def test_a_removal_that_did_not_get_through_is_pending_and_made_by_the_next_run(
    bench: Bench, settings: dict[str, Any]
) -> None:
    bench.sync = sync_config(**settings)
    bench.people(("1", A), ("2", B))
    bench.run()
    request(bench, "1")
    bench.list.script = lambda operation, batch: "access"
    with pytest.raises(AccessRefused):
        forget(bench)
    assert shown(bench, "1") == ["pending"]
    assert email_hash(A) in bench.list.emails()
    bench.list.script = lambda operation, batch: "ok"
    bench.run()
    assert shown(bench, "1") == ["removed"]
    assert bench.list.emails() == {email_hash(B)}


def test_somebody_who_was_in_no_list_is_forgotten_beforehand(bench: Bench) -> None:
    bench.people(("2", B))
    bench.run()
    assert request(bench, "1") == []
    assert shown(bench, "1") == ["not_held"]
    bench.people(("1", A), ("2", B))
    bench.run()
    assert bench.list.emails() == {email_hash(B)}


def test_forgetting_is_not_stopped_by_the_guard_and_removes_nobody_else(bench: Bench) -> None:
    bench.sync = sync_config(guard={"max_removals": 0})
    bench.people(("1", A), ("2", B))
    bench.run()
    bench.people(("3", "c@example.com"))
    request(bench, "1")
    forget(bench)
    assert bench.list.emails() == {email_hash(B)}


@pytest.mark.parametrize("key", ["1'; DROP TABLE people; --", "Zoë 🎈", "%", ""])
def test_any_key_can_be_asked_for(bench: Bench, key: str) -> None:
    bench.people(("1", A))
    bench.run()
    assert request(bench, key) == []
    assert request(bench, key) == [], "and again"
    bench.run()
    assert bench.list.emails() == {email_hash(A)}
