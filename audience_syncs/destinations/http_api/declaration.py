"""The settings of an HTTP API, typed: how each operation is asked, and how its answer is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from audience_syncs.destinations import keyed, settings
from audience_syncs.destinations.contract import Account, Destination, DestinationSpec, Empties, Tells
from audience_syncs.destinations.http_api import templates
from audience_syncs.destinations.problems import Problem
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.strict import Config

ABOUT_LISTS = frozenset({"list"})
ABOUT_MEMBERS = frozenset({"list", "members", "request"})
ABOUT_ONE = frozenset({"list", "member", "request"})
ABOUT_SHAPE = frozenset({"list", "member"})
_JSON_PATH = r"^(\$\.?)?([^.\[\]\s]+|\[[0-9]+\])?(\.[^.\[\]\s]+|\[[0-9]+\])*$"
_PATH = Field(pattern=_JSON_PATH, description="A path in JSON: `data.results`, `errors[0].code`.")


class Auth(Config):
    """How requests say who we are."""

    type: Literal["none", "bearer", "basic", "header", "oauth2"] = Field(
        description="`bearer` (secret `token`), `basic` (`username`, `password`), `header` (`token`), `oauth2` client "
        "credentials (`client_id`, `client_secret`), or `none`."
    )
    header: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9-]{1,100}$", description="With `header`: its name, e.g. `X-Api-Key`."
    )
    token_url: str | None = Field(
        default=None, pattern=r"^https?://\S+$", description="With `oauth2`: the address that gives tokens."
    )
    scope: str | None = Field(default=None, description="With `oauth2`: the scopes that are asked for.")

    @model_validator(mode="after")
    def _complete(self) -> Auth:
        needed = {"header": ("header", self.header), "oauth2": ("token_url", self.token_url)}.get(self.type)
        if needed is not None and needed[1] is None:
            raise ValueError(f"`type: {self.type}` needs `{needed[0]}`; add it")
        return self

    @property
    def credentials(self) -> tuple[str, ...]:
        """The secrets it needs."""
        return {
            "bearer": ("token",),
            "header": ("token",),
            "basic": ("username", "password"),
            "oauth2": ("client_id", "client_secret"),
        }.get(self.type, ())


class Request(Config):
    """One request."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(default="POST", description="Default: POST.")
    path: str = Field(
        pattern=r"^/", description="Below `base_url`; `${...}` is one segment of it: `/lists/${list.id}`."
    )
    query: dict[str, str] = Field(default_factory=dict, description="Parameters of the query; `${...}` for values.")
    headers: dict[str, str] = Field(default_factory=dict, description="Further headers; `${...}` for values.")
    body: Any = Field(default=None, description="The JSON body as a YAML structure; `${...}` for values of any type.")

    @field_validator("headers")
    @classmethod
    def _plain_headers(cls, value: dict[str, str]) -> dict[str, str]:
        if any(name.lower() in ("authorization", "content-length", "host") for name in value):
            raise ValueError("this header is made by `auth` or by HTTP itself; remove it")
        return value

    def check(self, known: frozenset[str]) -> None:
        """Raises ValueError where a template cannot be read, or uses what is not known here."""
        for name in ("path", "query", "headers", "body"):
            found = templates.problem(getattr(self, name), known)
            if found is not None:
                raise ValueError(f"in `{name}`, {found}; see docs/destinations/http-api.md for what can be used")


class FindList(Request):
    """Finds the list of a name."""

    items: str = _PATH
    name: str = Field(default="name", pattern=_JSON_PATH, description="Path of an item's name; default `name`.")
    id: str = Field(default="id", pattern=_JSON_PATH, description="Path of an item's id; default `id`.")


class CreateList(Request):
    """Makes a list."""

    id: str = Field(default="id", pattern=_JSON_PATH, description="Path of the new list's id; default `id`.")


class CountList(Request):
    """Tells how many people are in a list."""

    count: str = Field(pattern=_JSON_PATH, description="Path of the number.")


