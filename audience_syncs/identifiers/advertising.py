"""The rules of the advertising platforms: one block for each, with where it is written and how sure that is.

Hashed fields are SHA-256 of the UTF-8 text, lower-case hex. No block borrows from another: what two platforms have in
common today, one of them changes tomorrow.
"""

from __future__ import annotations

from functools import partial

from audience_syncs.identifiers import email, google_address, google_names, phone, plain
from audience_syncs.identifiers.rule import Rule, Source, Sureness, only

_META = Source("Meta, Marketing API, Custom Audiences guide: hashing and normalisation (read 2026-09)")
_META_CAPI = "Meta, Conversions API, customer information parameters (read 2026-11)"
_META_PRINTED = Source(_META_CAPI, Sureness.VECTOR)
_META_ZIP = Source(f"{_META_CAPI}: its British example m11ae is not the format it asks for", Sureness.UNSURE)

META = (
    Rule("meta.email", 2, only(email.address), True, "trimmed, lower case", _META_PRINTED, email.CLEAN),
    Rule("meta.phone", 1, phone.digits, True, "country code and number, digits only, no plus sign", _META_PRINTED),
    Rule(
        "meta.first_name", 2, only(plain.name), True, "lower case, letters and digits only, any script", _META_PRINTED
    ),
    Rule("meta.last_name", 2, only(plain.name), True, "lower case, letters and digits only, any script", _META_PRINTED),
    Rule("meta.city", 2, only(plain.name), True, "lower case, letters and digits only, any script", _META),
    Rule("meta.state", 2, only(plain.name), True, "lower case, letters and digits only; `ca`, not `california`", _META),
    Rule(
        "meta.zip",
        2,
        only(plain.zip_code),
        True,
        "lower case, no spaces; US the first five digits; GB area, district and sector",
        _META_ZIP,
    ),
    Rule("meta.country", 1, only(plain.country), True, "ISO 3166 alpha-2, lower case", _META_PRINTED),
    Rule("meta.gender", 1, only(plain.gender), True, "`m` or `f`", _META),
    Rule(
        "meta.birth_date",
        1,
        only(lambda value: f"{plain.birth_date(value):%Y%m%d}"),
        True,
        "`YYYYMMDD`; Custom Audiences take the parts below",
        _META_PRINTED,
    ),
    Rule("meta.birth_year", 1, only(partial(plain.date_part, part="year")), True, "`YYYY`", _META),
    Rule("meta.birth_month", 1, only(partial(plain.date_part, part="month")), True, "`MM`", _META),
    Rule("meta.birth_day", 1, only(partial(plain.date_part, part="day")), True, "`DD`", _META),
    Rule("meta.mobile_id", 1, only(plain.mobile_advertiser_id), False, "lower case, hyphens kept", _META),
    Rule("meta.external_id", 2, only(plain.own_id), False, "as it is", _META),
)

_GOOGLE = Source("Google, Data Manager API, Format user data (read 2026-11)")
_GOOGLE_PRINTED = Source(_GOOGLE.text, Sureness.VECTOR)
_GOOGLE_NAME = Source(
    "Google, Data Manager API, reference of UserData: no punctuation; the guide and Google's library keep it",
    Sureness.UNSURE,
)
_GOOGLE_MOBILE = Source("Google, Data Manager API, MobileData: nothing is said about letter case", Sureness.UNSURE)

GOOGLE = (
    Rule(
        "google.email",
        1,
        only(email.for_google),
        True,
        "no white space, lower case; of gmail.com and googlemail.com also without dots and `+...` before the `@`",
        _GOOGLE_PRINTED,
        email.CLEAN_FOR_GOOGLE,
    ),
    Rule("google.phone", 1, phone.e164, True, "E.164, with the plus sign", _GOOGLE_PRINTED),
    Rule(
        "google.first_name",
        1,
        only(google_names.given_name),
        True,
        "lower case, no punctuation, no title (`Mrs.`); spaces within stay",
        _GOOGLE_NAME,
    ),
    Rule(
        "google.last_name",
        1,
        only(google_names.family_name),
        True,
        "lower case, no punctuation, no suffix (`Jr.`); spaces within stay",
        _GOOGLE_NAME,
    ),
    Rule("google.zip", 1, only(plain.text_of), False, "trimmed; US with or without the four digits", _GOOGLE),
    Rule("google.country", 1, only(plain.country_upper), False, "ISO 3166 alpha-2, upper case", _GOOGLE),
    Rule(
        "google.address",
        1,
        only(google_address.address),
        False,
        "an object of `first_name`, `last_name`, `country`, `zip`: both names as above and hashed, the others as above",
        _GOOGLE,
    ),
    Rule("google.mobile_id", 1, only(plain.mobile_id_as_written), False, "as it is", _GOOGLE_MOBILE),
    Rule("google.external_id", 1, only(plain.own_id), False, "as it is", _GOOGLE),
)

