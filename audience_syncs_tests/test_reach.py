"""How much of an audience a platform can find is told before anything is sent: of everybody, by field and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audience_syncs.components.sync_checks import identifiers_check
from audience_syncs.engine import plan_sync
from audience_syncs.identifiers import UnusableIdentifier, normalise
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.limits import Limit, LimitsConfig
from audience_syncs.model.reach import FieldReach, Reach
from audience_syncs_tests.sync_bench import Bench, sync_config

EMAILS = [None, "", "null", "a@example.com", "b@example.com", "no at sign", "x@y", "a" * 300 + "@example.com"]
PHONES = [None, "", "N/A", "+4915112345678", "12", "not a number"]


def told(reach: Reach | None, field: str) -> tuple[int, int, dict[str, int]]:
    """Usable, missing, refused."""
    assert reach is not None
    (found,) = (each for each in reach.fields if each.field == field)
    return reach.usable(found), found.missing, dict(found.refused)


def preview(bench: Bench) -> Reach:
    found = plan_sync(bench.audience, bench.sync, bench.list.spec, bench.warehouse).reach
    assert found is not None
    return found


def test_each_field_is_told_of_with_what_is_missing_and_what_is_refused(bench: Bench) -> None:
    bench.sync = sync_config(guard={"max_unusable_percent": 100})
    bench.people(
        ("1", "a@example.com", "+4915112345678"),
        ("2", "b@example.com", None),
        ("3", "nobody", "12"),
        ("4", None, "+4915112345679"),
        ("5", None, None),
    )
    report = bench.run()
    assert report.reach is not None
    assert (report.reach.members, report.reach.unreachable) == (5, 2)
    assert told(report.reach, "EMAIL") == (2, 2, {"INVALID_EMAIL": 1})
    usable, missing, refused = told(report.reach, "PHONE")
    assert (usable, missing, sum(refused.values())) == (2, 2, 1)
    assert told(report.reach, "FN") == (5, 0, {})
    assert bench.rows("SELECT reach ->> 'unreachable' FROM audience_syncs.sync_runs") == [("2",)]


def test_it_is_told_of_the_whole_audience_also_by_runs_in_which_little_or_nothing_changed(bench: Bench) -> None:
    bench.sync = sync_config(guard={"max_unusable_percent": 100})
    bench.people(("1", "a@example.com"), ("2", "nobody"), ("3", None))
    first = bench.run().reach
    again = bench.run()
    assert again.planned.sent == 0
    assert again.reach == first
    bench.people(("1", "a@example.com"), ("2", "b@example.com"), ("4", "c@example.com"))
    assert preview(bench) == first, "the preview is of the latest snapshot"
    changed = bench.run().reach
    assert told(changed, "EMAIL") == (3, 0, {})
    assert changed is not None
    assert changed.unreachable == 0


def test_who_stays_in_the_list_after_leaving_the_audience_is_not_counted(bench: Bench) -> None:
    bench.sync = sync_config(removal=Removal.KEEP)
    bench.people(("1", "a@example.com"), ("2", "b@example.com", "12"))
    bench.run()
    bench.people(("1", "a@example.com"))
    assert told(bench.run().reach, "PHONE") == (0, 1, {})


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.REMOVE, Mode.ADD])
def test_every_mode_tells_it(bench: Bench, mode: Mode) -> None:
    bench.sync = sync_config(mode=mode, guard={"max_unusable_percent": 100})
    bench.people(("1", "a@example.com"), ("2", "nobody"))
    assert told(bench.run().reach, "EMAIL") == (1, 0, {"INVALID_EMAIL": 1})
    assert told(bench.run().reach, "EMAIL") == (1, 0, {"INVALID_EMAIL": 1})


def test_a_changed_mapping_is_told_of_with_its_own_fields(bench: Bench) -> None:
    bench.people(("1", "a@example.com", "12"))
    bench.run()
    bench.sync = sync_config(mapping={"EMAIL": "email", "FN": "first_name"})
    reach = bench.run().reach
    assert reach is not None
    assert [field.field for field in reach.fields] == ["EMAIL", "FN"]


people = st.lists(st.tuples(st.sampled_from(EMAILS), st.sampled_from(PHONES)), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(rounds=st.lists(people, min_size=1, max_size=4))
def test_after_any_changes_it_is_what_looking_at_everybody_would_tell(
    bench: Bench, rounds: Sequence[Sequence[tuple[str | None, str | None]]]
) -> None:
    bench.sync = sync_config(guard={"max_unusable_percent": 100, "allow_empty": True, "min_drop": 1000})
    for now in rounds:
        bench.people(*((str(number), *each) for number, each in enumerate(now)))
        reach = bench.run().reach
        assert told(reach, "EMAIL") == counted("email", [email for email, _ in now])
        assert told(reach, "PHONE") == counted("phone", [phone for _, phone in now])
        without = [each for each in now if not usable("email", each[0]) and not usable("phone", each[1])]
        assert reach is not None
        assert reach.unreachable == len(without)


def usable(field: str, value: str | None) -> bool:
    return value is not None and code(field, value) is None


def code(field: str, value: str) -> str | None:
    try:
        normalise("meta", field, value)
    except UnusableIdentifier as unusable:
        return unusable.reason_code
    return None


def counted(field: str, values: Sequence[str | None]) -> tuple[int, int, dict[str, int]]:
    codes = [None if value is None else code(field, value) for value in values]
    refused = Counter(each for each in codes if each is not None)
    missing = sum(value is None for value in values)
    return len(values) - missing - sum(refused.values()), missing, dict(refused)


@pytest.mark.parametrize(
    ("reach", "passed", "words"),
    [
        (Reach(100, 5, [FieldReach("EMAIL", True, 0, {"INVALID_EMAIL": 5})]), True, "5 of 100 members"),
        (Reach(100, 6, [FieldReach("EMAIL", True, 6, {})]), False, "6 of 100 members have no usable identifier"),
        (Reach(100, 0, [FieldReach("EMAIL", True, 80, {"TOO_LONG": 3})]), False, "15.0 % of the values of EMAIL are"),
        (Reach(100, 0, [FieldReach("FN", False, 0, {"EMPTY": 50})]), True, ""),
        (Reach(0, 0, [FieldReach("EMAIL", True, 0, {})]), True, ""),
        (None, True, "nothing was planned"),
    ],
)
def test_the_check_warns_below_its_limits(reach: Reach | None, passed: bool, words: str) -> None:
    result = identifiers_check(dg.AssetKey(["syncs", "a", "b"]), sync_config(), reach)
    assert result.passed is passed
    assert result.severity is dg.AssetCheckSeverity.WARN or passed
    assert words in (result.description or "")


def test_its_limits_can_be_set_to_an_error_and_off() -> None:
    def of(**limits: Any) -> dg.AssetCheckResult:
        sync = sync_config(limits=LimitsConfig(**limits).model_dump())
        reach = Reach(10, 5, [FieldReach("EMAIL", True, 0, {"INVALID_EMAIL": 5})])
        return identifiers_check(dg.AssetKey(["syncs", "a", "b"]), sync, reach)

    critical = of(unreachable_percent=Limit(critical=20))
    assert (critical.passed, critical.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert of(unreachable_percent=Limit(), refused_percent=Limit()).passed