class ListOperations(Config):
    """Lists at the API; without them a list is only a name, `${list.id}` and `${list.name}`."""

    find: FindList | None = Field(default=None, description="How the list of a name is found.")
    create: CreateList | None = Field(default=None, description="How a list is made.")
    count: CountList | None = Field(default=None, description="How many people are in it: matched users.")

    @model_validator(mode="after")
    def _known_names(self) -> ListOperations:
        for request in (self.find, self.create, self.count):
            if request is not None:
                request.check(ABOUT_LISTS)
        if self.create is not None and self.find is None:
            raise ValueError("a list that is made must be found again; add `find`")
        return self


class Answers(Config):
    """How an answer of the 200s tells what became of each member. Without it, all are accepted."""

    results: str = Field(
        pattern=_JSON_PATH, description="Path of a list in the answer: an item for each member it tells of."
    )
    only_failures: bool = Field(
        default=False, description="`true`: the items are those that failed, the others are accepted."
    )
    index: str | None = Field(
        default=None, pattern=_JSON_PATH, description="Path, in an item, of the member's place in the request, from 0."
    )
    key: str | None = Field(default=None, pattern=_JSON_PATH, description="Path, in an item, of the member's key.")
    accepted: str | None = Field(
        default=None, description="An expression over `item` that is true for the accepted: `${item.status == 'ok'}`."
    )
    code: str = Field(default="code", pattern=_JSON_PATH, description="Path, in an item, of the reason's code.")
    reason: str = Field(default="message", pattern=_JSON_PATH, description="Path, in an item, of the reason in words.")
    retry_codes: list[str | int] = Field(
        default_factory=list, description="Codes of failures that may go away; those members come back in the next run."
    )

    @model_validator(mode="after")
    def _decidable(self) -> Answers:
        if self.only_failures == (self.accepted is not None):
            raise ValueError("say how the failed are known; either `only_failures: true`, or `accepted: ${...}`")
        if self.index is not None and self.key is not None:
            raise ValueError("an item belongs to a member by `index` or by `key`; remove one")
        if self.only_failures and self.index is None and self.key is None:
            raise ValueError("nothing says whom a failure is about; add `index` or `key`")
        found = templates.problem(self.accepted, frozenset({"item"}))
        if found is not None:
            raise ValueError(f"in `accepted`, {found}; write e.g. `${{item.status == 'ok'}}`")
        return self


class MemberOperation(Request):
    """Adds members, or removes them."""

    one_by_one: bool = Field(
        default=False, description="`true`: a request for each member, `${member}`; otherwise `${members}`."
    )
    member: Any = Field(
        default=None, description="The shape of each of `${members}`, over `${member}`; default: the mapped fields."
    )
    answers: Answers | None = Field(default=None, description="How the answer tells what became of each member.")
    accepted_statuses: list[int] = Field(
        default_factory=list, description="Statuses beyond the 200s that mean success, e.g. 404 for who is not there."
    )

    @model_validator(mode="after")
    def _known_names(self) -> MemberOperation:
        if self.one_by_one and (self.member is not None or self.answers is not None):
            raise ValueError("`member` and `answers` are for requests with many members; remove them")
        self.check(ABOUT_ONE if self.one_by_one else ABOUT_MEMBERS)
        found = templates.problem(self.member, ABOUT_SHAPE)
        if found is not None:
            raise ValueError(f"in `member`, {found}; see docs/destinations/http-api.md for what can be used")
        return self

    @property
    def fields(self) -> frozenset[str]:
        """The fields of a member that its templates name."""
        return templates.fields_of_member([self.path, self.query, self.headers, self.body, self.member])


