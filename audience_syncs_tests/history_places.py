"""Where the lists of the random histories are kept: behind a simulator over HTTP, or in a table or folder of our own.

What goes wrong on the way is asked of the simulator where there is one. A table and files have none: there the same faults
befall the calls of ``add`` and ``remove`` themselves, while what these do is real.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import sqlalchemy as sa

from audience_syncs.destinations.contract import Destination, ListRequest
from audience_syncs.model.errors import AccessRefused, BatchRefused, NoAnswer, NotApplied
from audience_syncs.model.values import Batch, Outgoing, Verdict, VerdictKind
from audience_syncs_tests.platforms.harness import NO_PATIENCE

if TYPE_CHECKING:
    from audience_syncs_tests.history_world import World

STRANGER = "stranger@example.com"
REFUSED = "refused@example.com"


def place_of(world: World) -> Place:
    """The place of the world's platform."""
    if world.harness.has_simulator:
        return Simulated(world)
    kinds: dict[str, type[Place]] = {"sql_table": Table, "files": Folder}
    return kinds[world.platform](world)


class Place:
    """A list, kept somewhere. ``shares``: whether others may put people into it."""

    shares = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.list_id = ""

    def prepare(self) -> None:
        """An empty list, with a stranger in it."""
        raise NotImplementedError

    def open(self) -> Destination:
        """The account, impatient, before batches are made small."""
        raise NotImplementedError

    def ask_for(self, fault: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def heal(self) -> None:
        raise NotImplementedError

    def die_at(self, opened: Any, number: int) -> None:
        """The process dies with its n-th request or call on the way."""
        raise NotImplementedError

    def members(self) -> list[dict[str, Any]]:
        """Who is in the list, with the address as it was sent."""
        raise NotImplementedError

    def forget_calls(self) -> None:
        raise NotImplementedError

    def calls(self) -> list[str]:
        """What changed the list since."""
        raise NotImplementedError

    def clean_up(self) -> None:
        return


class Simulated(Place):
    """Behind a simulator."""

    @property
    def _inspection(self) -> str:
        return f"{self.world.simulators}/_simulator"

    def _of_platform(self, path: str) -> str:
        return f"{self._inspection}/{self.world.harness.simulated_as}/{path}"

    def prepare(self) -> None:
        requests.post(f"{self._inspection}/reset", timeout=30)
        opened = self.open()
        self.list_id = opened.ensure_list(ListRequest("People")).id
        if self.world.platform == "webhook":
            # Somebody else tells the same receiver of the same list; it has an id of its own only from then on.
            opened.add("People", Batch([Outgoing({"email": STRANGER})]))
            (found,) = requests.get(self._of_platform("lists"), timeout=30).json()
            self.list_id = found["id"]
            return
        harness = self.world.harness
        stranger = {harness.name_of_email: harness.on_wire(STRANGER)}
        put = requests.post(
            self._of_platform(f"lists/{self.list_id}/members"), json={"members": [stranger]}, timeout=30
        )
        assert put.ok, put.text

    def open(self) -> Destination:
        world = self.world
        address = f"{world.simulators}/{world.harness.simulated_as}"
        return world.harness.open(address, world.token, world.account, **NO_PATIENCE)

    def ask_for(self, fault: Mapping[str, Any]) -> None:
        harness = self.world.harness
        delay_s = NO_PATIENCE["timeout_s"] * 1.5
        asked = {"platform": harness.simulated_as, "retry_after_s": 0, "delay_s": delay_s} | dict(fault)
        if "address" in asked:
            asked["contains"] = f'"{harness.on_wire(str(asked.pop("address")))}"'
        done = requests.post(f"{self._inspection}/faults", json=asked, timeout=30)
        assert done.ok, done.text

    def heal(self) -> None:
        requests.delete(f"{self._inspection}/faults", timeout=30)

    def die_at(self, opened: Any, number: int) -> None:
        opened._http._once = self.world.dying(opened._http._once, number)

    def members(self) -> list[dict[str, Any]]:
        found: Any = requests.get(self._of_platform(f"lists/{self.list_id}/members"), timeout=30).json()
        return found["members"]  # type: ignore[no-any-return]

    def forget_calls(self) -> None:
        requests.delete(self._of_platform("requests"), timeout=30)

    def calls(self) -> list[str]:
        received: Any = requests.get(self._of_platform("requests"), timeout=30).json()
        entries = received["requests"] if isinstance(received, dict) else received
        changing = tuple(self.world.harness.changing)
        return [str(entry["operation"]) for entry in entries if str(entry["operation"]).startswith(changing)]


@dataclass
class _Fault:
    """A fault of the simulators' kinds, as it befalls a call."""

    kind: str
    address: str | None
    skip: int
    count: int
    rate: float
    chance: random.Random
    matched: int = 0

    def fires(self, batch: Batch) -> bool:
        if self.address is not None and not self.at_fault(batch):
            return False
        self.matched += 1
        if self.matched <= self.skip or self.count <= 0 or self.chance.random() >= self.rate:
            return False
        self.count -= 1
        return True

    def at_fault(self, batch: Batch) -> list[int]:
        if self.address is None:
            return [0]
        return [place for place, member in enumerate(batch.members) if self.address in json.dumps(dict(member.fields))]


class _Unreliable(Place):
    """Calls fail as the simulators' requests do."""

    settings: Mapping[str, Any] = {}

    def address(self) -> str:
        raise NotImplementedError

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._faults: list[_Fault] = []
        self._calls: list[str] = []
        self._lock = threading.Lock()

    def open(self) -> Destination:
        opened: Any = self.world.harness.open(self.address(), **self.settings)
        opened.add, opened.remove = self._failing("add", opened.add), self._failing("remove", opened.remove)
        return opened  # type: ignore[no-any-return]

    def _failing(self, name: str, call: Callable[..., Sequence[Verdict]]) -> Callable[..., Sequence[Verdict]]:
        def made(list_id: str, batch: Batch) -> Sequence[Verdict]:
            with self._lock:
                self._calls.append(name)
                fault = next((fault for fault in self._faults if fault.fires(batch)), None)
            kind = fault.kind if fault is not None else ""
            if kind in ("rate_limit", "timeout_before", "reset_before"):
                raise NotApplied(kind)
            if kind == "server_error":
                raise NoAnswer(kind)
            if kind == "forbidden":
                raise AccessRefused(kind)
            if kind == "reject_batch":
                raise BatchRefused(kind)
            if kind == "slow":
                time.sleep(0.1)
            if fault is not None and kind == "partial":
                return _without(fault.at_fault(batch), list_id, batch, call)
            verdicts = call(list_id, batch)
            if kind in ("server_error_after", "timeout_after", "reset_after", "malformed"):
                raise NoAnswer(kind)
            return verdicts

        return made

    def ask_for(self, fault: Mapping[str, Any]) -> None:
        self._faults.append(
            _Fault(
                fault["kind"],
                fault.get("address"),
                fault.get("skip", 0),
                fault.get("count", 1_000_000),
                fault.get("rate", 1.0),
                random.Random(fault.get("seed", 0)),
            )
        )

    def heal(self) -> None:
        self._faults.clear()

    def die_at(self, opened: Any, number: int) -> None:
        opened.add, opened.remove = self.world.dying(opened.add, number), self.world.dying(opened.remove, number)

    def forget_calls(self) -> None:
        self._calls.clear()

    def calls(self) -> list[str]:
        return list(self._calls)


class Table(_Unreliable):
    """In the database of the warehouse, so that a connection that is cut there is cut here, too."""

    def address(self) -> str:
        return self.world.warehouse.engine.url.render_as_string(hide_password=False)

    def prepare(self) -> None:
        with self.world.warehouse.engine.begin() as connection:
            connection.exec_driver_sql('DROP TABLE IF EXISTS "People"')
        self.list_id = self.open().ensure_list(ListRequest("People")).id
        with self.world.warehouse.engine.begin() as connection:
            connection.exec_driver_sql(f"INSERT INTO \"People\" (email) VALUES ('{STRANGER}')")

    def members(self) -> list[dict[str, Any]]:
        with self.world.warehouse.engine.connect() as connection:
            found = [dict(row) for row in connection.execute(sa.text('SELECT * FROM "People"')).mappings()]
        assert {row["email"] for row in found if row["_synced_row"] is None} == {STRANGER}
        return found


class Folder(_Unreliable):
    """Files, read by whoever starts from the manifest."""

    shares = False
    settings: Mapping[str, Any] = {"rows_per_file": 2}

    def address(self) -> str:
        return str(self.folder)

    def prepare(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="as_files_"))
        self.list_id = self.open().ensure_list(ListRequest("People")).id

    def members(self) -> list[dict[str, Any]]:
        shown = json.loads((self.folder / self.list_id / "manifest.json").read_text())
        members = [row for file in shown["members"]["files"] for row in self._rows(file["path"])]
        replayed: set[str] = set()
        for change in itertools.chain.from_iterable(version["changes"] for version in shown["versions"]):
            keys = {row["email"] for row in self._rows(change["path"])}
            replayed = replayed | keys if change["change"] == "put" else replayed - keys
        assert replayed == {row["email"] for row in members}, "the changes do not lead to the members"
        return members

    def _rows(self, path: str) -> list[dict[str, Any]]:
        with (self.folder / self.list_id / path).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def clean_up(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _without(
    refused: Sequence[int], list_id: str, batch: Batch, call: Callable[..., Sequence[Verdict]]
) -> list[Verdict]:
    """The others get through."""
    rest = [place for place in range(len(batch)) if place not in refused]
    verdicts = [Verdict(VerdictKind.REJECTED, "BAD_MEMBER", "this member is not wanted")] * len(batch)
    if rest:
        given = call(list_id, replace(batch, members=[batch.members[place] for place in rest]))
        for place, verdict in zip(rest, given, strict=True):
            verdicts[place] = verdict
    return verdicts
