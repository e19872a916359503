"""How the tests reach a platform: what a file in this folder says about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audience_syncs.destinations.contract import Destination
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.registry import open_destination
from audience_syncs.model.config import DestinationConfig

Mapped = Mapping[str, Any]
NO_PATIENCE: Mapping[str, Any] = {"attempts": 2, "timeout_s": 0.15}
"""Settings for tests in which requests fail on purpose."""


def plain(address: str) -> str:
    """For platforms that keep addresses as they are."""
    return address


def sha(text: str) -> str:
    """For platforms that are sent hashes."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Opening:
    """Settings and secrets of an account."""

    settings: Mapping[str, Any]
    secrets: Mapping[str, str]


@dataclass(frozen=True)
class Harness:
    """How the tests reach a platform.

    ``opening``: an account of the platform, by the address of its API, a token and an account id that nobody else uses. For a
    table the address is the database's, for files a folder.
    """

    platform: str
    opening: Callable[[str, str, str], Opening]
    mappings: Sequence[Mapped]
    """Mappings of the random histories, from the columns ``id``, ``emails`` (several), ``email``, ``phone``, ``first_name``."""
    email: str = "email"
    """The field by which members are found, and how the simulator names it among those of a member."""
    listed_as: str = ""
    """Its name at the simulator, where it is another."""
    email_rule: str = ""
    """The rule of that field; ``PLATFORM.email`` unless given."""
    on_wire: Callable[[str], str] = plain
    """An address as it is sent, and told by the simulator."""
    several: bool = False
    """Whether a member may have several emails, mapped from ``emails``."""
    phone: str = ""
    """A field by which members are found beside the email, if there is one."""
    phone_on_wire: Callable[[str], str] = plain
    """A phone number in E.164, as it is sent."""
    external_id: str = ""
    """A field by which members are found beside the email, mapped from ``id``."""
    simulator: str = ""
    """The simulator's name, where it is another than the platform's; ``-`` where there is none."""
    changing: Sequence[str] = ("members.",)
    """How the names of the simulator's operations begin that change members."""
    hurry: Callable[[Any], None] = lambda opened: None
    """Shortens what the opened account waits for, beside its requests."""
    histories: int = 10
    """How many histories are played with it, per part."""
    kills: int = 3
    """How many times a process is killed."""
    can_say: Mapping[str, Any] = field(default_factory=dict)
    """Further settings with which an account can do all that the platform can."""

    @property
    def has_simulator(self) -> bool:
        return self.simulator != "-"

    @property
    def simulated_as(self) -> str:
        return self.simulator or self.platform

    @property
    def name_of_email(self) -> str:
        return self.listed_as or self.email

    def config(self, address: str, token: str = "token", account: str = "1", **more: Any) -> DestinationConfig:
        """The account's definition; its secrets are in ``environ``."""
        opening = self.opening(address, token, account)
        return DestinationConfig.model_validate(
            {
                "name": "ads",
                "platform": self.platform,
                "settings": {**opening.settings, **more},
                "credentials": {name: {"env": name.upper()} for name in opening.secrets},
            }
        )

    def environ(self, address: str, token: str = "token", account: str = "1") -> Mapping[str, str]:
        return {name.upper(): value for name, value in self.opening(address, token, account).secrets.items()}

    def open(self, address: str, token: str = "token", account: str = "1", **more: Any) -> Destination:
        """An opened account that keeps no pace and hardly waits between attempts; ``more``: further settings."""
        opened: Any = open_destination(
            self.config(address, token, account, **more), self.environ(address, token, account)
        )
        if hasattr(opened, "_http"):
            opened._http._first_backoff_s = 0.001
            opened._http.pace = Unpaced()
        self.hurry(opened)
        return opened  # type: ignore[no-any-return]


class Unpaced(Pacer):
    """No account's limit: these tests are about order and loss, not about speed."""

    def __init__(self) -> None:
        super().__init__(Pace(1e6, 1_000_000))

    def wait(self, longest_hold_off_s: float = 0.0) -> bool:
        return True
