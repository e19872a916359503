"""Mappings against what is known of columns and fields: every mistake at its place when definitions load; suggestions by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.components.loading import load_definitions
from audience_syncs.destinations.contract import Empties
from audience_syncs.destinations.mapping_checks import takes
from audience_syncs.destinations.registry import PLATFORMS, check_sync, spec_of
from audience_syncs.destinations.suggestions import as_yaml, suggest_mapping
from audience_syncs.engine.prepare import Preparer
from audience_syncs.model import row_templates
from audience_syncs.model.config import DestinationConfig, SyncConfig
from audience_syncs.model.kinds import Kind
from audience_syncs.model.mapping import Cast
from audience_syncs.model.schema import ModelConfig, Schema
from audience_syncs.project import check_project, format_problems, load_project
from audience_syncs.project.mapping import kinds_of
from audience_syncs.project.problems import Problem
from audience_syncs.project.schemas import file_schema
from audience_syncs_tests.test_project import destination_yaml, sound

COLUMNS = {
    "id": "BIGINT",
    "email": "TEXT",
    "phone": "BIGINT",
    "is_vip": "BOOLEAN",
    "orders": "INTEGER",
    "spent": "NUMERIC(10, 2)",
    "born": "DATE",
    "seen_at": "TIMESTAMP WITH TIME ZONE",
    "tags": "TEXT[]",
    "prefs": "JSONB",
    "mood": "MOOD",
}

AUDIENCE = """\
type: audience_syncs.components.Audience
attributes:
  name: carts
  source: shop
  primary_key: id
  sql: SELECT * FROM people
  syncs:
    - destination: DESTINATION
      mapping:
        FIELD: MAPPED
        KEY: id
