"""Modes and removals: what is sent when people enter, change and leave; and taking over lists that are there already."""

from __future__ import annotations

from typing import Any

import pytest

from audience_syncs.model.config import Mode
from audience_syncs_tests.sync_bench import Bench, email_hash, sync_config

A, B, C, D = (f"{letter}@example.com" for letter in "abcd")


def hashes(*emails: str) -> set[str]:
    return {email_hash(email) for email in emails}


def with_mode(bench: Bench, mode: str, **more: Any) -> None:
    bench.sync = sync_config(mode=mode, guard={"min_drop": 1000, "allow_empty": True}, **more)


def test_add_adds_and_changes_and_takes_nobody_out(bench: Bench) -> None:
    with_mode(bench, "add")
    bench.people(("1", A), ("2", B))
    bench.run()
    bench.people(("2", C))
    report = bench.run()
    assert bench.list.emails() == hashes(A, C)
    assert (report.updated, report.removed) == (1, 0)
    assert set(bench.ledger()) == {"1", "2"}
    mark = len(bench.list.calls)
    bench.run()
    assert bench.operations(mark) == []


@pytest.mark.parametrize("mode", ["add", "upsert", "remove"])
def test_an_empty_audience_is_nothing_to_stop_where_nobody_is_removed(bench: Bench, mode: str) -> None:
    bench.sync = sync_config(mode=mode)
    bench.people(("1", A))
    bench.run()
    bench.people()
    assert bench.run().status.value == "succeeded"


def test_mode_remove_takes_the_audience_out_and_puts_nobody_back(bench: Bench) -> None:
    bench.put_others(A, B, C)
    with_mode(bench, "remove")
    bench.people(("1", A), ("2", B))
    report = bench.run()
    assert bench.list.emails() == hashes(C)
    assert (report.accepted, bench.operations()) == (2, [("remove", 2)])
    mark = len(bench.list.calls)
    bench.run()
    assert bench.operations(mark) == [], "nothing changed"
    bench.people(("1", A))
    bench.run()
    assert bench.operations(mark) == [], "who leaves the audience is not put back"
    bench.put_others(B)
    bench.people(("1", A), ("2", B))
    bench.run()
    assert bench.list.emails() == hashes(C), "who comes back is taken out again"


@pytest.mark.parametrize("mode", ["upsert", "update", "insert"])
def test_modes_of_records_write_records_and_touch_no_list(bench: Bench, mode: str) -> None:
    with_mode(bench, mode)
    bench.put_others(D)
    bench.people(("1", A), ("2", B))
    report = bench.run()
    assert bench.operations() == [(mode, 2)]
    assert set(bench.list.records_written) == hashes(A, B)
    assert bench.list.emails() == hashes(D)
    assert report.list is not None
    assert report.list.name == "Records"
    mark = len(bench.list.calls)
    bench.people(("1", A))
    report = bench.run()
    assert (bench.operations(mark), report.removed, report.accepted) == ([], 0, 1)
    bench.execute("UPDATE people SET first_name = 'Søren'")
    bench.run()
    assert bench.operations(mark) == ([] if mode == "insert" else [(mode, 1)]), "inserted once, never written again"
    assert all(not identifiers for _, identifiers in bench.ledger().values()), "nobody was put into a list"


def test_a_sync_that_changes_to_records_and_back_leaves_nobody_in_its_list_for_ever(bench: Bench) -> None:
    bench.people(("1", A), ("2", B), ("3", C))
    with_mode(bench, "mirror")
    bench.run()
    with_mode(bench, "upsert")
    bench.people(("1", A), ("2", B))
    bench.run()
    assert set(bench.list.records_written) == hashes(A, B), "everybody is written: they had only been put into the list"
    assert bench.list.emails() == hashes(A, B, C), "a mode of records takes nobody out"
    bench.people(("1", A))
    bench.run()
    with_mode(bench, "mirror")
    bench.run()
    assert bench.list.emails() == hashes(A)


def test_a_sync_that_changes_to_taking_out_takes_out_whom_it_put_in_under_another_email(bench: Bench) -> None:
    bench.people(("1", A), ("2", B))
    with_mode(bench, "mirror")
    bench.run()
    bench.people(("1", C), ("2", B))
    with_mode(bench, "remove")
    bench.run()
    assert bench.list.emails() == set(), "also by the email that was sent once"
    bench.put_others(A)
    bench.people()
    with_mode(bench, "mirror")
    bench.run()
    assert bench.list.emails() == hashes(A), "somebody else put them back: they are not ours any more"


