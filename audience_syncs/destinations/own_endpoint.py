"""Endpoints of the user's own, of which we know nothing but HTTP: what their answers mean, and sending members one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.keyed import keys_of
from audience_syncs.destinations.verdicts import unsure, worst
from audience_syncs.model.errors import (
    AccessRefused,
    BatchRefused,
    DefinitionError,
    DestinationError,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, Verdict, VerdictKind

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_OF_A_MEMBER = {400, 409, 413, 422}
"""Refusals for what is in the request; any other says that the request as such is wrong here."""
LONGEST_REASON = 200
_ADDRESS = re.compile(r"[^\s@\"'<>]{1,64}@[^\s@\"'<>]{1,255}")
_NUMBER = re.compile(r"\+?\d[\d ()./-]{5,}\d")


def origin_and_path(url: str, where: str, *, plain_http: bool) -> tuple[str, str]:
    """``https://host`` and what follows it. Raises DefinitionError, which never shows the address: it may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        raise DefinitionError("the address is not one", where=where, remedy="write it like https://host/path")
    if parts.scheme == "http" and not plain_http and parts.hostname not in _LOOPBACK:
        raise DefinitionError(
            "the address is http://, which anybody on the way can read",
            where=where,
            remedy="use https://; within a network of your own, `plain_http: true` allows it",
        )
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return f"{parts.scheme}://{parts.netloc}", path


def refusal(answer: Answer, what: str, where: str) -> Exception:
    """What an answer that is no success means."""
    status = answer.status
    if status in (401, 403):
        return AccessRefused(
            f"{what} was refused with HTTP {status}", where=where, remedy="check the destination's credentials"
        )
    if status in _OF_A_MEMBER:
        return BatchRefused(reason_of(answer.body) or f"HTTP {status}", reason_code=f"HTTP {status}")
    remedy = {
        404: "check the address, and that the endpoint is there",
        405: "check the method and the address",
        410: "the receiver wants no more calls here: pause the sync, or give it another address",
    }.get(status, "look into the receiver's own log; nothing is wrong with single members")
    return DestinationError(f"{what} was refused with HTTP {status}", where=where, remedy=remedy)


def reason_of(body: Any) -> str:
    """The endpoint's own words, if it has some where one looks for them; without addresses and long numbers."""
    for name in ("message", "error", "detail", "title", "reason"):
        found = body.get(name) if isinstance(body, dict) else None
        if isinstance(found, dict):
            found = found.get("message")
        if isinstance(found, str) and found.strip():
            return without_people(found.strip())
    return ""


def without_people(text: str) -> str:
    """The text, short, without what may identify a person."""
    return _NUMBER.sub("...", _ADDRESS.sub("...", text))[:LONGEST_REASON]


def one_by_one(members: Sequence[Outgoing], send: Callable[[Outgoing], Verdict]) -> list[Verdict]:
    """Sends each member by itself; one's failure is no other's.

    What stops the run raises as long as nothing was sent; later, the members left over are retryable, and the next call
    raises.
    """
    return list(_each(members, send))


def _each(members: Sequence[Outgoing], send: Callable[[Outgoing], Verdict]) -> Iterator[Verdict]:
    for place, member in enumerate(members):
        try:
            yield send(member)
        except BatchRefused as refused:
            yield Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason)
        except (NotApplied, NoAnswer) as error:
            yield unsure(error)
        except DestinationError as error:
            if place == 0:
                raise
            left = Verdict(VerdictKind.RETRYABLE, error.code, error.message)
            yield from [left] * (len(members) - place)
            return


def each_key(batch: Batch, key: str, where: str, send: Callable[[Batch], Sequence[Verdict]]) -> list[Verdict]:
    """Sends a batch with one member for each key. Somebody may have to go by two: the one they had, and the one they may have
    got since. Of several verdicts on a member, the worst counts."""
    rows: list[Outgoing] = []
    owners: list[int] = []
    for place, member in enumerate(batch.members):
        for text in keys_of(member.fields, key, where):
            rows.append(replace(member, fields={**member.fields, key: text}))
            owners.append(place)
    of_member: list[list[Verdict]] = [[] for _ in batch.members]
    for place, verdict in zip(owners, send(replace(batch, members=rows)), strict=True):
        of_member[place].append(verdict)
    return [worst(verdicts) for verdicts in of_member]
