"""What a mapping makes of a row: templates, objects, casts, defaults, lists, and nulls that empty a field."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from audience_syncs.destinations.contract import DestinationSpec, Empties, FieldSpec
from audience_syncs.engine.prepare import Prepared, Preparer, outgoing
from audience_syncs.identifiers import rule_version
from audience_syncs.model import row_templates
from audience_syncs.model.mapping import MappedField
from audience_syncs.model.row_templates import RowTemplate, TemplateFailed
from audience_syncs_tests.person_list import spec as list_spec
from audience_syncs_tests.sync_bench import Bench, email_hash, sync_config

SPEC = DestinationSpec(
    platform="braze",
    title="A platform",
    kind="python",
    fields=(
        FieldSpec("id", "generic.external_id", identifier=True),
        FieldSpec("email", "generic.email"),
        FieldSpec("phone", "generic.phone"),
        FieldSpec("address", "google.address", identifier=True, multiple=True, nested=True),
    ),
    open_fields=FieldSpec("", "generic.text", multiple=True, nested=True),
    credentials=(),
    settings={},
    required_settings=frozenset(),
    modes=list_spec().modes,
    removals=list_spec().removals,
    batch_size=10,
    concurrency=1,
    empties=Empties.ASKED,
)


def prepared(mapped: Any, row: Mapping[str, Any], field: str = "x") -> tuple[Preparer, Prepared]:
    columns = {"id": "7", **row}
    preparer = Preparer(sync_config(mapping={"id": "id", field: mapped}), SPEC, list(columns), "here")
    return preparer, preparer.prepare([columns[name] for name in preparer.columns])


def made(mapped: Any, field: str = "x", **row: Any) -> Any:
    """The field's value in the payload (``...`` where it is not there), or the code for which it was refused."""
    _, found = prepared(mapped, row, field)
    if found.lacks is not None:
        assert found.lacks.startswith(f"{field}:")
        return found.lacks
    return orjson.loads(found.payload).get(field, ...)


NAME = {"template": "{{ first }} {{ last|upper }}"}

