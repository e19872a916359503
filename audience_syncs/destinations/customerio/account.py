"""One Customer.io workspace: its manual segments, who is in them, and what happens to who leaves.

A member is a person by their ``id``: Customer.io takes nobody out of a manual segment by its API who has none. What else is mapped
becomes attributes. Nothing here touches whether somebody is subscribed: the attributes that say so cannot be mapped. Who leaves
is taken out of the segment, and deleted only where the sync says ``delete_record``; that does not suppress them.

Facts and what is not sure of them: ``people`` and ``segments``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import (
    Account,
    DestinationSpec,
    Empties,
    FieldSpec,
    ListMember,
    ListRequest,
    Tells,
)
from audience_syncs.destinations.customerio.calls import App, Track, reading
from audience_syncs.destinations.customerio.changes import Changes
from audience_syncs.destinations.customerio.people import (
    CIO_ID,
    ID,
    NEVER_CLEARED,
    Operation,
    People,
    delete,
    identify,
    ids_of,
    named,
    people_of,
)
from audience_syncs.destinations.customerio.segments import Segments, portions
from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.problems import Problem
from audience_syncs.destinations.sign_in import Fixed, basic_header
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, RemoteList, Verdict, VerdictKind

_REGIONS = {
    "us": ("https://track.customer.io", "https://api.customer.io"),
    "eu": ("https://track-eu.customer.io", "https://api-eu.customer.io"),
}
_APP_REQUESTS_PER_S = 8.0
"""Of the ten a second that the App API allows."""
_ABOUT_CONSENT = ("unsubscribed", "cio_subscription_preferences")
_RESERVED = ("_update", "cio_id", "anonymous_id")
NO_ID = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no id, by which Customer.io finds people")
NO_PERSON = Verdict(VerdictKind.REJECTED, "NOT_FOUND", "there is no person of this id, and an update makes none")
NOT_ARRIVED = Verdict(
    VerdictKind.RETRYABLE,
    "NOT_ARRIVED",
    "Customer.io took the person and does not show them: it has not come to them yet, or they are suppressed",
)
NOT_SEEN = Verdict(
    VerdictKind.UNKNOWN, "NOT_SEEN", "Customer.io took the call about the segment, and is not seen to have done it"
)


class CustomerIoSettings(settings.ApiSettings):
    """Settings of a Customer.io workspace."""

    base_url: str | None = Field(default=None, description="Another address of both APIs.")
    base_url_env: str | None = Field(
        default=None, description="Environment variable that holds another address of both APIs, when it is set."
    )
    region: Literal["us", "eu"] = Field(
        default="us", description="Where the account is: `us` or `eu` (Settings, Privacy). Default: `us`."
    )
    arrival_wait_s: float = Field(
        default=30,
        ge=0.01,
        le=3_600,
        description="Seconds to wait until what was sent is seen to be done. What is not comes again. Default: 30.",
    )


SPEC = DestinationSpec(
    platform="customerio",
    title="Customer.io",
    kind="customerio",
    fields=(
        FieldSpec("id", "customerio.external_id", identifier=True, description="Your id of the person, as it is."),
        FieldSpec(
            "email", "customerio.email", description="Email address; belongs to one person, where it identifies."
        ),
        FieldSpec("phone", "customerio.phone", description="Phone number in E.164."),
        FieldSpec("first_name", "customerio.text", description="First name."),
        FieldSpec("last_name", "customerio.text", description="Last name."),
        FieldSpec("timezone", "customerio.text", description="Time zone, like `Europe/Berlin`."),
    ),
    open_fields=FieldSpec("", "customerio.text", multiple=True, nested=True, description="An attribute of the person."),
    credentials=("site_id", "api_key", "app_key"),
    settings=settings.descriptions(CustomerIoSettings),
    settings_model=CustomerIoSettings,
    required_settings=frozenset(),
    required_fields=frozenset({"id"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.UPSERT, Mode.UPDATE, Mode.INSERT, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.CLEAR_FIELDS, Removal.DELETE_RECORD, Removal.KEEP}),
    batch_size=1_000,
    concurrency=4,
    reads_members=True,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/customerio.md",
    empties=Empties.ASKED,
    never_emptied=NEVER_CLEARED,
)


def check_mapping(given: Mapping[str, Any], mapped: Collection[str]) -> Iterator[Problem]:
    """Attributes that Customer.io understands in its own way."""
    for name in mapped:
        first = name.partition(".")[0]
        if first in _ABOUT_CONSENT:
            yield Problem(
                ("mapping", name),
                f"`{name}` decides whether somebody gets messages, and an audience does not say that",
                "take it out of the mapping; consent is kept where it is given",
            )
        elif first in _RESERVED:
            yield Problem(
                ("mapping", name), f"`{name}` is a name of Customer.io's own", "give the attribute another name"
            )


class CustomerIo:
    """One Customer.io workspace."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        where = f"destination {account.name}"
        given = settings.read(CustomerIoSettings, account.settings, where)
        secrets = account.credentials
        track, app = (given.address(environ, default) for default in _REGIONS[given.region])
        site = hashlib.sha256(secrets["site_id"].encode()).hexdigest()
        self._http = self._client(
            track, given, site, "customerio", basic_header(secrets["site_id"], secrets["api_key"]), where
        )
        self._app = self._client(app, given, site, "customerio app", f"Bearer {secrets['app_key']}", where)
        writes, reads = Track(self._http, where), App(self._app, where)
        self._where = where
        self._people = People(writes, reads, given.arrival_wait_s)
        self._segments = Segments(writes, reads, where)
        self._changes = Changes(self._segments, self._people)

    def _client(
        self, address: str, given: CustomerIoSettings, site: str, platform: str, secret: str, where: str
    ) -> HttpClient:
        rate = given.requests_per_s if platform == "customerio" else min(given.requests_per_s, _APP_REQUESTS_PER_S)
        return HttpClient(
            address,
            platform=platform,
            account=site,
            headers={},
            sign_in=Fixed({"Authorization": secret}, where),
            pace=Pace(rate, burst=4),
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
            read=reading,
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent + self._app.requests_sent

    @property
    def pace(self) -> Pacer:
        """The App API's, whose limit is the low one."""
        return self._app.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        if wanted.id is not None:
            found, created = self._segments.get(wanted.id), False
        else:
            known = self._segments.named(wanted.name)
            found, created = (
                (known, False) if known is not None else self._segments.make(wanted.name, wanted.description)
            )
        return RemoteList(str(found["id"]), str(found.get("name") or wanted.name), created=created)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """Only who is seen to be a person is put into the segment."""
        people = people_of(batch)
        if not people:
            return [NO_ID] * len(batch)
        self._segments.get(list_id)
        try:
            verdicts, there = self._brought(people)
            calls = [(ID, ids, there[ids[-1]]) for ids in portions(list(there))]
            done = self._changes.carry_out(list_id, self._segments.add, calls, batch.jobs, inside=True)
        except DestinationError:
            # Whichever call was refused: those before it were not.
            may_have_been_applied()
            raise
        verdicts |= {own: _accepted(cio) if done else NOT_SEEN for own, cio in there.items()}
        return [verdicts.get(ids[0], NOT_ARRIVED) if (ids := ids_of(member)) else NO_ID for member in batch.members]

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """By all their ids; and by the id that Customer.io gave them, whatever else they are called by now."""
        own = list(dict.fromkeys(each for member in batch.members for each in ids_of(member)))
        given = list(dict.fromkeys(member.remote_id for member in batch.members if member.remote_id))
        if not own and not given:
            return [ACCEPTED] * len(batch)
        self._segments.get(list_id)
        calls = [(kind, ids) for kind, known in ((ID, own), (CIO_ID, given)) for ids in portions(known)]
        # Who is no person is in no segment, and no witness.
        people = self._people.found(ids[-1] for kind, ids in calls if kind == ID)
        try:
            done = self._changes.carry_out(
                list_id,
                self._segments.remove,
                [(kind, ids, people.get(ids[-1]) if kind == ID else ids[-1]) for kind, ids in calls],
                batch.jobs,
                inside=False,
            )
        except DestinationError:
            may_have_been_applied()
            raise
        return [ACCEPTED if done else NOT_SEEN] * len(batch)

    def resume(self, list_id: str, job_ids: Sequence[str]) -> None:
        """Waits for calls that Customer.io took from runs that ended before they were seen to be done."""
        if self._changes.under_way(list_id, job_ids):
            raise NotApplied(
                "customerio: a call about the segment is not seen to be done yet, from an earlier run",
                where=self._where,
                remedy="nothing was sent; the next run looks again, for a quarter of an hour at most",
            )

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        return self._segments.members(list_id)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """How many people Customer.io counts in the segment."""
        count = self._segments.count(list_id)
        return MatchedUsers(
            lower=count, upper=count, as_of=datetime.now(UTC), note="people in the segment at Customer.io"
        )

    # People outside of the segment

    def records(self) -> RemoteList:
        return RemoteList("people", "all people", "https://fly.customer.io/workspaces/last/journeys/people")

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        """Somebody who comes or goes between the look-up and the batch is written, or not made, all the same."""
        if mode not in (Mode.UPSERT, Mode.UPDATE, Mode.INSERT):
            raise ValueError(f"mode {mode} writes no records")
        people = people_of(batch)
        held = self._people.found(people) if mode is not Mode.UPSERT else {}
        verdicts: dict[str, Verdict] = {}
        if mode is Mode.UPDATE:
            refused = self._people.send([identify(ID, own, people[own], update=True) for own in held])
            verdicts = {own: refused.get(place, _accepted(held[own])) for place, own in enumerate(held)}
        else:
            wanted = {own: attributes for own, attributes in people.items() if own not in held}
            try:
                verdicts, there = self._brought(wanted) if wanted else ({}, {})
            except NotApplied as error:
                raise NoAnswer(error.message) from error  # the people may have been written
            verdicts |= {own: _accepted(cio) for own, cio in {**held, **there}.items()}
        missing = NO_PERSON
        if mode is not Mode.UPDATE:
            missing = Verdict(VerdictKind.UNKNOWN, NOT_ARRIVED.reason_code, NOT_ARRIVED.reason)
        return [verdicts.get(ids[0], missing) if (ids := ids_of(member)) else NO_ID for member in batch.members]

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        """Accepted where both happened; rejected where they are out of the segment and Customer.io refuses to empty a field."""
        emptied = {name: "" for name in fields if name not in NEVER_CLEARED}
        verdicts = list(self.remove(list_id, batch))
        if not emptied:
            return verdicts
        return self._each(
            batch,
            verdicts,
            lambda kind, value: identify(kind, value, emptied, update=True),
            "not all of their attributes are empty",
        )

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """Deleted people are not suppressed: they can come back."""
        return self._each(batch, list(self.remove(list_id, batch)), delete, "not deleted")

    def _each(
        self, batch: Batch, verdicts: list[Verdict], make: Callable[[str, str], Operation], but: str
    ) -> list[Verdict]:
        """Sends an operation for all that each member may be known by; tells where that was not the whole of it."""
        names = list(dict.fromkeys(each for member in batch.members for each in named(member)))
        doing = "out of the segment, but"
        try:
            refused = self._people.send([make(kind, value) for kind, value in names])
        except (NotApplied, NoAnswer) as error:
            # Retryable would say that nothing has happened, and so that they are still in the segment.
            return [Verdict(VerdictKind.UNKNOWN, error.code, f"{doing} {but}: {error.message}")] * len(batch)
        except BatchRefused as error:
            may_have_been_applied()
            if len(batch) > 1:
                raise
            return [Verdict(VerdictKind.REJECTED, error.reason_code, f"{doing} {but}: {error.reason}")]
        except DestinationError:
            may_have_been_applied()
            raise
        by_name = {names[place]: verdict for place, verdict in refused.items()}
        for place, member in enumerate(batch.members):
            for name in named(member):
                if name in by_name:
                    found = by_name[name]
                    verdicts[place] = Verdict(found.kind, found.reason_code, f"{doing} {but}: {found.reason}")
        return verdicts

    def _brought(self, people: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Verdict], dict[str, str]]:
        """Those who were refused, and those who are there, with their ``cio_id``."""
        names = list(people)
        refused = self._people.send([identify(ID, own, people[own]) for own in names])
        verdicts = {names[place]: verdict for place, verdict in refused.items()}
        return verdicts, self._people.arrived([own for own in names if own not in verdicts])


def _accepted(cio: str) -> Verdict:
    return Verdict(VerdictKind.ACCEPTED, remote_id=cio)
