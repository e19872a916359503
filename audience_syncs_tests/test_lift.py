"""The lift report: published intervals, and who counts as converted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import comb, sqrt
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.audiences.lift import lift_of
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError, DefinitionError
from audience_syncs.model.lift import Lift, Proportion, compared, difference
from audience_syncs.model.schema import ModelConfig, Schema
from audience_syncs_tests.sync_bench import Bench


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I: method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_rate_is_the_published_one(part: int, whole: int, low: float, high: float) -> None:
    assert Proportion(part, whole).interval() == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), 873-890, table II: method 10.
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_is_the_published_one(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found, lower, upper = difference(Proportion(*one), Proportion(*other))
    assert found == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (lower, upper) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("part", "whole"), [(1, 2), (3, 10), (56, 70), (1, 1000), (999, 1000), (12_345, 1_000_000)])
def test_the_ends_of_the_interval_of_a_rate_are_where_the_score_test_begins_to_reject(part: int, whole: int) -> None:
    """Wilson's own definition: the ends are the true rates from which the found one is 1.96 standard errors away."""
    for end in Proportion(part, whole).interval():
        error = sqrt(end * (1 - end) / whole)
        assert abs(part / whole - end) / error == pytest.approx(1.959963984540054)


@pytest.mark.parametrize(
    ("rate", "other_rate", "most"),
    # Of one or two conversions the interval is wider than it need be: so few outcomes are possible.
    [(0.05, 0.05, 0.985), (0.2, 0.2, 0.96), (0.12, 0.05, 0.97), (0.6, 0.5, 0.96), (0.02, 0.01, 1.0)],
)
def test_the_interval_of_a_difference_holds_the_true_one_in_95_of_100_cases(
    rate: float, other_rate: float, most: float
) -> None:
    """Every possible outcome of groups of 100 and 60, each with its probability: no chance in the test."""
    covered = 0.0
    for part in range(101):
        for other in range(61):
            _, low, high = difference(Proportion(part, 100), Proportion(other, 60))
            if low <= rate - other_rate <= high:
                covered += likely(part, 100, rate) * likely(other, 60, other_rate)
    assert 0.94 < covered < most


def likely(part: int, whole: int, rate: float) -> float:
    return comb(whole, part) * rate**part * (1 - rate) ** (whole - part)


def test_words_say_what_the_interval_does() -> None:
    counts = [("up", 1000, 200), ("down", 1000, 50), ("same", 1000, 101), ("few", 99, 99), ("base", 1000, 100)]
    verdicts = {group.group: group.verdict for group in compared(counts, "base")}
    assert verdicts == {
        "up": "higher than base",
        "down": "lower than base",
        "same": "no difference to base shown",
        "few": "too few to tell: only 99 people",
        "base": "",
    }
    [few, _] = compared([("up", 1000, 200), ("base", 20, 0)], "base")
    assert few.verdict == "too few to tell: only 20 people in base"
    [first, second, base] = compared([("up", 1000, 150), ("down", 1000, 50), ("base", 1000, 100)], "base")
    assert (first.relative, second.relative, base.relative) == (pytest.approx(0.5), pytest.approx(-0.5), None)
    [first, _] = compared([("up", 1000, 150), ("base", 1000, 0)], "base")
    assert (first.relative, first.verdict) == (None, "higher than base")
    [nobody, _] = compared([("up", 300, 3), ("base", 0, 0)], "base")
    assert nobody.verdict == "nobody in base yet"
    [nobody, _] = compared([("up", 0, 0), ("base", 0, 0)], "base")
    assert (nobody.lower, nobody.upper) == (-1, 1)


DAY = timedelta(days=1)
CAME = datetime(2026, 3, 1, 12, tzinfo=UTC)

SQL = "SELECT user_id, bought_at FROM bought"


def audience(**values: Any) -> AudienceConfig:
    groups = [
        {"name": "ads", "percent": values.pop("percent", 50)},
        {"name": "holdout", "percent": 0},
    ]
    groups[1]["percent"] = 100 - groups[0]["percent"]
    groups[0]["syncs"] = ["list"]
    split = {"groups": groups, "conversions": {"bought": {"sql": SQL, "within": "7 days"}}, **values}
    return AudienceConfig.model_validate(
        {"name": "people", "source": "shop", "primary_key": "id", "sql": "SELECT id FROM people", "split": split}
    )


@pytest.fixture
def shop(bench: Bench) -> Bench:
    """A hundred people who came together, half of them held out; nobody has bought yet."""
    bench.execute("CREATE TABLE bought (user_id int, bought_at timestamp)")
    bench.crowd(100)
    evaluate(bench, audience())
    return bench