CASES: list[tuple[Any, dict[str, Any], Any]] = [
    (NAME, {"first": "Zoë", "last": "Müller"}, "Zoë MÜLLER"),
    (NAME, {"first": None, "last": "Ng"}, "NG"),
    (NAME, {"first": "Zoë", "last": None}, "Zoë"),
    (NAME, {"first": None, "last": None}, ...),
    (NAME, {"first": "", "last": " \t"}, ...),
    (NAME, {"first": 7, "last": Decimal("1.50")}, "7 1.5"),
    (NAME, {"first": ["a"], "last": "b"}, "x:WRONG_TYPE"),
    (NAME, {"first": {"a": 1}, "last": "b"}, "x:WRONG_TYPE"),
    (NAME, {"first": b"a", "last": "b"}, "x:WRONG_TYPE"),
    (NAME, {"first": "x" * 70_000, "last": "b"}, "x:TOO_LONG"),
    (NAME, {"first": "\ud800", "last": "b"}, "x:NOT_TEXT"),
    (NAME, {"first": "{{ last }}", "last": "b"}, "{{ last }} B"),
    (NAME, {"first": Decimal("1E+999999"), "last": "b"}, "x:NOT_A_NUMBER"),
    (NAME, {"first": float("nan"), "last": "b"}, "x:NOT_A_NUMBER"),
    ({"template": "{{ a ~ '-' ~ b }}"}, {"a": True, "b": None}, "true-"),
    ({"template": "{{ d|date('%d.%m.%Y') }}"}, {"d": date(1980, 7, 31)}, "31.07.1980"),
    ({"template": "{{ d|date }}"}, {"d": "1980-07-31T10:00:00Z"}, "1980-07-31"),
    ({"template": "{{ d|date }}"}, {"d": "31/7/1980"}, "x:TEMPLATE_FAILED"),
    ({"template": "{{ d|date('%1000000000d') }}"}, {"d": date(1980, 7, 31)}, "x:TEMPLATE_FAILED"),
    ({"template": "{{ a|default('none') }}"}, {"a": " "}, "none"),
    ({"template": "{{ tags|join(' / ') }}"}, {"tags": ["a", None, 2]}, "a / 2"),
    ({"template": "{{ tags|first }}"}, {"tags": []}, ...),
    ({"template": "{{ price * 2 }}"}, {"price": Decimal("1.25")}, "2.5"),
    ({"template": "{{ price * 2 }}"}, {"price": None}, "x:WRONG_TYPE"),
    ({"template": "{{ price * 2 }}"}, {"price": "abc"}, "x:WRONG_TYPE"),
    ({"template": "{{ a + 1 }}"}, {"a": "abc"}, "x:TEMPLATE_FAILED"),
    ({"template": "{{ 1 / a }}"}, {"a": 0}, "x:TEMPLATE_FAILED"),
    ({"template": "{{ a|round(1000000000) }}"}, {"a": 1.5}, "1.5"),
    ({"template": "{% if a and a > 9 %}big{% else %}small{% endif %}"}, {"a": None}, "small"),
    ({"template": "{{ 'VIP' if 'vip' in tags else none }}"}, {"tags": ["vip"]}, "VIP"),
    ({"template": "{{ 'VIP' if 'vip' in tags else none }}"}, {"tags": ["new"]}, ...),
    ({"template": "{{ a }}", "default": "x"}, {"a": None}, "x"),
    ({"template": "{{ a }}", "split": ","}, {"a": "b, c"}, ["b", "c"]),
    ({"column": "a", "default": 0}, {"a": None}, "0"),
    ({"column": "a", "default": 0}, {"a": 5}, "5"),
    ({"column": "a", "default": "x"}, {"a": ""}, "x:EMPTY"),
    ({"column": "a", "default": False}, {"a": None}, "false"),
    ({"column": "a", "split": ","}, {"a": " b ,, ç, b"}, ["b", "ç"]),
    ({"column": "a", "split": ","}, {"a": "one"}, "one"),
    ({"column": "a", "split": ","}, {"a": ["b,c", "d"]}, ["b,c", "d"]),
    ({"column": "a", "split": ","}, {"a": None}, ...),
    ({"column": "a", "split": ","}, {"a": ",,"}, ...),
    ({"column": "a", "split": ";", "cast": "integer"}, {"a": "1;02"}, ["1", "2"]),
    ({"column": "a", "split": ";", "cast": "integer"}, {"a": "1;two"}, "x:NOT_AN_INTEGER"),
    ({"column": "a", "cast": "integer"}, {"a": " 042 "}, "42"),
    ({"column": "a", "cast": "integer"}, {"a": 12.0}, "12"),
    ({"column": "a", "cast": "integer"}, {"a": 12.5}, "x:NOT_AN_INTEGER"),
    ({"column": "a", "cast": "integer"}, {"a": True}, "1"),
    ({"column": "a", "cast": "integer"}, {"a": "١٢"}, "x:NOT_AN_INTEGER"),
    ({"column": "a", "cast": "integer"}, {"a": "1e99"}, "x:TOO_LONG"),
    ({"column": "a", "cast": "integer"}, {"a": ""}, "x:EMPTY"),
    ({"column": "a", "cast": "integer"}, {"a": None}, ...),
    ({"column": "a", "cast": "number"}, {"a": "1.50"}, "1.5"),
    ({"column": "a", "cast": "number"}, {"a": "NaN"}, "x:NOT_A_NUMBER"),
    ({"column": "a", "cast": "number"}, {"a": "1,5"}, "x:NOT_A_NUMBER"),
    ({"column": "a", "cast": "boolean"}, {"a": "Yes"}, "true"),
    ({"column": "a", "cast": "boolean"}, {"a": 0}, "false"),
    ({"column": "a", "cast": "boolean"}, {"a": "maybe"}, "x:NOT_A_BOOLEAN"),
    ({"column": "a", "cast": "date"}, {"a": datetime(2026, 7, 31, 23, 5, tzinfo=UTC)}, "2026-07-31"),
    ({"column": "a", "cast": "date"}, {"a": "2026-07-31 23:05:00"}, "2026-07-31"),
    ({"column": "a", "cast": "date"}, {"a": "31.07.2026"}, "x:NOT_A_DATE"),
    ({"column": "a", "cast": "date"}, {"a": 20260731}, "x:NOT_A_DATE"),
    ({"column": "a", "cast": "datetime"}, {"a": date(2026, 7, 31)}, "2026-07-31T00:00:00"),
    ({"column": "a", "cast": "datetime"}, {"a": "soon"}, "x:NOT_A_DATETIME"),
    ({"column": "a", "cast": "text"}, {"a": 12.0}, "12"),
    ({"column": "a", "cast": "integer", "default": "none"}, {"a": 4}, "4"),
    ({"column": "a", "cast": "text"}, {"a": {"b": 1}}, "x:WRONG_TYPE"),
    ({"object": {"city": "c", "n": "n"}}, {"c": " Köln ", "n": 3}, {"city": "Köln", "n": 3}),
    ({"object": {"city": "c", "n": "n"}}, {"c": "", "n": None}, ...),
    ({"object": {"v": "v"}}, {"v": Decimal("1.50")}, {"v": 1.5}),
    ({"object": {"v": "v"}}, {"v": Decimal("12345678901234567890.123")}, {"v": "12345678901234567890.123"}),
    ({"object": {"v": "v"}}, {"v": 2**70}, {"v": str(2**70)}),
    ({"object": {"v": "v"}}, {"v": float("inf")}, "x:NOT_A_NUMBER"),
    ({"object": {"v": "v"}}, {"v": "\ud800"}, "x:NOT_TEXT"),
    ({"object": {"v": "v"}}, {"v": b"x"}, "x:WRONG_TYPE"),
    ({"object": {"v": "v"}}, {"v": date(2026, 7, 31)}, {"v": "2026-07-31"}),
    ({"object": {"v": "v"}}, {"v": {"a": [1, None, True]}}, {"v": {"a": [1, None, True]}}),
    ({"object": {"v": {"constant": "de"}, "w": {"object": {"u": "v"}}}}, {"v": 1}, {"v": "de", "w": {"u": 1}}),
    ({"object": {"v": {"column": "v", "cast": "integer"}}}, {"v": "7"}, {"v": 7}),
    ({"object": {"v": {"column": "v", "cast": "integer"}, "w": "w"}}, {"v": "x", "w": 1}, "x:NOT_AN_INTEGER"),
    ({"object": {"v": {"column": "v", "split": ","}}}, {"v": "a,b"}, {"v": ["a", "b"]}),
    ({"object": {"v": {"template": "{{ v|title }}"}}}, {"v": "anna-lena"}, {"v": "Anna-Lena"}),
    ({"column": "a", "nulls": "clear"}, {"a": None}, None),
    ({"column": "a", "nulls": "clear"}, {"a": " "}, None),
    ({"column": "a", "nulls": "clear"}, {"a": []}, None),
    ({"column": "a", "nulls": "clear"}, {"a": ["", None]}, None),
    ({"column": "a", "nulls": "clear"}, {"a": {"b": 1}}, "x:WRONG_TYPE"),
    ({"column": "a", "nulls": "clear", "cast": "integer"}, {"a": "many"}, "x:NOT_AN_INTEGER"),
    ({"column": "a", "nulls": "clear"}, {"a": "v"}, "v"),
    ({"column": "a", "nulls": "skip"}, {"a": None}, ...),
    ({**NAME, "nulls": "clear"}, {"first": None, "last": ""}, None),
    ({"object": {"v": "v"}, "nulls": "clear"}, {"v": None}, None),
]