class HttpApiSettings(Config):
    """Settings of an HTTP API."""

    base_url: str = Field(description="Where the API is: `https://api.example.com/v1`.")
    base_url_env: str | None = Field(
        default=None, description="Name of an environment variable that holds the address instead, where it is set."
    )
    key: str = Field(default=keyed.KEY, min_length=1, max_length=200, description=keyed.KEY_DESCRIPTION)
    auth: Auth = Field(default=Auth(type="none"), description="How requests say who we are; default: not at all.")
    headers: dict[str, str] = Field(default_factory=dict, description="Headers of every request.")
    lists: ListOperations = Field(default_factory=ListOperations, description="How lists are found, made and counted.")
    add: MemberOperation = Field(description="How members are added and updated; it must be safe to repeat.")
    remove: MemberOperation | None = Field(
        default=None, description="How members are removed; without it, nobody is. It must be safe to repeat."
    )
    members_per_request: int = Field(default=100, ge=1, le=10_000, description="At most; default 100.")
    requests_per_s: float = Field(default=10, gt=0, le=1_000, description="Requests a second at most; default 10.")
    concurrency: int = Field(default=4, ge=1, le=32, description="Requests under way at the same time; default 4.")
    timeout_s: float = Field(default=30, ge=0.1, le=600, description="Seconds to wait for an answer; default 30.")
    attempts: int = Field(default=5, ge=1, le=20, description="How often one request is tried; default 5.")
    plain_http: bool = Field(default=False, description="Allow http:// beyond this machine.")

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value) is None:
            raise ValueError("is not an address of an API; write it like https://api.example.com/v1")
        return value

    @model_validator(mode="after")
    def _removed_by_key(self) -> HttpApiSettings:
        others = sorted(self.remove.fields - {self.key}) if self.remove is not None else []
        if others:
            raise ValueError(
                f"`remove` uses `member.{others[0]}`, and of who is removed only the key is known; use `member.{self.key}`, "
                f"or make `{others[0]}` the `key`"
            )
        return self


SPEC = DestinationSpec(
    platform="http_api",
    title="HTTP API",
    kind="json",
    fields=keyed.fields(keyed.KEY),
    open_fields=keyed.OTHERS,
    credentials=(),
    optional_credentials=("token", "username", "password", "client_id", "client_secret"),
    settings=settings.descriptions(HttpApiSettings),
    required_settings=settings.required(HttpApiSettings),
    required_fields=frozenset({keyed.KEY}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=100,
    concurrency=4,
    tells_matched_users=Tells.DEPENDS,
    docs="docs/destinations/http-api.md",
    empties=Empties.ALWAYS,
    settings_model=HttpApiSettings,
)


def declare(given: Mapping[str, Any]) -> DestinationSpec:
    """What this API can do: removals where it has a call for them, the secrets that its ``auth`` needs."""
    read = HttpApiSettings.model_validate(given)
    removes = read.remove is not None
    return replace(
        SPEC,
        fields=keyed.fields(read.key),
        required_fields=frozenset({read.key}),
        credentials=read.auth.credentials,
        optional_credentials=(),
        modes=SPEC.modes if removes else frozenset({Mode.ADD}),
        removals=SPEC.removals if removes else frozenset({Removal.KEEP}),
        batch_size=read.members_per_request,
        concurrency=read.concurrency,
        tells_matched_users=Tells.NO if read.lists.count is None else Tells.YES,
    )


def check_mapping(given: Mapping[str, Any], mapped: Collection[str]) -> Iterator[Problem]:
    """Fields that templates name and no column is mapped to."""
    read = HttpApiSettings.model_validate(given)
    for name in sorted(read.add.fields - set(mapped)):
        yield Problem(
            ("mapping",),
            f"the destination's `add` uses `member.{name}`, and nothing is mapped to `{name}`",
            f"map a column to `{name}`, or take it out of the destination's templates",
        )


def open_account(account: Account, environ: Mapping[str, str]) -> Destination:
    """The API. Sends nothing yet."""
    from audience_syncs.destinations.http_api.account import open_api

    where = f"destination {account.name}"
    read = settings.read(HttpApiSettings, account.settings, where)
    return open_api(declare(account.settings), read, account.credentials, environ, where)
