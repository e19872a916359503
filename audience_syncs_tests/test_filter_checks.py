"""Models, filters, splits, exclusions and priority lists: every mistake is shown where it stands, with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audience_syncs.project import check_project, format_problems, load_project
from audience_syncs_tests.test_project import AUDIENCE as SQL_AUDIENCE
from audience_syncs_tests.test_project import SOURCE, destination_yaml, write

MODEL = """\
type: audience_syncs.components.Model
attributes:
  name: customers
  source: shop
  table: shop.users
  primary_key: user_id
  label: email
  personal: [email, phone]
  related:
    orders:
      table: shop.orders
      join: {user_id: user_id}
      timestamp: ordered_at
    addresses:
      table: shop.addresses
      join: {user_id: user_id}
    groups:
      table: shop.groups
      through:
        table: shop.group_members
        parent: {user_id: member}
        related: {group_no: group_id}
  events:
    cart_adds:
      table: shop.cart_adds
      join: {user_id: user_id}
      timestamp: ts
  traits:
    lifetime_value: {of: orders, take: sum, column: total}
    last_ordered: {of: orders, take: max, column: ordered_at}
    order_count: {of: orders, take: count}
    favourite: {of: cart_adds, take: most_frequent, column: category}
"""

COLUMNS = {
    "customers": {
        "user_id": "BIGINT",
        "email": "TEXT",
        "phone": "TEXT",
        "country": "VARCHAR(2)",
        "age": "INTEGER",
        "score": "DOUBLE PRECISION",
        "ads_consent": "BOOLEAN",
        "born_on": "DATE",
        "created_at": "TIMESTAMP WITH TIME ZONE",
        "seen_at": "TIMESTAMP",
        "tags": "TEXT[]",
        "extra": "JSONB",
    },
    "customers.orders": {
        "order_id": "BIGINT",
        "user_id": "BIGINT",
        "total": "NUMERIC(12, 2)",
        "status": "TEXT",
        "ordered_at": "TIMESTAMP WITH TIME ZONE",
    },
    "customers.addresses": {"user_id": "BIGINT", "city": "TEXT", "note": "JSONB"},
    "customers.groups": {"group_id": "INTEGER", "title": "TEXT"},
    "customers.groups.through": {"member": "BIGINT", "group_no": "INTEGER", "code": "TEXT"},
    "customers.cart_adds": {
        "user_id": "BIGINT",
        "ts": "TIMESTAMP WITH TIME ZONE",
        "category": "TEXT",
        "quantity": "INTEGER",
        "price": "NUMERIC(10, 2)",
    },
}

AUDIENCE = """\
type: audience_syncs.components.Audience
attributes:
  name: shoppers
  model: customers
  filter:
    all:
      - FILTER
  columns: [user_id, email, country, lifetime_value]
  personal: [email]
  split:
    stratify: [country]
    conversions:
      bought: {event: cart_adds}
    groups:
      - {name: shown, percent: 90, syncs: [meta_ads]}
      - {name: holdout, percent: 10}
  syncs:
    - destination: meta_ads
      list: {name: Shoppers}
      mapping:
        EMAIL: email
        COUNTRY: {column: country}
"""

PRIORITY = """\
type: audience_syncs.components.Priority
attributes:
  name: campaigns
  audiences:
    - shoppers
    - carts