@pytest.mark.parametrize(("mapped", "row", "value"), CASES, ids=[f"{m} {r}"[:70] for m, r, _ in CASES])
def test_a_row_becomes_what_the_mapping_says_or_is_refused_for_that_field_alone(
    mapped: Any, row: dict[str, Any], value: Any
) -> None:
    assert made(mapped, **row) == value
    _, found = prepared(mapped, row)
    assert found.identifiers == ["id:7"], "the member goes on"


def test_a_rule_of_the_field_comes_after_all_that_the_mapping_does() -> None:
    assert made({"template": "{{ a }}@Example.com"}, "email", a="Zoe") == "zoe@example.com"
    assert made({"template": "{{ a }}"}, "email", a="nonsense") == "email:INVALID_EMAIL"
    made_of = {"template": "0{{ prefix }}{{ number }}", "region": "country"}
    assert made(made_of, "phone", prefix=151, number="23456789", country="DE") == "+4915123456789"


def test_an_identifier_may_be_an_object_that_its_rule_understands() -> None:
    parts = {"first_name": "f", "last_name": "l", "country": "c", "zip": {"column": "z", "cast": "text"}}
    mapping = {"address": {"object": parts}}
    preparer = Preparer(sync_config(mapping=mapping), SPEC, ["f", "l", "c", "z"], "here")
    found = preparer.prepare(("Zoë", "Ng", "de", 50667))
    assert found.identifiers == [f"address:{email_hash('zoë')} {email_hash('ng')} DE 50667"]
    assert "has no last_name" in preparer.prepare(("Zoë", None, "de", 50667)).reason


