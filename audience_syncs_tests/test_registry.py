"""Which platforms there are, how accounts are opened, and what is refused when definitions load."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from audience_syncs.destinations.contract import (
    ClearsFields,
    DeletesRecords,
    Destination,
    DestinationSpec,
    ReadsMembers,
    Tells,
    TellsMatchedUsers,
    WritesRecords,
)
from audience_syncs.destinations.registry import (
    PLATFORMS,
    Problem,
    check_destination,
    check_sync,
    open_destination,
    spec_for,
    spec_of,
)
from audience_syncs.identifiers import RULES
from audience_syncs.model.config import DestinationConfig, Mode, Removal, SyncConfig
from audience_syncs.model.errors import DefinitionError, MissingSecret
from audience_syncs_tests.platforms import HARNESSES

SECRET = "EAAB-very-secret"


def meta(**changes: Any) -> DestinationConfig:
    return DestinationConfig.model_validate(
        {
            "name": "meta_ads",
            "platform": "meta",
            "credentials": {"access_token": {"env": "META_TOKEN"}},
            "settings": {"ad_account_id": "act_42"},
        }
        | changes
    )


def hubspot(**changes: Any) -> DestinationConfig:
    return DestinationConfig.model_validate(
        {"name": "crm", "platform": "hubspot", "credentials": {"access_token": {"env": "HUBSPOT_TOKEN"}}} | changes
    )


HERE = "https://api.example.com"
"""Nobody answers there, and nobody is asked."""
ADDRESSES = {"sql_table": "postgresql://nobody@localhost/x", "files": "/tmp/nowhere"}


def sql_table(**changes: Any) -> DestinationConfig:
    given = {"name": "db", "platform": "sql_table", "credentials": {"url": {"env": "DB_URL"}}}
    return DestinationConfig.model_validate({**given, "settings": {"records_table": "people"}, **changes})


def sync(**changes: Any) -> SyncConfig:
    return SyncConfig.model_validate({"destination": "meta_ads", "mapping": {"EMAIL": "email"}} | changes)


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_declares_rules_that_exist_and_can_do_something(platform: str) -> None:
    spec = spec_of(platform)
    assert isinstance(spec, DestinationSpec)
    assert spec.platform == platform
    fields = [*spec.fields, *([spec.open_fields] if spec.open_fields else [])]
    assert [field.name for field in fields if field.rule not in RULES] == []
    assert any(field.identifier for field in spec.fields)
    assert len({field.name for field in spec.fields}) == len(spec.fields)
    assert spec.required_settings <= set(spec.settings)
    assert spec.modes
    assert spec.removals
    assert spec.batch_size > 0
    assert spec.concurrency > 0


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_can_do_exactly_what_it_declares(platform: str) -> None:
    harness, address = HARNESSES[platform], ADDRESSES.get(platform, HERE)
    opened = harness.open(address, **harness.can_say)
    spec = opened.spec
    assert spec == spec_for(harness.config(address, **harness.can_say))
    # Nobody offers one of the three without the others: `write` is told the mode.
    records = {Mode.UPSERT, Mode.UPDATE, Mode.INSERT}
    assert spec.modes & records in (set(), records)
    assert isinstance(opened, WritesRecords) == (records <= spec.modes)
    assert isinstance(opened, ReadsMembers) == spec.reads_members
    assert isinstance(opened, TellsMatchedUsers) == (spec.tells_matched_users is Tells.YES)
    assert isinstance(opened, ClearsFields) == (Removal.CLEAR_FIELDS in spec.removals)
    assert isinstance(opened, DeletesRecords) == (Removal.DELETE_RECORD in spec.removals)
    # These two need nothing beyond `add` and `remove`.
    assert {Mode.MIRROR, Mode.ADD, Mode.REMOVE} <= spec.modes
    assert {Removal.REMOVE, Removal.KEEP} <= spec.removals


@pytest.mark.parametrize(("written", "meant"), [("mta", "meta"), ("Meta", "meta"), ("hubspt", "hubspot")])
def test_an_unknown_platform_is_refused_with_the_nearest_and_all_known(written: str, meant: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        spec_of(written)
    assert f"did you mean `{meant}`" in refused.value.remedy
    assert all(f"`{name}`" in refused.value.remedy for name in PLATFORMS)
    assert only(check_destination(meta(platform=written))).path == ("platform",)
    assert only(check_sync(meta(platform=written), sync())).path == ("destination",)


@pytest.mark.parametrize("written", ["", "zzzzzzzz", "мета", "x" * 10_000])
def test_a_platform_like_no_other_is_refused_with_those_there_are(written: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        spec_of(written)
    assert refused.value.remedy.startswith("known are")


def test_the_declarations_load_without_http_and_without_phone_metadata() -> None:
    check = (
        "import sys; from audience_syncs.destinations.registry import PLATFORMS, spec_of;"
        "before = 'audience_syncs.destinations.meta' in sys.modules; [spec_of(name) for name in PLATFORMS];"
        "print(before, [name for name in ('requests', 'phonenumbers', 'sqlalchemy', 'dagster') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False []"


# Opening an account


def test_an_account_is_opened_with_its_secrets_from_the_environment() -> None:
    opened: Destination = open_destination(meta(), {"META_TOKEN": f"  {SECRET}\n"})
    assert opened.spec.platform == "meta"
    assert opened.requests_sent == 0


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({}, "is not set"),
        ({"META_TOKEN": ""}, "is empty"),
        ({"META_TOKEN": " \n"}, "is empty"),
        ({"X": "1"}, "not set"),
    ],
)
def test_a_missing_secret_names_the_variable_and_what_to_do(environ: dict[str, str], state: str) -> None:
    with pytest.raises(MissingSecret) as missing:
        open_destination(meta(), environ)
    assert "META_TOKEN" in missing.value.message
    assert state in missing.value.message
    assert missing.value.where == "destination meta_ads"
    assert "META_TOKEN" in missing.value.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {}},
        {"settings": {"ad_account_id": "not a number"}},
        {"settings": {"ad_account_id": True}},
        {"settings": {"ad_account_id": 42, "api_version": "../v1"}},
        {"settings": {"ad_account_id": 42, "customer_file_source": "MINE"}},
        {"settings": {"ad_account_id": 42, "base_url": "ftp://example.com"}},
        {"settings": {"ad_account_id": 42, "timeout_s": "soon"}},
        {"settings": {"ad_account_id": 42, "attempts": 0}},
        {"settings": {"ad_account_id": 42, "ad_acount": 1}},
        {"credentials": {}},
        {"platform": "nowhere"},
    ],
)
def test_a_wrong_definition_is_refused_when_the_account_is_opened_and_shows_no_secret(changes: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError) as refused:
        open_destination(meta(**changes), {"META_TOKEN": SECRET})
    assert refused.value.where == "destination meta_ads"
    assert refused.value.remedy
    assert SECRET not in str(refused.value)


# Destinations


def test_a_good_destination_has_no_problems() -> None:
    assert check_destination(meta()) == []
    assert check_destination(meta(settings={"ad_account_id": 42, "api_version": "v25.0"})) == []


def test_unknown_and_missing_credentials_and_settings_are_each_named_with_the_nearest() -> None:
    problems = check_destination(
        meta(credentials={"acces_token": {"env": "T"}}, settings={"ad_acount_id": 1, "zzz": None})
    )
    by_path = {problem.path: problem for problem in problems}
    assert set(by_path) == {
        ("credentials", "acces_token"),
        ("credentials", "access_token"),
        ("settings", "ad_acount_id"),
        ("settings", "zzz"),
        ("settings", "ad_account_id"),
    }
    assert "did you mean `access_token`" in by_path["credentials", "acces_token"].remedy
    assert "did you mean `ad_account_id`" in by_path["settings", "ad_acount_id"].remedy
    assert by_path["settings", "zzz"].remedy.startswith("known are")
    assert "{env:" in by_path["credentials", "access_token"].remedy


@pytest.mark.parametrize("value", [None, ""])
def test_a_required_setting_without_a_value_is_missing(value: str | None) -> None:
    assert only(check_destination(meta(settings={"ad_account_id": value}))).path == ("settings", "ad_account_id")


# Syncs


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"mode": "mirror", "removal": "keep"},
        {"mode": "add"},
        {"mode": "add", "removal": "keep"},
        {"mode": "remove"},
        {"mode": "remove", "removal": "keep"},
        {"adopt": False},
        {"mapping": {"PHONE": {"column": "phone", "region": "country", "default_region": "DE"}}},
        {"mapping": {"EXTERN_ID": "id", "COUNTRY": {"constant": "de"}, "FN": "first_name"}},
    ],
)
def test_a_sync_that_the_platform_can_do_has_no_problems(good: dict[str, Any]) -> None:
    assert check_sync(meta(), sync(**good)) == []


@pytest.mark.parametrize(
    ("asked", "path", "message", "remedy"),
    [
        ({"mode": "upsert"}, ("mode",), "cannot do mode `upsert`", "`add`, `mirror`, `remove`"),
        ({"removal": "delete_record"}, ("removal",), "cannot do removal `delete_record`", "`keep`, `remove`"),
        ({"mode": "add", "removal": "remove"}, ("removal",), "never removes anybody", "removal: keep"),
        ({"mode": "remove", "removal": "remove"}, ("removal",), "not those who leave it", "removal: keep"),
        ({"adopt": True}, ("adopt",), "lets nobody read who is in a list", "`hubspot`"),
        ({"adopt": True, "mode": "add"}, ("adopt",), "so none can be adopted", "remove `adopt`"),
        ({"mapping": {"EMIAL": "email"}}, ("mapping", "EMIAL"), "no field `EMIAL`", "did you mean `EMAIL`"),
        ({"mapping": {"email": "email"}}, ("mapping", "email"), "no field `email`", "did you mean `EMAIL`"),
        ({"mapping": {"FN": "name"}}, ("mapping",), "no identifier", "`EMAIL`, `PHONE`, `MADID`, `EXTERN_ID`"),
        ({"mapping": {"EMAIL": {"constant": "a@b.c"}}}, ("mapping", "EMAIL"), "identifies a person", "map a column"),
        (
            {"mapping": {"EMAIL": {"column": "email", "region": "country"}}},
            ("mapping", "EMAIL", "region"),
            "is for phone numbers",
            "remove `region`",
        ),
        (
            {"mapping": {"EMAIL": "email", "COUNTRY": {"column": "c", "default_region": "DE"}}},
            ("mapping", "COUNTRY", "default_region"),
            "is for phone numbers",
            "remove `default_region`",
        ),
    ],
)
def test_what_a_platform_cannot_do_is_refused_with_what_it_can(
    asked: dict[str, Any], path: tuple[str, ...], message: str, remedy: str
) -> None:
    problem = only(check_sync(meta(), sync(**asked)))
    assert problem.path == path
    assert message in problem.message
    assert remedy in problem.remedy


def test_all_problems_of_a_sync_are_told_at_once() -> None:
    asked = sync(mode="upsert", removal="clear_fields", mapping={"EMIAL": "e", "FN": {"column": "f", "region": "r"}})
    assert {problem.path for problem in check_sync(meta(), asked)} == {
        ("mode",),
        ("removal",),
        ("mapping", "EMIAL"),
        ("mapping", "FN", "region"),
    }


CRM = {"destination": "crm", "mapping": {"email": "email", "city": "city"}}


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"removal": "clear_fields"},
        {"removal": "delete_record"},
        {"removal": "delete_record", "mapping": {"email": "email"}},
        {"adopt": True},
        {"adopt": True, "mode": "add"},
        *({"mode": mode} for mode in ("upsert", "update", "insert", "remove")),
        *({"mode": mode, "removal": "keep"} for mode in ("add", "upsert", "update", "insert", "remove")),
    ],
)
def test_a_sync_that_hubspot_can_do_has_no_problems(good: dict[str, Any]) -> None:
    assert check_sync(hubspot(), sync(**CRM | good)) == []


@pytest.mark.parametrize("mode", ["add", "upsert", "update", "insert", "remove"])
@pytest.mark.parametrize("removal", ["remove", "clear_fields", "delete_record"])
def test_a_removal_that_would_never_happen_is_refused(mode: str, removal: str) -> None:
    problem = only(check_sync(hubspot(), sync(**CRM, mode=mode, removal=removal)))
    assert problem.path == ("removal",)
    assert f"`removal: {removal}` would do nothing" in problem.message
    assert "removal: keep" in problem.remedy


@pytest.mark.parametrize("mode", ["upsert", "update", "insert", "remove"])
def test_a_list_that_is_not_filled_is_not_adopted(mode: str) -> None:
    problem = only(check_sync(hubspot(), sync(**CRM, mode=mode, adopt=True)))
    assert problem.path == ("adopt",)
    assert "`add`, `mirror`" in problem.remedy


def test_clearing_where_nothing_but_identifiers_is_mapped_is_refused() -> None:
    problem = only(check_sync(hubspot(), sync(destination="crm", mapping={"email": "email"}, removal="clear_fields")))
    assert problem.path == ("removal",)
    assert "would clear nothing" in problem.message


@pytest.mark.parametrize("hashed", [True, False])
def test_whether_a_column_holds_hashes_is_only_asked_of_fields_that_are_sent_hashed(hashed: bool) -> None:
    mapping = {"EMAIL": {"column": "email", "hashed": hashed}, "EXTERN_ID": {"column": "id", "hashed": hashed}}
    problem = only(check_sync(meta(), sync(mapping=mapping)))
    assert problem.path == ("mapping", "EXTERN_ID", "hashed")
    assert "`EXTERN_ID` is sent as it is" in problem.message
    assert problem.remedy == "remove `hashed`"
