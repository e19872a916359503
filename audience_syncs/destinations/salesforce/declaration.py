"""What Salesforce can do, and its settings. Loads without HTTP.

Fields go by Salesforce's own API names, so that any field of an org can be mapped, custom ones (``Tier__c``) too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, Destination, DestinationSpec, Empties, FieldSpec, Tells
from audience_syncs.destinations.problems import Problem
from audience_syncs.model.config import Mode, Removal

EMAIL = "Email"
NEVER_EMPTIED = frozenset({EMAIL, "LastName", "Company", "Id"})
"""What a record is found by, or cannot be without."""
_API_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)
_READ_ONLY = frozenset({"id", "createddate", "lastmodifieddate", "systemmodstamp", "isdeleted", "name"})


class Kind(StrEnum):
    """What the members of an audience are at Salesforce."""

    CONTACT = "Contact"
    LEAD = "Lead"


class SalesforceSettings(settings.ApiSettings):
    """Settings of a Salesforce org."""

    my_domain: str = Field(
        min_length=4, max_length=200, description="The org's My Domain, like https://acme.my.salesforce.com."
    )
    object: Kind = Field(default=Kind.CONTACT, description="What members are: `Contact` or `Lead`. Default: Contact.")
    external_id_field: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z]\w{0,76}__c$",
        description="API name, exactly as it is, of an external id field of type text; members are found by it instead of "
        "by `Email`.",
    )
    defaults: dict[str, str] = Field(
        default_factory=dict,
        description="Values for records that are made, where the member has none, like `{LastName: Unknown}`.",
    )
    member_status: str | None = Field(
        default=None,
        min_length=1,
        max_length=40,
        description="Status of those who join a campaign. Default: the campaign's own.",
    )
    username: str | None = Field(
        default=None, min_length=1, max_length=200, description="With a `private_key`: the user who signs in."
    )
    jwt_audience: str | None = Field(
        default=None,
        max_length=200,
        description="With a `private_key`: the audience of the assertion. Default: login.salesforce.com, for sandboxes "
        "test.salesforce.com.",
    )
    api_version: str = Field(default="62.0", pattern=r"^\d{2,3}\.0$", description="Version of the API. Default: 62.0.")
    bulk_above: int = Field(
        default=2_000,
        ge=0,
        description="Runs that change more members than this use jobs (Bulk API 2.0). Default: 2000.",
    )
    job_wait_s: float = Field(
        default=1_800, ge=0.1, le=86_400, description="Seconds to wait for a job to be carried out. Default: 1800."
    )
    daily_calls_percent: float = Field(
        default=90,
        gt=0,
        le=100,
        description="How much of the org's daily API calls may be spent, by all who call it, before a run stops. "
        "Default: 90.",
    )

    @field_validator("my_domain")
    @classmethod
    def _address(cls, value: str) -> str:
        address = (value if "://" in value else f"https://{value}").rstrip("/")
        if re.fullmatch(r"https?://[\w.-]+(:\d+)?", address, re.ASCII) is None:
            raise ValueError(
                "`my_domain` is not the address of an org; write it like https://acme.my.salesforce.com "
                "(Setup, My Domain)"
            )
        return address

    @field_validator("defaults")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if _API_NAME.fullmatch(name) is None:
                raise ValueError("a name in `defaults` is not the API name of a field; write it like LastName")
        return value

    @property
    def key_field(self) -> str:
        """The field by which members are found."""
        return self.external_id_field or EMAIL


_EMAIL = FieldSpec(EMAIL, "salesforce.email", identifier=True, description="Email address; members are found by it.")
_PERSON = (
    FieldSpec("FirstName", "salesforce.text", description="First name; 40 characters."),
    FieldSpec("LastName", "salesforce.text", description="Last name; a record that is made needs one."),
    FieldSpec("Title", "salesforce.text", description="Job title."),
    FieldSpec("Phone", "salesforce.phone", description="Phone number in E.164."),
    FieldSpec("MobilePhone", "salesforce.phone", description="Mobile phone number in E.164."),
)
_CONTACT = (
    FieldSpec("Birthdate", "salesforce.birth_date", description="Date of birth; contacts only."),
    FieldSpec("MailingStreet", "salesforce.text", description="Street; contacts only."),
    FieldSpec("MailingCity", "salesforce.text", description="City; contacts only."),
    FieldSpec("MailingState", "salesforce.text", description="State; contacts only."),
    FieldSpec("MailingPostalCode", "salesforce.text", description="Postal code; contacts only."),
    FieldSpec("MailingCountry", "salesforce.text", description="Country; contacts only."),
)
_LEAD = (
    FieldSpec("Company", "salesforce.text", description="Company; a lead that is made needs one."),
    FieldSpec("Street", "salesforce.text", description="Street."),
    FieldSpec("City", "salesforce.text", description="City."),
    FieldSpec("State", "salesforce.text", description="State."),
    FieldSpec("PostalCode", "salesforce.text", description="Postal code."),
    FieldSpec("Country", "salesforce.text", description="Country."),
)

SPEC = DestinationSpec(
    platform="salesforce",
    title="Salesforce",
    kind="salesforce",
    fields=(_EMAIL, *_PERSON, *_CONTACT),
    open_fields=FieldSpec(
        "", "salesforce.text", multiple=True, description="Any other field, by its API name, like `Tier__c`."
    ),
    credentials=("client_id",),
    optional_credentials=("client_secret", "private_key", "refresh_token"),
    settings=settings.descriptions(SalesforceSettings),
    settings_model=SalesforceSettings,
    required_settings=settings.required(SalesforceSettings),
    required_fields=frozenset({EMAIL}),
    modes=frozenset(Mode),
    removals=frozenset(Removal),
    batch_size=10_000,
    concurrency=2,
    reads_members=True,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/salesforce.md",
    empties=Empties.ASKED,
    never_emptied=NEVER_EMPTIED,
)


def declare(given: Mapping[str, Any]) -> DestinationSpec:
    """With the fields of the object that is written, and the one by which members are found."""
    read = SalesforceSettings.model_validate(given)
    others = _CONTACT if read.object is Kind.CONTACT else _LEAD
    if read.external_id_field is None:
        return replace(SPEC, fields=(_EMAIL, *_PERSON, *others))
    key = FieldSpec(
        read.external_id_field,
        "salesforce.external_id",
        identifier=True,
        description="Your id of the person; members are found by it.",
    )
    email = replace(_EMAIL, identifier=False, description="Email address.")
    return replace(SPEC, fields=(key, email, *_PERSON, *others), required_fields=frozenset({key.name}))


def check_mapping(given: Mapping[str, Any], mapped: Collection[str]) -> Iterator[Problem]:
    """Names that no field can have, and fields that nobody can write."""
    known = {field.name.lower(): field.name for field in declare(given).fields}
    for name in mapped:
        if _API_NAME.fullmatch(name) is None:
            yield Problem(
                ("mapping", name),
                f"`{name}` is not the API name of a Salesforce field",
                "write it as in Setup, Object Manager, Fields & Relationships, column Field Name, like `Tier__c`",
            )
        elif known.get(name.lower(), name) != name:
            yield Problem(("mapping", name), f"`{name}` is `{known[name.lower()]}`", f"write `{known[name.lower()]}`")
        elif name.lower() in _READ_ONLY:
            yield Problem(("mapping", name), f"Salesforce lets nobody write `{name}`", "leave it out")


def open_account(account: Account, environ: Mapping[str, str]) -> Destination:
    """The org. Sends nothing yet."""
    from audience_syncs.destinations.salesforce.account import Salesforce

    where = f"destination {account.name}"
    read = settings.read(SalesforceSettings, account.settings, where)
    return Salesforce(declare(account.settings), account.credentials, read, environ, where)