def test_what_is_refused_is_counted_with_its_reason_and_quotes_nobody() -> None:
    preparer = Preparer(sync_config(mapping={"id": "id", "x": {"template": "{{ a + 1 }}"}}), SPEC, ["id", "a"], "here")
    for value in ("Zoë", "Søren", 3):
        preparer.prepare(("7", value))
    [dropped] = preparer.dropped
    assert (dropped.reason_code, dropped.members) == ("x:TEMPLATE_FAILED", 2)
    assert "Zoë" not in dropped.reason


def test_what_is_emptied_is_not_counted_as_left_out() -> None:
    preparer, found = prepared({"column": "a", "nulls": "clear"}, {"a": ""})
    assert (preparer.dropped, found.lacks) == ((), None)


def test_a_value_that_becomes_null_changes_what_is_sent_only_where_it_empties() -> None:
    def digests(**options: Any) -> set[str]:
        return {prepared({"column": "a", **options}, {"a": value})[1].digest for value in ("v", None)}

    assert len(digests(nulls="clear")) == 2
    assert prepared({"column": "a", "nulls": "clear"}, {"a": None})[1].digest != (
        prepared({"column": "a"}, {"a": None})[1].digest
    ), "clearing is not the same as leaving out"


def test_a_payload_is_read_back_as_fields_objects_and_what_is_emptied() -> None:
    mapping = {"id": "id", "a": {"object": {"v": "a"}}, "b": {"column": "b", "nulls": "clear"}, "c": "c"}
    preparer = Preparer(sync_config(mapping=mapping), SPEC, ["id", "a", "b", "c"], "here")
    member = outgoing(preparer.prepare(("7", 1, None, ["x", "y"])).payload, None, new=True)
    assert member.fields == {"id": "7", "c": ["x", "y"]}
    assert (member.objects, member.clears, member.new) == ({"a": {"v": 1}}, ("b",), True)
    assert member.everything == {"id": "7", "c": ["x", "y"], "a": {"v": 1}, "b": None}


