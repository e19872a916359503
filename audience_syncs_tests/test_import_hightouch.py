"""What Hightouch's Git Sync exported becomes definitions; what cannot is listed with its line, and nothing is passed over.

``data/hightouch/shop`` has the shapes of public exports (see ``imports/hightouch/__init__.py``), with made-up names;
``hostile`` has what exports should not have, and will.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.destinations.platforms import PLATFORMS
from audience_syncs.destinations.registry import spec_of
from audience_syncs.imports.hightouch import import_hightouch
from audience_syncs.imports.hightouch.platforms import FIELDS, SETTINGS, field_of, platform_of
from audience_syncs.imports.yaml_text import definition_text
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import DefinitionError
from audience_syncs.project import load_project

DATA = Path(__file__).parent / "data" / "hightouch"
TERMS = "accept_customer_match_terms"


@pytest.fixture
def defs(tmp_path: Path) -> Path:
    return tmp_path / "defs"


def export(folder: Path, *, models: dict[str, Any] | None = None, syncs: dict[str, Any] | None = None) -> Path:
    """An export with these, in a folder."""
    found = {"models": models if models is not None else {"people": MODEL}, "syncs": syncs or {}}
    for name, resources in found.items():
        (folder / name).mkdir(parents=True)
        for slug, value in resources.items():
            (folder / name / f"{slug}.yaml").write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    return folder


MODEL = {"source": "wh", "primaryKey": "id", "type": "raw_sql", "sql": "SELECT id, email FROM a"}


def a_sync(**config: Any) -> dict[str, Any]:
    mappings = [{"to": "email", "from": "email", "type": "standard"}]
    return {"model": "people", "destination": "facebook", "config": {"mode": "mirror", "mappings": mappings, **config}}


# The export of a shop ------------------------------------------------------------------------------------------------


def test_an_export_becomes_definitions_that_pass_the_check_but_for_what_a_person_must_say(defs: Path) -> None:
    found = import_hightouch(DATA / "shop", defs)
    assert (found.syncs, found.of, found.audiences) == (5, 6, 3)
    assert sorted(found.files) == sorted(defs.rglob("*.yaml"))
    # Nobody accepts Google's terms for somebody else.
    (problem,) = found.problems
    assert TERMS in problem.path
    file = problem.file
    assert "To be decided by you: accept_customer_match_terms" in file.read_text()
    file.write_text(file.read_text() + f"    {TERMS}: true\n")
    assert load_project(defs, {}).problems == []


def test_models_and_syncs_say_here_what_they_said_there(defs: Path) -> None:
    found = import_hightouch(DATA / "shop", defs)
    google = found.problems[0].file
    google.write_text(google.read_text() + f"    {TERMS}: true\n")
    project = load_project(defs, {})
    people = project.audiences["high_value_customers"]
    assert (people.title, people.source, people.primary_key) == (
        "High-value customers",
        "acme_warehouse",
        "CUSTOMER_NUMBER",
    )
    assert people.sql == (
        "SELECT customer_number, email, phone, first_name\n"
        "FROM analytics.customers\n-- paid orders only\nWHERE revenue_365d >= 500"
    )
    meta, google_ads, crm = (people.sync(key) for key in ("facebook_ads", "google_ads", "crm"))
    assert {name: field.column for name, field in meta.mapping.items()} == {
        "EMAIL": "EMAIL",
        "PHONE": "PHONE",
        "FN": "FIRST_NAME",
    }
    assert (meta.list.name, meta.mode, meta.frequency) == ("High-value customers", Mode.MIRROR, "every 6 hours")
    assert meta.description == "Seed for lookalikes"
    assert {name: field.column for name, field in google_ads.mapping.items()} == {"email": "EMAIL", "phone": "PHONE"}
    assert google_ads.frequency == "every 1 day"
    assert (crm.mode, crm.frequency) == (Mode.UPSERT, "manual")
    assert crm.mapping["email"].column == "EMAIL"
    assert crm.mapping["phone"].column == "PHONE"
    assert crm.mapping["lifecyclestage"].constant == "customer"
    assert "full_name" not in crm.mapping
    newsletter = project.audiences["newsletter"]
    assert newsletter.sql == "SELECT * FROM marketing.newsletter_subscribers"
    klaviyo, braze = newsletter.sync("marketing_email"), newsletter.sync("lifecycle")
    assert (klaviyo.list.id, klaviyo.paused, klaviyo.frequency) == ("XyZ123", True, "cron 30 5 * * 1-5 (UTC)")
    assert klaviyo.description == "Newsletter list"
    assert (braze.mode, braze.frequency) == (Mode.UPDATE, "mon, fri at 08:30 (UTC)")
    assert project.destinations["facebook_ads"].settings["ad_account_id"] == "120330001"
    assert project.destinations["google_ads"].settings["customer_id"] == "987-654-3210"
    assert project.destinations["google_ads"].settings["consent"] == {
        "ad_user_data": "granted",
        "ad_personalization": "granted",
    }
    assert project.destinations["crm"].credentials["access_token"].env == "CRM_ACCESS_TOKEN"


def test_what_is_not_taken_over_is_listed_with_file_line_and_reason_and_in_the_yaml(defs: Path) -> None:
    found = import_hightouch(DATA / "shop", defs)
    listed = {(f"{note.file.parent.name}/{note.file.name}", note.line, note.path): note.reason for note in found.notes}
    assert "Liquid" in listed[("syncs/high-value-to-hubspot.yaml", 14, "config.mappings[2]")]
    assert "requests_per_s" in listed[("syncs/high-value-to-hubspot.yaml", 28, "config.rateLimit")]
    assert "no field" in listed[("syncs/high-value-to-google.yaml", 12, "config.mappings[2]")]
    assert "schema is not told" in listed[("models/hubspot-subscriptions.yaml", 2, "modelId")]
    assert "no contacts" in listed[("syncs/subscriptions-to-hubspot.yaml", 1, "")]
    written = (defs / "audiences" / "high_value_customers" / "defs.yaml").read_text()
    assert "# - syncs/high-value-to-hubspot.yaml:14: config.mappings[2]: a Liquid template" in written


# What exports should not have ----------------------------------------------------------------------------------------


def test_a_hostile_export_is_imported_as_far_as_it_goes_and_passes_the_check(defs: Path) -> None:
    found = import_hightouch(DATA / "hostile", defs)
    assert (found.syncs, found.of) == (3, 13)
    # Of a model, the columns are to be recorded; the warehouse is not asked.
    assert ["audience-syncs columns" in problem.remedy for problem in found.problems] == [True]
    project = load_project(defs, {}, with_columns=False)
    assert project.problems == []
    # Two names that collapse to one are two audiences, and one without Latin letters has a name too.
    assert {audience.sql for audience in project.audiences.values()} == {
        "SELECT id, email FROM a",
        "SELECT id, email FROM b",
        "SELECT id, email FROM c WHERE note = '{# no comment'",
    }
    first, second = project.audiences["kundinnen_kaufer"].syncs
    assert first.list.name == "Zürich {{ city }} 🛒"
    assert first.mapping["FN"].constant == "{% raw %}DE"
    assert set(first.mapping) == {"EMAIL", "FN"}
    assert (first.mode, first.frequency) == (Mode.ADD, "every 30 minutes")
    assert second.key == "second"
    assert second.list.name != first.list.name
    (klaviyo,) = next(a for a in project.audiences.values() if a.title == "顧客").syncs
    assert klaviyo.removal is Removal.CLEAR_FIELDS
    assert klaviyo.mapping["first_name"].column == "名前"
    assert project.models["users"].table == "public.users"


REASONS = {
    "models/broken.yaml": "not YAML",
    "models/empty.yaml": "empty",
    "models/list.yaml": "not a mapping",
    "models/liquid.yaml": "Liquid",
    "models/no-key.yaml": "no primary key",
    "models/german-users.yaml": "audience builder",
    "models/injection.yaml": "neither SQL nor the name of a table",
    "models/users.yaml": "relationships",
    "syncs/unknown-destination.yaml": "`acme-erp`",
    "syncs/sheet.yaml": "google-sheets",
    "syncs/missing-model.yaml": "no model `nobody`",
    "syncs/of-liquid.yaml": "`liquid` is not imported",
    "syncs/of-parent.yaml": "parent model",
    "syncs/of-audience.yaml": "`german-users` is not imported",
    "syncs/other-account.yaml": "ad_account_id: 42",
    "syncs/events.yaml": "events, not people",
    "syncs/no-identifier.yaml": "by `email`, which is not mapped",
    "syncs/no-model.yaml": "no model",
    "hostile/README.yaml": "not read",
}


@pytest.mark.parametrize("file", REASONS)
def test_each_file_that_is_not_imported_says_why(tmp_path: Path, file: str) -> None:
    found = import_hightouch(DATA / "hostile", tmp_path / "defs", dry_run=True)
    shown = [str(note) for note in found.notes if str(note.file).endswith(file)]
    assert any(REASONS[file] in text for text in shown), shown


@pytest.mark.parametrize("path", [(), ("config",), ("config", "mappings", 0), ("schedule",), ("schedule", "schedule")])
@pytest.mark.parametrize("value", ["text", 7, True, {"deep": [{"er": 1}]}, ["a"]], ids=repr)
def test_a_key_that_nobody_knows_is_listed_wherever_it_stands(
    tmp_path: Path, path: tuple[Any, ...], value: Any
) -> None:
    sync = a_sync()
    sync["schedule"] = {"type": "interval", "schedule": {"interval": {"unit": "hour", "quantity": 1}}}
    at: Any = sync
    for part in path:
        at = at[part]
    at["unheardOf"] = value
    found = import_hightouch(export(tmp_path / "export", syncs={"s": sync}), tmp_path / "defs")
    assert found.syncs == 1
    assert [note.path for note in found.notes if "unheardOf" in note.path], [str(note) for note in found.notes]


@pytest.mark.parametrize(
    "config, path, reason",
    [
        ({"type": "hologram"}, "config.type", "not known here"),
        ({"mode": "archive"}, "config.mode", "written as `mirror`"),
        ({"mode": "upsert"}, "config.mode", "written as `add`"),
        ({"deleteAction": "archive"}, "config.deleteAction", "written as `remove`"),
        ({"mode": "add", "deleteAction": "remove"}, "config.deleteAction", "removes nobody"),
        ({"listId": 7, "listName": "Both"}, "config.listName", "told by its id"),
    ],
    ids=str,
)
def test_what_is_not_the_same_here_is_listed(tmp_path: Path, config: dict[str, Any], path: str, reason: str) -> None:
    found = import_hightouch(export(tmp_path / "export", syncs={"s": a_sync(**config)}), tmp_path / "defs")
    assert found.syncs == 1
    assert list(found.problems) == []
    assert [reason in note.reason for note in found.notes if note.path == path] == [True]


def test_a_key_of_a_model_that_nobody_knows_is_listed(tmp_path: Path) -> None:
    folder = export(tmp_path / "export", models={"people": {**MODEL, "unheardOf": {"a": 1}}})
    found = import_hightouch(folder, tmp_path / "defs")
    assert "unheardOf" in {note.path for note in found.notes}


SCHEDULES = [
    ({"type": "manual"}, "manual", ""),
    ({"type": "interval", "schedule": {"interval": {"unit": "minute", "quantity": 15}}}, "every 15 minutes", ""),
    ({"type": "interval", "interval": {"unit": "day", "quantity": 1.0}}, "every 1 day", ""),
    ({"type": "interval", "schedule": {"interval": {"unit": "hour", "quantity": 5}}}, "every 4 hours", "5 hours"),
    ({"type": "interval", "schedule": {"interval": {"unit": "week", "quantity": 3}}}, "every 1 week", "3 weeks"),
    ({"type": "interval", "schedule": {"interval": {"unit": "hour", "quantity": -1}}}, "manual", "cannot be read"),
    ({"type": "interval", "schedule": {"interval": {"unit": "hour", "quantity": "nan"}}}, "manual", "cannot be read"),
    ({"type": "interval", "schedule": {"interval": {"unit": "fortnight", "quantity": 1}}}, "manual", "cannot be read"),
    ({"type": "interval"}, "manual", "cannot be read"),
    ({"type": "cron", "schedule": {"expression": "0  6 * * *"}}, "cron 0 6 * * * (UTC)", ""),
    ({"type": "cron", "expression": "0 6 * * *"}, "cron 0 6 * * * (UTC)", ""),
    ({"type": "cron", "schedule": {"expression": "0 6 31 2 *"}}, "manual", "no such day"),
    ({"type": "cron", "schedule": {}}, "manual", "no expression"),
    (
        {
            "type": "visual_cron",
            "schedule": {"expressions": [{"days": {"monday": True, "sunday": False}, "time": "8:05"}]},
        },
        "mon at 08:05 (UTC)",
        "time zone",
    ),
    (
        {
            "type": "visual_cron",
            "schedule": {
                "expressions": [
                    {"days": {"monday": True}, "time": "08:00"},
                    {"days": {"friday": True}, "time": "09:00"},
                ]
            },
        },
        "manual",
        "different times",
    ),
    ({"type": "visual_cron", "schedule": {"expressions": [{"days": {}, "time": "26:00"}]}}, "manual", "cannot be read"),
    ({"type": "dbt_cloud", "schedule": {"job": {"id": 7}}}, "manual", "after: dbt/MODEL"),
    ({"type": "fivetran"}, "manual", "`fivetran` is not known"),
    (["what"], "manual", "not a schedule"),
    (None, "manual", ""),
]


@pytest.mark.parametrize("schedule, frequency, reason", SCHEDULES, ids=lambda value: str(value)[:60])
def test_schedules_mean_the_same_or_are_listed(tmp_path: Path, schedule: Any, frequency: str, reason: str) -> None:
    folder = export(tmp_path / "export", syncs={"s": {**a_sync(), "schedule": schedule}})
    found = import_hightouch(folder, tmp_path / "defs")
    (sync,) = load_project(tmp_path / "defs", {}).audiences["people"].syncs
    assert sync.frequency == frequency
    notes = [note.reason for note in found.notes if note.path.startswith("schedule")]
    assert any(reason in note for note in notes) if reason else notes == []


@pytest.mark.parametrize(
    "told, platform",
    [
        ("facebook-custom-audiences", "meta"),
        ("Facebook Conversions", None),
        ("google-ads", "google"),
        ("Google Sheets", None),
        ("HubSpot (prod)", "hubspot"),
        ("salesforce", "salesforce"),
        ("salesforce-marketing-cloud", None),
        ("customer-io", "customerio"),
        ("linkedin_ads", "linkedin"),
        ("snapchat_ads", "snapchat"),
        ("microsoft-teams", None),
        ("bing-ads", "microsoft"),
        ("s3", None),
        ("顧客", None),
        ("", None),
    ],
)
def test_destinations_are_known_by_their_type_or_name(told: str, platform: str | None) -> None:
    assert platform_of(told) == platform


def test_every_alias_leads_to_a_field_and_a_setting_that_are_there() -> None:
    for platform, aliases in FIELDS.items():
        spec = spec_of(platform)
        for theirs in aliases:
            assert field_of(spec, theirs) in {field.name for field in spec.fields}, f"{platform}: {theirs}"
    for platform, settings in SETTINGS.items():
        assert set(settings.values()) <= set(spec_of(platform).settings)
    assert set(FIELDS) | set(SETTINGS) <= set(PLATFORMS)


# Writing -------------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_and_what_is_there_is_said(defs: Path) -> None:
    first = import_hightouch(DATA / "shop", defs)
    before = {file: file.read_bytes() for file in defs.rglob("*.yaml")}
    again = import_hightouch(DATA / "shop", defs)
    assert {file: file.read_bytes() for file in defs.rglob("*.yaml")} == before
    assert (again.syncs, again.files, again.audiences) == (0, [], 0)
    assert first.syncs == 5
    assert sum("already, which is left as it is" in note.reason for note in again.notes) == 3


def test_a_file_of_another_definition_in_the_place_of_a_new_one_is_left(tmp_path: Path) -> None:
    file = tmp_path / "defs" / "audiences" / "people" / "defs.yml"
    file.parent.mkdir(parents=True)
    file.write_text("type: dagster.FunctionComponent\nattributes: {}\n")
    found = import_hightouch(export(tmp_path / "export", syncs={"s": a_sync()}), tmp_path / "defs")
    assert "FunctionComponent" in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["defs.yml"]
    assert any(note.file.parent == file.parent and "there already" in note.reason for note in found.notes)
    assert (found.syncs, found.audiences) == (0, 0)


def test_a_dry_run_says_the_same_and_writes_nothing(defs: Path) -> None:
    dry = import_hightouch(DATA / "shop", defs, dry_run=True)
    assert not defs.exists()
    real = import_hightouch(DATA / "shop", defs)
    assert (dry.syncs, dry.of, dry.files, dry.notes) == (real.syncs, real.of, real.files, real.notes)
    assert [(p.file, p.line, p.message) for p in dry.problems] == [(p.file, p.line, p.message) for p in real.problems]


def test_the_command_ends_well_with_a_summary_and_tells_machines_the_same(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["import", "hightouch", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    arguments = (str(DATA / "hostile"), "--into", str(tmp_path / "defs"))
    answered = json.loads(run(*arguments, "--dry-run", "--json"))
    assert (answered["syncs"], len(answered["problems"])) == ({"imported": 3, "of": 13}, 1)
    assert not (tmp_path / "defs").exists()
    shown = run(*arguments)
    assert "3 of 13 syncs imported" in shown
    for note in answered["notes"]:
        assert note["reason"] in shown
        assert Path(note["file"]).is_file()


def test_a_folder_without_an_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="neither a folder `models` nor `syncs`"):
        import_hightouch(tmp_path, tmp_path / "defs")
    assert not (tmp_path / "defs").exists()


def test_an_export_beside_definitions_uses_the_source_and_destination_that_are_there(tmp_path: Path) -> None:
    defs = tmp_path / "defs"
    shutil.copytree(DATA / "shop", tmp_path / "export")
    (defs / "a").mkdir(parents=True)
    (defs / "a" / "defs.yaml").write_text(
        "type: audience_syncs.components.Source\nattributes: {name: acme_warehouse, url: {env: OURS}}\n---\n"
        "type: audience_syncs.components.Destination\n"
        "attributes: {name: crm, platform: hubspot, credentials: {access_token: {env: OURS_TOO}}}\n---\n"
        "type: audience_syncs.components.Destination\n"
        "attributes: {name: lifecycle, platform: meta, credentials: {access_token: {env: A}}, settings: {ad_account_id: '1'}}\n"
    )
    found = import_hightouch(tmp_path / "export", defs)
    project = load_project(defs, {})
    assert project.sources["acme_warehouse"].url.env == "OURS"
    assert project.destinations["crm"].credentials["access_token"].env == "OURS_TOO"
    assert any("already, on another platform" in note.reason for note in found.notes)
    assert found.syncs == 4


TEXTS = [
    "plain",
    "two\nlines",
    "  indented\nfirst",
    "tabs\tin\n\tit",
    "trailing  \nblanks ",
    "\r\nwindows\r\nlines",
    "a\u2028b\nc",
    "bell \x07\nx",
    "{{ env.HOME }} {% if %} {# #} {{{ }}}",
    "# no comment\n# none",
    "- a\n- b",
    "yes",
    "null",
    "1e3",
    "0x1F",
    "2024-01-01",
    "a: b",
    "'\"\\",
    "顧客 🛒 \ud83d".encode("utf-8", "replace").decode(),
    "x" * 5000,
    "---",
    "%TAG",
    "@at",
    "`tick`",
    "&a *b",
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:30])
def test_any_text_is_read_back_as_it_was(tmp_path: Path, text: str) -> None:
    attributes = {"name": "a", "url": {"env": "A"}, "description": text}
    file = tmp_path / "a" / "defs.yaml"
    file.parent.mkdir()
    file.write_text(definition_text("Source", attributes, file, [text]), encoding="utf-8", newline="")
    project = load_project(tmp_path, {})
    assert project.problems == []
    read = project.sources["a"].description
    # A block ends in one line end; line ends of Windows become plain ones.
    assert read.strip("\n") == text.replace("\r\n", "\n").strip("\n")
