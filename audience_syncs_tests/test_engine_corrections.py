"""What people do when a sync needs a hand: full resync, undo, approvals, retry, audit, another list."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from audience_syncs.destinations.stopping import rest
from audience_syncs.engine import plan_sync, run_sync, undo_run
from audience_syncs.engine.approvals import record_approval
from audience_syncs.engine.audit import audit_sync
from audience_syncs.model.errors import AudienceSyncsError, DefinitionError, GuardBlocked, ListMissing, SyncLocked
from audience_syncs.model.values import Batch, RunOptions, RunStatus, SyncReport
from audience_syncs_tests.person_list import PersonList
from audience_syncs_tests.sync_bench import Bench, email_hash, sync_config

A, B, C, D, E = (f"{letter}@example.com" for letter in "abcde")
SMALL_GUARD = {"min_drop": 0, "max_drop_percent": 40}


def hashes(*emails: str) -> set[str]:
    return {email_hash(email) for email in emails}


# Full resync


def test_a_full_resync_repairs_a_list_that_somebody_changed_and_removes_leavers(bench: Bench) -> None:
    bench.crowd(25)
    bench.run()
    bench.put_others("other@example.com")
    del bench.list.people[f"EMAIL:{email_hash('p3@example.com')}"]
    bench.execute("DELETE FROM people WHERE id = '1'")
    mark = len(bench.list.calls)
    assert bench.run().removed == 1
    assert email_hash("p3@example.com") not in bench.list.emails(), "an ordinary run trusts what was accepted"
    report = bench.run(full_resync=True)
    assert (report.resent, report.added, report.removed) == (24, 0, 0)
    assert bench.list.emails() == bench.expected() | hashes("other@example.com")
    assert [operation for operation, _ in bench.operations(mark)] == ["remove", "add", "add", "add"]


def test_a_full_resync_adds_before_it_removes_so_that_the_list_is_never_empty(bench: Bench) -> None:
    bench.sync = sync_config(guard={"max_drop_percent": 100})
    bench.people(("1", A), ("2", B))
    bench.run()
    bench.people(("3", C), ("4", D))
    sizes: list[int] = []

    def watch(operation: str, batch: Batch) -> str:
        sizes.append(len(bench.list.people))
        return "ok"

    bench.list.script = watch
    bench.run(full_resync=True)
    sizes.append(len(bench.list.people))
    assert bench.list.emails() == hashes(C, D)
    assert sizes == [2, 4, 2]


def test_a_full_resync_sends_whom_a_removal_may_hit_after_it(bench: Bench) -> None:
    """The list recognises persons: removing by a shared phone or an old email takes the whole person out."""
    phone = "+4915112345678"
    bench.people(("1", A, phone), ("2", B, phone), ("3", C), ("4", D))
    bench.run()
    mark = len(bench.list.calls)
    bench.people(("2", B, phone), ("3", E), ("4", D))
    report = bench.run(full_resync=True)
    assert bench.list.emails() == hashes(B, E, D)
    assert [operation for operation, _ in bench.operations(mark)] == ["add", "remove", "add"]
    assert (report.accepted, report.status) == (3, RunStatus.SUCCEEDED)
    mark = len(bench.list.calls)
    bench.run()
    assert bench.operations(mark) == []


@pytest.mark.parametrize("fault", ["not_applied", "lost_before", "lost_after", "access"])
def test_an_interrupted_full_resync_is_finished_by_the_next_run(bench: Bench, fault: str) -> None:
    bench.list = PersonList(batch_size=3)
    bench.crowd(12)
    bench.run()
    bench.execute("DELETE FROM people WHERE id IN ('1', '2')")
    calls = iter(["ok", fault])
    bench.list.script = lambda operation, batch: next(calls, "ok" if fault != "access" else "access")
    with contextlib.suppress(AudienceSyncsError):
        bench.run(full_resync=True)
    bench.list.script = lambda operation, batch: "ok"
    bench.run()
    assert bench.list.emails() == bench.expected()
    assert {state for state, _ in bench.ledger().values()} == {"accepted"}


def test_a_list_that_was_deleted_stops_the_run_with_a_way_out_that_works(bench: Bench) -> None:
    bench.crowd(12)
    bench.run()
    bench.list.is_gone = True
    bench.execute("DELETE FROM people WHERE id = '1'")
    ledger = bench.ledger()
    with pytest.raises(ListMissing) as stopped:
        bench.run()
    assert "audience-syncs resync people/list --new-list" in str(stopped.value)
    assert bench.ledger() == ledger, "nothing of what we know is lost"
    report = bench.run(new_list=True)
    assert (report.added, report.removed, bench.list.emails()) == (11, 0, bench.expected())
    assert bench.rows("SELECT list_id FROM audience_syncs.lists") == [("list-2",)]
    with pytest.raises(DefinitionError) as refused:
        bench.run(new_list=True)
    assert "is still there" in str(refused.value)
    assert set(bench.ledger()) == {str(n) for n in range(2, 13)}


# Undo


def undo(bench: Bench, run: str, **options: object) -> SyncReport:
    return undo_run(
        bench.audience,
        bench.sync,
        bench.list,
        bench.warehouse,
        undo=run,
        run_id=f"undo of {run}",
        options=RunOptions(**options),  # type: ignore[arg-type]
    )


def test_undo_takes_back_what_a_run_added_removed_and_changed(bench: Bench) -> None:
    bench.people(("1", A, "+4915112345671"), ("2", B), ("3", C))
    bench.run()
    before = {name: {f: set(v) for f, v in person.items()} for name, person in bench.list.people.items()}
    bench.execute("UPDATE people SET first_name = 'Søren', email = 'e@example.com' WHERE id = '2'")
    bench.execute("DELETE FROM people WHERE id = '1'")
    bench.execute("INSERT INTO people VALUES ('4', 'd@example.com', NULL, NULL)")
    bench.run()
    assert bench.list.emails() == hashes(C, D, E)
    report = undo(bench, "run-2")
    assert (report.added, report.updated, report.removed) == (1, 1, 1)
    assert bench.list.people == before
    names = [fields.get("FN") for operation, fields in bench.list.members_sent[-2:] if operation == "add"]
    assert names == [email_hash("zoë")] * 2, "with the fields that were sent before"
    bench.run()
    assert bench.list.emails() == hashes(C, D, E), "the next run does what the definition says"


def test_undo_leaves_members_alone_who_changed_since(bench: Bench) -> None:
    bench.people(("1", A))
    bench.run()
    bench.people(("1", A), ("2", B), ("3", C))
    bench.run()
    bench.people(("1", A), ("2", D), ("3", C))
    bench.run()
    assert undo(bench, "run-2").removed == 1
    assert bench.list.emails() == hashes(A, D)


def test_undo_of_a_shared_email_keeps_it_for_the_other(bench: Bench) -> None:
    bench.people(("1", A))
    bench.run()
    bench.people(("1", A), ("2", A))
    bench.run()
    undo(bench, "run-2")
    assert bench.list.emails() == hashes(A)
    assert set(bench.ledger()) == {"1"}


def test_undo_twice_changes_nothing_more(bench: Bench) -> None:
    bench.people(("1", A))
    bench.run()
    bench.people(("1", A), ("2", B))
    bench.run()
    undo(bench, "run-2")
    mark = len(bench.list.calls)
    undo(bench, "run-2")
    assert bench.operations(mark) == []


def test_undo_only_takes_back_what_the_platform_accepted(bench: Bench) -> None:
    bench.people(("1", A))
    bench.run()
    bench.list.rejects = {email_hash(B)}
    bench.people(("1", A), ("2", B), ("3", C))
    bench.run()
    assert undo(bench, "run-2").removed == 1
    assert bench.list.emails() == hashes(A)


def test_undo_passes_the_same_guard_and_the_same_approval(bench: Bench) -> None:
    bench.people(("1", A))
    bench.run()
    bench.people(("1", A), ("2", B), ("3", C), ("4", D))
    bench.run()
    bench.sync = sync_config(guard=SMALL_GUARD)
    with pytest.raises(GuardBlocked) as blocked:
        undo(bench, "run-2")
    assert f"audience-syncs undo people/list --run run-2 --approve {blocked.value.digest}" in str(blocked.value)
    assert bench.list.emails() == hashes(A, B, C, D)
    preview = plan_sync(bench.audience, bench.sync, bench.list.spec, bench.warehouse, undo="run-2")
    assert (preview.digest, preview.counts.removed) == (blocked.value.digest, 3)
    assert undo(bench, "run-2", approve=blocked.value.digest).removed == 3


def test_a_run_that_emptied_the_list_can_be_undone(bench: Bench) -> None:
    bench.people(("1", A), ("2", B))
    bench.run()
    bench.people()
    with pytest.raises(GuardBlocked) as blocked:
        bench.run()
    bench.run_only(approve=blocked.value.digest)
    assert bench.list.emails() == set()
    assert undo(bench, "run-2").added == 2
    assert bench.list.emails() == hashes(A, B)


@pytest.mark.parametrize(
    ("run", "words"),
    [("no-such-run", "has no run 'no-such-run'"), ("run-", "several runs of this sync begin with 'run-'"), ("%", "has no run '%'")],
)  # fmt: skip
def test_a_run_that_cannot_be_undone_is_refused_in_words(bench: Bench, run: str, words: str) -> None:
    bench.people(("1", A))
    bench.run()
    bench.people(("1", B))
    bench.run()
    with pytest.raises(DefinitionError) as refused:
        undo(bench, run)
    assert words in str(refused.value)


def test_a_run_of_records_cannot_be_undone(bench: Bench) -> None:
    bench.sync = sync_config(mode="upsert")
    bench.people(("1", A))
    bench.run()
    with pytest.raises(DefinitionError) as refused:
        undo(bench, "run-1")
    assert "mode `upsert` cannot be undone" in str(refused.value)


# Approvals


def blocked_bench(bench: Bench) -> str:
    """A plan that the guard stops; its digest."""
    bench.sync = sync_config(guard=SMALL_GUARD)
    bench.people(("1", A), ("2", B))
    bench.run()
    bench.people(("1", A))
    with pytest.raises(GuardBlocked) as blocked:
        bench.run()
    return blocked.value.digest


def approve(bench: Bench, digest: str, *, now: datetime | None = None) -> None:
    with bench.warehouse.connect() as connection:
        record_approval(
            connection, bench.warehouse, "people/list", digest, by="maria@laptop", now=now or datetime.now(UTC)
        )
        connection.commit()


def test_an_approval_given_beforehand_lets_exactly_that_plan_pass_and_says_who_and_when(bench: Bench) -> None:
    digest = blocked_bench(bench)
    approve(bench, digest)
    assert bench.run().removed == 1
    (row,) = bench.rows("SELECT approved_by, approved_at, expires_at, used_at, run_id FROM audience_syncs.approvals")
    assert row[0] == "maria@laptop"
    assert row[2] - row[1] == timedelta(hours=24)
    assert row[3] is not None
    assert row[4] == "run-3"


def test_an_approval_in_the_run_config_is_recorded_too(bench: Bench) -> None:
    digest = blocked_bench(bench)
    bench.run_only(approve=digest, approved_by="Dagster run 7")
    assert bench.rows("SELECT digest, approved_by FROM audience_syncs.approvals") == [(digest, "Dagster run 7")]


def test_an_approval_expires(bench: Bench) -> None:
    approve(bench, blocked_bench(bench), now=datetime.now(UTC) - timedelta(hours=25))
    with pytest.raises(GuardBlocked):
        bench.run()


def test_an_approval_is_of_one_plan_and_of_no_other(bench: Bench) -> None:
    digest = blocked_bench(bench)
    approve(bench, digest)
    bench.people(("2", B))
    with pytest.raises(GuardBlocked) as blocked:
        bench.run(approve=digest)
    assert f"not the approved {digest}" in str(blocked.value)
    assert bench.list.emails() == hashes(A, B)


def test_an_approved_plan_that_was_interrupted_needs_a_new_approval_for_what_is_left_of_it(bench: Bench) -> None:
    bench.list = PersonList(batch_size=1)
    bench.sync = sync_config(guard=SMALL_GUARD)
    bench.people(("1", A), ("2", B), ("3", C), ("4", D))
    bench.run()
    bench.people(("1", A))
    with pytest.raises(GuardBlocked) as blocked:
        bench.run()
    calls = iter(["ok", "access"])
    bench.list.script = lambda operation, batch: next(calls)
    with pytest.raises(AudienceSyncsError):
        bench.run(approve=blocked.value.digest)
    bench.list.script = lambda operation, batch: "ok"
    with pytest.raises(GuardBlocked) as again:
        bench.run(approve=blocked.value.digest)
    assert bench.run(approve=again.value.digest).removed == 2
    assert bench.list.emails() == hashes(A)


def test_data_that_is_too_old_is_not_sent(bench: Bench) -> None:
    bench.execute("CREATE TABLE loads (at timestamptz)")
    bench.execute("INSERT INTO loads VALUES (now() - interval '3 days')")
    bench.people(("1", A))
    bench.sync = sync_config(guard={"max_source_age": "2 days"})
    bench.freshness_sql = "SELECT max(at) FROM loads"
    with pytest.raises(GuardBlocked) as blocked:
        bench.run()
    assert "data is 3.0 days old; the limit is 2 days (guard.max_source_age)" in str(blocked.value)
    assert not bench.list.calls
    bench.execute("INSERT INTO loads VALUES (now())")
    assert bench.run().added == 1


# Retry and audit


def test_rejected_members_are_tried_again_when_asked_and_count_their_attempts(bench: Bench) -> None:
    bench.list.rejects = {email_hash(B)}
    bench.people(("1", A), ("2", B))
    bench.run()
    bench.run()
    assert bench.rows("SELECT attempts FROM audience_syncs.rejections") == [(1,)]
    bench.run(retry_rejected=True)
    assert bench.rows("SELECT attempts, last_at > first_at FROM audience_syncs.rejections") == [(2, True)]
    bench.list.rejects = set()
    assert bench.run(retry_rejected=True).added == 1
    assert not bench.rows("SELECT 1 FROM audience_syncs.rejections")


def test_an_audit_names_who_is_missing_and_counts_the_others(bench: Bench) -> None:
    bench.crowd(30)
    bench.run()
    assert audit_sync(bench.audience, bench.sync, bench.list, bench.warehouse).passed
    bench.put_others(A, B)
    del bench.list.people[f"EMAIL:{email_hash('p3@example.com')}"]
    report = audit_sync(bench.audience, bench.sync, bench.list, bench.warehouse)
    assert (report.accepted, report.listed, report.missing, report.others) == (30, 31, 1, 2)
    assert report.missing_keys == ("3",)
    assert "1 of 30 accepted members are not in the list" in report.difference
    bench.run(full_resync=True)
    assert audit_sync(bench.audience, bench.sync, bench.list, bench.warehouse).passed


def test_an_audit_does_not_name_keys_that_are_personal(bench: Bench) -> None:
    bench.sql = "SELECT email AS id, email, phone, first_name FROM people"
    bench.people(("1", A))
    bench.run()
    bench.list.people.clear()
    report = audit_sync(bench.audience, bench.sync, bench.list, bench.warehouse)
    assert (report.missing, report.missing_keys) == (1, ())


def test_an_audit_waits_for_no_run_and_before_the_first_there_is_nothing_to_audit(bench: Bench) -> None:
    bench.people(("1", A))
    with pytest.raises(DefinitionError) as refused:
        audit_sync(bench.audience, bench.sync, bench.list, bench.warehouse)
    assert "run the sync first" in str(refused.value)
    seen: list[Callable[[], object]] = []

    def meanwhile(operation: str, batch: Batch) -> str:
        with pytest.raises(SyncLocked):
            audit_sync(bench.audience, bench.sync, bench.list, bench.warehouse)
        seen.append(lambda: None)
        return "ok"

    bench.list.script = meanwhile
    bench.run()
    assert seen


# A test with a few


def test_a_limited_run_sends_a_few_and_removes_nobody_and_the_next_run_the_rest(bench: Bench) -> None:
    bench.crowd(25)
    bench.run()
    bench.execute("DELETE FROM people WHERE id = '1'")
    bench.execute(
        "INSERT INTO people SELECT 'n' || g, 'n' || g || '@example.com', NULL, NULL FROM generate_series(1, 9) g"
    )
    report = bench.run(limit=3)
    assert (report.added, report.removed) == (3, 0)
    report = bench.run()
    assert (report.added, report.removed) == (6, 1)
    assert bench.list.emails() == bench.expected()


def test_a_cancelled_run_books_what_was_answered_and_says_so(bench: Bench) -> None:
    class Cancelled(BaseException):
        pass

    bench.crowd(25)

    def cancel(operation: str, batch: Batch) -> str:
        if len(bench.list.calls) == 2:
            raise Cancelled
        return "ok"

    bench.list.script = cancel
    with pytest.raises(Cancelled):
        bench.run()
    assert bench.rows("SELECT status FROM audience_syncs.sync_runs") == [("cancelled",)]
    assert sum(state == "accepted" for state, _ in bench.ledger().values()) == 10
    bench.list.script = lambda operation, batch: "ok"
    run_sync(bench.audience, bench.sync, bench.list, bench.warehouse, run_id="next")
    assert bench.list.emails() == bench.expected()


def test_cancelling_does_not_wait_for_a_platform_that_wants_to_be_left_alone(bench: Bench) -> None:
    bench.crowd(25)

    def cancel(operation: str, batch: Batch) -> str:
        if len(bench.list.calls) == 2:
            # As Dagster does when somebody presses Terminate: a signal, while the delivery thread waits to try again.
            threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
            return "ok" if rest(60) else "lost_before"
        return "ok"

    bench.list.script = cancel
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert time.monotonic() - started < 20
    assert bench.rows("SELECT status FROM audience_syncs.sync_runs") == [("cancelled",)]
    bench.list.script = lambda operation, batch: "ok"
    run_sync(bench.audience, bench.sync, bench.list, bench.warehouse, run_id="next")
    assert bench.list.emails() == bench.expected()


def test_a_run_waits_for_another_of_its_sync_as_long_as_it_is_asked_to(bench: Bench) -> None:
    bench.crowd(5)
    entered, told = threading.Event(), []

    def slow(operation: str, batch: Batch) -> str:
        entered.set()
        time.sleep(1.5)
        return "ok"

    bench.list.script = slow
    first = threading.Thread(target=bench.run)
    first.start()
    entered.wait(10)
    with pytest.raises(SyncLocked):
        bench.run_only()
    report = run_sync(
        bench.audience,
        bench.sync,
        bench.list,
        bench.warehouse,
        run_id="second",
        options=RunOptions(wait_s=30),
        progress=lambda progress: told.append(progress.step),
    )
    first.join()
    assert report.status is RunStatus.SUCCEEDED
    assert told[0] == "wait for another run of this sync"
    assert len(bench.list.calls) == 1, "there was nothing left to send"