def test_mappings_of_today_keep_their_fingerprints() -> None:
    """An option that nobody uses is no part of it: else every member of every sync would be looked at again."""
    mapping: dict[str, Any] = {
        "EMAIL": "email",
        "PHONE": {"column": "phone", "region": "country", "default_region": "DE"},
        "FN": {"constant": "Zoë"},
    }
    before = {
        "EMAIL": {"column": "email", "constant": None, "region": None, "default_region": None},
        "PHONE": {"column": "phone", "constant": None, "region": "country", "default_region": "DE"},
        "FN": {"column": None, "constant": "Zoë", "region": None, "default_region": None},
    }
    rules = rule_version(["meta.email", "meta.first_name", "meta.phone"])
    expected = hashlib.sha256(json.dumps([before, rules, "lacks"], sort_keys=True).encode()).hexdigest()

    def salt(**changes: Any) -> str:
        config = sync_config(mapping=mapping | changes)
        return Preparer(config, list_spec(), ["email", "phone", "country"], "here").salt

    assert salt() == expected
    variants = [{"cast": "text"}, {"split": ","}, {"default": "x"}, {"nulls": "clear"}, {"hashed": True}]
    salts = {salt(EMAIL={"column": "email", **each}) for each in variants}
    salts |= {salt(EMAIL={"template": text}) for text in ("{{ email }}", "{{ email|lower }}")}
    assert len(salts | {expected}) == 8


# Templates that must not do anything else ---------------------------------------------------------------------------

REFUSED = [
    ("{{ x.__class__ }}", "an attribute"),
    ("{{ x.__class__.__mro__[1].__subclasses__() }}", "a call"),
    ("{{ x['__class__'] }}", "a place within a value"),
    ("{{ x|attr('__class__') }}", "the filter `attr`"),
    ("{{ ''.join(x) }}", "a call"),
    ("{{ x.format(x) }}", "a call"),
    ("{{ env.SHOP_URL }}", "an attribute"),
    ("{{ env('SHOP_URL') }}", "a call"),
    ("{{ self._TemplateReference__context }}", "an attribute"),
    ("{{ range(10**9)|list }}", "the filter `list`"),
    ("{% for i in range(10**9) %}{{ i }}{% endfor %}", "for"),
    ("{% for i in x recursive %}{{ loop(i) }}{% endfor %}", "for"),
    ("{% set a = x %}{{ a }}", "set"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "macro"),
    ("{% include 'secrets' %}", "include"),
    ("{% import 'os' as os %}", "import"),
    ("{% extends x %}", "extends"),
    ("{% block x %}{% endblock %}", "block"),
    ("{% filter upper %}x{% endfilter %}", "filterblock"),
    ("{{ 2 ** 999999999 }}", "**"),
    ("{{ '%999999999d' % 1 }}", "%"),
    ("{{ {'a': x} }}", "an object"),
    ("{{ x is callable }}", "the test `callable`"),
    ("{{ x|upper( }}", "cannot be read"),
    ("{{ }}", "cannot be read"),
    ("{{ x", "cannot be read"),
    ("{% if x %}", "cannot be read"),
    ("{{ " + "(" * 900 + "x" + ")" * 900 + " }}", "too deeply"),
    ("{{ x" + " + x" * 450 + " }}", "too deeply"),
    ("{% if x %}" * 105 + "{% endif %}" * 84, "cannot be read"),
    ("x" * 2_001, "at most 2000 characters"),
]