def evaluate(bench: Bench, chosen: AudienceConfig, after: timedelta = timedelta(0)) -> None:
    evaluate_audience(chosen, bench.warehouse, run_id="run", clock=lambda: CAME + after)


def members(bench: Bench, group: str) -> list[int]:
    [(table,)] = bench.rows("SELECT table_name FROM audience_syncs.snapshots ORDER BY id DESC LIMIT 1")
    found = bench.rows(f"SELECT id FROM audience_syncs.{table} WHERE _group = '{group}' ORDER BY id")
    return [int(key) for (key,) in found]


def buy(bench: Bench, key: int, after: timedelta) -> None:
    bench.execute(f"INSERT INTO bought VALUES ({key}, '{(CAME + after):%Y-%m-%d %H:%M:%S}')")


def converted(lift: Lift) -> dict[str, tuple[int, int]]:
    return {group.group: (group.people, group.converted) for group in lift.groups}


def test_who_bought_in_time_after_coming_into_the_audience_is_converted_once(shop: Bench) -> None:
    ads, held = members(shop, "ads"), members(shop, "holdout")
    buy(shop, ads[0], -DAY)  # before
    buy(shop, ads[1], timedelta(0))  # at once
    buy(shop, ads[2], 7 * DAY)  # too late
    buy(shop, ads[3], DAY)
    buy(shop, ads[3], 2 * DAY)  # twice
    buy(shop, held[0], 7 * DAY - timedelta(seconds=1))
    buy(shop, 4711, DAY)  # never in the audience
    shop.execute("INSERT INTO bought VALUES (NULL, '2026-03-02'), (1, NULL)")
    found = lift_of(audience(), shop.warehouse)
    assert converted(found) == {"ads": (len(ads), 2), "holdout": (len(held), 1)}
    assert (found.baseline, found.moved, found.note) == ("holdout", 0, "")
    [first, base] = found.groups
    assert base.is_baseline
    expected = difference(Proportion(2, len(ads)), Proportion(1, len(held)))
    assert (first.difference, first.lower, first.upper) == expected


def test_who_has_left_counts_and_who_comes_back_counts_from_the_first_time(shop: Bench) -> None:
    ads = members(shop, "ads")
    shop.execute(f"DELETE FROM people WHERE id = '{ads[0]}'")
    evaluate(shop, audience(), DAY)
    buy(shop, ads[0], 2 * DAY)
    shop.execute(f"INSERT INTO people (id) VALUES ('{ads[0]}')")
    evaluate(shop, audience(), 20 * DAY)
    assert converted(lift_of(audience(), shop.warehouse))["ads"] == (len(ads), 1)
    shop.execute("DELETE FROM bought")
    buy(shop, ads[0], 21 * DAY)
    assert converted(lift_of(audience(), shop.warehouse))["ads"] == (len(ads), 0)


def test_who_changed_group_counts_in_the_first_and_another_salt_begins_anew(shop: Bench) -> None:
    held = members(shop, "holdout")
    evaluate(shop, audience(percent=70), DAY)
    stayed = members(shop, "holdout")
    [moved, *_] = sorted(set(held) - set(stayed))
    buy(shop, moved, 2 * DAY)
    found = lift_of(audience(percent=70), shop.warehouse)
    assert found.moved == len(held) - len(stayed) > 0
    assert converted(found) == {"ads": (100 - len(held), 0), "holdout": (len(held), 1)}
    assert found.since == CAME
    shop.execute(f"DELETE FROM people WHERE id = '{held[0]}'")  # never in a group of the new salt
    evaluate(shop, audience(salt="anew"), 10 * DAY)
    ads = members(shop, "ads")
    buy(shop, ads[0], 5 * DAY)  # before it began
    buy(shop, ads[1], 12 * DAY)
    found = lift_of(audience(salt="anew"), shop.warehouse)
    assert (found.moved, found.since) == (0, CAME + 10 * DAY)
    assert converted(found) == {"ads": (len(ads), 1), "holdout": (99 - len(ads), 0)}


