"""Splits: everybody in one group, the same one every time; percentages as defined; nobody moves without a reason."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from audience_syncs.audiences import evaluate_audience
from audience_syncs.audiences.splits import borders, group_column
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError
from audience_syncs.model.splits import Split
from audience_syncs.model.values import Snapshot
from audience_syncs.warehouse.forgotten import request_forgetting
from audience_syncs_tests.sync_bench import Bench

THREE = {"ads": 50, "emails": 30, "holdout": 20}


def split(groups: Mapping[str, float] = THREE, **values: Any) -> Split:
    return Split.model_validate(
        {"groups": [{"name": name, "percent": percent} for name, percent in groups.items()], **values}
    )


def audience(found: Split | None, sql: str = "SELECT id, phone AS country FROM people") -> AudienceConfig:
    return AudienceConfig(name="people", source="shop", primary_key="id", sql=sql, split=found)


def evaluate(bench: Bench, found: Split | None, **values: Any) -> Snapshot:
    return evaluate_audience(audience(found, **values), bench.warehouse, run_id="run")


def groups(bench: Bench, snapshot: Snapshot) -> dict[str, str]:
    return {
        str(key): str(group) for key, group in bench.rows(f"SELECT id, _group FROM audience_syncs.{snapshot.table}")
    }


def crowd(bench: Bench, first: int, last: int, country: str = "NULL") -> None:
    bench.execute(
        f"INSERT INTO people (id, phone) SELECT g, {country} FROM generate_series({first}::int, {last}::int) g"
    )


def events(bench: Bench) -> Counter[tuple[str, str | None]]:
    return Counter(
        (event, group) for event, group in bench.rows("SELECT event, split_group FROM audience_syncs.membership")
    )


VECTORS = [
    # salt, key, int(md5(f"{salt}:{key}").hexdigest()[:13], 16) / 16**13, worked out with Python's hashlib
    ("people", "1", 0.2544924358593641),
    ("people", "ü", 0.9744443797668902),
    ("autumn", "4711", 0.6910311507746794),
    ("people", "2", 0.9721168047942286),
    ("people", "3", 0.5599201186894991),
]


@pytest.mark.parametrize(("salt", "key", "place"), VECTORS)
def test_a_place_is_the_salted_hash_of_the_key(bench: Bench, salt: str, key: str, place: float) -> None:
    digits = hashlib.md5(f"{salt}:{key}".encode(), usedforsecurity=False).hexdigest()[:13]
    assert int(digits, 16) / 16**13 == place
    bench.people((key, None))
    given = {} if salt == "people" else {"salt": salt}
    below = {"below": 100 * place - 1e-4, "at": 2e-4, "above": 100 - 100 * place - 1e-4}
    assert groups(bench, evaluate(bench, split(below, **given))) == {key: "at"}


def test_a_million_hashes_are_divided_as_defined_and_in_another_way_with_another_salt(bench: Bench) -> None:
    columns = [
        group_column(audience(split({"a": 50, "b": 30, "c": 19.9, "d": 0.1}, salt=salt)), bench.warehouse).replace(
            "_group", f"of_{salt}"
        )
        for salt in ("one", "two")
    ]
    started = time.monotonic()
    counted = bench.rows(
        f"SELECT of_one, of_two, count(*) FROM (SELECT {', '.join(columns)} FROM "
        "(SELECT g AS id FROM generate_series(1, 1000000) g) q) r GROUP BY 1, 2"
    )
    assert time.monotonic() - started < 60
    shares = {"a": 0.5, "b": 0.3, "c": 0.199, "d": 0.001}
    both = {(one, two): count for one, two, count in counted}
    assert sum(both.values()) == 1_000_000
    for one, share in shares.items():
        for two, other in shares.items():
            expected = 1_000_000 * share * other
            # Five standard deviations: a fair division exceeds them once in two million tries.
            assert abs(both.get((one, two), 0) - expected) < 5 * expected**0.5 + 1, (one, two)


@pytest.mark.parametrize("stratify", [[], ["country"]], ids=["hashed", "stratified"])
def test_who_is_in_a_group_stays_in_it_when_others_come_and_go_and_when_they_come_back(
    bench: Bench, stratify: list[str]
) -> None:
    divided = split(stratify=stratify)
    crowd(bench, 1, 300, "CASE g % 3 WHEN 0 THEN 'DE' WHEN 1 THEN '' END")
    before = groups(bench, evaluate(bench, divided))
    crowd(bench, 301, 900, "'DE'")
    grown = groups(bench, evaluate(bench, divided))
    assert {key: grown[key] for key in before} == before
    bench.execute("DELETE FROM people WHERE id::int % 2 = 0")
    shrunk = groups(bench, evaluate(bench, divided))
    assert shrunk == {key: grown[key] for key in shrunk}
    # They come back, and have moved to another country meanwhile.
    bench.execute("UPDATE people SET phone = 'FR'")
    bench.execute("INSERT INTO people (id, phone) SELECT g, 'FR' FROM generate_series(2, 900, 2) g")
    assert groups(bench, evaluate(bench, divided)) == grown
    assert not [event for event in events(bench) if event[0] == "move"]


def test_within_each_stratum_the_percentages_hold_to_a_few_people_however_it_grows(bench: Bench) -> None:
    divided = split(stratify=["country"])
    countries = "(ARRAY['DE', 'FR', '', NULL, 'a rare one'])[1 + CASE WHEN g % 50 = 0 THEN 4 ELSE g % 4 END]"
    last = 0
    for size in (7, 60, 61, 500, 1500):
        crowd(bench, last + 1, last + size, countries)
        last += size
        snapshot = evaluate(bench, divided)
        rows = bench.rows(
            f"SELECT country IS NULL, country, _group, count(*) FROM audience_syncs.{snapshot.table} GROUP BY 1, 2, 3"
        )
        found: dict[tuple[Any, ...], Counter[str]] = {}
        for is_null, country, group, count in rows:
            found.setdefault((is_null, country), Counter())[group] = count
        for stratum, counts in found.items():
            members = sum(counts.values())
            for group, percent in THREE.items():
                assert abs(counts[group] - members * percent / 100) < 3, (stratum, members, counts)
    assert len(found) == 5


def test_strata_of_one_person_are_divided_by_chance_and_not_all_into_the_first_group(bench: Bench) -> None:
    crowd(bench, 1, 1000, "g::text")
    counted = Counter(groups(bench, evaluate(bench, split(stratify=["country"]))).values())
    assert all(abs(counted[group] - 10 * percent) < 80 for group, percent in THREE.items()), counted


@pytest.mark.parametrize("stratify", [[], ["country"]], ids=["hashed", "stratified"])
def test_other_percentages_move_only_those_between_the_old_and_the_new_border(
    bench: Bench, stratify: list[str]
) -> None:
    crowd(bench, 1, 1000, "CASE WHEN g % 2 = 0 THEN 'DE' END")
    before = groups(bench, evaluate(bench, split(stratify=stratify)))
    now = groups(bench, evaluate(bench, split({"ads": 55, "emails": 25, "holdout": 20}, stratify=stratify)))
    moved = Counter((before[key], now[key]) for key in before if before[key] != now[key])
    assert set(moved) == {("emails", "ads")}
    assert abs(moved["emails", "ads"] - 50) < 25
    counted = events(bench)
    assert counted["move", "ads"] == moved["emails", "ads"]
    assert sum(counted.values()) == 1000 + moved["emails", "ads"]


def test_history_tells_the_group_that_was_entered_and_left(bench: Bench) -> None:
    crowd(bench, 1, 30)
    evaluate(bench, None)
    assert events(bench) == {("enter", None): 30}
    found = groups(bench, evaluate(bench, split()))
    assert events(bench) - Counter({("enter", None): 30}) == Counter(("move", group) for group in found.values())
    bench.execute("DELETE FROM people WHERE id = '1'")
    last = evaluate(bench, split())
    assert (last.entered, last.exited) == (0, 1)
    assert events(bench)["exit", found["1"]] == 1
    # Divided anew, everybody has another chance: also who happens to come into a group of the same name.
    again = groups(bench, evaluate(bench, split(salt="another")))
    assert any(found[key] == group for key, group in again.items())
    assert bench.rows(
        "SELECT count(*) FROM audience_syncs.membership m JOIN audience_syncs.snapshots s ON s.id = m.snapshot_id "
        "WHERE s.split ->> 'salt' = 'another' AND event = 'move'"
    ) == [(29,)]
    # Nothing has changed: nothing happens.
    known = events(bench)
    evaluate(bench, split(salt="another"))
    assert events(bench) == known


def test_the_group_is_no_column_of_the_audience_and_a_column_of_that_name_is_refused(bench: Bench) -> None:
    crowd(bench, 1, 3)
    snapshot = evaluate(bench, split())
    assert [column.name for column in snapshot.columns] == ["id", "country"]
    assert snapshot.split is not None
    assert sum(snapshot.split.groups.values()) == 3
    assert list(snapshot.split.groups) == list(THREE)
    with pytest.raises(AudienceError, match="_group"):
        evaluate(bench, split(), sql="SELECT id, 1 AS _group FROM people")
    with pytest.raises(AudienceError, match="stratify"):
        evaluate(bench, split(stratify=["region"]))
    free = evaluate(bench, None, sql="SELECT id, 1 AS _group FROM people")
    assert [column.name for column in free.columns] == ["id", "_group"]


def test_a_salt_and_a_key_column_may_hold_anything(bench: Bench) -> None:
    crowd(bench, 1, 20)
    strange = "it's 100% \\ :x %s %(y)s ü"
    found = evaluate_audience(
        AudienceConfig(
            name="people",
            source="shop",
            primary_key='The "Key"',
            sql='SELECT id AS "The ""Key""", \'50%\' AS share FROM people',
            split=split(salt=strange),
        ),
        bench.warehouse,
        run_id="run",
    )
    ends = list(borders(split()))
    for key, group in bench.rows(f"SELECT _member_key, _group FROM audience_syncs.{found.table}"):
        digits = hashlib.md5(f"{strange}:{key}".encode(), usedforsecurity=False).hexdigest()[:13]
        place = int(digits, 16) / 16**13
        assert group == next(name for name, end in ends if place < end)


