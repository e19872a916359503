"""Every rule against its platform's own words: golden vectors kept as data, hostile inputs, and the platforms' libraries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from audience_syncs.identifiers import (
    RULES,
    NoSuchRule,
    Sureness,
    UnusableIdentifier,
    hash_identifier,
    normalise,
    rule_of,
)
from audience_syncs.identifiers.in_words import rewritten

DATA = Path(__file__).parent / "data" / "identifiers"
Case = dict[str, Any]


def data(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DATA / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


PLATFORMS = sorted({rule.platform for rule in RULES.values()})
VECTORS = [(platform, case) for platform in PLATFORMS for case in data(platform)["vectors"]]
HOSTILE = [
    (rule.platform, rule.field, case)
    for rule in RULES.values()
    for case in data("hostile").get(rule.field, [])
    if rule.platform in case.get("only", PLATFORMS)
]
DIFFERENCES = [(platform, case) for platform, cases in data("differences").items() for case in cases]


def outcome(platform: str, field: str, case: Case, form: Callable[..., str] = normalise) -> str:
    """The normalised text, or the reason of refusal."""
    try:
        return form(platform, field, case["value"], default_country=case.get("country"))
    except UnusableIdentifier as unusable:
        return unusable.reason_code


@pytest.mark.parametrize(("platform", "case"), VECTORS, ids=lambda x: x if isinstance(x, str) else str(x["field"]))
def test_the_platforms_own_vectors(platform: str, case: Case) -> None:
    field = case["field"]
    assert outcome(platform, field, case) == case.get("is", case.get("refused"))
    if "refused" in case:
        return
    sent = outcome(platform, field, case, hash_identifier)
    if rule_of(platform, field).hashed:
        assert sent == hashlib.sha256(case["is"].encode()).hexdigest()
    else:
        assert sent == case["is"]
    if "sha256" in case:
        assert sent == case["sha256"], "the hash as the platform prints it"


def test_every_rule_has_a_vector_and_what_is_called_printed_is_printed() -> None:
    accepted = {(platform, case["field"]) for platform, case in VECTORS if "is" in case}
    printed = {(platform, case["field"]) for platform, case in VECTORS if "sha256" in case}
    rules = RULES.values()
    assert {(rule.platform, rule.field) for rule in rules} - accepted == set()
    assert {(rule.platform, rule.field) for rule in rules if rule.source.sureness is Sureness.VECTOR} - printed == set()
    for platform in PLATFORMS:
        sources = data(platform)["sources"]
        assert all(case["from"] in sources for case in data(platform)["vectors"])


@pytest.mark.parametrize(
    ("platform", "field", "case"),
    HOSTILE,
    ids=[f"{platform}.{field}: {case['about']}" for platform, field, case in HOSTILE],
)
def test_hostile_values_are_what_was_meant_or_refused_with_a_reason(platform: str, field: str, case: Case) -> None:
    found = outcome(platform, field, case, hash_identifier)
    if "refused" in case:
        assert found in case["refused"]
        return
    meant = {"value": case["same_as"], "country": case.get("country")}
    assert found == outcome(platform, field, meant, hash_identifier)
    assert not found.isupper() or platform in ("google", "braze", "linkedin"), "the clean value is usable"


@pytest.mark.parametrize("platform", sorted(rule.platform for rule in RULES.values() if rule.field == "email"))
def test_addresses_are_refused_beyond_the_length_of_any_mailbox(platform: str) -> None:
    # Two labels of 63 characters at most: 300 characters in all, and every part of them well formed.
    domain = ".".join(["a" * 60] * 4)
    assert outcome(platform, "email", {"value": f"{'a' * 51}@{domain}.com"}) == "INVALID_EMAIL"
    assert outcome(platform, "email", {"value": f"{'a' * 65}@example.com"}) == "INVALID_EMAIL"


def test_a_platform_or_field_that_is_unknown_is_named_with_those_there_are() -> None:
    with pytest.raises(NoSuchRule, match=r"meta has no rule for 'emial'; it has: email, phone"):
        normalise("meta", "emial", "anna@example.com")
    with pytest.raises(NoSuchRule, match=r"'facebook'; there are for: braze"):
        hash_identifier("facebook", "email", "anna@example.com")


@pytest.mark.parametrize("name", sorted(name for name, rule in RULES.items() if rule.hashed))
def test_a_hash_is_passed_on_once_or_refused_where_the_column_is_said_to_be_plain(name: str) -> None:
    rule = RULES[name]
    digest = hashlib.sha256(b"somebody").hexdigest()
    for said in (None, True):
        assert rule.to_send(f" {digest.upper()}\n", hashed=said) == digest
    assert rule.normalised(digest) == digest
    with pytest.raises(UnusableIdentifier) as refused:
        rule.to_send(digest, hashed=False)
    assert refused.value.reason_code == "ALREADY_HASHED"


def test_plain_values_are_refused_where_the_column_is_said_to_hold_hashes() -> None:
    for value, code in (
        ("anna@example.com", "NOT_HASHED"),
        ("0" * 63, "NOT_HASHED"),
        (7, "NOT_HASHED"),
        (None, "NULL"),
    ):
        with pytest.raises(UnusableIdentifier) as refused:
            RULES["meta.email"].to_send(value, hashed=True)
        assert refused.value.reason_code == code


def test_where_a_plain_email_is_wanted_a_hash_is_no_email() -> None:
    with pytest.raises(UnusableIdentifier, match="INVALID_EMAIL"):
        hash_identifier("hubspot", "email", hashlib.sha256(b"somebody").hexdigest())


# The platforms' own libraries.


def of_meta(field: str, value: str) -> str:
    from facebook_business.adobjects.serverside.normalize import Normalize

    names = {"email": "em", "phone": "ph", "first_name": "fn", "last_name": "ln", "city": "ct", "state": "st"}
    names |= {"zip": "zp", "country": "country", "birth_year": "doby", "birth_month": "dobm", "birth_day": "dobd"}
    try:
        return str(Normalize.normalize_field_skip_hashing(names[field], value))
    except (ValueError, TypeError) as error:
        return type(error).__name__


def of_google(field: str, value: str) -> str:
    from google.ads.datamanager_util import Formatter

    google = Formatter()
    forms = {
        "email": google.format_email_address,
        "phone": google.format_phone_number,
        "first_name": google.format_given_name,
        "last_name": google.format_family_name,
        "zip": google.format_postal_code,
        "country": google.format_region_code,
    }
    try:
        return str(forms[field](value))
    except ValueError as error:
        return type(error).__name__


LIBRARIES = {"meta": of_meta, "google": of_google}

EMAILS = [
    *("anna@example.com", " Anna.Smith@Example.COM ", "a+b@example.co.uk", "ANNA@GMAIL.COM", "a.b.c@gmail.com"),
    *("a.b+c.d@googlemail.com", "x_y-z@sub.example.org", "почта@пример.рф", "ZOË@example.com"),
]
ALIKE = {
    "email": EMAILS,
    "phone": ["+491511234567", "+1 (555) 987-6543", "+44 7700 900123", "+81 3 1234 5678"],
    "first_name": ["Anna", " ANNA ", "Zoë", "山田", "Иван"],
    "last_name": ["Smith", " SMITH ", "Müller", "정"],
    "city": ["Berlin", "New York", "São Paulo"],
    "state": ["CA", "az"],
    "zip": ["94035", "75018", "10115"],
    "country": ["US", "de", " gb "],
    "birth_year": ["1997"],
    "birth_month": ["2", "12"],
    "birth_day": ["07", "31"],
}


@pytest.mark.parametrize("platform", sorted(LIBRARIES))
def test_the_platforms_own_library_says_the_same(platform: str) -> None:
    compared = 0
    for field, values in ALIKE.items():
        if f"{platform}.{field}" not in RULES:
            continue
        for value in values:
            assert normalise(platform, field, value) == LIBRARIES[platform](field, value), (field, value)
            compared += 1
    assert compared >= 20


@pytest.mark.parametrize(
    ("platform", "case"), DIFFERENCES, ids=lambda x: x if isinstance(x, str) else f"{x['field']} {x['why']}"
)
def test_where_we_differ_from_the_library_it_is_known_and_there_is_a_reason(platform: str, case: Case) -> None:
    assert case["why"]
    assert LIBRARIES[platform](case["field"], case["value"]) == case["theirs"]
    assert outcome(platform, case["field"], case) == case["ours"]
    assert case["theirs"] != case["ours"]


def test_the_page_about_identifiers_shows_the_rules_of_today() -> None:
    page = (Path(__file__).parent.parent / "docs" / "identifiers.md").read_text(encoding="utf-8")
    assert rewritten(page) == page, "python -m audience_syncs.identifiers.in_words docs/identifiers.md"
    assert page.count("\n| `") == len(RULES)
