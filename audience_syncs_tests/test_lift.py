"""The lift report: published intervals, and who counts as converted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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


def test_who_was_in_two_groups_is_left_out_and_another_salt_begins_anew(shop: Bench) -> None:
    held = members(shop, "holdout")
    evaluate(shop, audience(percent=70), DAY)
    stayed = members(shop, "holdout")
    found = lift_of(audience(percent=70), shop.warehouse)
    assert found.moved == len(held) - len(stayed) > 0
    assert converted(found) == {"ads": (100 - len(held), 0), "holdout": (len(stayed), 0)}
    evaluate(shop, audience(salt="anew"), 10 * DAY)
    ads = members(shop, "ads")
    buy(shop, ads[0], 5 * DAY)  # before it began
    buy(shop, ads[1], 12 * DAY)
    found = lift_of(audience(salt="anew"), shop.warehouse)
    assert found.moved == 0
    assert converted(found) == {"ads": (len(ads), 1), "holdout": (100 - len(ads), 0)}


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
