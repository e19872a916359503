"""Normalisation, as data: what goes in, what a platform gets. Golden vectors are the platforms' own."""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audience_syncs.identifiers import RULES, UnusableIdentifier, rule_version

PLAIN_TEXTS = sorted(name for name in RULES if "birth" not in name)


def to_send(rule: str, value: object, region: object = None) -> str:
    return RULES[rule].to_send(value, region)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("rule", "value", "region", "expected"),
    [
        # Meta's guide: phone and email
        ("meta.phone", "15559876543", "US", "1ef970831d7963307784fa8688e8fce101a15685d62aa765fed23f3a2c576a4e"),
        ("meta.phone", "+1 (555) 987-6543", None, "1ef970831d7963307784fa8688e8fce101a15685d62aa765fed23f3a2c576a4e"),
        # the hash printed in the documentation, of an address without anything to normalise
        (
            "meta.email",
            "cloudysanfrancisco@gmail.com",
            None,
            "223ebda6f6889b1494551ba902d9d381daf2f642bae055888e96343d53e9f9c4",
        ),
    ],
)
def test_the_platforms_own_vectors(rule: str, value: str, region: str | None, expected: str) -> None:
    assert to_send(rule, value, region) == expected


def test_metas_vector_of_an_email_begins_as_printed() -> None:
    assert to_send("meta.email", "mary@example.com").startswith("f1904cf1a9d7")


HASHED = [
    ("meta.email", " Anna@Example.COM \n", None, "anna@example.com"),
    ("meta.email", "a.b+tag@gmail.com", None, "a.b+tag@gmail.com"),
    ("meta.email", "\u200banna@example.com\ufeff", None, "anna@example.com"),
    ("meta.email", "ПОЧТА@пример.рф", None, "почта@пример.рф"),
    ("meta.phone", "0151 1234567", "DE", "491511234567"),
    ("meta.phone", "0151/123-45 67", "de", "491511234567"),
    ("meta.phone", "+49 (0)151 1234567", None, "491511234567"),
    ("meta.phone", "0049 151 1234567", None, "491511234567"),
    ("meta.phone", "+490151 1234567", None, "491511234567"),
    ("meta.phone", "+491511234567", "US", "491511234567"),
    ("meta.phone", "０１５１１２３４５６７", "DE", "491511234567"),
    ("meta.phone", "+18005550100", None, "18005550100"),
    ("meta.phone", "(212) 555-0123", "US", "12125550123"),
    ("meta.phone", "07700 900123", "GB", "447700900123"),
    ("meta.phone", "03-1234-5678", "JP", "81312345678"),
    ("meta.first_name", "Jean-Pierre", None, "jeanpierre"),
    ("meta.first_name", " ZOË ", None, "zoë"),
    ("meta.first_name", "Zoe\u0308", None, "zoë"),
    ("meta.last_name", "O'Brien", None, "obrien"),
    ("meta.last_name", "Иванова", None, "иванова"),
    ("meta.last_name", "山田", None, "山田"),
    ("meta.last_name", "عبد الله", None, "عبدالله"),
    ("meta.city", "São Paulo", None, "sãopaulo"),
    ("meta.state", "CA", None, "ca"),
    ("meta.zip", "94035-1234", None, "94035"),
    ("meta.zip", "940351234", None, "94035"),
    ("meta.zip", "SW1A 1AA", None, "sw1a1"),
    ("meta.zip", "M1 1AE", None, "m11"),
    ("meta.zip", "K1A 0B1", None, "k1a0b1"),
    ("meta.zip", "1234 AB", None, "1234ab"),
    ("meta.zip", "C1425ABC", None, "c1425abc"),
    ("meta.zip", "01310-100", None, "01310-100"),
    ("meta.zip", 1067, None, "1067"),
    ("meta.country", "DE", None, "de"),
    ("meta.gender", "Female", None, "f"),
    ("meta.birth_year", date(1980, 7, 31), None, "1980"),
    ("meta.birth_month", date(1980, 7, 31), None, "07"),
    ("meta.birth_month", "7", None, "07"),
    ("meta.birth_day", 31, None, "31"),
]


@pytest.mark.parametrize(("rule", "value", "region", "text"), HASHED)
def test_hashed_fields_are_the_sha256_of_the_normalised_text(
    rule: str, value: object, region: str | None, text: str
) -> None:
    assert to_send(rule, value, region) == sha(text)