"""
KEYS = {"braze": "external_id", "meta_ads": "EXTERN_ID"}


def problems(
    folder: Path, destination: str, field: str, mapped: str, columns: dict[str, str] | None = None
) -> list[Problem]:
    text = AUDIENCE.replace("DESTINATION", destination).replace("FIELD", field).replace("MAPPED", mapped)
    sound(folder, carts=text.replace("KEY", KEYS[destination]), braze=BRAZE)
    (folder / "carts" / "columns.json").write_text(json.dumps({"carts": COLUMNS if columns is None else columns}))
    return check_project(folder, environ={})


BRAZE = yaml.safe_dump(
    {
        "type": "audience_syncs.components.Destination",
        "attributes": {
            "name": "braze",
            "platform": "braze",
            "credentials": {"api_key": {"env": "BRAZE_KEY"}},
            "settings": {"instance": "EU-01"},
        },
    }
)

# destination, field, what is mapped, where the mistake is shown, words of the message, words of the remedy
MISTAKES = [
    ("braze", "email", "is_vip", "10:9", "`is_vip` holds true or false, and `email` takes text", "another column"),
    ("braze", "email", "born", "10:9", "holds dates", "another column"),
    ("braze", "email", "orders", "10:9", "holds whole numbers", "another column"),
    ("braze", "phone", "seen_at", "10:9", "holds times, and `phone` takes text, whole numbers or numbers", ""),
    ("braze", "gender", "is_vip", "10:9", "`gender` takes text", ""),
    ("braze", "dob", "spent", "10:9", "`dob` takes text, whole numbers, dates or times", ""),
    ("meta_ads", "EMAIL", "{column: born, cast: datetime}", "10:9", "`cast: datetime` gives times", ""),
    ("meta_ads", "DOBY", "is_vip", "10:9", "true or false", ""),
    ("meta_ads", "FN", "tags", "10:9", "`tags` holds several values, and `FN` takes one", "{{ tags|join }}"),
    (
        "meta_ads",
        "FN",
        "{column: email, split: ','}",
        "10:36",
        "`split` makes several values, and `FN` takes one",
        "remove",
    ),
    ("meta_ads", "FN", "{column: email, nulls: clear}", "10:36", "no way to empty a field", "remove `nulls`"),
    ("braze", "email", "{column: email, nulls: clear}", "10:39", "never emptied", "remove `nulls`"),
    ("meta_ads", "FN", "{object: {a: email}}", "10:22", "takes no object", "a field of its own"),
    ("braze", "first_name", "{object: {a: email}}", "10:30", "takes no object", "its custom fields"),
    ("braze", "home", "{object: {a: emial}}", "10:28", "no column `emial`", "did you mean `email`"),
    ("braze", "home", "{template: '{{ emial }}'}", "10:26", "no column `emial`", "did you mean `email`"),
    ("braze", "home", "{template: '{{ email|shout }}'}", "10:26", "the filter `shout`", "`upper`"),
    ("braze", "home", "{template: '{{ email'}", "10:26", "cannot be read", "{{ first_name }}"),
    ("braze", "home", "{template: '{{ env.SHOP }}'}", "10:26", "holds `an attribute`", "columns, filters"),
    ("braze", "home", "{object: {a: {template: '{% set a = 1 %}'}}}", "10:39", "holds `set`", "columns, filters"),
    ("braze", "home", "{object: {a: {colum: email}}}", "10:29", "unknown key `colum`", "did you mean `column`"),
    ("braze", "home", "{column: email, cast: floot}", "10:37", "`floot` is none of its words", "integer"),
    ("braze", "country", "{constant: Germany}", "10:29", "two letters", "ISO 3166"),
    ("braze", "country", "{column: email, default: Germany}", "10:43", "two letters", "ISO 3166"),
    ("meta_ads", "EMAIL", "{column: email, default: a@b.de}", "10:41", "make all members the same one", "left out"),
    ("meta_ads", "EMAIL", "{template: 'a@example.com'}", "10:27", "the same for all members", "column"),
]


@pytest.mark.parametrize(
    ("destination", "field", "mapped", "place", "message", "remedy"),
    MISTAKES,
    ids=[f"{m[1]}: {m[2]}" for m in MISTAKES],
)
def test_a_mistake_in_a_mapping_is_shown_where_it_stands(
    tmp_path: Path, destination: str, field: str, mapped: str, place: str, message: str, remedy: str
) -> None:
    found = problems(tmp_path, destination, field, mapped)
    [problem] = found
    assert (f"{problem.line}:{problem.column}", message in problem.message) == (place, True), format_problems(found)
    assert remedy in problem.remedy


FINE = [
    ("braze", "email", "{column: is_vip, cast: text}"),
    ("braze", "email", "{template: '{{ orders }}@example.com'}"),
    ("braze", "phone", "phone"),
    ("braze", "phone", "mood"),
    ("braze", "email", "prefs"),
    ("braze", "vip", "is_vip"),
    ("braze", "likes", "tags"),
    ("braze", "likes", "{column: email, split: ','}"),
    ("braze", "home", "{object: {a: prefs, b: {object: {c: tags}}}}"),
    ("braze", "home", "{template: '{{ email }}', nulls: clear}"),
    ("braze", "template", "email"),
    ("braze", "object", "{template: '{{ email }}'}"),
    ("braze", "dob", "born"),
    ("meta_ads", "EMAIL", "tags"),
    ("meta_ads", "FN", "{template: '{{ tags|join }}'}"),
]


@pytest.mark.parametrize(("destination", "field", "mapped"), FINE, ids=[f"{f}: {m}" for _, f, m in FINE])
def test_what_may_be_right_is_not_refused(tmp_path: Path, destination: str, field: str, mapped: str) -> None:
    found = problems(tmp_path, destination, field, mapped)
    assert found == [], format_problems(found)


def test_nothing_is_said_of_columns_that_are_not_recorded(tmp_path: Path) -> None:
    assert problems(tmp_path, "braze", "email", "is_vip", columns={}) == []
    assert problems(tmp_path, "braze", "home", "{template: '{{ anything }}'}", columns={}) == []


def test_a_template_of_a_row_is_not_rendered_from_the_environment_and_all_others_are(tmp_path: Path) -> None:
    text = AUDIENCE.replace("DESTINATION", "braze").replace("FIELD", "template").replace("KEY", "external_id")
    mapped = "{object: {template: \"{{ env('COLUMN') }}\", b: {template: '{{ email }}'}}}"
    sound(tmp_path, carts=text.replace("MAPPED", mapped), braze=BRAZE)
    project = load_project(tmp_path, environ={"COLUMN": "born"})
    assert project.problems == []
    parts = project.audiences["carts"].syncs[0].mapping["template"].object
    assert parts is not None
    assert (parts["template"].column, parts["b"].template) == ("born", "{{ email }}")


def test_kinds_of_an_audience_with_a_model_are_the_models_and_its_traits() -> None:
    model = ModelConfig.model_validate(
        {
            "name": "people",
            "source": "shop",
            "table": "shop.people",
            "primary_key": "id",
            "related": {"orders": {"table": "shop.orders", "join": {"id": "person"}, "timestamp": "at"}},
            "traits": {
                "order_count": {"of": "orders", "take": "count"},
                "spent": {"of": "orders", "take": "sum", "column": "cents"},
                "last_order": {"of": "orders", "take": "last", "column": "at"},
                "first_shop": {"of": "orders", "take": "first", "column": "gone"},
            },
        }
    )
    recorded = {"people": {"id": "BIGINT", "email": "TEXT"}, "people.orders": {"cents": "INTEGER", "at": "DATE"}}
    schema = Schema({"people": model}, recorded)
    assert kinds_of(schema, audience="vips", model="people") == {
        "id": Kind.INTEGER,
        "email": Kind.TEXT,
        "order_count": Kind.INTEGER,
        "spent": Kind.NUMBER,
        "last_order": Kind.DATE,
        "first_shop": Kind.OTHER,
    }
    assert set(kinds_of(schema, audience="vips", model="people", columns=["spent"])) == {"id", "spent"}
    assert kinds_of(Schema({"people": model}), audience="vips", model="people") == {}
    assert kinds_of(Schema({}, {"vips": {"a": "DATE"}}), audience="vips", model=None) == {"a": Kind.DATE}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_field_takes_text(platform: str) -> None:
    for field in spec_of(platform).fields:
        assert Kind.TEXT in takes(field), field.name


# Suggestions --------------------------------------------------------------------------------------------------------

SHOP: dict[str, Kind | None] = {
    "customer_id": Kind.INTEGER,
    "E-Mail": Kind.TEXT,
    "mobile": Kind.TEXT,
    "first name": Kind.TEXT,
    "Surname": Kind.TEXT,
    "PLZ": Kind.TEXT,
    "country_code": Kind.TEXT,
    "birthday": Kind.DATE,
    "is_vip": Kind.BOOLEAN,
}

SUGGESTED: list[tuple[str, dict[str, Any]]] = [
    (
        "meta",
        {
            "EXTERN_ID": "customer_id",
            "EMAIL": "E-Mail",
            "PHONE": {"column": "mobile", "region": "country_code"},
            "FN": "first name",
            "LN": "Surname",
            "ZIP": "PLZ",
            "COUNTRY": "country_code",
        },
    ),
    (
        "hubspot",
        {
            "email": "E-Mail",
            "firstname": "first name",
            "lastname": "Surname",
            "phone": {"column": "mobile", "region": "country_code"},
            "country": "country_code",
            "zip": "PLZ",
        },
    ),
    (
        "mailchimp",
        {
            "email": "E-Mail",
            "FNAME": "first name",
            "LNAME": "Surname",
            "PHONE": {"column": "mobile", "region": "country_code"},
            "BIRTHDAY": "birthday",
        },
    ),
    ("linkedin", {"EMAIL": "E-Mail", "FIRST_NAME": "first name", "LAST_NAME": "Surname", "COUNTRY": "country_code"}),
]


@pytest.mark.parametrize(("platform", "expected"), SUGGESTED, ids=[platform for platform, _ in SUGGESTED])
def test_columns_are_suggested_for_fields_by_their_names(platform: str, expected: dict[str, Any]) -> None:
    found = as_yaml(suggest_mapping(spec_of(platform), SHOP, "customer_id"))
    shown = {name.upper(): value for name, value in found.items()} if platform == "linkedin" else found
    assert shown == expected


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_is_suggested_passes_the_check(platform: str) -> None:
    spec = spec_of(platform)
    mapping = as_yaml(suggest_mapping(spec, SHOP, "customer_id"))
    kinds = {name: kind for name, kind in SHOP.items() if kind is not None}
    sync = SyncConfig.model_validate({"destination": "x", "mapping": mapping})
    found = check_sync(DestinationConfig(name="x", platform=platform), sync, kinds)
    assert [problem for problem in found if problem.path[0] == "mapping"] == []
    assert mapping, "something is always there for an email or an id"


def test_a_column_of_a_kind_that_a_field_does_not_take_is_passed_over() -> None:
    columns = {"email": Kind.BOOLEAN, "mail": Kind.TEXT, "phone": Kind.ARRAY, "mobile": None}
    found = as_yaml(suggest_mapping(spec_of("hubspot"), columns))
    assert found == {"email": "mail", "phone": "mobile"}


def test_the_key_is_the_own_id_of_the_person_whatever_it_is_called() -> None:
    columns: dict[str, Kind | None] = {"hash_key": None, "id": None, "customer_id": None}
    assert as_yaml(suggest_mapping(spec_of("braze"), columns, "hash_key")) == {"external_id": "hash_key"}
    assert as_yaml(suggest_mapping(spec_of("webhook"), columns, "hash_key")) == {"id": "id"}


def test_suggest_prints_yaml_to_paste_and_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        AUDIENCE.replace("DESTINATION", "meta_ads").replace("FIELD: MAPPED", "EMAIL: email").replace("KEY", "EXTERN_ID")
    )
    sound(tmp_path, carts=text, hub=destination_yaml("hub", "hubspot"))
    monkeypatch.setenv("AUDIENCE_SYNCS_DEFS", str(tmp_path))
    refused = CliRunner().invoke(app, ["suggest", "carts", "hub"])
    assert "audience-syncs columns" in str(refused.exception)
    (tmp_path / "carts" / "columns.json").write_text(json.dumps({"carts": COLUMNS}))
    shown = CliRunner().invoke(app, ["suggest", "carts", "hub"], catch_exceptions=False).output
    assert yaml.safe_load(shown) == {"mapping": {"email": "email", "phone": "phone"}}
    assert "# Columns that go nowhere yet: id, is_vip, orders" in shown
    wrong = CliRunner().invoke(app, ["suggest", "crats", "hub"])
    assert "did you mean `carts`" in str(wrong.exception)


# The page -----------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).absolute().parent.parent / "docs" / "mapping.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=[str(number) for number in range(len(EXAMPLES))])
def test_the_examples_of_the_page_give_what_it_says(example: str, tmp_path: Path) -> None:
    [row] = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    member = json.loads(row)
    expected = {line.partition(":")[0]: json.loads(line.partition("# -> ")[2]) for line in example.splitlines()}
    sync = SyncConfig.model_validate({"destination": "braze", "mapping": yaml.safe_load(example)})
    config = DestinationConfig(name="braze", platform="braze", settings={"instance": "EU-01"})
    assert check_sync(config, sync) == []
    preparer = Preparer(sync, spec_of("braze"), list(member), "the page")
    found = preparer.prepare([member[name] for name in preparer.columns])
    assert json.loads(found.payload) == expected
    indented = "\n".join(f"        {line}" for line in example.splitlines())
    text = AUDIENCE.replace("DESTINATION", "braze").replace("        FIELD: MAPPED\n        KEY: id", indented)
    sound(tmp_path, carts=text, braze=BRAZE)
    assert check_project(tmp_path, environ={}) == [], "it loads as it stands"


def test_the_page_names_all_filters_tests_and_casts_and_who_empties_fields() -> None:
    for word in (*row_templates._FILTERS, *row_templates._TESTS, *Cast):
        assert f"`{word}`" in PAGE, word
    for name in PLATFORMS:
        spec = spec_of(name)
        if spec.empties is Empties.ASKED:
            assert spec.title in PAGE, name


def test_dagster_and_the_editors_schema_take_the_same_mappings(tmp_path: Path) -> None:
    mapped = "{object: {a: {template: '{{ email|upper }}', default: x}, b: born}, nulls: clear}"
    assert problems(tmp_path, "braze", "home", mapped) == []
    definitions = load_definitions(tmp_path)
    [sync] = [spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[0] == "syncs"]
    assert "`home` from an object of `email`, `born`" in str(sync.description)
    document = yaml.safe_load((tmp_path / "carts" / "defs.yaml").read_text())
    jsonschema.validate(document, file_schema("Audience"))
