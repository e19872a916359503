"""Many at once is the same as one by one, whatever comes in; and the short cuts of clean values change nothing."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audience_syncs.identifiers import RULES, Rule, UnusableIdentifier, hash_identifier, hash_identifiers

WITH_A_SHORT_CUT = sorted(name for name, rule in RULES.items() if rule.clean is not None)

ADDRESSES = st.one_of(
    st.emails(),
    st.from_regex(r"[a-z0-9._%+'-]{1,10}@((gmail|googlemail)\.com|[a-z0-9-]{1,5}\.[a-z]{2,3})", fullmatch=True),
    st.from_regex(r"\s?[A-Za-z.+]{1,6}\s?@[A-Za-z.-]{1,12}\n?", fullmatch=True),
)
VALUES = st.one_of(
    ADDRESSES,
    st.text(max_size=30),
    st.from_regex(r"[+0-9 ()/-]{3,20}", fullmatch=True),
    st.from_regex(r"[0-9a-fA-F]{64}", fullmatch=True),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.binary(max_size=5),
)


def one_by_one(platform: str, field: str, values: list[object], country: str | None) -> tuple[list[object], list[int]]:
    results: list[object] = []
    for value in values:
        try:
            results.append(hash_identifier(platform, field, value, default_country=country))
        except UnusableIdentifier as unusable:
            results.append((unusable.reason_code, unusable.reason))
    return results, [at for at, result in enumerate(results) if isinstance(result, tuple)]


@given(
    name=st.sampled_from(sorted(RULES)),
    values=st.lists(VALUES, max_size=12),
    country=st.sampled_from([None, "DE", "US", "XX"]),
)
@example(name="meta.external_id", values=[1, 1.0, True, "1", "true", 1, "true", None], country=None)
@example(name="meta.phone", values=["0151 1234567", "0151 1234567", "x", "x"], country="DE")
def test_a_batch_is_what_one_by_one_would_be(name: str, values: list[object], country: str | None) -> None:
    rule = RULES[name]
    # What repeats is where a batch saves work.
    values = [*values, *values]
    batch = hash_identifiers(rule.platform, rule.field, iter(values), default_country=country)
    expected, refused = one_by_one(rule.platform, rule.field, values, country)
    assert sorted(batch.reasons) == refused
    assert [at for at, value in enumerate(batch.values) if value is None] == refused
    found = [
        value if value is not None else (batch.reasons[at].reason_code, batch.reasons[at].reason)
        for at, value in enumerate(batch.values)
    ]
    assert found == expected


@given(name=st.sampled_from(WITH_A_SHORT_CUT), value=ADDRESSES)
@example(name="google.email", value="a.b@gmail.com")
@example(name="google.email", value="a+b@googlemail.com")
@example(name="google.email", value="a.b@gmail.comm")
@example(name="reddit.email", value="a.b@example.com")
@example(name="meta.email", value="\u212a@example.com")  # a Kelvin sign, in lower case a k
def test_the_short_cut_of_clean_addresses_is_the_rule(name: str, value: str) -> None:
    rule = RULES[name]
    without = dataclasses.replace(rule, clean=None)
    assert outcome(rule, value) == outcome(without, value)


def outcome(rule: Rule, value: str) -> tuple[str, str]:
    """What is sent and the text it is made of, or the refusal."""
    try:
        return rule.to_send(value), rule.normalised(value)
    except UnusableIdentifier as unusable:
        return unusable.reason_code, unusable.reason


@pytest.mark.parametrize("name", WITH_A_SHORT_CUT)
@pytest.mark.parametrize("value", ["anna7@example.com", "x@mail.example.co", "anna@gmail.com"])
def test_clean_addresses_take_the_short_cut(name: str, value: str) -> None:
    """Else the speed would be gone unnoticed."""

    def apply(value: object, country: object) -> str:
        raise AssertionError("the long way")

    rule = dataclasses.replace(RULES[name], apply=apply)
    assert rule.normalised(value) == rule.normalised(f" {value.upper()}\n") == value