def test_a_removal_without_an_answer_is_not_forgotten_in_mode_remove(bench: Bench) -> None:
    bench.people(("1", A))
    with_mode(bench, "mirror")
    bench.run()
    bench.people(("1", B))
    bench.put_others(B)
    with_mode(bench, "remove")
    bench.list.script = lambda operation, batch: "lost_before"
    assert bench.run().unknown == 1
    bench.list.script = lambda operation, batch: "ok"
    bench.run()
    assert bench.list.emails() == set()


def test_removal_keep_leaves_who_left_and_still_retracts_old_emails(bench: Bench) -> None:
    bench.people(("1", A), ("2", B))
    with_mode(bench, "mirror", removal="keep")
    bench.run()
    bench.people(("2", C))
    bench.run()
    assert bench.list.emails() == hashes(A, C)


def test_clear_fields_empties_what_was_mapped_of_leavers_and_only_of_leavers(bench: Bench) -> None:
    bench.people(("1", A), ("2", B), ("3", C))
    with_mode(bench, "mirror", removal="clear_fields")
    bench.run()
    mark = len(bench.list.calls)
    bench.people(("2", D), ("3", C))
    report = bench.run()
    assert bench.list.emails() == hashes(C, D)
    assert bench.list.cleared == [(hashes(A), ("FN",))]
    assert bench.operations(mark) == [("remove", 1), ("clear_fields", 1), ("add", 1)], "a retraction clears nothing"
    assert (report.removed, report.updated) == (1, 1)


def test_delete_record_deletes_leavers_and_only_leavers(bench: Bench) -> None:
    bench.people(("1", A), ("2", B), ("3", A))
    with_mode(bench, "mirror", removal="delete_record")
    bench.run()
    bench.people(("2", C), ("3", A))
    bench.run()
    assert bench.list.deleted == [], "who shares an email with somebody who stays has no record of their own"
    bench.people(("2", C))
    bench.run()
    assert bench.list.deleted == [hashes(A)]
    assert bench.list.emails() == hashes(C)


def test_a_list_that_is_taken_over_is_booked_and_not_sent_again(bench: Bench) -> None:
    bench.put_others(A, B, D)
    bench.people(("1", A), ("2", B), ("3", C))
    bench.sync = sync_config(adopt=True, mapping={"EMAIL": "email"})
    report = bench.run()
    assert bench.operations() == [("add", 1)]
    assert (report.adopted, report.added, report.accepted) == (2, 1, 3)
    assert bench.list.emails() == hashes(A, B, C, D), "whom others put there stays"
    mark = len(bench.list.calls)
    bench.people(("1", A), ("3", C))
    bench.run()
    assert bench.operations(mark) == [("remove", 1)]
    assert bench.list.emails() == hashes(A, C, D)
    bench.put_others(B)
    bench.people(("1", A), ("2", B), ("3", C))
    bench.run()
    assert bench.operations(mark)[1:] == [("add", 1)], "taking over is done once"


def test_who_is_in_the_list_with_a_part_of_their_identifiers_is_sent(bench: Bench) -> None:
    bench.put_others(A)
    bench.people(("1", A, "+4915112345678"))
    bench.sync = sync_config(adopt=True)
    assert bench.run().added == 1
    assert bench.list.identifiers("PHONE")


def test_taking_over_many_fills_whole_batches(bench: Bench) -> None:
    bench.crowd(95)
    bench.put_others(*(f"p{n}@example.com" for n in range(1, 96) if n % 3))
    bench.sync = sync_config(adopt=True, mapping={"EMAIL": "email"})
    report = bench.run()
    assert (report.adopted, report.added) == (64, 31)
    assert [size for _, size in bench.operations()] == [10, 10, 10, 1]


def test_a_crash_while_taking_over_changes_nothing_of_it(bench: Bench) -> None:
    bench.put_others(A)
    bench.people(("1", A), ("2", B))
    bench.sync = sync_config(adopt=True, mapping={"EMAIL": "email"})
    bench.list.script = lambda operation, batch: "lost_after"
    bench.run()
    bench.list.script = lambda operation, batch: "ok"
    report = bench.run()
    assert (report.accepted, bench.list.emails()) == (2, hashes(A, B))


def test_every_mode_is_one_of_a_family() -> None:
    assert {mode.value: mode.family.value for mode in Mode} == {
        "mirror": "list",
        "add": "list",
        "upsert": "records",
        "update": "records",
        "insert": "records",
        "remove": "out_of_list",
    }
