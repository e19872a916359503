"""Hightouch's destinations, their fields and settings, by ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from audience_syncs.destinations.contract import DestinationSpec

_NONE = ""

PLATFORMS: Sequence[tuple[str, str]] = (
    # What is another product of the same house goes before it.
    ("googlesheets", _NONE),
    ("googleanalytics", _NONE),
    ("googlecloud", _NONE),
    ("googlecampaignmanager", _NONE),
    ("salesforcemarketingcloud", _NONE),
    ("salesforcecommerce", _NONE),
    ("pardot", _NONE),
    ("facebookconversions", _NONE),
    ("facebookofflineconversions", _NONE),
    ("facebookproductcatalog", _NONE),
    ("linkedinconversions", _NONE),
    ("tiktokevents", _NONE),
    ("tiktokofflineevents", _NONE),
    ("microsoftdynamics", _NONE),
    ("microsoftteams", _NONE),
    ("snapchat", "snapchat"),
    ("facebook", "meta"),
    ("metaads", "meta"),
    ("metacustomaudience", "meta"),
    ("googleads", "google"),
    ("adwords", "google"),
    ("customermatch", "google"),
    ("displayvideo", "google"),
    ("tiktok", "tiktok"),
    ("linkedin", "linkedin"),
    ("pinterest", "pinterest"),
    ("microsoftads", "microsoft"),
    ("microsoftadvertising", "microsoft"),
    ("bingads", "microsoft"),
    ("hubspot", "hubspot"),
    ("salesforce", "salesforce"),
    ("sfdc", "salesforce"),
    ("braze", "braze"),
    ("klaviyo", "klaviyo"),
    ("mailchimp", "mailchimp"),
    ("iterable", "iterable"),
    ("customerio", "customerio"),
)
"""A part of their type, slug or name, letters only -> our platform; the first that is found counts. Empty: something else that
only sounds like one."""

FIELDS: Mapping[str, Mapping[str, str]] = {
    "google": {"hashedemail": "email", "emails": "email", "hashedphonenumber": "phone", "phonenumber": "phone"},
    "meta": {
        "externalid": "EXTERN_ID",
        "firstname": "FN",
        "lastname": "LN",
        "city": "CT",
        "state": "ST",
        "zipcode": "ZIP",
        "postalcode": "ZIP",
        "gender": "GEN",
        "phonenumber": "PHONE",
        "mobileadvertiserid": "MADID",
    },
    "tiktok": {
        "phonenumber": "phone",
        "emailsha256": "email",
        "idfasha256": "idfa",
        "aaidsha256": "aaid",
        "gaid": "aaid",
    },
    "linkedin": {"sha256email": "email", "googleaid": "google_aid", "jobtitle": "title"},
    "snapchat": {
        "emailsha256": "email",
        "phonesha256": "phone",
        "mobileadidsha256": "mobile_ad_id",
        "madid": "mobile_ad_id",
    },
    "pinterest": {"hashedemail": "email", "maid": "mobile_ad_id"},
    "microsoft": {"hashedemail": "email", "customerid": "crm_id"},
    "hubspot": {"emailaddress": "email"},
    "braze": {"externaluserid": "external_id", "userid": "external_id", "dateofbirth": "dob"},
    "klaviyo": {"phone": "phone_number"},
    "mailchimp": {"emailaddress": "email", "firstname": "FNAME", "lastname": "LNAME"},
    "iterable": {"phone": "phoneNumber"},
    "customerio": {"userid": "id", "customerid": "id"},
}
"""Platform -> their name of a field, letters and digits only -> ours, where they are not alike."""

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "meta": {"accountId": "ad_account_id", "adAccountId": "ad_account_id"},
    "google": {"accountId": "customer_id", "customerId": "customer_id"},
    "tiktok": {"advertiserId": "advertiser_id", "accountId": "advertiser_id"},
    "linkedin": {"accountId": "ad_account_id", "adAccountId": "ad_account_id"},
    "snapchat": {"accountId": "ad_account_id", "adAccountId": "ad_account_id"},
    "pinterest": {"accountId": "ad_account_id", "adAccountId": "ad_account_id"},
    "microsoft": {"accountId": "account_id", "customerId": "customer_id"},
    "mailchimp": {"audienceId": "audience_id"},
}
"""Platform -> a key of a sync's ``config`` -> the setting of our destination: which account it is."""

LIST_NAMES = ("customSegmentName", "audienceName", "listName", "segmentName", "userListName", "cohortName")
LIST_IDS = ("customAudienceId", "listId", "segmentId", "userListId", "audienceId")

REASONS: Mapping[str, str] = {
    "associationMappings": "records are not linked to each other here",
    "associationMode": "records are not linked to each other here",
    "rateLimit": "the pace is the destination's, for all its syncs: its setting `requests_per_s`",
    "batchSize": "the size of a batch is the platform's",
    "configVersion": "only of use to Hightouch",
    "shouldTruncate": "texts are not cut off here",
    "autoSyncColumns": "each field is mapped by name here",
    "startDate": "a schedule holds as soon as it is there",
    "cleanPhone": "phone numbers are always normalised; see `region` and `default_region` of a mapped phone",
    "userListType": "told by the fields that are mapped",
    "splitConfig": "write it as `split` of the audience",
    "alerts": "write them as `notify` and `limits`: docs/alerts.md",
    "labels": "write them as `tags` of the audience",
    "tags": "write them as `tags` of the audience",
    "id": "only of use to Hightouch",
    "workspaceId": "only of use to Hightouch",
    "createdAt": "only of use to Hightouch",
    "updatedAt": "only of use to Hightouch",
    "folder": "folders are those of the files here",
}
"""What is known of keys that are not taken over."""
UNKNOWN_KEY = "not understood, and not taken over"


def bare(text: str) -> str:
    """Letters and digits only, small: what names are compared by."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def platform_of(*texts: str | None) -> str | None:
    """Our platform, told by the first of their type, name or slug that tells one."""
    for text in texts:
        named = bare(text or "")
        for part, platform in PLATFORMS:
            if part in named:
                return platform or None
    return None


def field_of(spec: DestinationSpec, name: str) -> str | None:
    """Our name of their field; None where the platform has no such field here."""
    alias = FIELDS.get(spec.platform, {}).get(bare(name))
    if alias is not None:
        return alias
    for known in spec.fields:
        if bare(known.name) == bare(name):
            return known.name
    return name if spec.field(name) is not None else None
