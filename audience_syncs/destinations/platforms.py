"""Which platforms there are, and what loads each.

A platform's module is loaded when its platform is first asked for, and definitions only ever ask for its declaration: a project
loads without HTTP. To add a platform, write its module and name it in ``PLATFORMS``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from audience_syncs.destinations.contract import Account, Destination, DestinationSpec
from audience_syncs.destinations.problems import Problem


class _Declares(Protocol):
    def __call__(self, settings: Mapping[str, Any], /) -> DestinationSpec: ...


class _ChecksMapping(Protocol):
    def __call__(self, settings: Mapping[str, Any], mapped: Collection[str], /) -> Iterator[Problem]: ...


class _Opens(Protocol):
    def __call__(self, account: Account, environ: Mapping[str, str]) -> Destination: ...


@dataclass(frozen=True, slots=True)
class Platform:
    """A loaded platform: its declaration, and the class that is an account on it.

    ``declare``: for platforms where an account's settings decide what it can do (an HTTP API without a call for removals
    removes nobody), its declaration with those settings, which have been checked. ``check_mapping``: what an account's
    settings want of the fields that are mapped.
    """

    spec: DestinationSpec
    open: _Opens
    declare: _Declares | None = None
    check_mapping: _ChecksMapping | None = None


def _meta() -> Platform:
    from audience_syncs.destinations import meta

    return Platform(meta.SPEC, meta.Meta)


def _google() -> Platform:
    from audience_syncs.destinations import google

    return Platform(google.SPEC, google.Google, google.declare)


def _tiktok() -> Platform:
    from audience_syncs.destinations import tiktok

    return Platform(tiktok.SPEC, tiktok.TikTok)


def _linkedin() -> Platform:
    from audience_syncs.destinations import linkedin

    return Platform(linkedin.SPEC, linkedin.LinkedIn)


def _snapchat() -> Platform:
    from audience_syncs.destinations import snapchat

    return Platform(snapchat.SPEC, snapchat.Snapchat)


def _pinterest() -> Platform:
    from audience_syncs.destinations import pinterest

    return Platform(pinterest.SPEC, pinterest.Pinterest)


def _microsoft() -> Platform:
    from audience_syncs.destinations import microsoft

    return Platform(microsoft.SPEC, microsoft.Microsoft)


def _hubspot() -> Platform:
    from audience_syncs.destinations import hubspot

    return Platform(hubspot.SPEC, hubspot.HubSpot)


def _salesforce() -> Platform:
    from audience_syncs.destinations import salesforce

    return Platform(salesforce.SPEC, salesforce.open_account, salesforce.declare, salesforce.check_mapping)


def _braze() -> Platform:
    from audience_syncs.destinations.braze import declaration

    return Platform(declaration.SPEC, declaration.open_account, declaration.declare, declaration.check_mapping)


def _klaviyo() -> Platform:
    from audience_syncs.destinations import klaviyo

    return Platform(klaviyo.SPEC, klaviyo.Klaviyo)


def _mailchimp() -> Platform:
    from audience_syncs.destinations import mailchimp

    return Platform(mailchimp.SPEC, mailchimp.Mailchimp)


def _iterable() -> Platform:
    from audience_syncs.destinations.iterable import declaration

    return Platform(declaration.SPEC, declaration.open_account, declaration.declare, declaration.check_mapping)


def _customerio() -> Platform:
    from audience_syncs.destinations import customerio

    return Platform(customerio.SPEC, customerio.CustomerIo, check_mapping=customerio.check_mapping)


def _http_api() -> Platform:
    from audience_syncs.destinations.http_api import declaration

    return Platform(declaration.SPEC, declaration.open_account, declaration.declare, declaration.check_mapping)


def _webhook() -> Platform:
    from audience_syncs.destinations.webhook import declaration

    return Platform(declaration.SPEC, declaration.open_account, declaration.declare)


def _sql_table() -> Platform:
    from audience_syncs.destinations.sql_table import declaration

    return Platform(declaration.SPEC, declaration.open_account, declaration.declare)


def _files() -> Platform:
    from audience_syncs.destinations.files import declaration

    return Platform(declaration.SPEC, declaration.open_account, declaration.declare)


PLATFORMS: Mapping[str, Callable[[], Platform]] = {
    "meta": _meta,
    "google": _google,
    "tiktok": _tiktok,
    "linkedin": _linkedin,
    "snapchat": _snapchat,
    "pinterest": _pinterest,
    "microsoft": _microsoft,
    "hubspot": _hubspot,
    "salesforce": _salesforce,
    "braze": _braze,
    "klaviyo": _klaviyo,
    "mailchimp": _mailchimp,
    "iterable": _iterable,
    "customerio": _customerio,
    "http_api": _http_api,
    "webhook": _webhook,
    "sql_table": _sql_table,
    "files": _files,
}
"""The platforms by the name users write, each with what loads it."""