_TIKTOK_PAGE = "TikTok, Ads Manager help, How to create a Custom Audience with a customer file (2025-09)"
_TIKTOK_PRINTED = Source(_TIKTOK_PAGE, Sureness.VECTOR)
_TIKTOK_EMAIL = Source(
    f"{_TIKTOK_PAGE}; its list of supported IDs (2025-08) also removed `+...`, a draft of it the dots", Sureness.UNSURE
)
_TIKTOK_PHONE = Source(
    f"{_TIKTOK_PAGE}; its list of supported IDs (2025-08) wanted no plus sign; the printed hash fits neither",
    Sureness.UNSURE,
)

TIKTOK = (
    Rule("tiktok.email", 1, only(email.without_spaces), True, "no white space, lower case", _TIKTOK_EMAIL, email.CLEAN),
    Rule("tiktok.phone", 1, phone.e164, True, "E.164, with the plus sign", _TIKTOK_PHONE),
    Rule("tiktok.mobile_id", 1, only(plain.mobile_advertiser_id), True, "lower case, hyphens kept", _TIKTOK_PRINTED),
)

_LINKEDIN = Source("LinkedIn, Matched Audiences, DMP segment users, and Adobe's guide to it (read 2026-11)")

LINKEDIN = (
    Rule("linkedin.email", 1, only(email.without_spaces), True, "no white space, lower case", _LINKEDIN, email.CLEAN),
    Rule("linkedin.first_name", 1, only(plain.text_of), False, "trimmed", _LINKEDIN),
    Rule("linkedin.last_name", 1, only(plain.text_of), False, "trimmed", _LINKEDIN),
    Rule(
        "linkedin.country",
        1,
        only(plain.country_upper),
        False,
        "ISO 3166 alpha-2, upper case",
        Source(_LINKEDIN.text, Sureness.UNSURE),
    ),
    Rule("linkedin.mobile_id", 1, only(plain.mobile_advertiser_id), False, "lower case, hyphens kept", _LINKEDIN),
)

_SNAPCHAT = Source("Snap, Conversions API, best practices: how to normalise and hash identifiers (read 2026-11)")

SNAPCHAT = (
    Rule("snapchat.email", 1, only(email.address), True, "trimmed, lower case", _SNAPCHAT, email.CLEAN),
    Rule("snapchat.phone", 1, phone.digits, True, "country code and number, digits only, no plus sign", _SNAPCHAT),
    Rule("snapchat.mobile_id", 1, only(plain.mobile_advertiser_id), True, "lower case, hyphens kept", _SNAPCHAT),
)

_PINTEREST = Source("Pinterest, API v5, CustomerListRequest.records (read 2026-11)")

PINTEREST = (
    Rule("pinterest.email", 1, only(email.address), True, "trimmed, lower case", _PINTEREST, email.CLEAN),
    Rule(
        "pinterest.mobile_id",
        1,
        only(plain.mobile_advertiser_id),
        True,
        "lower case, hyphens kept",
        Source("Pinterest, API v5: must be hashed; lower case as other vendors have it", Sureness.UNSURE),
    ),
)

_MICROSOFT = Source("Microsoft Advertising, Bulk API, customer list item (read 2026-11)", Sureness.VECTOR)

MICROSOFT = (
    Rule("microsoft.email", 1, only(email.address), True, "trimmed, lower case", _MICROSOFT, email.CLEAN),
    Rule(
        "microsoft.external_id",
        1,
        only(plain.own_id),
        False,
        "as it is",
        Source("Microsoft Advertising, msads 13: subtype CRM of CustomerListUserData", Sureness.UNSURE),
    ),
)

_REDDIT = Source("Reddit Ads help, manual advanced matching: hashing email addresses (read 2026-11)", Sureness.VECTOR)

REDDIT = (
    Rule(
        "reddit.email",
        1,
        only(email.for_reddit),
        True,
        "lower case; of every domain no `+...` and only a-z and 0-9 before the `@`",
        _REDDIT,
        email.CLEAN_FOR_REDDIT,
    ),
)

ADVERTISING = (*META, *GOOGLE, *TIKTOK, *LINKEDIN, *SNAPCHAT, *PINTEREST, *MICROSOFT, *REDDIT)
