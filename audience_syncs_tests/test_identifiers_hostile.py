"""Normalisation of what warehouses hold in practice and in malice: odd types, huge values, half characters, all countries."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audience_syncs.identifiers import RULES, UnusableIdentifier, phone


def to_send(rule: str, value: object, region: object = None) -> str:
    return RULES[rule].to_send(value, region)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_vector_of_a_phone_in_e164_as_printed_by_google() -> None:
    expected = "fb4f73a6ec5fdb7077d564cdd22c3554b43ce49168550c3b12c547b78c517b30"
    assert sha(to_send("hubspot.phone", "+1 800 555 0100")) == expected


def outcome(rule: str, value: object, region: object = None) -> tuple[str | None, UnusableIdentifier | None]:
    """What came out, or the refusal. Any other error is the test's failure."""
    try:
        return to_send(rule, value, region), None
    except UnusableIdentifier as refused:
        return None, refused


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize(
    "value",
    [
        10**5_000,
        -(10**5_000),
        Decimal("1E+999999999"),
        Decimal("1E-999999999"),
        Decimal("NaN"),
        Decimal("sNaN"),
        float("-inf"),
        1e308,
        "x" * 1_000_000,
        "\u200b" * 1_000_000,
        "١" * 100_000,
        "a@" * 100_000,
        "+" * 1_900,
        "\ud800@example.com",
        "\udfff",
        ["a@example.com"],
        {"a": 1},
        b"a@example.com",
        bytearray(b"a"),
        object(),
        1j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_nobody_could_send_are_refused_at_once_and_not_quoted(rule: str, value: object) -> None:
    started = time.thread_time()  # of the processor, which others may be using, too
    result, refused = outcome(rule, value, "DE")
    assert time.thread_time() - started < 0.5
    if refused is not None:
        assert len(str(refused)) < 120
        assert not isinstance(value, str) or value not in str(refused)
        return
    # Own ids and properties take any text that is short enough; nothing else here is usable.
    assert RULES[rule].field in {"external_id", "text", "city", "state", "zip", "first_name", "last_name"}
    assert isinstance(value, str)
    assert len(value) < 2_000 or RULES[rule].field == "text"
    assert result


@given(value=st.text(alphabet=st.characters()), rule=st.sampled_from(sorted(RULES)))
def test_any_characters_at_all_come_out_as_sendable_text_or_unusable(value: str, rule: str) -> None:
    result, refused = outcome(rule, value, "DE")
    assert (result is not None and result.encode()) or (refused is not None and refused.reason_code)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("  نمی‌خواهم\n", "نمی‌خواهم"),  # the joiner within the word is part of it
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("two\nlines", "two\nlines"),
        ("x" * 65_536, "x" * 65_536),
        (False, "false"),
        (0, "0"),
        (-0.0, "0"),
        (Decimal("0.10"), "0.1"),
        (Decimal("100"), "100"),
        (date(1969, 12, 31), "-86400000"),
        (datetime(2026, 11, 24, 1, 2, 3), "2026-11-24T01:02:03+00:00"),
        (datetime(2026, 11, 24, 1, 2, 3, 456_000, tzinfo=UTC), "2026-11-24T01:02:03.456000+00:00"),
    ],
)
def test_a_property_is_what_somebody_wrote(value: object, expected: str) -> None:
    assert to_send("hubspot.text", value) == expected


@pytest.mark.parametrize("value", ["", " \n", "\u200b\u200d", "x" * 65_537])
def test_a_property_without_anything_in_it_or_too_long_is_unusable(value: str) -> None:
    with pytest.raises(UnusableIdentifier):
        to_send("hubspot.text", value)


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ("meta.birth_year", "1980-07-31", "1980"),
        ("meta.birth_month", "1980-07-31T00:00:00Z", "07"),
        ("meta.birth_day", datetime(1980, 7, 31, 23, 59, tzinfo=UTC), "31"),
        ("meta.birth_day", 7.0, "07"),
    ],
)
def test_birth_dates_are_taken_apart(rule: str, value: object, expected: str) -> None:
    assert to_send(rule, value) == sha(expected)


@pytest.mark.parametrize("value", ["31.07.1980", "1980-13-01", "1980", "0", "-7", "²", "१२३४", "7" * 500])
def test_what_is_no_month_is_not_guessed_at(value: str) -> None:
    with pytest.raises(UnusableIdentifier) as refused:
        to_send("meta.birth_month", value)
    assert refused.value.reason_code == "INVALID_DATE"


def test_quick_and_thorough_reading_agree_on_the_numbers_of_every_country() -> None:
    """Clean numbers take a short cut by country and length: it must never change one."""
    checked = 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            clean = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            spaced = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
            national = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.NATIONAL)
            assert phone.e164(clean) == phone.e164(spaced) == clean, region
            assert phone.e164(national, region) == clean, region
            checked += 1
    assert checked > 400


@given(st.from_regex(r"\+[1-9][0-9]{9,14}", fullmatch=True))
def test_quick_and_thorough_reading_agree_on_any_digits(number: str) -> None:
    # The space forces the thorough way.
    (quick, refused), (thorough, too) = (
        outcome("hubspot.phone", text) for text in (number, f"{number[:2]} {number[2:]}")
    )
    assert quick == thorough
    assert (refused is None) == (too is None)


@pytest.mark.parametrize("region", [None, "", " de ", "De", "DEU", "49", "ß", "\u200bDE", 49, float("nan"), object()])
def test_whatever_the_country_column_holds_a_number_with_its_country_code_is_usable(region: object) -> None:
    assert to_send("hubspot.phone", "+49 151 1234567", region) == "+491511234567"


@pytest.mark.parametrize("rule", sorted(name for name, rule in RULES.items() if rule.hashed))
@pytest.mark.parametrize("almost", ["0" * 63, "0" * 65, "g" * 64, "٠" * 64])
def test_only_sixty_four_hex_digits_are_taken_for_a_hash(rule: str, almost: str) -> None:
    result, refused = outcome(rule, almost)
    assert result == sha(almost) or (refused is not None and refused.reason_code.startswith(("INVALID", "NO_COUNTRY")))


def test_every_rule_names_its_source_and_its_platform() -> None:
    for name, rule in RULES.items():
        assert rule.name == name == f"{rule.platform}.{rule.field}"
        assert rule.source.text
        assert rule.says
        assert rule.version >= 1