def test_of_a_forgotten_person_no_place_is_left_and_nobody_gets_it(bench: Bench) -> None:
    divided = split(stratify=["country"])
    crowd(bench, 1, 10)
    before = groups(bench, evaluate(bench, divided))
    [(last,)] = bench.rows("SELECT member_key FROM audience_syncs.split_positions ORDER BY number DESC LIMIT 1")
    with bench.warehouse.connect() as connection:
        people = {"people": audience(divided)}
        request_forgetting(connection, bench.warehouse, people, "id", "3", by="me", now=datetime.now(UTC))
        connection.commit()
    assert bench.rows("SELECT 1 FROM audience_syncs.split_positions WHERE member_key = '3'") == []
    assert bench.rows("SELECT 1 FROM audience_syncs.membership WHERE member_key = '3'") == []
    crowd(bench, 11, 12)
    after = groups(bench, evaluate(bench, divided))
    del before["3"]
    assert {key: after[key] for key in before} == before
    numbers = bench.rows("SELECT count(*), count(DISTINCT number), max(number) FROM audience_syncs.split_positions")
    # Where the last of them was forgotten, the sequence goes on from the one before.
    assert numbers == [(11, 11, 11 if last != "3" else 10)]


def test_days_of_a_partitioned_audience_have_groups_in_whatever_order_they_are_evaluated(bench: Bench) -> None:
    divided = audience(split(stratify=["country"]), "SELECT id, phone AS country FROM people").model_copy(
        update={
            "partitions": AudienceConfig.model_validate(
                {
                    "name": "x",
                    "source": "s",
                    "primary_key": "id",
                    "sql": "SELECT 1",
                    "partitions": {"start": "2026-01-01"},
                }
            ).partitions
        }
    )
    crowd(bench, 1, 50)
    days = ("2026-01-03", "2026-01-01", "2026-01-02")
    found = [evaluate_audience(divided, bench.warehouse, run_id="run", day=day) for day in days]
    first, *others = [groups(bench, snapshot) for snapshot in found]
    assert others == [first, first]
    assert {event: count for (event, _), count in events(bench).items() if event != "enter"} == {}