def test_another_percentage_shows_no_difference_where_buyers_leave_and_nothing_has_an_effect(bench: Bench) -> None:
    """Only who has not bought is there to move: without them, the holdout's rate would be 54 %."""
    bench.execute("CREATE TABLE bought (user_id int, bought_at timestamp)")
    bench.crowd(2000)
    evaluate(bench, audience())
    held = members(bench, "holdout")
    bench.execute(
        f"INSERT INTO bought SELECT g, '{CAME + DAY:%Y-%m-%d}' FROM generate_series(1, 2000) g WHERE g % 5 < 2"
    )
    bench.execute("UPDATE bought SET bought_at = bought_at + interval '13 hours'")
    bench.execute("DELETE FROM people WHERE id::int IN (SELECT user_id FROM bought)")
    evaluate(bench, audience(percent=70), 2 * DAY)
    found = lift_of(audience(percent=70), bench.warehouse)
    assert found.moved > 200
    assert converted(found)["holdout"] == (len(held), sum(key % 5 < 2 for key in held))
    assert [group.verdict for group in found.groups] == ["no difference to holdout shown", ""]


def test_a_group_that_is_no_longer_defined_stays_in_the_report_and_can_be_the_baseline(shop: Bench) -> None:
    chosen = audience()
    assert chosen.split is not None
    groups = [chosen.split.groups[0], chosen.split.groups[1].model_copy(update={"name": "control"})]
    chosen = chosen.model_copy(update={"split": chosen.split.model_copy(update={"groups": groups})})
    evaluate(shop, chosen, DAY)
    found = lift_of(chosen, shop.warehouse)
    assert [group.group for group in found.groups] == ["ads", "control", "holdout"]
    assert [group.verdict for group in found.groups] == ["nobody in control yet", "", "nobody in control yet"]
    assert [group.is_baseline for group in lift_of(chosen, shop.warehouse, baseline="holdout").groups] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("seed", range(3))
def test_random_histories_are_counted_as_by_hand(bench: Bench, seed: int) -> None:
    """What Python counts from the groups it saw at each evaluation, and from the purchases it made."""
    random = Random(seed)
    keys = ["Zoë", "o'Hara", "a:b", "100%", "-1", "ZOË", *map(str, range(120))]
    bench.execute("CREATE TABLE bought (who text, at timestamptz, note text)")
    entered: dict[str, tuple[str, datetime]] = {}
    several: dict[str, set[str]] = {}
    percent = 50
    for number in range(5):
        percent = random.choice([percent, 30, 50, 70])
        bench.people(*((key, None) for key in keys if random.random() < 0.5))
        evaluate(bench, audience(percent=percent), number * 3 * DAY)
        [(table,)] = bench.rows("SELECT table_name FROM audience_syncs.snapshots ORDER BY id DESC LIMIT 1")
        for key, group in bench.rows(f"SELECT id, _group FROM audience_syncs.{table}"):
            entered.setdefault(key, (group, CAME + number * 3 * DAY))
            several.setdefault(key, set()).add(group)
    bought: list[tuple[str | None, datetime | None]] = [(None, CAME), (None, None)]
    edges = [timedelta(0), -timedelta(microseconds=1), 7 * DAY, 7 * DAY - timedelta(microseconds=1)]
    for key in keys:
        since = entered[key][1] if key in entered else CAME
        bought += [
            (key, since + random.choice([*edges, random.uniform(-9, 20) * DAY]))
            for _ in range(random.choice([0, 1, 1, 3]))
        ]
        bought += [(key, None)] * random.choice([0, 1])
    with bench.warehouse.engine.begin() as connection:
        rows = [{"who": who, "at": at} for who, at in bought]
        connection.execute(sa.text("INSERT INTO bought VALUES (:who, :at, '5% off')"), rows)
    expected = {"ads": [0, 0], "holdout": [0, 0]}
    for key, (group, since) in entered.items():
        expected[group][0] += 1
        expected[group][1] += any(who == key and at is not None and since <= at < since + 7 * DAY for who, at in bought)
    sql = "SELECT who, at FROM bought WHERE note LIKE '5% %' AND note <> ':x' -- as people write it;\n;"
    chosen = audience(percent=percent, conversions={"sale": {"sql": sql, "within": "7 days"}})
    found = lift_of(chosen, bench.warehouse)
    assert converted(found) == {group: (people, did) for group, (people, did) in expected.items()}
    assert found.moved == sum(len(groups) > 1 for groups in several.values())
    assert 0 < expected["ads"][1] < expected["ads"][0]