@pytest.mark.parametrize(("template", "words"), REFUSED, ids=[template[:40] for template, _ in REFUSED])
def test_a_template_that_is_more_than_text_of_columns_is_refused(template: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MappedField(template=template)
    assert words in str(refused.value)


HOSTILE: list[tuple[str, Any]] = [
    ("{{ 'a' * 1000000000 }}", ""),
    ("{{ x * 1000000000 }}", "a" * 60_000),
    ("{{ [x] * 1000000000 }}", "a"),
    ("{{ x|replace('', x) }}", "a" * 60_000),
    ("{{ x|replace('a', x)|replace('a', x)|replace('a', x) }}", "a" * 200),
    ("{{ x" + " ~ x" * 300 + " }}", "a" * 65_536),
    ("{{ x|join(x) }}", ["a" * 60_000] * 1_000),
    ("{{ x" + "|replace('a', 'aa')" * 80 + " }}", "a"),
    ("{{ 999999999999999999999999999999 * 999999999999999999999999999999 * 9999 }}", ""),
    ("{{ x|int }}", "1e999999999"),
    ("{{ x|round(2) }}", Decimal("1e999999999")),
    ("{{ x|date('%Y' * 1000) }}", date(2026, 1, 1)),
]


@pytest.mark.parametrize(("template", "value"), HOSTILE, ids=[template[:40] for template, _ in HOSTILE])
def test_whatever_a_row_holds_a_template_is_done_soon_and_small(template: str, value: Any) -> None:
    began = time.process_time()
    with pytest.raises(TemplateFailed):
        RowTemplate(template)(dict.fromkeys(RowTemplate(template).columns, value))
    assert time.process_time() - began < 2


def test_a_template_tells_which_columns_it_takes() -> None:
    mapped = MappedField.model_validate(
        {
            "object": {
                "a": {"template": "{% if x %}{{ y|default(z) }}{% endif %}"},
                "b": "x",
                "c": {"object": {"d": "w"}},
            }
        }
    )
    assert mapped.columns == ("x", "y", "z", "w")
    assert row_templates.columns_of("no column") == ()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "exactly one of"),
    ({"column": "a", "template": "{{ a }}"}, "exactly one of"),
    ({"object": {}}, "at least 1 item"),
    ({"constant": 1, "default": 2}, "`default` is for columns and templates"),
    ({"object": {"a": "a"}, "cast": "text"}, "`cast` is for columns and templates"),
    ({"constant": 1, "nulls": "clear"}, "never null"),
    ({"column": "a", "default": 1, "nulls": "clear"}, "never null"),
    ({"object": {"a": {"column": "a", "nulls": "clear"}}}, "`nulls` is for whole fields, not for `a`"),
    ({"column": "a", "cast": "float"}, "'text', 'integer'"),
    ({"column": "a", "split": ""}, "at least 1 character"),
]


@pytest.mark.parametrize(("mapped", "words"), WRONG, ids=[str(mapped)[:50] for mapped, _ in WRONG])
def test_what_makes_no_sense_is_refused(mapped: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MappedField.model_validate(mapped)
    assert words in str(refused.value)


# Through the engine -------------------------------------------------------------------------------------------------


def test_a_value_that_becomes_null_is_delivered_as_one_and_only_once(bench: Bench) -> None:
    bench.list.spec = replace(bench.list.spec, empties=Empties.ASKED)
    bench.sync = sync_config(mapping={"EMAIL": "email", "FN": {"column": "first_name", "nulls": "clear"}})
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    bench.run()
    seen: list[list[tuple[str, ...]]] = []
    add = bench.list.add
    bench.list.add = lambda list_id, batch: (  # type: ignore[method-assign]
        seen.append([member.clears for member in batch.members]) or add(list_id, batch)
    )
    bench.execute("UPDATE people SET first_name = NULL WHERE id = '1'")
    report = bench.run()
    assert (report.updated, seen) == (1, [[("FN",)]])
    bench.run()
    assert len(seen) == 1, "nothing changed since"
    bench.execute("UPDATE people SET first_name = 'Ann' WHERE id = '1'")
    bench.run()
    assert seen[1:] == [[()]]


def test_a_row_that_a_template_fails_for_stops_nobody(bench: Bench) -> None:
    bench.sql = "SELECT id, email, phone, first_name, CASE id WHEN '1' THEN 0 ELSE 2 END AS n FROM people"
    bench.sync = sync_config(mapping={"EMAIL": "email", "FN": {"template": "{{ first_name }}{{ 'x' if 4 / n > 1 }}"}})
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    report = bench.run()
    assert report.accepted == 2
    assert bench.list.emails() == {email_hash("a@example.com"), email_hash("b@example.com")}
    assert [(each.reason_code, each.members) for each in report.dropped_values] == [("FN:TEMPLATE_FAILED", 1)]


def test_a_column_that_only_a_template_needs_must_be_there(bench: Bench) -> None:
    bench.sync = sync_config(mapping={"EMAIL": "email", "FN": {"template": "{{ nickname }}"}})
    bench.people(("1", "a@example.com"))
    with pytest.raises(Exception, match="no column 'nickname'"):
        bench.run()