"""

SOUND = "{property: country, equals: DE}"


def project(folder: Path, *, condition: str = SOUND, columns: object = COLUMNS, **files: str) -> Path:
    """A sound project around a filter, with some of its files replaced."""
    given = {
        "shop": SOURCE,
        "other": SOURCE.replace("name: shop", "name: other"),
        "meta_ads": destination_yaml(),
        "carts": SQL_AUDIENCE,
        "customers": MODEL,
        "shoppers": AUDIENCE.replace("FILTER", condition),
        "campaigns": PRIORITY,
        **files,
    }
    write(folder, **{name: text for name, text in given.items() if text})
    (folder / "customers" / "columns.json").write_text(json.dumps(columns), encoding="utf-8")
    return folder


def shown(problems: list, file: Path, place: str, message: str, remedy: str) -> None:
    """The one problem there is stands at that place, in these words."""
    text = format_problems(problems)
    assert len(problems) == 1, text
    assert (problems[0].file, f"{problems[0].line}:{problems[0].column}") == (file, place), text
    assert message in problems[0].message, text
    assert remedy in problems[0].remedy, text


# the condition, where in its line the mistake is, words of the message, words of the remedy
CONDITIONS = [
    # names that are not there, and names of another kind
    ("{property: cuntry, equals: DE}", 20, "no column `cuntry`", "did you mean `country`"),
    ("{property: cart_adds, equals: DE}", 20, "no column `cart_adds`", "is an event; write `did: cart_adds`"),
    ("{property: orders, is_null: true}", 20, "no column `orders`", "related rows; write `has: orders`"),
    ("{property: lifetime_value, at_least: 5}", 20, "no column", "is a trait; write `trait: lifetime_value`"),
    ("{trait: life_value, at_least: 5}", 17, "no trait `life_value`", "did you mean `lifetime_value`"),
    ("{trait: age, at_least: 5}", 17, "no trait `age`", "is a column; write `property: age`"),
    ("{did: cart_add}", 15, "no event `cart_add`", "did you mean `cart_adds`"),
    ("{did: orders}", 15, "no event `orders`", "write `has: orders`"),
    ("{did_not: orders}", 19, "no event `orders`", "write `has_no: orders`"),
    ("{has: cart_adds}", 15, "no related rows `cart_adds`", "write `did: cart_adds`"),
    ("{has_no: order}", 18, "no related rows `order`", "did you mean `orders`"),
    ("{did: cart_adds, since: {last: carts}}", 40, "no event `carts`", "did you mean `cart_adds`"),
    ("{did: cart_adds, before: {any: orders}}", 40, "no event `orders`", "an event belongs here"),
    ("{sequence: [{did: cart_adds}, {did: cart_addd}]}", 45, "no event `cart_addd`", "did you mean `cart_adds`"),
    # operators that do not fit what the column holds
    ("{property: age, contains: x}", 25, "`contains` does not fit: `age` is a whole number (INTEGER)", "at_least"),
    ("{property: score, matches: x}", 27, "`score` is a number", "for texts"),
    ("{property: created_at, starts_with: '2026'}", 32, "is a time", "`in_last`"),
    ("{property: country, in_last: 7 days}", 29, "is text (VARCHAR(2))", "dates and times"),
    ("{property: age, before: 2026-11-01}", 25, "is a whole number", "dates and times"),
    ("{property: country, at_least: 5}", 29, "`at_least` does not fit: `country` is text", "for numbers"),
    ("{property: created_at, greater_than: 5}", 32, "is a time", "`after`"),
    ("{property: ads_consent, at_most: 5}", 33, "is true or false", "`equals: true`"),
    ("{property: country, between: [1, 2]}", 29, "is text", "for numbers, dates and times"),
    ("{property: age, between: [2026-01-01, 2026-02-01]}", 25, "whole number", "two numbers"),
    ("{property: created_at, between: [1, 2]}", 32, "is a time", "two moments"),
    ("{property: created_at, equals: 2026-11-01}", 32, "is a time", "use `on`"),
    ("{property: seen_at, not_in: ['2026-11-01']}", 29, "is a time", "use `on`"),
    ("{property: tags, contains: x}", 26, "is a list", "`is_null`"),
    ("{property: extra, equals: x}", 27, "of the type JSONB", "`is_null`"),
    ("{property: age, equals: 5, ignore_case: true}", 36, "`ignore_case` is about texts", "remove it"),
    ("{trait: lifetime_value, contains: x}", 33, "`lifetime_value` is a number (NUMERIC(12, 2))", "for texts"),
    ("{trait: order_count, in_last: 7 days}", 30, "`order_count` is a whole number", "dates and times"),
    ("{trait: favourite, at_least: 1}", 28, "`favourite` is text", "for numbers"),
    ("{trait: last_ordered, at_least: 1}", 31, "`last_ordered` is a time", "`in_last`"),
    # values of another type than the column
    ('{property: age, equals: "5"}', 33, "is a whole number (INTEGER), and this is text", "remove the quotes"),
    ("{property: age, equals: five}", 33, "this is text", "write a number"),
    ("{property: age, equals: yes}", 33, "true or false", "write a number"),
    ("{property: age, in: [1, '2']}", 33, "this is text", "remove the quotes"),
    ("{property: age, not_equals: 1.5}", 37, "a fraction", "whole number"),
    ("{property: score, equals: .nan}", 35, "not finite", "write a number"),
    ("{property: country, equals: NO}", 37, "true or false, as YAML reads `NO`", '`"NO"`'),
    ("{property: country, in: [DE, NO]}", 38, "true or false, as YAML reads `NO`", '`"NO"`'),
    ("{property: country, equals: true}", 37, "true or false", '`"true"`'),
    ("{property: email, equals: 5}", 35, "this is a number", "put quotes"),
    ('{property: email, equals: "a\\0"}', 35, "NUL", "remove"),
    ("{property: ads_consent, equals: 1}", 41, "this is a number", "`true` or `false`"),
    ("{property: ads_consent, equals: 'true'}", 41, "this is text", "remove the quotes: `true`"),
    ("{property: born_on, equals: 5}", 37, "this is a number", "`2026-11-01`"),
    ("{property: born_on, equals: soon}", 37, "no day", "`2026-11-01`"),
    ("{property: born_on, equals: today}", 37, "a day that moves", "`on: ...`"),
    ("{property: born_on, in: [2026-11-01, '2026-11-01 10:00']}", 46, "a moment", "2026-11-01"),
    ("{property: born_on, before: now}", 37, "is a date, and this is a moment of a day", "write a day"),
    ("{property: born_on, in_last: 6 hours}", 38, "is a date, and has no hours", "whole days"),
    ("{property: born_on, not_between: [2026-01-01 10:00, now]}", 43, "is a date", "write a day"),
    # rows
    ("{did: cart_adds, where: {categry: x}}", 34, "the rows of `cart_adds` have no column `categry`", "`category`"),
    ("{did: cart_adds, where: {quantity: '2'}}", 44, "this is text", "remove the quotes"),
    ("{did: cart_adds, where: {quantity: [1, '2']}}", 48, "this is text", "remove the quotes"),
    ("{did: cart_adds, where: {category: []}}", 44, "the list is empty", "at least one"),
    ("{did: cart_adds, where: {ts: 2026-11-01}}", 38, "hardly ever", "property: ts, after"),
    ("{did: cart_adds, where: [{property: price, contains: x}]}", 52, "is a number", "for texts"),
    ("{did: cart_adds, where: [{any: [{property: prce, at_least: 1}]}]}", 52, "no column `prce`", "`price`"),
    ("{did_not: cart_adds, since: {last: cart_adds, where: {catgory: x}}}", 63, "no column `catgory`", "`category`"),
    ("{sequence: [{did: cart_adds, where: {q: 1}}, {did: cart_adds}]}", 46, "no column `q`", "`quantity`"),
    ("{has: orders, where: {total: much}}", 38, "is a number", "write a number"),
    ("{has: addresses, within: 7 days}", 26, "have no time", "give `addresses` a `timestamp`"),
    # top and sample
    ("{top: {percent: 10, by: lifetim_value}}", 33, "neither a column nor a trait", "`lifetime_value`"),
    ("{top: {percent: 10, by: country}}", 33, "nobody is the top by `country`: it is text", "`score`"),
    ("{top: {count: 10, by: favourite}}", 31, "it is text", "`lifetime_value`"),
    ("{top: {count: 10, by: age, among: {property: agee, is_null: true}}}", 54, "no column `agee`", "`age`"),
    ("{top: {percent: 120, by: age}}", 25, "less than or equal to 100", "more than 0, at most 100"),
    ("{sample: {percent: 120}}", 28, "less than or equal to 100", "more than 0, at most 100"),
    ("{sample: {percent: 0}}", 28, "greater than 0", "more than 0, at most 100"),
    # other audiences
    ("{in_audience: cart}", 23, "no audience `cart`", "did you mean `carts`"),
    ("{not_in_audience: shoppers}", 27, "cannot be chosen by who is in it", "another audience"),
    # how conditions are written
    ("{propery: country, equals: DE}", 10, "none begins with `propery`", "did you mean `property`"),
    ("{and: [{did: cart_adds}]}", 10, "none begins with `and`", "did you mean `all`"),
    ("{event: cart_adds}", 10, "none begins with `event`", "did you mean `did`"),
    ("{equals: DE}", 9, "names no column", "`property: ...`"),
    ("{}", 9, "this is no condition", "`property:`"),
    ("[{did: cart_adds}]", 9, "must be a condition (`key: value` lines), not a list", "write `all:` above it"),
    ("{property: Cuntry, equals: DE}", 20, "no column `Cuntry`", "did you mean `country`"),
    ("{property: country, in: DE}", 33, "must be a list, not text", "into brackets"),
    ("{property: age, between: [5]}", 34, "a value is missing", "`[low, high]`"),
    ("{property: age, between: [5, 4]}", 34, "the lower value comes first", ""),
    ("{property: age, between: ['5', '6']}", 34, "two numbers are in quotes", "remove the quotes"),
    ("{did: cart_adds, within: 7}", 34, "must be a mapping", "`7 days`"),
    ("{did: [cart_adds]}", 15, "must be text, not a list", "Name of an event"),
    ("cart_adds", 9, "must be a condition (`key: value` lines), not text", "`did:`"),
    ("{did: cart_adds, where: [{trait: x}]}", 35, "about people, not about rows", "`property:`"),
    ("{did: cart_adds, where: [{did: x}]}", 35, "about people, not about rows", "`property:`"),
    ("{property: country, did: cart_adds, equals: x}", 29, "unknown key `did`", "both below `all:`"),
    ("{property: country, equal: DE}", 29, "unknown key `equal`", "did you mean `equals`"),
    ("{did: cart_adds, whitin: 7 days}", 26, "unknown key `whitin`", "did you mean `within`"),
    ("{did: cart_adds, equals: 7}", 26, "unknown key `equals`", "known are `after`, `before`, `count`, `did`"),
    ("{did: cart_adds, within: {form: 2026-11-01}}", 35, "unknown key `form`", "did you mean `from`"),
    ("{property: country, inn: [DE]}", 29, "unknown key `inn`", "did you mean `in`"),
    ("{property: country, equals: null}", 9, "`equals` has no value", "`is_null: true`"),
    ("{property: country, equals: [DE]}", 37, "must be text, a number, true or false", "`in: [...]`"),
    ("{property: age, at_least: much}", 35, "must be a number", "single value"),
    ("{property: country}", 9, "has no operator", "equals"),
    ("{property: age, at_least: 1, at_most: 5}", 9, "several operators", "`all`"),
    ("{property: born_on, in_last: some days}", 38, "cannot read the length of time", "7 days"),
    ("{property: created_at, after: someday}", 39, "cannot read the moment", "2026-11-01"),
    ("{property: email, matches: '('}", 36, "not a regular expression", "correct it"),
    ("{did: cart_adds, count: {at_least: -1}}", 44, "greater than or equal to 0", ""),
    ("{did: cart_adds, since: {first: cart_adds, last: cart_adds}}", 33, "exactly one of", "{last: cart_adds}"),
]


@pytest.mark.parametrize("condition, column, message, remedy", CONDITIONS, ids=[c[0] for c in CONDITIONS])
def test_a_mistake_in_a_filter_is_shown_where_it_stands(
    tmp_path: Path, condition: str, column: int, message: str, remedy: str
) -> None:
    folder = project(tmp_path, condition=condition)
    file = folder / "shoppers" / "defs.yaml"
    shown(check_project(folder, environ={}), file, f"7:{column}", message, remedy)


# text to replace, what stands there instead, where the mistake is shown, words of the message, words of the remedy
AUDIENCES = [
    ("model: customers", "model: customer", "4:10", "no model `customer`", "did you mean `customers`"),
    ("[user_id, email,", "[user_id, email, emial,", "8:29", "neither a column nor a trait `emial`", "`email`"),
    ("[user_id, email,", "[user_id, email, orders,", "8:29", "neither a column", "make a trait of it"),
    ("[user_id, email,", "[user_id, email, email,", "8:29", "named twice", "remove"),
    ("personal: [email]", "personal: [emial]", "9:14", "have no column `emial`", "`email`"),
    ("stratify: [country]", "stratify: [cuntry]", "11:16", "have no column `cuntry`", "`country`"),
    ("stratify: [country]", "stratify: [age]", "11:16", "have no column `age`", "add it to the audience's `columns`"),
    ("event: cart_adds", "event: cart_add", "13:23", "no event `cart_add`", "did you mean `cart_adds`"),
    ("syncs: [meta_ads]", "syncs: [meta_ads, meta]", "15:54", "no sync `meta`", "did you mean `meta_ads`"),
    ("percent: 90", "percent: 120", "15:32", "less than or equal to 100", "100 together"),
    ("percent: 90", "percent: 80", "11:5", "come to 90", "make them 100"),
    ("EMAIL: email", "EMAIL: emial", "21:16", "have no column `emial`", "columns"),
    ("EMAIL: email", "EMAIL: phone", "21:16", "have no column `phone`", "add it to the audience's `columns`"),
    ("EMAIL: email", "EMAIL: order_count", "21:16", "have no column `order_count`", "is a trait; add it"),
    ("{column: country}", "{column: cuntry}", "22:27", "have no column `cuntry`", "columns"),
    (
        "EMAIL: email",
        "PHONE: {column: email, region: land}",
        "21:40",
        "have no column `land`",
        "columns",
    ),
    (", syncs: [meta_ads]", "", "18:7", "no group of the split names the sync `meta_ads`", "`shown`"),
]


@pytest.mark.parametrize("old, new, place, message, remedy", AUDIENCES, ids=[f"{m[1]!r}" for m in AUDIENCES])
def test_a_mistake_about_members_is_shown_where_it_stands(
    tmp_path: Path, old: str, new: str, place: str, message: str, remedy: str
) -> None:
    assert old in AUDIENCE
    text = AUDIENCE.replace("FILTER", SOUND).replace(old, new, 1)
    folder = project(tmp_path, shoppers=text)
    shown(check_project(folder, environ={}), folder / "shoppers" / "defs.yaml", place, message, remedy)


MODELS = [
    ("source: shop", "source: shpo", "4:11", "no source `shpo`", "did you mean `shop`"),
    ("primary_key: user_id", "primary_key: uesr_id", "6:16", "no column `uesr_id`", "did you mean `user_id`"),
    ("primary_key: user_id", "primary_key: extra", "6:16", "nobody can be identified by `extra`", "text or numbers"),
    ("label: email", "label: emial", "7:10", "no column `emial`", "did you mean `email`"),
    ("[email, phone]", "[email, fone]", "8:21", "no column `fone`", "did you mean `phone`"),
    ("join: {user_id: user_id}", "join: {usr_id: user_id}", "12:14", "no column `usr_id`", "`user_id`"),
    ("join: {user_id: user_id}", "join: {user_id: usr_id}", "12:23", "no column `usr_id`", "`user_id`"),
    ("join: {user_id: user_id}", "join: {user_id: status}", "12:23", "are never equal", "cast one of them"),
    ("timestamp: ordered_at", "timestamp: orderd_at", "13:18", "no column `orderd_at`", "`ordered_at`"),
    ("timestamp: ordered_at", "timestamp: total", "13:18", "`total` is no time: it is a number", "`ordered_at`"),
    ("{user_id: member}", "{user_id: membr}", "21:27", "rows between people and `groups`", "`member`"),
    ("{group_no: group_id}", "{group_n: group_id}", "22:19", "rows between people and `groups`", "`group_no`"),
    ("{group_no: group_id}", "{group_no: group}", "22:29", "rows of `groups`", "`group_id`"),
    ("{group_no: group_id}", "{code: group_id}", "22:25", "`code` and `group_id` are never equal", "cast"),
    ("of: orders, take: sum", "of: order, take: sum", "29:26", "no related rows or events `order`", "`orders`"),
    ("column: total", "column: totl", "29:53", "no column `totl`", "did you mean `total`"),
    ("column: total", "column: status", "29:53", "`sum` is of numbers: `status` is text", "`total`"),
    ("take: sum, column: total", "take: avg, column: ordered_at", "29:53", "`avg` is of numbers", "`total`"),
    ("take: sum, column: total", "take: most, column: total", "29:40", "none of its words", "most_frequent"),
    (
        "{of: orders, take: count}",
        "{of: addresses, take: last, column: city}",
        "31:40",
        "so none is the last",
        "give `addresses` a `timestamp`",
    ),
    (
        "{of: orders, take: count}",
        "{of: addresses, take: count, within: 7 days}",
        "31:47",
        "so none is within one",
        "give `addresses` a `timestamp`",
    ),
    (
        "{of: orders, take: count}",
        "{of: addresses, take: max, column: note}",
        "31:53",
        "`max` is of numbers, times and texts",
        "`city`",
    ),
    (
        "{of: orders, take: count}",
        "{of: orders, take: count, where: {stats: paid}}",
        "31:52",
        "no column `stats`",
        "`status`",
    ),
    (
        "{of: orders, take: count}",
        "{of: orders, take: count, where: {status: [paid, off]}}",
        "31:67",
        "as YAML reads `off`",
        '`"off"`',
    ),
    ("    order_count:", "    age:", "31:5", "`age` is a column of the people already", "another name"),
    ("    order_count:", "    order__count:", "31:5", "two underscores", "single"),
    ("    orders:", "    my__orders:", "10:5", "two underscores", "single"),
    ("name: customers", "name: my__customers", "3:9", "two underscores", "single"),
]


@pytest.mark.parametrize("old, new, place, message, remedy", MODELS, ids=[f"{m[1]!r}" for m in MODELS])
def test_a_mistake_in_a_model_is_shown_where_it_stands(
    tmp_path: Path, old: str, new: str, place: str, message: str, remedy: str
) -> None:
    assert old in MODEL
    text = MODEL.replace(old, new, 1)
    columns = {**COLUMNS, "customers.my__orders": COLUMNS["customers.orders"]}
    if "my__customers" in new:  # all that is about it names it so
        columns = {part.replace("customers", "my__customers"): kinds for part, kinds in COLUMNS.items()}
    if "my__orders" in new:
        text = text.replace("of: orders", "of: my__orders")
    audience = AUDIENCE.replace("FILTER", SOUND)
    if "my__customers" in new:
        audience = audience.replace("model: customers", "model: my__customers")
    folder = project(tmp_path, customers=text, columns=columns, shoppers=audience)
    shown(check_project(folder, environ={}), folder / "customers" / "defs.yaml", place, message, remedy)


def test_every_operator_is_taken_where_it_fits(tmp_path: Path) -> None:
    conditions = [
        *("{property: country, not_equals: 'NO'}", "{property: age, equals: 5}", "{property: score, in: [1, 2.5]}"),
        *(
            "{property: ads_consent, equals: true}",
            "{property: born_on, equals: 2026-11-01}",
            "{property: tags, is_null: true}",
        ),
        *("{property: extra, is_null: false}", "{property: email, matches: 'x', ignore_case: true}"),
        *("{property: age, between: [1, 2]}", "{property: created_at, between: [2026-01-01, today]}"),
        *("{property: born_on, in_last: 2 weeks}", "{property: born_on, before: 18 years ago}"),
        *(
            "{property: seen_at, in_last: 6 hours}",
            "{property: created_at, on: yesterday}",
            "{property: age, in: [5.0]}",
        ),
        *(
            "{trait: lifetime_value, at_least: 5}",
            "{trait: last_ordered, in_last: 30 days}",
            "{trait: favourite, equals: x}",
        ),
        "{top: {percent: 100, by: last_ordered, among: {did: cart_adds}}}",
        "{did: cart_adds, where: {category: x, quantity: [1, 2]}, since: {first: cart_adds}, count: {at_least: 2}}",
        "{has_no: orders, within: {from: 90 days ago, to: 30 days ago}}",
        "{in_audience: carts}",
    ]
    folder = project(tmp_path, condition=f"any: [{', '.join(conditions)}]")
    assert format_problems(check_project(folder, environ={})) == ""


def filtered(name: str, condition: str) -> str:
    return f"type: audience_syncs.components.Audience\nattributes:\n  name: {name}\n  model: customers\n  filter: {condition}\n"


def test_a_cycle_between_audiences_is_shown_whole_and_once(tmp_path: Path) -> None:
    folder = project(
        tmp_path,
        a=filtered("a", "{all: [{property: age, at_least: 5}, {in_audience: b}]}"),
        b=filtered("b", "{top: {count: 5, by: age, among: {not_in_audience: c}}}"),
        c=filtered("c", "{any: [{in_audience: a}, {in_audience: carts}]}"),
        outside=filtered("outside", "{in_audience: a}"),
    )
    problems = check_project(folder, environ={})
    shown(problems, folder / "a" / "defs.yaml", "5:62", "`a` -> `b` -> `c` -> `a`", "take one of these conditions out")
    assert not {"a", "b", "c"} & set(load_project(folder, environ={}).audiences)


def test_audiences_that_share_another_are_no_cycle(tmp_path: Path) -> None:
    folder = project(
        tmp_path,
        a=filtered("a", "{all: [{in_audience: b}, {in_audience: c}]}"),
        b=filtered("b", "{in_audience: d}"),
        c=filtered("c", "{in_audience: d}"),
        d=filtered("d", "{did: cart_adds}"),
    )
    assert format_problems(check_project(folder, environ={})) == ""


def test_a_long_chain_of_audiences_is_followed_to_its_end(tmp_path: Path) -> None:
    files = {f"a{n}": filtered(f"a{n}", f"{{in_audience: a{n + 1}}}") for n in range(1200)}
    folder = project(tmp_path, **files, a1200=filtered("a1200", "{in_audience: a1100}"))
    (problem,) = check_project(folder, environ={})
    assert problem.message.startswith("a cycle: `a1100` -> `a1101`")


def test_another_audience_of_another_source_cannot_be_asked(tmp_path: Path) -> None:
    folder = project(
        tmp_path,
        condition="{in_audience: carts}",
        carts=SQL_AUDIENCE.replace("source: shop", "source: other"),
        campaigns="",
    )
    place = folder / "shoppers" / "defs.yaml"
    shown(check_project(folder, environ={}), place, "7:23", "in the source `other`", "of the same source")


def test_another_audience_with_another_kind_of_key_cannot_be_asked(tmp_path: Path) -> None:
    columns = {**COLUMNS, "carts": {"customer_id": "TEXT", "email": "TEXT"}}
    folder = project(tmp_path, condition="{in_audience: carts}", columns=columns)
    place = folder / "shoppers" / "defs.yaml"
    shown(check_project(folder, environ={}), place, "7:23", "another kind of key: text", "cast the key of `carts`")


def test_a_priority_list_names_audiences_that_are_there_of_one_source_and_once(tmp_path: Path) -> None:
    file = tmp_path / "campaigns" / "defs.yaml"
    unknown = check_project(project(tmp_path, campaigns=PRIORITY.replace("- carts", "- cart")), environ={})
    shown(unknown, file, "6:7", "no audience `cart`", "did you mean `carts`")
    other = SQL_AUDIENCE.replace("source: shop", "source: other")
    shown(check_project(project(tmp_path, carts=other), environ={}), file, "6:7", "source `other`", "each source")
    second = PRIORITY.replace("campaigns", "seconds").replace("shoppers", "outside")
    outside = filtered("outside", "{did: cart_adds}")
    twice = check_project(project(tmp_path, seconds=second, outside=outside), environ={})
    shown(twice, tmp_path / "seconds" / "defs.yaml", "6:7", "in the priority list `campaigns` too", "remove it")
    assert "campaigns/defs.yaml:6" in twice[0].message


EXCLUSIONS = """\
  exclude:
    - {name: no_consent, column: CONSENT, unless: [true]}
    - {name: suppressed, sql: SELECT email FROM shop.suppressed, match: email}
