"""Enums as Google's JSON takes them: by name, or by number as its own clients send them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_CONSENT = ("CONSENT_STATUS_UNSPECIFIED", "CONSENT_GRANTED", "CONSENT_DENIED")
BY_NUMBER: dict[str, Sequence[str]] = {
    "accountType": (
        "ACCOUNT_TYPE_UNSPECIFIED",
        "GOOGLE_ADS",
        "DISPLAY_VIDEO_PARTNER",
        "DISPLAY_VIDEO_ADVERTISER",
        "DATA_PARTNER",
        "GOOGLE_ANALYTICS_PROPERTY",
        "GOOGLE_AD_MANAGER_AUDIENCE_LINK",
        "FLOODLIGHT_CONFIG",
        "GOOGLE_AD_MANAGER",
    ),
    "adUserData": _CONSENT,
    "adPersonalization": _CONSENT,
    "encoding": ("ENCODING_UNSPECIFIED", "HEX", "BASE64"),
    "customerMatchTermsOfServiceStatus": ("TERMS_OF_SERVICE_STATUS_UNSPECIFIED", "ACCEPTED", "REJECTED"),
    "membershipStatus": ("MEMBERSHIP_STATUS_UNSPECIFIED", "OPEN", "CLOSED"),
    "uploadKeyTypes": (
        "UPLOAD_KEY_TYPE_UNSPECIFIED",
        "CONTACT_ID",
        "MOBILE_ID",
        "USER_ID",
        "PAIR_ID",
        "PSEUDONYMOUS_ID",
    ),
    "dataSourceType": (
        "DATA_SOURCE_TYPE_UNSPECIFIED",
        "DATA_SOURCE_TYPE_FIRST_PARTY",
        "DATA_SOURCE_TYPE_THIRD_PARTY_CREDIT_BUREAU",
        "DATA_SOURCE_TYPE_THIRD_PARTY_VOTER_FILE",
        "DATA_SOURCE_TYPE_THIRD_PARTY_PARTNER_DATA",
    ),
}


def named(body: Any, key: str = "") -> Any:
    """The body with its enums by name."""
    if isinstance(body, dict):
        return {name: named(value, name) for name, value in body.items()}
    if isinstance(body, list):
        return body if key == "audienceMembers" else [named(each, key) for each in body]
    names = BY_NUMBER.get(key, ())
    is_number = isinstance(body, int) and not isinstance(body, bool)
    return names[body] if is_number and 0 <= body < len(names) else body