@pytest.mark.parametrize(
    ("rule", "value", "region", "expected"),
    [
        ("meta.external_id", 42, None, "42"),
        ("meta.external_id", 42.0, None, "42"),
        ("meta.external_id", Decimal("1E+3"), None, "1000"),
        ("meta.external_id", "  Mixed-Case 7 ", None, "Mixed-Case 7"),
        ("meta.external_id", uuid.UUID(int=7), None, "00000000-0000-0000-0000-000000000007"),
        ("meta.mobile_id", "AEBE52E7-03EE-455A-B3C4-E57283966239", None, "aebe52e7-03ee-455a-b3c4-e57283966239"),
        ("hubspot.email", " Anna@Example.com", None, "anna@example.com"),
        ("hubspot.phone", "0151 1234567", "DE", "+491511234567"),
        ("hubspot.text", True, None, "true"),
        ("hubspot.text", Decimal("12.50"), None, "12.5"),
        ("hubspot.text", 0.1, None, "0.1"),
        ("hubspot.text", date(2026, 11, 24), None, "1795478400000"),
        ("hubspot.text", datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC), None, "2026-11-24T01:02:03+00:00"),
        ("hubspot.text", "Zoë", None, "Zoë"),
    ],
)
def test_fields_that_are_not_hashed(rule: str, value: object, region: str | None, expected: str) -> None:
    assert to_send(rule, value, region) == expected


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.hashed])
def test_what_is_hashed_already_is_not_hashed_again(rule: str) -> None:
    digest = sha("anna@example.com")
    assert to_send(rule, digest.upper() + " ") == digest


@pytest.mark.parametrize(
    ("rule", "value", "region", "code"),
    [
        *[(name, None, None, "NULL") for name in RULES if name in PLAIN_TEXTS],
        *[(name, " \u200b\t", None, "EMPTY") for name in RULES if name in PLAIN_TEXTS],
        *[(name, b"bytes", None, "WRONG_TYPE") for name in RULES if name in PLAIN_TEXTS],
        *[(name, "x" * 1_000_000, None, "TOO_LONG") for name in RULES if name in PLAIN_TEXTS],
        ("meta.external_id", float("nan"), None, "NOT_A_NUMBER"),
        ("meta.email", "anna", None, "INVALID_EMAIL"),
        ("meta.email", "anna@localhost", None, "INVALID_EMAIL"),
        ("meta.email", "a b@example.com", None, "INVALID_EMAIL"),
        ("meta.email", "a@b@example.com", None, "INVALID_EMAIL"),
        ("meta.email", "@example.com", None, "INVALID_EMAIL"),
        ("meta.email", "anna@example..com", None, "INVALID_EMAIL"),
        ("meta.email", "a" * 65 + "@example.com", None, "INVALID_EMAIL"),
        ("meta.phone", "0151 1234567", None, "NO_COUNTRY_CODE"),
        ("meta.phone", "0151 1234567", "Germany", "NO_COUNTRY_CODE"),
        ("meta.phone", "0151 1234567", "XX", "NO_COUNTRY_CODE"),
        ("meta.phone", "call me", "DE", "INVALID_PHONE"),
        ("meta.phone", "+49 12", None, "INVALID_PHONE"),
        ("meta.phone", "+999 123456789", None, "INVALID_PHONE"),
        ("meta.phone", "+12125550123456789", None, "INVALID_PHONE"),
        ("meta.phone", "+1 212 555 0123 ext. 5", None, "INVALID_PHONE"),
        ("meta.first_name", "!!!", None, "EMPTY"),
        ("meta.country", "Germany", None, "INVALID_COUNTRY"),
        ("meta.gender", "x", None, "INVALID_GENDER"),
        ("meta.mobile_id", "00000000-0000-0000-0000-000000000000", None, "INVALID_MADID"),
        ("meta.birth_month", "13", None, "INVALID_DATE"),
        ("meta.birth_year", "80", None, "INVALID_DATE"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason_that_does_not_quote_it(
    rule: str, value: object, region: str | None, code: str
) -> None:
    with pytest.raises(UnusableIdentifier) as refused:
        to_send(rule, value, region)
    assert refused.value.reason_code == code
    if isinstance(value, str) and value.strip("\u200b \t"):
        assert value not in str(refused.value)


ANYTHING = st.one_of(
    st.text(),
    st.none(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.dates(),
    st.datetimes(),
    st.booleans(),
    st.binary(),
    st.uuids(),
    st.emails(),
    st.from_regex(r"[+0-9 ()/-]{3,20}", fullmatch=True),
    st.just(object()),
)


@given(
    rule=st.sampled_from(sorted(RULES)), value=ANYTHING, region=st.one_of(st.none(), st.text(max_size=3), st.just("DE"))
)
def test_whatever_comes_in_either_a_well_formed_value_comes_out_or_unusable(
    rule: str, value: object, region: str | None
) -> None:
    try:
        result = to_send(rule, value, region)
    except UnusableIdentifier:
        return
    assert result
    assert result == result.strip()
    if RULES[rule].hashed:
        assert re.fullmatch(r"[0-9a-f]{64}", result)
    elif rule.endswith(".phone"):
        assert re.fullmatch(r"\+[0-9]{4,17}", result)


@given(rule=st.sampled_from(sorted(RULES)), value=ANYTHING)
def test_normalising_twice_changes_nothing(rule: str, value: object) -> None:
    try:
        once = to_send(rule, value, "DE")
    except UnusableIdentifier:
        return
    assert to_send(rule, once, "DE") == once


def test_a_changed_rule_shows_in_the_version() -> None:
    assert rule_version(["meta.phone", "meta.email"]) == "meta.email=2,meta.phone=1"
