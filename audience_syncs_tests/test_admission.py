"""Whom a sync does not send: exclusions of its destination, audiences that go first, other groups of the split."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from audience_syncs.audiences import evaluate_audience
from audience_syncs.audiences.admission import admit
from audience_syncs.engine import forget_in_sync, run_sync, undo_run
from audience_syncs.engine.audit import audit_sync
from audience_syncs.model.admission import Admission, Exclusion
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AccessRefused, AudienceError, GuardBlocked
from audience_syncs.model.splits import Group, Split
from audience_syncs.model.values import RunOptions, SyncReport
from audience_syncs.warehouse.forgotten import request_forgetting
from audience_syncs.warehouse.state import State
from audience_syncs_tests.person_list import spec
from audience_syncs_tests.sync_bench import Bench, email_hash, sync_config

NO_CONSENT = Exclusion(name="no_consent", column="consent", unless=[True])
SUPPRESSED = Exclusion(name="suppressed", sql="SELECT address FROM suppressed", match="email", ignore_case=True)


@pytest.fixture
def consents(bench: Bench) -> Bench:
    """People with a consent, an audience that has it, and a destination that asks for it."""
    bench.execute("ALTER TABLE people ADD consent boolean DEFAULT true; CREATE TABLE suppressed (address text)")
    bench.sql = "SELECT id, email, phone, first_name, consent FROM people"
    exclude(bench, NO_CONSENT)
    return bench


def exclude(bench: Bench, *exclusions: Exclusion, **admission: Any) -> None:
    bench.sync = bench.sync.admitting(Admission(exclusions, **admission))


def configure(bench: Bench, **changes: Any) -> None:
    bench.sync = sync_config(**changes).admitting(bench.sync.admission)


def consent(bench: Bench, key: str, given: bool | None) -> None:
    bench.execute(f"UPDATE people SET consent = {'NULL' if given is None else given} WHERE id = '{key}'")


def listed(bench: Bench) -> set[str]:
    """Who is in the list, of those called a to f."""
    names = {email_hash(f"{name}@example.com"): name for name in "abcdef"}
    return {names[email] for email in bench.list.emails()}


def everybody(bench: Bench, names: str = "abc") -> None:
    bench.people(*((name, f"{name}@example.com") for name in names))


def sums_up(bench: Bench, report: SyncReport) -> None:
    """Everybody of the snapshot is counted once."""
    [(members,)] = bench.rows(f"SELECT members FROM audience_syncs.snapshots WHERE id = {report.snapshot_id}")
    assert report.in_audience + sum(report.withheld.values()) == members


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mode": "add"},
        {"removal": "keep"},
        {"mode": "add", "removal": "keep"},
        {"removal": "clear_fields"},
        {"removal": "delete_record"},
    ],
    ids=str,
)
def test_who_loses_consent_is_taken_out_in_the_next_run_whatever_the_mode(
    consents: Bench, changes: Mapping[str, str]
) -> None:
    configure(consents, **changes)
    everybody(consents)
    assert consents.run().in_audience == 3
    consent(consents, "b", False)
    consent(consents, "c", None)
    report = consents.run()
    assert listed(consents) == {"a"}
    assert (report.removed, report.in_audience, report.accepted) == (2, 1, 1)
    assert report.withheld == {"no_consent": 2}
    sums_up(consents, report)
    assert set(consents.ledger()) == {"a"}
    mark = len(consents.list.calls)
    again = consents.run()
    assert consents.operations(mark) == []
    assert again.withheld == {"no_consent": 2}
    consent(consents, "b", True)
    assert consents.run().added == 1
    assert listed(consents) == {"a", "b"}


def test_somebody_who_leaves_an_audience_stays_where_the_mode_keeps_them_and_goes_once_a_list_of_keys_names_them(
    consents: Bench,
) -> None:
    configure(consents, mode="add")
    everybody(consents)
    consents.run()
    everybody(consents, "a")
    consents.run()
    assert listed(consents) == {"a", "b", "c"}
    exclude(consents, Exclusion(name="gone", sql="SELECT ' B'::text UNION ALL SELECT NULL", ignore_case=True))
    report = consents.run()
    assert (report.removed, report.withheld) == (1, {"gone": 0})
    assert listed(consents) == {"a", "c"}


def test_records_of_people_without_consent_are_not_written_any_more(consents: Bench) -> None:
    configure(consents, mode="upsert")
    everybody(consents, "ab")
    consent(consents, "b", False)
    report = consents.run()
    assert set(consents.list.records_written) == {email_hash("a@example.com")}
    assert (report.in_audience, report.accepted) == (1, 1)
    consent(consents, "a", False)
    consents.execute("UPDATE people SET first_name = 'Anna'")
    mark = len(consents.list.calls)
    consents.run()
    assert consents.operations(mark) == []


def test_a_sync_that_takes_people_out_of_a_list_takes_out_those_without_consent_too(consents: Bench) -> None:
    consents.list.people = {
        f"EMAIL:{email_hash(f'{n}@example.com')}": {"EMAIL": {email_hash(f"{n}@example.com")}} for n in "abcd"
    }
    configure(consents, mode="remove")
    everybody(consents)
    consent(consents, "b", False)
    report = consents.run()
    assert listed(consents) == {"d"}
    assert (report.in_audience, report.withheld) == (3, {})


def test_suppression_goes_by_the_value_without_regard_to_capital_letters_and_blanks(consents: Bench) -> None:
    exclude(consents, SUPPRESSED)
    consents.people(("1", "Anna@Example.com"), ("2", "ö'; -- %s :x@example.com"), ("3", None), ("4", "d@example.com"))
    consents.execute(
        "INSERT INTO suppressed VALUES (E' \\tANNA@example.COM\\n'), (NULL), (''), ('ö''; -- %s :x@example.com')"
    )
    report = consents.run()
    assert report.withheld == {"suppressed": 2}
    assert listed(consents) == {"d"}
    exclude(consents, SUPPRESSED.model_copy(update={"ignore_case": False}))
    assert consents.run().withheld == {"suppressed": 1}


def test_a_suppressed_email_stays_while_another_member_who_may_be_sent_has_it(consents: Bench) -> None:
    consents.people(("1", "a@example.com"), ("2", "a@example.com"), ("3", "c@example.com"))
    consents.run()
    consent(consents, "1", False)
    consents.run()
    assert listed(consents) == {"a", "c"}
    assert set(consents.ledger()) == {"2", "3"}
    consent(consents, "2", False)
    consents.run()
    assert listed(consents) == {"c"}


VALUES: list[tuple[str, str, list[Any], bool]] = [
    ("boolean", "true", [True], True),
    ("boolean", "false", [True], False),
    ("boolean", "true", ["TRUE", 0], True),
    ("integer", "1", [True], True),
    ("integer", "2", [1, 2], True),
    ("numeric", "2.50", [2.5], True),
    ("double precision", "0.1", [0.1], True),
    ("bigint", "9007199254740993", ["9007199254740993"], True),
    ("bigint", "9007199254740993", ["9007199254740992"], False),
    ("text", "'True '", [True], True),
    ("text", "'RU'", ["BY", "RU"], True),
    ("text", "'ru'", ["RU"], False),
    ("text", "'2'", [2.0], True),
    ("text", "'o''x%'", ["o'x%"], True),
    ("date", "'2026-01-31'", ["2026-01-31"], True),
    ("text", "NULL", ["RU"], False),
    ("boolean", "NULL", [True], False),
]
"""Type, value, what the exclusion names, whether that is it."""


def test_values_are_compared_by_kind(bench: Bench) -> None:
    bench.people(("a", "a@example.com"))
    columns = (f"CAST({value} AS {type_name}) AS c{number}" for number, (type_name, value, _, _) in enumerate(VALUES))
    bench.sql = f"SELECT id, email, phone, first_name, {', '.join(columns)} FROM people"
    snapshot = evaluate_audience(bench.audience, bench.warehouse, run_id="run")
    with bench.warehouse.connect() as connection:
        for number, (type_name, value, values, is_it) in enumerate(VALUES):
            for condition, excluded in (("when", is_it), ("unless", not is_it)):
                exclusion = Exclusion.model_validate({"name": "x", "column": f"c{number}", condition: values})
                found = admit(connection, bench.warehouse, Admission((exclusion,)), snapshot, sync="people/list")
                assert found.withheld == {"x": int(excluded)}, (type_name, value, values, condition)


WRONG = [
    (Exclusion(name="x", column="consented", unless=[True]), "AUDIENCE_MISSING_COLUMN", "'consented'"),
    (Exclusion(name="x", sql="SELECT 1", match="mail"), "AUDIENCE_MISSING_COLUMN", "'mail'"),
    (Exclusion(name="x", column="consent", when=["yes"]), "AUDIENCE", "boolean"),
    (Exclusion(name="x", sql="SELECT nothing FROM nowhere"), "AUDIENCE", "nowhere"),
    (Exclusion(name="x", sql="SELECT 1, 2"), "AUDIENCE", "2 columns"),
    (Exclusion(name="x", sql="SELECT 1 / (SELECT 0)"), "AUDIENCE", "division by zero"),
]


def test_where_it_is_not_known_who_is_excluded_nothing_is_sent(consents: Bench) -> None:
    everybody(consents, "a")
    consents.run()
    everybody(consents, "abc")
    evaluate_audience(consents.audience, consents.warehouse, run_id="run")
    mark = len(consents.list.calls)
    for exclusion, code, words in WRONG:
        exclude(consents, NO_CONSENT, exclusion)
        with pytest.raises(AudienceError) as failed:
            consents.run_only()
        assert failed.value.code == code
        assert words in str(failed.value)
        assert "'x'" in str(failed.value)
        assert consents.operations(mark) == []
        [(status, error)] = consents.rows("SELECT status, error FROM audience_syncs.sync_runs ORDER BY id DESC LIMIT 1")
        assert (status, words in error) == ("failed", True)
    exclude(consents, NO_CONSENT)
    assert consents.run_only().added == 2


def test_the_guard_stops_an_exclusion_that_empties_the_list(consents: Bench) -> None:
    consents.crowd(300)
    consents.run()
    consents.execute("UPDATE people SET consent = NULL")
    with pytest.raises(GuardBlocked) as blocked:
        consents.run()
    assert "300" in str(blocked.value)
    assert "kept out" in str(blocked.value)
    assert len(consents.list.emails()) == 300
    [(status, in_audience, withheld)] = consents.rows(
        "SELECT status, in_audience, withheld FROM audience_syncs.sync_runs ORDER BY id DESC LIMIT 1"
    )
    assert (status, in_audience, withheld) == ("blocked", 0, {"no_consent": 300})


@pytest.mark.parametrize("mode", ["mirror", "add"])
def test_the_guard_stops_an_exclusion_that_takes_too_many_out_and_lets_few_pass(consents: Bench, mode: str) -> None:
    configure(consents, mode=mode)
    consents.crowd(300)
    consents.run()
    consents.execute("UPDATE people SET consent = false WHERE id::int <= 80")
    assert consents.run().removed == 80
    consents.execute("UPDATE people SET consent = false WHERE id::int <= 250")
    with pytest.raises(GuardBlocked) as blocked:
        consents.run()
    assert "170 of 220" in str(blocked.value)
    consents.run_only(approve=blocked.value.digest)
    assert len(consents.list.emails()) == 50


def test_a_full_resync_sends_nobody_who_is_kept_out(consents: Bench) -> None:
    everybody(consents)
    consents.run()
    consent(consents, "b", False)
    mark = len(consents.list.members_sent)
    consents.run(full_resync=True)
    sent = [fields["EMAIL"] for operation, fields in consents.list.members_sent[mark:] if operation == "add"]
    assert sorted(map(str, sent)) == sorted(email_hash(f"{name}@example.com") for name in "ac")
    assert listed(consents) == {"a", "c"}


def test_an_undone_run_brings_nobody_back_who_is_kept_out(consents: Bench) -> None:
    everybody(consents, "abcd")
    consents.run()
    consent(consents, "b", False)
    consents.execute("DELETE FROM people WHERE id IN ('c', 'd')")
    run = consents.run().run_id
    assert listed(consents) == {"a"}
    consents.execute("INSERT INTO people VALUES ('c', 'c@example.com', NULL, 'Zoë', true)")
    evaluate_audience(consents.audience, consents.warehouse, run_id="evaluated")

    def undo() -> SyncReport:
        return undo_run(
            consents.audience, consents.sync, consents.list, consents.warehouse, undo=run, run_id=f"undo-{run}"
        )

    undo()
    # b has no consent; of d, who has left, it is not known.
    assert listed(consents) == {"a", "c"}


def test_without_exclusions_an_undone_run_brings_back_who_left(consents: Bench) -> None:
    exclude(consents, groups=None, before=())
    everybody(consents, "ab")
    consents.run()
    everybody(consents, "a")
    run = consents.run().run_id
    undo_run(consents.audience, consents.sync, consents.list, consents.warehouse, undo=run, run_id="undo")
    assert listed(consents) == {"a", "b"}


def test_who_was_excluded_is_not_missing_in_an_audit_and_others_in_the_list_stay(consents: Bench) -> None:
    consents.put_others("b@example.com", "f@example.com")
    everybody(consents)
    consent(consents, "b", False)
    consents.run()
    report = audit_sync(consents.audience, consents.sync, consents.list, consents.warehouse)
    assert (report.passed, report.accepted, report.listed, report.others) == (True, 2, 4, 2)
    # b was put there by somebody else: only they may take them out.
    assert listed(consents) == {"a", "b", "c", "f"}


def test_an_adopted_list_books_nobody_who_is_excluded(consents: Bench) -> None:
    consents.put_others("a@example.com", "b@example.com")
    configure(consents, adopt=True)
    everybody(consents)
    consent(consents, "b", False)
    report = consents.run()
    assert (report.adopted, report.added) == (1, 1)
    assert set(consents.ledger()) == {"a", "c"}


def test_a_forgotten_person_is_taken_out_beside_those_who_are_excluded(consents: Bench) -> None:
    everybody(consents)
    consents.run()
    consent(consents, "b", False)
    evaluate_audience(consents.audience, consents.warehouse, run_id="evaluated")
    with consents.warehouse.connect() as connection:
        request_forgetting(
            connection, consents.warehouse, {"people": consents.audience}, "id", "a", by="me", now=datetime.now(UTC)
        )
        connection.commit()
    forget_in_sync(consents.audience, consents.sync, consents.list, consents.warehouse, run_id="forget")
    assert listed(consents) == {"b", "c"}
    report = consents.run_only()
    assert listed(consents) == {"c"}
    sums_up(consents, report)


def test_a_run_that_ends_half_way_is_finished_by_the_next_one(consents: Bench) -> None:
    everybody(consents, "abcdef")
    consents.run()
    for name in "abcd":
        consent(consents, name, False)
    consents.list.spec = spec(batch_size=2)
    events = iter(["ok", "access"])
    consents.list.script = lambda operation, batch: next(events)
    with pytest.raises(AccessRefused):
        consents.run()
    assert len(listed(consents)) == 4
    consents.list.script = lambda operation, batch: "ok"
    consent(consents, "a", True)
    consents.run()
    assert listed(consents) == {"a", "e", "f"}
    mark = len(consents.list.calls)
    consents.run()
    assert consents.operations(mark) == []


def test_reach_and_numbers_are_of_those_who_are_sent(consents: Bench) -> None:
    consents.people(
        ("a", "a@example.com"), ("b", None), ("c", "nonsense"), ("d", "d@example.com"), ("e", "e@example.com")
    )
    consent(consents, "b", False)
    consent(consents, "d", False)
    report = consents.run()
    assert report.reach is not None
    assert (report.reach.members, report.reach.unreachable) == (3, 1)
    assert (report.in_audience, report.delivered, report.accepted) == (3, 2, 2)
    [run] = State(consents.warehouse).runs("people/list")
    assert (run.in_audience, run.withheld) == (3, {"no_consent": 2})


def test_without_anything_that_keeps_people_out_there_is_nothing_to_tell(bench: Bench) -> None:
    everybody(bench)
    report = bench.run()
    assert (report.in_audience, report.withheld) == (3, {})
    assert bench.rows("SELECT withheld FROM audience_syncs.sync_runs") == [(None,)]


# --- priority lists and groups


def other(bench: Bench, name: str, where: str) -> AudienceConfig:
    """Another audience of the same people."""
    return AudienceConfig(name=name, source="shop", primary_key="id", sql=f"SELECT id FROM people WHERE {where}")


def test_who_is_in_an_audience_that_goes_first_is_not_sent_and_leaves_when_they_move_there(consents: Bench) -> None:
    exclude(consents, NO_CONSENT, before=("vip", "loyal"))
    everybody(consents, "abcdef")
    consent(consents, "a", False)
    consents.execute("CREATE TABLE vips (id text); INSERT INTO vips VALUES ('a'), ('b')")
    vip = other(consents, "vip", "id IN (SELECT id FROM vips)")
    loyal = other(consents, "loyal", "id IN ('b', 'c')")
    evaluate_audience(vip, consents.warehouse, run_id="vip")
    with pytest.raises(AudienceError) as missing:
        consents.run()
    assert "'loyal'" in str(missing.value)
    assert consents.list.calls == []
    evaluate_audience(loyal, consents.warehouse, run_id="loyal")
    report = consents.run()
    assert listed(consents) == {"d", "e", "f"}
    # a is excluded and a VIP, b is a VIP and loyal: each is counted at the first reason.
    assert report.withheld == {"no_consent": 1, "in vip": 1, "in loyal": 1}
    sums_up(consents, report)
    consents.execute("INSERT INTO vips VALUES ('d')")
    evaluate_audience(vip, consents.warehouse, run_id="vip")
    assert consents.run().removed == 1
    assert listed(consents) == {"e", "f"}
    consents.execute("DELETE FROM vips")
    evaluate_audience(vip, consents.warehouse, run_id="vip")
    consents.run()
    assert listed(consents) == {"d", "e", "f"}


def test_in_a_sync_that_only_adds_who_moves_to_an_audience_that_goes_first_stays(consents: Bench) -> None:
    exclude(consents, before=("vip",))
    configure(consents, mode="add")
    everybody(consents, "ab")
    evaluate_audience(other(consents, "vip", "false"), consents.warehouse, run_id="vip")
    consents.run()
    evaluate_audience(other(consents, "vip", "id = 'a'"), consents.warehouse, run_id="vip")
    report = consents.run()
    assert (report.removed, report.in_audience, report.withheld) == (0, 1, {"in vip": 1})
    # The ledger still has both.
    assert (report.delivered, report.accepted) == (1, 1)
    assert listed(consents) == {"a", "b"}


def test_of_a_partitioned_audience_the_same_day_goes_first(consents: Bench) -> None:
    daily: dict[str, Any] = {"partitions": {"start": "2026-01-01"}}
    days = "CASE WHEN :as_of > '2026-01-02 12:00Z' THEN 'b' ELSE 'a' END"
    first = AudienceConfig(name="vip", source="shop", primary_key="id", sql=f"SELECT {days} AS id", **daily)
    second = AudienceConfig(
        name="people", source="shop", primary_key="id", sql=consents.sql, syncs=[consents.sync], **daily
    )
    exclude(consents, before=("vip",))
    everybody(consents, "abc")
    for day in ("2026-01-01", "2026-01-02"):
        evaluate_audience(second, consents.warehouse, run_id="run", day=day)
    for day in ("2026-01-02", "2026-01-01"):
        evaluate_audience(first, consents.warehouse, run_id="run", day=day)
    for day, left in (("2026-01-01", {"b", "c"}), ("2026-01-02", {"a", "c"})):
        run_sync(
            second,
            consents.sync,
            consents.list,
            consents.warehouse,
            run_id=day,
            options=RunOptions(day=day),
        )
        assert listed(consents) == left


def test_each_group_is_sent_its_own_people_and_the_holdout_nobody(bench: Bench) -> None:
    split = Split(
        groups=[
            Group(name="one", percent=40, syncs=["list"]),
            Group(name="two", percent=40, syncs=["second"]),
            Group(name="holdout", percent=20),
        ]
    )
    bench.crowd(200)
    bench.sync = bench.sync.admitting(Admission(groups=("one",)))
    audience = bench.audience.model_copy(update={"split": split})
    plain = bench.audience
    evaluate_audience(plain, bench.warehouse, run_id="unsplit")
    with pytest.raises(AudienceError, match="before its split"):
        bench.run_only()
    snapshot = evaluate_audience(audience, bench.warehouse, run_id="split")
    assert snapshot.split is not None
    report = bench.run_only()
    groups = snapshot.split.groups
    assert report.in_audience == len(bench.list.emails()) == groups["one"]
    assert report.withheld == {"other groups": groups["two"] + groups["holdout"]}
    found = {
        email_hash(email)
        for (email,) in bench.rows(f"SELECT email FROM audience_syncs.{snapshot.table} WHERE _group = 'one'")
    }
    assert bench.list.emails() == found


def test_the_group_can_be_mapped(bench: Bench) -> None:
    bench.sync = sync_config(mapping={"EMAIL": "email", "EXTERN_ID": "_group"}, mode="upsert")
    everybody(bench, "a")
    split = Split(groups=[Group(name="one", percent=99.9, syncs=["list"]), Group(name="two", percent=0.1)])
    audience = bench.audience.model_copy(update={"split": split})
    evaluate_audience(audience, bench.warehouse, run_id="split")
    bench.run_only()
    [written] = bench.list.records_written.values()
    assert "EXTERN_ID" in written


def test_an_old_day_is_sent_without_those_who_are_excluded_by_now(consents: Bench) -> None:
    exclude(consents, NO_CONSENT, SUPPRESSED)
    configure(consents, mode="add")
    everybody(consents, "abcde")
    evaluate_audience(
        consents.audience, consents.warehouse, run_id="old", clock=lambda: datetime(2026, 1, 1, 9, tzinfo=UTC)
    )
    consents.execute(
        "DELETE FROM people WHERE id = 'e'; INSERT INTO people VALUES ('f', 'f@example.com', NULL, 'Zoë', true)"
    )
    consents.run()
    assert listed(consents) == set("abcdf")
    consents.execute("INSERT INTO suppressed VALUES ('D@example.com')")
    consent(consents, "b", False)
    consent(consents, "f", None)
    evaluate_audience(consents.audience, consents.warehouse, run_id="new")
    report = consents.run_only(day="2026-01-01")
    # e has left, and nothing speaks against them; f is not of that day, and must go all the same.
    assert listed(consents) == set("ace")
    assert (report.in_audience, report.withheld) == (3, {"no_consent": 1, "suppressed": 1})