def test_without_a_holdout_rates_are_shown_and_a_group_can_be_named(shop: Bench) -> None:
    chosen = audience()
    assert chosen.split is not None
    sent = [group.model_copy(update={"syncs": ["list"]}) for group in chosen.split.groups]
    chosen = chosen.model_copy(update={"split": chosen.split.model_copy(update={"groups": sent})})
    found = lift_of(chosen, shop.warehouse)
    assert "no holdout" in found.note
    assert [group.difference for group in found.groups] == [None, None]
    assert lift_of(chosen, shop.warehouse, baseline="ads").baseline == "ads"
    none = [group.model_copy(update={"syncs": []}) for group in chosen.split.groups]
    chosen = chosen.model_copy(update={"split": chosen.split.model_copy(update={"groups": none})})
    assert "several groups" in lift_of(chosen, shop.warehouse).note


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT user_id FROM bought", "1 columns"),
        ("SELECT nothing, now() FROM bought", "nothing"),
        ("SELECT user_id, user_id FROM bought", "cannot cast"),
    ],
)
def test_a_query_of_conversions_that_cannot_be_read_is_an_error_with_its_name(
    shop: Bench, sql: str, words: str
) -> None:
    chosen = audience(conversions={"sale": {"sql": sql}})
    with pytest.raises(AudienceError) as failed:
        lift_of(chosen, shop.warehouse)
    assert words in str(failed.value)
    assert "'sale'" in str(failed.value)


def test_an_audience_that_was_not_evaluated_with_this_split_is_an_error(bench: Bench, shop: Bench) -> None:
    with pytest.raises(AudienceError, match="has not been evaluated"):
        lift_of(audience(salt="another"), shop.warehouse)
    with pytest.raises(AudienceError, match="has not been evaluated"):
        lift_of(audience(stratify=["country"]), shop.warehouse)


def test_an_audience_in_which_nobody_is_says_so(bench: Bench) -> None:
    bench.execute("CREATE TABLE bought (user_id int, bought_at timestamp)")
    evaluate(bench, audience())
    found = lift_of(audience(), bench.warehouse)
    assert (converted(found), found.since) == ({"ads": (0, 0), "holdout": (0, 0)}, None)
    assert found.groups[0].verdict == "nobody in the group yet"


def test_what_is_not_there_is_said(shop: Bench) -> None:
    with pytest.raises(DefinitionError, match="one of: bought"):
        lift_of(audience(), shop.warehouse, "sold")
    with pytest.raises(DefinitionError, match="one of: ads, holdout"):
        lift_of(audience(), shop.warehouse, baseline="heldout")
    with pytest.raises(DefinitionError, match="no conversions"):
        lift_of(audience(conversions={}), shop.warehouse)
    with pytest.raises(DefinitionError, match="no split"):
        lift_of(audience().model_copy(update={"split": None}), shop.warehouse)


@pytest.mark.parametrize("how", ["by key", "by another column", "through"])
def test_events_of_the_model_are_conversions_in_its_time_zone(shop: Bench, how: str) -> None:
    shop.execute("ALTER TABLE people ADD number int; UPDATE people SET number = id::int; ALTER TABLE people ADD k text")
    shop.execute("UPDATE people SET k = 'k' || id; CREATE TABLE links (who text, number int)")
    shop.execute("INSERT INTO links SELECT k, number FROM people UNION ALL SELECT k, number FROM people")
    joins: dict[str, dict[str, Any]] = {
        "by key": {"sql": "SELECT user_id::text AS key, bought_at FROM bought", "join": {"id": "key"}},
        "by another column": {"table": "bought", "join": {"number": "user_id"}},
        "through": {
            "table": "bought",
            "through": {"table": "links", "parent": {"k": "who"}, "related": {"number": "user_id"}},
        },
    }
    model = ModelConfig.model_validate(
        {
            "name": "customers",
            "source": "shop",
            "table": "people",
            "primary_key": "id",
            "timezone": "America/New_York",
            "events": {"purchases": {**joins[how], "timestamp": "bought_at"}},
        }
    )
    columns = {
        "customers": {"id": "text", "number": "integer", "k": "text"},
        "customers.purchases": {"user_id": "integer", "key": "text", "bought_at": "timestamp without time zone"},
        "customers.purchases.through": {"who": "text", "number": "integer"},
    }
    if how != "by key":
        del columns["customers.purchases"]["key"]
    chosen = AudienceConfig.model_validate(
        {
            "name": "people",
            "model": "customers",
            "split": {
                "groups": [{"name": "ads", "percent": 50, "syncs": ["list"]}, {"name": "holdout", "percent": 50}],
                "conversions": {"bought": {"event": "purchases", "within": "7 days"}},
            },
        }
    ).resolved(Schema({"customers": model}, columns), source="shop", primary_key="id")
    ads = members(shop, "ads")
    # The wall clock of New York, five hours behind: one o'clock at night after CAME, and long before it by UTC.
    buy(shop, ads[0], timedelta(hours=-4))
    buy(shop, ads[1], timedelta(hours=-6))
    assert converted(lift_of(chosen, shop.warehouse))["ads"] == (len(ads), 1)