"""


def test_an_exclusion_needs_its_column_in_every_audience_that_is_sent_there(tmp_path: Path) -> None:
    destination = destination_yaml() + EXCLUSIONS
    file = tmp_path / "shoppers" / "defs.yaml"
    missing = check_project(project(tmp_path, meta_ads=destination.replace("CONSENT", "ads_consent")), environ={})
    shown(missing, file, "18:20", "needs a column `ads_consent`", "add `ads_consent` to the audience")
    never = check_project(project(tmp_path, meta_ads=destination.replace("CONSENT", "country")), environ={})
    shown(never, file, "18:20", "with a value it never has: it is text", "values of this kind")
    text = AUDIENCE.replace("FILTER", SOUND).replace("[user_id,", "[user_id, ads_consent,")
    sound = project(tmp_path, meta_ads=destination.replace("CONSENT", "ads_consent"), shoppers=text)
    assert format_problems(check_project(sound, environ={})) == ""


def test_two_exclusions_of_one_name_are_refused(tmp_path: Path) -> None:
    text = destination_yaml() + EXCLUSIONS.replace("CONSENT", "email").replace("true", "x").replace(
        "suppressed,", "no_consent,"
    )
    folder = project(tmp_path, meta_ads=text)
    line = text.splitlines().index("  exclude:") + 3
    file = folder / "meta_ads" / "defs.yaml"
    shown(check_project(folder, environ={}), file, f"{line}:14", "two exclusions called `no_consent`", "another name")


def test_columns_of_a_query_are_checked_where_they_are_recorded(tmp_path: Path) -> None:
    columns = {**COLUMNS, "carts": {"customer_id": "BIGINT", "e_mail": "TEXT"}}
    folder = project(tmp_path, columns=columns)
    file = folder / "carts" / "defs.yaml"
    shown(check_project(folder, environ={}), file, "14:16", "`carts` have no column `email`", "did you mean `e_mail`")
    folder = project(tmp_path, columns={**COLUMNS, "carts": {"customer": "BIGINT", "email": "TEXT"}})
    shown(check_project(folder, environ={}), file, "6:16", "`carts` have no column `customer_id`", "`customer`")


def test_a_conversion_of_an_audience_with_sql_is_no_event(tmp_path: Path) -> None:
    split = (
        "  split:\n    conversions: {bought: {event: cart_adds}}\n"
        "    groups: [{name: a, percent: 50, syncs: [meta_ads]}, {name: b, percent: 50}]\n"
    )
    folder = project(tmp_path, carts=SQL_AUDIENCE.replace("  syncs:\n", split + "  syncs:\n"))
    file = folder / "carts" / "defs.yaml"
    shown(check_project(folder, environ={}), file, "11:35", "an audience with `sql` has no events", "write `sql`")


def test_columns_that_are_not_recorded_are_one_problem_of_the_model(tmp_path: Path) -> None:
    file = tmp_path / "customers" / "defs.yaml"
    condition = "{property: nonsense, equals: x}"
    everything = check_project(project(tmp_path, condition=condition, columns={}), environ={})
    shown(everything, file, "5:10", "customers, customers.orders", "run `audience-syncs columns`")
    assert "customers.groups.through" in everything[0].message
    some = {part: columns for part, columns in COLUMNS.items() if not part.startswith("customers.groups.")}
    between = check_project(project(tmp_path, condition=condition, columns=some), environ={})
    shown(between, file, "20:16", "the columns of customers.groups.through are not recorded", "audience-syncs columns")


def test_whoever_is_about_to_record_columns_is_not_stopped_by_their_absence(tmp_path: Path) -> None:
    folder = project(tmp_path, condition="{property: new_column, equals: x}", columns={})
    loaded = load_project(folder, environ={}, with_columns=False)
    assert format_problems(loaded.problems) == ""
    assert list(loaded.models) == ["customers"]
    assert "shoppers" in loaded.audiences
    of_another_kind = project(
        tmp_path, customers=MODEL.replace("of: orders, take: sum", "of: order, take: sum"), columns={}
    )
    problems = load_project(of_another_kind, environ={}, with_columns=False).problems
    shown(problems, folder / "customers" / "defs.yaml", "29:26", "no related rows or events `order`", "`orders`")


def test_a_mistake_in_a_model_is_not_reported_again_by_its_audiences(tmp_path: Path) -> None:
    folder = project(
        tmp_path, customers=MODEL.replace("    orders:", "    bestellungen:").replace("of: orders", "of: bestellungen")
    )
    assert [problem.file.parent.name for problem in check_project(folder, environ={})] == ["customers"]
    broken = project(tmp_path, customers=MODEL + "  surprise: 1\n")
    assert [problem.message for problem in check_project(broken, environ={})] == ["unknown key `surprise`"]


def test_mistakes_of_a_filter_are_shown_beside_others_of_its_audience(tmp_path: Path) -> None:
    text = AUDIENCE.replace("FILTER", "{property: cuntry, equals: DE}").replace("percent: 90", "percent: 120")
    problems = check_project(project(tmp_path, shoppers=text), environ={})
    assert [problem.line for problem in problems] == [7, 15], format_problems(problems)


def test_an_audience_with_sql_has_no_models_name(tmp_path: Path) -> None:
    text = SQL_AUDIENCE.replace("name: carts", "name: customers").replace("customer_id", "user_id")
    folder = project(tmp_path, again=text, meta_ads=destination_yaml(), carts="", campaigns="")
    file = folder / "again" / "defs.yaml"
    shown(check_project(folder, environ={}), file, "3:9", "there is a model `customers`", "another name")


def test_a_partitioned_audience_is_told_that_its_models_now_is_not_used(tmp_path: Path) -> None:
    model = MODEL.replace("  primary_key:", "  now_sql: SELECT now FROM shop.clock\n  primary_key:")
    text = AUDIENCE.replace("FILTER", SOUND).replace("  filter:", "  partitions: daily\n  filter:")
    loaded = load_project(project(tmp_path, customers=model, shoppers=text), environ={})
    assert format_problems(loaded.problems) == ""
    shown(
        loaded.notes,
        tmp_path / "shoppers" / "defs.yaml",
        "5:3",
        "`now_sql` of `customers` is not used",
        "if that is meant",
    )


TEMPLATE = """\
type: audience_syncs.components.SyncTemplate
attributes:
  name: by_email
  destination: meta_ads
  mapping:
    EMAIL: emial
    COUNTRY: {column: land}
"""


def test_a_column_that_a_template_maps_and_members_have_not_is_shown_in_the_template(tmp_path: Path) -> None:
    text = AUDIENCE.replace("FILTER", SOUND)
    text = text[: text.index("  split:")] + "  syncs:\n    - templates: [by_email]\n"
    folder = project(tmp_path, by_email=TEMPLATE, shoppers=text, campaigns="")
    problems = check_project(folder, environ={})
    assert [(problem.file.parent.name, problem.line, problem.column) for problem in problems] == [
        ("by_email", 6, 12),
        ("by_email", 7, 23),
    ], format_problems(problems)
    assert "`shoppers` have no column `emial`" in problems[0].message
