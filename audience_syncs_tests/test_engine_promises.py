"""DESIGN.md, section 4: what must always hold, on a real PostgreSQL, against a list whose faults are timed exactly."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from audience_syncs.audiences import evaluate_audience
from audience_syncs.engine import plan_sync, run_sync
from audience_syncs.model.config import GuardConfig, ListConfig
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceError,
    DefinitionError,
    DestinationError,
    GuardBlocked,
    NoAnswer,
    NotApplied,
    SourceError,
    SyncLocked,
)
from audience_syncs.model.values import Batch, MatchedUsers, Progress, RunStatus, SyncReport
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs.warehouse.state import State
from audience_syncs_tests.person_list import PersonList
from audience_syncs_tests.sync_bench import Bench, email_hash, sync_config

REPOSITORY = Path(__file__).parent.parent


def test_the_first_run_adds_everyone_and_the_second_sends_nothing(bench: Bench) -> None:
    bench.crowd(25)
    report = bench.run()
    assert bench.list.emails() == bench.expected()
    assert (report.added, report.in_audience, report.delivered, report.accepted) == (25, 25, 25, 25)
    assert report.status is RunStatus.SUCCEEDED
    assert bench.list.calls == [("add", 10), ("add", 10), ("add", 5)]
    again = bench.run()
    assert len(bench.list.calls) == 3
    assert (again.added, again.updated, again.removed, again.accepted) == (0, 0, 0, 25)


def test_only_changes_travel(bench: Bench) -> None:
    bench.crowd(25)
    bench.run()
    bench.execute("DELETE FROM people WHERE id = '1'")
    bench.execute("INSERT INTO people VALUES ('new', 'new@example.com', NULL, NULL)")
    bench.execute("UPDATE people SET first_name = 'Søren' WHERE id = '2'")
    mark = len(bench.list.calls)
    report = bench.run()
    assert bench.list.sent_since(mark) == [("remove", 1), ("add", 2)]
    assert (report.added, report.updated, report.removed) == (1, 1, 1)
    assert bench.list.emails() == bench.expected()


def test_a_row_that_changes_without_changing_what_is_sent_is_not_sent(bench: Bench) -> None:
    bench.people(("1", "anna@example.com"))
    bench.run()
    bench.execute("UPDATE people SET email = ' Anna@Example.com '")
    mark = len(bench.list.calls)
    report = bench.run()
    assert bench.list.sent_since(mark) == []
    assert report.planned.unchanged == 1
    assert bench.run().planned.unchanged == 0


def test_a_changed_email_removes_the_old_and_adds_the_new(bench: Bench) -> None:
    bench.people(("1", "old@example.com"), ("2", "other@example.com"))
    bench.run()
    bench.people(("1", "new@example.com"), ("2", "other@example.com"))
    report = bench.run()
    assert bench.list.emails() == {email_hash("new@example.com"), email_hash("other@example.com")}
    assert (report.added, report.updated, report.removed) == (0, 1, 0)


def test_swapped_emails_lose_nobody(bench: Bench) -> None:
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    bench.run()
    bench.people(("1", "b@example.com"), ("2", "a@example.com"))
    bench.run()
    assert bench.list.emails() == {email_hash("a@example.com"), email_hash("b@example.com")}
    bench.people(("2", "a@example.com"))
    bench.sync = sync_config(guard=GuardConfig(max_drop_percent=100))
    bench.run()
    assert bench.list.emails() == {email_hash("a@example.com")}


def test_a_shared_email_leaves_with_the_last_member_who_has_it(bench: Bench) -> None:
    bench.people(("1", "both@example.com"), ("2", "both@example.com"), ("3", "c@example.com"))
    bench.run()
    bench.people(("2", "both@example.com"), ("3", "c@example.com"))
    mark = len(bench.list.calls)
    report = bench.run()
    assert bench.list.sent_since(mark) == []
    assert report.removed == 1
    assert email_hash("both@example.com") in bench.list.emails()
    bench.people(("3", "c@example.com"))
    bench.run()
    assert bench.list.emails() == {email_hash("c@example.com")}
    assert set(bench.ledger()) == {"3"}


def test_a_member_who_shares_an_email_is_not_lost_when_the_other_leaves_by_their_phone(bench: Bench) -> None:
    bench.people(("1", "both@example.com", "+4915112345671"), ("2", "both@example.com", "+4915112345672"))
    bench.run()
    bench.people(("2", "both@example.com", "+4915112345672"))
    bench.run()
    assert bench.list.emails() == {email_hash("both@example.com")}
    assert bench.list.identifiers("PHONE") == {hashlib.sha256(b"4915112345672").hexdigest()}


def test_an_identifier_that_passes_to_a_member_who_is_then_rejected_still_leaves_with_them(bench: Bench) -> None:
    bench.people(("1", "shared@example.com"))
    bench.run()
    bench.list.rejects = {hashlib.sha256(b"4915112345672").hexdigest()}
    bench.people(("2", "shared@example.com", "+4915112345672"))
    bench.run()
    assert bench.ledger()["2"] == ("rejected", ["EMAIL:" + email_hash("shared@example.com")])
    bench.people(("3", "third@example.com"))
    bench.run()
    assert bench.list.emails() == {email_hash("third@example.com")}


def test_removal_uses_the_identifiers_as_they_were_sent_although_row_and_mapping_are_gone(bench: Bench) -> None:
    bench.people(("1", "one@example.com", "+4915112345671"), ("2", "two@example.com", "+4915112345672"))
    bench.sync = sync_config(mapping={"PHONE": "phone"})
    bench.run()
    assert bench.list.identifiers("PHONE")
    bench.sync = sync_config(mapping={"EMAIL": "email"})
    bench.people(("2", "two@example.com", None))
    bench.run()
    assert bench.list.identifiers("PHONE") == set()
    assert bench.list.emails() == {email_hash("two@example.com")}


def test_a_changed_mapping_sends_again_exactly_those_whose_payload_changes(bench: Bench) -> None:
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    bench.execute("UPDATE people SET first_name = NULL WHERE id = '2'")
    bench.sync = sync_config(mapping={"EMAIL": "email"})
    bench.run()
    bench.sync = sync_config(mapping={"EMAIL": "email", "FN": "first_name"})
    mark = len(bench.list.calls)
    report = bench.run()
    assert bench.list.sent_since(mark) == [("add", 1)]
    assert (report.updated, report.planned.unchanged) == (1, 1)


def test_several_emails_of_one_member_are_each_kept_and_removed(bench: Bench) -> None:
    bench.people(("1", "a@example.com"), ("2", "z@example.com"))
    bench.sql = "SELECT id, ARRAY[email, 'second-' || email, email] AS email, phone, first_name FROM people"
    bench.run()
    two = {email_hash(e) for e in ("a@example.com", "second-a@example.com")}
    assert two <= bench.list.emails()
    bench.people(("2", "z@example.com"))
    bench.run()
    assert not two & bench.list.emails()
    assert len(bench.list.emails()) == 2


def test_a_rejected_member_is_named_does_not_stop_others_and_is_tried_again_when_the_row_changes(bench: Bench) -> None:
    bench.crowd(15)
    bench.list.rejects = {email_hash("p3@example.com")}
    report = bench.run()
    assert report.status is RunStatus.WARNING
    assert (report.added, report.rejected, report.accepted, report.delivered) == (14, 1, 14, 14)
    assert [(r.reason_code, r.reason, r.members) for r in report.rejections] == [
        ("BAD_MEMBER", "this member is not allowed", 1)
    ]
    mark = len(bench.list.calls)
    assert bench.run().status is RunStatus.WARNING
    assert bench.list.sent_since(mark) == []
    bench.run(retry_rejected=True)
    assert bench.list.sent_since(mark) == [("add", 1)]
    assert bench.rows("SELECT attempts FROM audience_syncs.rejections WHERE member_key = '3'") == [(2,)]
    bench.execute("UPDATE people SET email = 'fine@example.com' WHERE id = '3'")
    report = bench.run()
    assert (report.accepted, report.rejections, report.status) == (15, (), RunStatus.SUCCEEDED)


def test_a_member_without_a_usable_identifier_is_named_and_their_old_one_removed(bench: Bench) -> None:
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    bench.run()
    bench.people(("1", "broken-value"), ("2", "b@example.com"))
    report = bench.run()
    assert bench.list.emails() == {email_hash("b@example.com")}
    assert report.rejections[0].reason_code == "NO_USABLE_IDENTIFIER"
    assert "broken-value" not in str(report)
    assert bench.run().planned.sent == 0


@pytest.mark.parametrize("names_culprit", [True, False])
def test_a_batch_refused_for_one_member_delivers_the_others(bench: Bench, names_culprit: bool) -> None:
    bench.list = PersonList(batch_size=100)
    bench.list.names_culprit = names_culprit
    bench.crowd(100)
    bench.list.refuses = {email_hash("p17@example.com"), email_hash("p93@example.com")}
    report = bench.run()
    assert (report.added, report.rejected) == (98, 2)
    assert len(bench.list.emails()) == 98
    assert len(bench.list.calls) <= (3 if names_culprit else 30)


@pytest.mark.parametrize("bad", [1, 5, 20, 40, 100])
@pytest.mark.parametrize("where", ["in front", "everywhere"])
def test_bad_members_never_spoil_good_ones_of_their_batch(bench: Bench, bad: int, where: str) -> None:
    bench.list = PersonList(batch_size=1000)
    bench.sql = "SELECT id, email, phone, first_name FROM people ORDER BY id::int"
    bench.crowd(1000)
    step = 1 if where == "in front" else 1000 // bad
    culprits = {email_hash(f"p{n}@example.com") for n in range(1, bad * step + 1, step)}
    bench.list.refuses = culprits
    for _ in range(2):
        report = bench.run()
    assert bench.list.emails() == bench.expected() - culprits
    assert (report.accepted, sum(count.members for count in report.rejections)) == (1000 - bad, bad)


def test_a_platform_that_refuses_everything_is_not_asked_for_every_member(bench: Bench) -> None:
    bench.list = PersonList(batch_size=1000)
    bench.crowd(5000)
    bench.list.refuses = {email_hash(f"p{n}@example.com") for n in range(1, 5001)}
    with pytest.raises(DestinationError, match="refuse everything: a value is not allowed"):
        bench.run()
    assert len(bench.list.calls) < 500
    # Nobody was called rejected who was not tried alone.
    assert len(bench.rows("SELECT 1 FROM audience_syncs.rejections")) < 100
    bench.list.refuses = set()
    assert bench.run(retry_rejected=True).accepted == 5000


def test_a_retryable_member_comes_back_in_the_next_run(bench: Bench) -> None:
    bench.crowd(15)
    answers = iter(["not_applied", "ok"])
    bench.list.script = lambda operation, batch: next(answers)
    report = bench.run()
    assert (report.added, report.retryable, report.status) == (5, 10, RunStatus.WARNING)
    assert len(bench.ledger()) == 5
    bench.list.script = lambda operation, batch: "ok"
    assert bench.run().added == 10
    assert bench.list.emails() == bench.expected()


@pytest.mark.parametrize("fault", ["lost_before", "lost_after"])
def test_somebody_who_may_have_been_added_and_has_left_is_removed(bench: Bench, fault: str) -> None:
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    bench.list.script = lambda operation, batch: fault
    report = bench.run()
    assert (report.accepted, report.unknown) == (0, 2)
    assert {state for state, _ in bench.ledger().values()} == {"unknown"}
    bench.list.script = lambda operation, batch: "ok"
    bench.people(("2", "b@example.com"))
    report = bench.run()
    assert bench.list.emails() == {email_hash("b@example.com")}
    assert report.accepted == 1
    assert set(bench.ledger()) == {"2"}


@pytest.mark.parametrize("fault", ["lost_before", "lost_after"])
def test_a_removal_without_an_answer_is_made_again_and_a_return_meanwhile_is_sent(bench: Bench, fault: str) -> None:
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    bench.run()
    bench.people(("2", "b@example.com"))
    bench.list.script = lambda operation, batch: fault if operation == "remove" else "ok"
    assert bench.run().unknown == 1
    bench.list.script = lambda operation, batch: "ok"
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    bench.run()
    assert bench.list.emails() == bench.expected()
    bench.people(("2", "b@example.com"))
    bench.run()
    assert bench.list.emails() == {email_hash("b@example.com")}


@pytest.mark.parametrize("fault", ["not_applied", "lost_before", "lost_after"])
@pytest.mark.parametrize("at", ["remove", "add"])
def test_a_changed_email_under_faults_ends_with_the_new_one_only(bench: Bench, fault: str, at: str) -> None:
    bench.people(("1", "old@example.com"), ("2", "b@example.com"))
    bench.run()
    bench.people(("1", "new@example.com"), ("2", "b@example.com"))
    bench.list.script = lambda operation, batch: fault if operation == at else "ok"
    bench.run()
    bench.list.script = lambda operation, batch: "ok"
    bench.run()
    assert bench.list.emails() == bench.expected()
    assert {key: ids for key, (_, ids) in bench.ledger().items()} == {
        "1": ["EMAIL:" + email_hash("new@example.com")],
        "2": ["EMAIL:" + email_hash("b@example.com")],
    }
    assert bench.run().planned.sent == 0


@pytest.mark.parametrize("fault", ["not_applied", "lost_before", "lost_after"])
def test_a_changed_email_that_changes_back_during_a_fault_is_not_lost(bench: Bench, fault: str) -> None:
    bench.people(("1", "first@example.com"))
    bench.run()
    bench.people(("1", "second@example.com"))
    bench.list.script = lambda operation, batch: fault if operation == "add" else "ok"
    bench.run()
    bench.list.script = lambda operation, batch: "ok"
    bench.people(("1", "first@example.com"))
    bench.run()
    assert bench.list.emails() == {email_hash("first@example.com")}


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
def test_a_process_that_dies_between_sending_and_booking_leaves_nobody_behind(
    bench: Bench, moment: str, tmp_path: Path
) -> None:
    bench.crowd(25)
    evaluate_audience(bench.audience, bench.warehouse, run_id="run-0")
    program = f"""
        from pathlib import Path
        from audience_syncs.engine import run_sync
        from audience_syncs.model.config import AudienceConfig
        from audience_syncs.warehouse import open_warehouse_at
        from audience_syncs_tests.person_list import PersonList

        audience = AudienceConfig.model_validate_json({bench.audience.model_dump_json()!r})
        people = PersonList()
        people.last_words = Path({str(tmp_path / "people.json")!r})
        people.script = lambda operation, batch: "ok" if len(people.calls) < 2 else "{moment}"
        run_sync(audience, audience.syncs[0], people, open_warehouse_at({bench.url!r}), run_id="dies")
    """
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=REPOSITORY, check=False)
    assert died.returncode == 9
    reached = json.loads((tmp_path / "people.json").read_text())
    assert len(reached) == (20 if moment == "die_after" else 10)
    bench.list.people = {f"EMAIL:{email}": {"EMAIL": {email}} for email in reached}
    bench.execute("DELETE FROM people WHERE id IN ('1', '11', '12', '21')")
    report = bench.run()
    assert report.recovered == 20
    assert bench.list.emails() == bench.expected()
    assert bench.rows("SELECT status FROM audience_syncs.sync_runs WHERE run_id = 'dies'") == [("interrupted",)]
    # Only the batch that was on its way is sent again; the one never sent was never there.
    assert bench.rows("SELECT count(*) FROM audience_syncs.ledger WHERE state <> 'accepted'") == [(0,)]


def test_the_guard_blocks_a_large_drop_and_sends_exactly_the_approved_plan(bench: Bench) -> None:
    bench.crowd(400)
    bench.list = PersonList(batch_size=100)
    bench.run()
    bench.crowd(200)
    mark = len(bench.list.calls)
    with pytest.raises(GuardBlocked) as blocked:
        bench.run()
    assert bench.list.sent_since(mark) == []
    assert "200 of 400 members would be removed, 50.0 %" in str(blocked.value)
    assert blocked.value.digest in str(blocked.value)
    assert bench.rows("SELECT status FROM audience_syncs.sync_runs ORDER BY id DESC LIMIT 1") == [("blocked",)]
    assert len(bench.ledger()) == 400
    preview = plan_sync(bench.audience, bench.sync, bench.list.spec, bench.warehouse)
    assert preview.digest == blocked.value.digest
    assert preview.blocked is not None
    assert preview.counts.removed == 200
    bench.execute("DELETE FROM people WHERE id = '7'")
    with pytest.raises(GuardBlocked, match="changed since"):
        bench.run(approve=blocked.value.digest)
    assert bench.list.sent_since(mark) == []
    digest = plan_sync(bench.audience, bench.sync, bench.list.spec, bench.warehouse).digest
    assert bench.run_only(approve=digest).removed == 201
    assert bench.list.emails() == bench.expected()


def test_an_empty_audience_sends_nothing_unless_allowed(bench: Bench) -> None:
    bench.crowd(5)
    bench.run()
    bench.execute("DELETE FROM people")
    with pytest.raises(GuardBlocked, match="the audience has 0 members; the list holds 5"):
        bench.run()
    assert len(bench.list.emails()) == 5
    bench.sync = sync_config(guard=GuardConfig(allow_empty=True))
    assert bench.run().removed == 5
    assert bench.list.emails() == set()


def test_hashes_go_out_as_they_are_and_what_the_mapping_excludes_is_left_out_and_counted(bench: Bench) -> None:
    held = email_hash("hashed@example.com")
    bench.people(("1", held), ("2", "plain@example.com"))
    plain = email_hash("plain@example.com")
    for hashed, sent, left_out in (
        (None, {held, plain}, set()),
        (True, {held}, {"NOT_HASHED"}),
        (False, {plain}, {"ALREADY_HASHED"}),
    ):
        bench.sync = sync_config(mapping={"EMAIL": {"column": "email", "hashed": hashed}})
        report = bench.run()
        assert bench.list.emails() == sent
        assert {dropped.reason_code for dropped in report.dropped_values} == {f"EMAIL:{code}" for code in left_out}


def test_an_audience_mostly_without_identifiers_is_blocked(bench: Bench) -> None:
    bench.execute("INSERT INTO people SELECT g, 'broken', NULL, NULL FROM generate_series(1, 150) g")
    with pytest.raises(GuardBlocked, match="150 of 150 members have no usable identifier"):
        bench.run()


@pytest.mark.parametrize(
    ("prepare", "sql", "message"),
    [
        ("INSERT INTO people VALUES (NULL, 'x@example.com')", None, "1 of 4 rows have no 'id'"),
        ("INSERT INTO people VALUES ('', 'x@example.com')", None, "1 of 4 rows have no 'id'"),
        ("INSERT INTO people VALUES ('2', 'x@example.com')", None, r"1 keys are used .* e.g. 2 \(2 rows\)"),
        (None, "SELECT email FROM people", "no column 'id'.*\n.*it has: email"),
        (None, "SELECT id, email, phone AS email FROM people", "names a column twice: email"),
        (None, "SELECT id, id AS _member_key FROM people", "a name we need ourselves"),
        (None, "SELECT FROM people", "returns no columns"),
        (None, "SELECT id, emial FROM people", 'column "emial" does not exist'),
        (None, "SELECT id FROM nowhere", 'relation "nowhere" does not exist'),
        (None, "SELECT id, email::int FROM people", "invalid input syntax"),
        (None, "DELETE FROM people RETURNING id", "refused the query"),
    ],
)
def test_a_bad_query_is_refused_by_name_and_changes_nothing(
    bench: Bench, prepare: str | None, sql: str | None, message: str
) -> None:
    bench.crowd(3)
    bench.run()
    before = bench.rows("SELECT count(*) FROM audience_syncs.snapshots")
    if prepare:
        bench.execute(prepare)
    bench.sql = sql or bench.sql
    with pytest.raises(AudienceError, match=message) as refused:
        bench.run()
    assert "What to do" in str(refused.value)
    assert "@example.com" not in str(refused.value)
    assert bench.rows("SELECT count(*) FROM audience_syncs.snapshots") == before
    assert len(bench.list.calls) == 1
    assert len(bench.rows("SELECT 1 FROM people")) >= 3


def test_a_mapped_column_that_is_missing_is_named_and_nothing_is_sent(bench: Bench) -> None:
    bench.crowd(3)
    bench.run()
    bench.sql = "SELECT id, email AS mail FROM people"
    with pytest.raises(AudienceError, match=r"no column 'email'.*'EMAIL'(.|\n)*it has: id, mail"):
        bench.run()
    assert len(bench.ledger()) == 3
    assert len(bench.list.calls) == 1


def test_percent_signs_colons_and_comments_in_the_query_mean_what_they_mean_in_sql(bench: Bench) -> None:
    bench.crowd(3)
    bench.sql = (
        "SELECT id, email, phone, first_name FROM people WHERE email LIKE 'p%' AND id::int < 3 -- 100 % of :them"
    )
    assert bench.run().accepted == 2


def test_two_runs_of_one_sync_never_overlap(bench: Bench) -> None:
    bench.crowd(5)
    under_way, go_on = threading.Event(), threading.Event()

    def wait_in_the_middle(operation: str, batch: object) -> str:
        under_way.set()
        go_on.wait(20)
        return "ok"

    bench.list.script = wait_in_the_middle
    first = threading.Thread(target=bench.run)
    first.start()
    assert under_way.wait(20)
    with pytest.raises(SyncLocked, match="another run of this sync is under way"):
        bench.run_only()
    go_on.set()
    first.join(20)
    assert len(bench.list.calls) == 1
    assert bench.run_only().accepted == 5


def test_a_revoked_token_stops_the_run_and_loses_no_state(bench: Bench) -> None:
    bench.crowd(35)
    answers = iter(["ok", "access"])
    bench.list.script = lambda operation, batch: next(answers)
    with pytest.raises(AccessRefused) as refused:
        bench.run()
    report: SyncReport = refused.value.report  # type: ignore[attr-defined]
    assert (report.status, report.added, report.accepted) == (RunStatus.FAILED, 10, 10)
    assert len(bench.list.calls) == 2
    bench.list.script = lambda operation, batch: "ok"
    assert bench.run().added == 25
    assert bench.list.emails() == bench.expected()


def test_a_platform_that_is_down_is_not_hammered(bench: Bench) -> None:
    bench.crowd(100)
    bench.list.script = lambda operation, batch: "not_applied"
    with pytest.raises(DestinationError, match="seems to be down, or to refuse everything: throttled"):
        bench.run()
    assert len(bench.list.calls) == 3


def test_a_sync_that_would_silently_move_to_another_list_is_refused(bench: Bench) -> None:
    bench.crowd(3)
    bench.run()
    bench.sync = sync_config(list=ListConfig(name="Other people"))
    with pytest.raises(DefinitionError, match="keeps the list 'People'"):
        bench.run()
    bench.sync = sync_config(list=ListConfig(id="list-1"))
    assert bench.run().accepted == 3


def test_batches_under_way_together_are_each_booked(bench: Bench) -> None:
    bench.list = PersonList(batch_size=7, concurrency=4)
    bench.crowd(200)
    assert bench.run().accepted == 200
    assert bench.list.emails() == bench.expected()
    assert bench.rows("SELECT count(*) FROM audience_syncs.batches WHERE booked_at IS NULL") == [(0,)]


def test_enter_and_exit_history_is_kept(bench: Bench) -> None:
    bench.crowd(3)
    bench.run()
    bench.execute("DELETE FROM people WHERE id = '1'; INSERT INTO people VALUES ('9', 'n@example.com')")
    bench.run()
    events = bench.rows("SELECT member_key, event FROM audience_syncs.membership ORDER BY snapshot_id, member_key")
    assert events == [("1", "enter"), ("2", "enter"), ("3", "enter"), ("1", "exit"), ("9", "enter")]
    counts = bench.rows("SELECT members, entered, exited FROM audience_syncs.snapshots ORDER BY id")
    assert counts == [(3, 3, 0), (3, 1, 1)]


def test_old_snapshots_go_but_their_counts_stay(bench: Bench) -> None:
    bench.crowd(3)
    for _ in range(5):
        bench.run()
    kept = bench.rows("SELECT count(*), count(table_name) FROM audience_syncs.snapshots")
    assert kept == [(5, 3)]
    tables = bench.rows(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'audience_syncs' AND tablename ~ '^snapshot_'"
    )
    assert tables == [(3,)]


def test_previews_and_columns_mask_personal_data(bench: Bench) -> None:
    bench.people(("1", "anna.secret@example.com", "+4915112345671"))
    snapshot = evaluate_audience(bench.audience, bench.warehouse, run_id="r")
    shown = str(snapshot.preview)
    assert "anna" not in shown
    assert "1234567" not in shown
    assert "Zoë" not in shown
    assert snapshot.preview[0]["id"] == "1"
    assert {column.name for column in snapshot.columns if column.personal} == {"email", "phone", "first_name"}


@pytest.mark.parametrize(
    "key", ["Ωμέγα", "'; DROP TABLE people; --", "a\tb\nc\\d", '"quoted"', "{1,2}", "x" * 5000, " "]
)
def test_hostile_keys_and_values_survive_the_round_trip(bench: Bench, key: str) -> None:
    bench.people((key, "a@example.com"))
    bench.run()
    assert list(bench.ledger()) == [key]
    bench.people(("other", "b@example.com"))
    bench.run()
    assert bench.list.emails() == {email_hash("b@example.com")}


def test_state_tables_can_be_made_by_several_at_once(fresh_postgres_url: str) -> None:
    failures: list[BaseException] = []

    def prepare() -> None:
        try:
            with open_warehouse_at(fresh_postgres_url) as warehouse:
                State(warehouse).prepare()
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            failures.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_database_that_goes_away_while_rows_are_copied_is_an_error_in_words(bench: Bench) -> None:
    bench.list = PersonList(batch_size=5_000)
    bench.crowd(30_000)
    evaluate_audience(bench.audience, bench.warehouse, run_id="run-0")

    def cut(progress: Progress) -> None:
        if progress.step == "plan" and progress.done:
            with bench.warehouse.engine.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    with pytest.raises(SourceError) as failed:
        run_sync(bench.audience, bench.sync, bench.list, bench.warehouse, run_id="cut", progress=cut)
    assert "sync people/list: the warehouse failed: " in str(failed.value)
    assert "@example.com" not in str(failed.value)
    assert bench.run().accepted == 30_000


def test_a_value_that_a_table_cannot_hold_is_not_quoted(bench: Bench) -> None:
    bench.people(("1", "a@example.com"))
    bench.run()
    bench.execute("ALTER TABLE audience_syncs.plan ADD CHECK (member_key <> '2')")
    bench.people(("1", "a@example.com"), ("2", "secret.person@example.com"))
    with pytest.raises(SourceError) as failed:
        bench.run()
    assert "violates check constraint" in str(failed.value)
    assert "secret.person" not in str(failed.value)
    assert email_hash("secret.person@example.com") not in str(failed.value)


def test_a_plan_is_sealed_and_each_batch_noted_before_its_request_goes_out(bench: Bench) -> None:
    bench.crowd(25)
    seen: list[tuple[object, ...]] = []

    def look(operation: str, batch: Batch) -> str:
        # From another connection: only what was committed shows.
        seen.extend(
            bench.rows(
                "SELECT p.status, (SELECT count(*) FROM audience_syncs.plan), count(*) FILTER (WHERE booked_at IS NULL), "
                "count(*) FILTER (WHERE booked_at IS NOT NULL) FROM audience_syncs.batches b "
                "JOIN audience_syncs.plans p ON p.id = b.plan_id GROUP BY 1"
            )
        )
        return "ok"

    bench.list.script = look
    bench.run()
    assert seen == [("sealed", 25, 1, 0), ("sealed", 25, 1, 1), ("sealed", 25, 1, 2)]


@pytest.mark.parametrize("error", [NotApplied("busy"), NoAnswer("lost"), AccessRefused("may not read sizes")])
def test_a_size_that_cannot_be_read_fails_no_run_whose_members_were_delivered(
    bench: Bench, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(PersonList):
        def matched_users(self, list_id: str) -> MatchedUsers:
            raise error

    bench.list = Silent()
    bench.people(("1", "a@example.com"))
    report = bench.run()
    assert (report.status, report.accepted, report.matched) == (RunStatus.SUCCEEDED, 1, None)
    assert "could not be read" in caplog.text
