"""The rules of CRMs, messaging tools and what is no platform at all: plain values, nothing is hashed.

One block for each platform. ``text`` is for any other field of a person; what somebody wrote stays as it is.
"""

from __future__ import annotations

from audience_syncs.identifiers import email, phone, plain
from audience_syncs.identifiers.rule import Rule, Source, Sureness, only

_HUBSPOT = Source("HubSpot, CRM API, contacts and property values (read 2026-09)")

HUBSPOT = (
    Rule("hubspot.email", 2, only(email.address), False, "trimmed, lower case", _HUBSPOT, email.CLEAN),
    Rule("hubspot.phone", 1, phone.e164, False, "E.164, with the plus sign", _HUBSPOT),
    Rule(
        "hubspot.text",
        1,
        only(plain.property_value),
        False,
        "as written; dates as milliseconds of midnight UTC, times in ISO 8601",
        _HUBSPOT,
    ),
)

_SALESFORCE = Source("Salesforce, field types Email, Phone, Date and external ids; from memory", Sureness.UNSURE)

SALESFORCE = (
    Rule("salesforce.email", 1, only(email.address), False, "trimmed, lower case", _SALESFORCE, email.CLEAN),
    Rule("salesforce.phone", 1, phone.e164, False, "E.164, with the plus sign", _SALESFORCE),
    Rule(
        "salesforce.birth_date",
        1,
        only(lambda value: plain.birth_date(value).isoformat()),
        False,
        "`YYYY-MM-DD`",
        _SALESFORCE,
    ),
    Rule("salesforce.external_id", 1, only(plain.own_id), False, "as it is", _SALESFORCE),
    Rule("salesforce.text", 1, only(plain.free_text), False, "as written", _SALESFORCE),
)

_BRAZE = Source("Braze, POST /users/track and the user attributes object (read 2026-09)")

BRAZE = (
    Rule("braze.email", 1, only(email.address), False, "trimmed, lower case", _BRAZE, email.CLEAN),
    Rule("braze.phone", 1, phone.e164, False, "E.164, with the plus sign", _BRAZE),
    Rule("braze.country", 1, only(plain.country_upper), False, "ISO 3166 alpha-2, upper case", _BRAZE),
    Rule("braze.gender", 1, only(lambda value: plain.gender(value).upper()), False, "`M` or `F`", _BRAZE),
    Rule(
        "braze.birth_date",
        1,
        only(lambda value: plain.birth_date(value).isoformat()),
        False,
        "`YYYY-MM-DD`",
        _BRAZE,
    ),
    Rule("braze.external_id", 1, only(plain.own_id), False, "as it is", _BRAZE),
    Rule("braze.text", 1, only(plain.free_text), False, "as written", _BRAZE),
)

_KLAVIYO = Source("Klaviyo, OpenAPI description, revision 2026-07-15")

KLAVIYO = (
    Rule("klaviyo.email", 1, only(email.address), False, "trimmed, lower case", _KLAVIYO, email.CLEAN),
    Rule("klaviyo.phone", 1, phone.e164, False, "E.164, with the plus sign", _KLAVIYO),
    Rule("klaviyo.external_id", 1, only(plain.own_id), False, "as it is", _KLAVIYO),
    Rule("klaviyo.text", 1, only(plain.free_text), False, "as written", _KLAVIYO),
)

_MAILCHIMP = Source("Mailchimp, Marketing API 3.0.55, list members and merge fields")

MAILCHIMP = (
    Rule("mailchimp.email", 1, only(email.address), False, "trimmed, lower case", _MAILCHIMP, email.CLEAN),
    Rule("mailchimp.phone", 1, phone.e164, False, "E.164, with the plus sign", _MAILCHIMP),
    Rule(
        "mailchimp.birth_date",
        1,
        only(lambda value: f"{plain.birth_date(value):%m/%d}"),
        False,
        "`MM/DD`, a merge field of the type birthday",
        Source(_MAILCHIMP.text, Sureness.UNSURE),
    ),
    Rule("mailchimp.text", 1, only(plain.free_text), False, "as written", _MAILCHIMP),
)

_ITERABLE = Source("Iterable, API, users and lists; from memory", Sureness.UNSURE)

ITERABLE = (
    Rule("iterable.email", 1, only(email.address), False, "trimmed, lower case", _ITERABLE, email.CLEAN),
    Rule("iterable.phone", 1, phone.e164, False, "E.164, with the plus sign", _ITERABLE),
    Rule("iterable.external_id", 1, only(plain.own_id), False, "as it is: the userId", _ITERABLE),
    Rule("iterable.text", 1, only(plain.free_text), False, "as written", _ITERABLE),
)

_CUSTOMERIO = Source("Customer.io, Track API, people; from memory", Sureness.UNSURE)

CUSTOMERIO = (
    Rule("customerio.email", 1, only(email.address), False, "trimmed, lower case", _CUSTOMERIO, email.CLEAN),
    Rule("customerio.phone", 1, phone.e164, False, "E.164, with the plus sign", _CUSTOMERIO),
    Rule("customerio.external_id", 1, only(plain.own_id), False, "as it is", _CUSTOMERIO),
    Rule("customerio.text", 1, only(plain.free_text), False, "as written", _CUSTOMERIO),
)

_GENERIC = Source("ours: HTTP, webhook, SQL and files take what they are given")

GENERIC = (
    Rule("generic.email", 1, only(email.address), False, "trimmed, lower case", _GENERIC, email.CLEAN),
    Rule("generic.phone", 1, phone.e164, False, "E.164, with the plus sign", _GENERIC),
    Rule("generic.external_id", 1, only(plain.own_id), False, "as it is", _GENERIC),
    Rule("generic.text", 1, only(plain.free_text), False, "as written", _GENERIC),
)

MESSAGING = (*HUBSPOT, *SALESFORCE, *BRAZE, *KLAVIYO, *MAILCHIMP, *ITERABLE, *CUSTOMERIO, *GENERIC)
