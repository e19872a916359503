"""Meta Custom Audiences over real HTTP: against the simulator, and against answers it would not give by itself."""

from __future__ import annotations

import hashlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
import requests

from audience_syncs.destinations import meta_answers
from audience_syncs.destinations.contract import Account, ListRequest, TellsMatchedUsers
from audience_syncs.destinations.http import Answer, Outcome, Retry
from audience_syncs.destinations.meta import SPEC, Meta
from audience_syncs.destinations.meta_upload import SEARCH_REQUESTS, Receipt, Upload, rows_of_member
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, Verdict, VerdictKind
from audience_syncs.simulators.server import SimulatorServer

FIELDS = [field.name for field in SPEC.fields]
ACCOUNTS = itertools.count(700_001)
LIST = "120200000000000042"
Reply = tuple[int, dict[str, str], Any]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def member(number: int, **more: Any) -> Outgoing:
    return Outgoing({"EMAIL": sha(f"p{number}@example.com"), "EXTERN_ID": f"customer-{number}"} | more)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


class World:
    """An ad account of its own at the simulator: tests share the server, and nothing else."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.account_id = str(next(ACCOUNTS))
        self.token = f"EAAB-token-{self.account_id}"
        self.meta = self.opened()
        self.list_id = self.meta.ensure_list(ListRequest("People")).id

    def opened(self, **changes: Any) -> Meta:
        settings: dict[str, Any] = {
            "ad_account_id": self.account_id,
            "base_url_env": "META",
            "attempts": 2,
            "timeout_s": 20,
        } | changes
        return Meta(Account("meta_ads", {"access_token": self.token}, settings), {"META": f"{self.url}/meta/"})

    def fault(self, kind: str, what: str = "(POST|DELETE) .*/users", **more: Any) -> None:
        if kind.startswith("timeout"):
            self.meta = self.opened(timeout_s=0.3)
        about = what.replace("/users", f"/{self.list_id}/users").replace("/lists", f"/act_{self.account_id}/.*")
        self._post("faults", {"platform": "meta", "kind": kind, "operation": about, "seed": 1, "delay_s": 3} | more)

    def members(self, list_id: str | None = None) -> list[dict[str, str]]:
        found: Any = requests.get(
            f"{self.url}/_simulator/meta/lists/{list_id or self.list_id}/members", timeout=10
        ).json()
        return list(found["members"])

    def requests(self, operation: str) -> list[dict[str, Any]]:
        found: Any = requests.get(f"{self.url}/_simulator/meta/requests", timeout=10).json()
        ours = {self.list_id, None}
        return [
            entry
            for entry in found
            if entry["operation"] == operation
            and (entry["list_id"] in ours if entry["list_id"] else f"act_{self.account_id}/" in entry["path"])
        ]

    def make(self, name: str) -> str:
        answer = requests.post(
            f"{self.url}/meta/v26.0/act_{self.account_id}/customaudiences",
            json={"name": name, "subtype": "CUSTOM", "customer_file_source": "USER_PROVIDED_ONLY"},
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=10,
        )
        return str(answer.json()["id"])

    def delete(self, list_id: str) -> None:
        self._post(f"meta/lists/{list_id}/delete", {})

    def revoke_token(self) -> None:
        self._post("meta/tokens/revoke", {"token": self.token})

    def advance(self, seconds: float) -> None:
        self._post("clock", {"advance_s": seconds})

    def put(self, members: list[dict[str, str]]) -> None:
        self._post(f"meta/lists/{self.list_id}/members", {"members": members})

    def _post(self, path: str, body: Any) -> None:
        requests.post(f"{self.url}/_simulator/{path}", json=body, timeout=10).raise_for_status()


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    return World(simulators.url)


class Stub:
    """A server that answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Reply] = lambda _: (200, {}, {})
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = {"path": self.path, **(orjson.loads(body) if body else {})}
                stub.asked.append(asked)
                status, headers, answer = stub.answer(asked)
                content = answer if isinstance(answer, bytes) else orjson.dumps(answer)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def opened(self, **changes: Any) -> Meta:
        settings: dict[str, Any] = {"ad_account_id": str(next(ACCOUNTS)), "attempts": 1, "timeout_s": 5} | changes
        base_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return Meta(Account("meta_ads", {"access_token": "EAAB"}, {"base_url": base_url} | settings), {})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


def envelope(code: int, subcode: int | None = None, **more: Any) -> dict[str, Any]:
    known = {"message": "said about anna@example.com", "type": "OAuthException", "code": code, "fbtrace_id": "AbC"}
    return {"error": known | ({} if subcode is None else {"error_subcode": subcode}) | more}


# Lists


def test_a_list_is_created_then_found_by_name_and_by_id(world: World) -> None:
    made = world.meta.ensure_list(ListRequest("  Käufer: Zoë & 李  ", description="who bought"))
    assert made.created
    assert made.url is not None
    assert world.account_id in made.url
    again = world.opened(ad_account_id=f"act_{world.account_id}").ensure_list(ListRequest("Käufer: Zoë & 李"))
    assert (again.id, again.created) == (made.id, False)
    assert world.meta.ensure_list(ListRequest("another name", id=made.id)).name == "Käufer: Zoë & 李"
    created = world.requests("audiences.create")[-1]["body"]
    assert created == {
        "name": "Käufer: Zoë & 李",
        "subtype": "CUSTOM",
        "customer_file_source": "USER_PROVIDED_ONLY",
        "description": "who bought",
    }


def test_a_list_is_found_on_a_later_page(world: World) -> None:
    made = [world.make(f"List {number}") for number in range(205)]
    assert world.meta.ensure_list(ListRequest("List 204")).id == made[-1]
    assert len(world.requests("audiences.list")) >= 2


def test_two_lists_of_one_name_are_refused_with_both_ids_and_how_to_choose(world: World) -> None:
    ids = sorted([world.make("Twice"), world.make("Twice")])
    with pytest.raises(DestinationError) as refused:
        world.meta.ensure_list(ListRequest("Twice"))
    assert all(one in refused.value.message for one in ids)
    assert f"list: {{id: '{ids[0]}'}}" in refused.value.remedy
    assert world.meta.ensure_list(ListRequest("Twice", id=ids[1])).id == ids[1]


@pytest.mark.parametrize("gone", ["999", "not an id", "../act_1", "", "9" * 400, "１２３"])
def test_an_id_that_is_not_there_is_missing_with_what_to_do(world: World, gone: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: world.meta.ensure_list(ListRequest("x", id=gone)),
        lambda: world.meta.matched_users(gone),
        lambda: world.meta.add(gone, Batch([member(1)])),
        lambda: world.meta.remove(gone, Batch([member(1)])),
    ]
    for call in calls:
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_a_list_that_was_deleted_is_missing_for_every_call_and_another_is_created_by_name(world: World) -> None:
    world.delete(world.list_id)
    for call in (world.meta.add, world.meta.remove):
        with pytest.raises(ListMissing, match=world.list_id):
            call(world.list_id, Batch([member(1)]))
    with pytest.raises(ListMissing):
        world.meta.ensure_list(ListRequest("People", id=world.list_id))
    new = world.meta.ensure_list(ListRequest("People"))
    assert new.created
    assert new.id != world.list_id


@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "server_error_after", "malformed"])
def test_a_list_whose_creation_was_not_answered_is_found_and_not_created_twice(world: World, kind: str) -> None:
    world.fault(kind, "POST .*/lists", count=1)
    found = world.meta.ensure_list(ListRequest("Lost"))
    assert found.created
    assert world.meta.ensure_list(ListRequest("Lost")).id == found.id
    assert len([entry for entry in world.requests("audiences.create") if entry["body"]["name"] == "Lost"]) == 1


def test_a_creation_that_did_not_happen_is_said_to_be_without_an_answer(world: World) -> None:
    world.fault("reset_before", "POST .*/lists", count=1)
    with pytest.raises(NoAnswer):
        world.meta.ensure_list(ListRequest("Never"))
    assert world.meta.ensure_list(ListRequest("Never")).created


def test_an_audience_that_takes_no_uploads_is_neither_found_by_name_nor_taken_by_id(stub: Stub) -> None:
    website = {"id": "7", "name": "Visitors", "subtype": "WEBSITE"}
    stub.answer = lambda asked: (
        200,
        {},
        {"data": [website], "id": "8"} if "customaudiences" in asked["path"] else website,
    )
    assert stub.opened().ensure_list(ListRequest("Visitors")).id == "8"
    with pytest.raises(DestinationError, match="WEBSITE"):
        stub.opened().ensure_list(ListRequest("Visitors", id="7"))


def test_pages_that_lead_in_circles_come_to_an_end(stub: Stub) -> None:
    page = {"data": [{"id": "1", "name": "A"}], "paging": {"cursors": {"after": "x"}, "next": "http://elsewhere/"}}
    stub.answer = lambda asked: (200, {}, {"id": "5"} if "name" in asked else page)
    assert stub.opened().ensure_list(ListRequest("B")).id == "5"
    assert len(stub.asked) == 3


# Members


def test_members_are_added_updated_and_removed_and_those_of_others_stay(world: World) -> None:
    world.put([{"EMAIL": "somebody@else.example"}])
    batch = Batch([member(number) for number in range(4)])
    assert kinds(world.meta.add(world.list_id, batch)) == ["accepted"] * 4
    assert kinds(world.meta.add(world.list_id, batch)) == ["accepted"] * 4
    world.meta.add(world.list_id, Batch([member(1, FN=sha("zoë"))]))
    gone = Batch([member(0), Outgoing({"EMAIL": sha("p2@example.com")}), member(99)])
    assert kinds(world.meta.remove(world.list_id, gone)) == ["accepted"] * 3
    held = {found["EMAIL"]: found for found in world.members()}
    assert set(held) == {sha("somebody@else.example"), sha("p1@example.com"), sha("p3@example.com")}
    assert held[sha("p1@example.com")]["FN"] == sha("zoë")


def test_a_removal_can_not_be_taken_for_an_addition(world: World, stub: Stub) -> None:
    world.meta.remove(world.list_id, Batch([member(1)]))
    assert len(world.requests("users.remove")) == 1
    assert world.requests("users.add") == []
    stub.answer = counting(set())
    stub.opened().remove(LIST, Batch([member(1)]))
    assert stub.asked[0]["path"].endswith(f"/{LIST}/users?method=DELETE")
    assert stub.asked[0]["method"] == "DELETE"


def test_every_request_is_a_session_of_its_own_with_the_columns_it_uses(world: World) -> None:
    world.meta.add(world.list_id, Batch([member(1, COUNTRY=sha("de")), member(2)], number=3, of=9, session=5))
    world.meta.add(world.list_id, Batch([Outgoing({"PHONE": sha("49151")})], number=3, of=9, session=5))
    first, second = (entry["body"] for entry in world.requests("users.add"))
    assert first["payload"]["schema"] == ["EMAIL", "EXTERN_ID", "COUNTRY"]
    assert first["payload"]["data"][1] == [sha("p2@example.com"), "customer-2", ""]
    assert second["payload"]["schema"] == ["PHONE"]
    assert first["session"]["session_id"] != second["session"]["session_id"]
    for body, rows in ((first, 2), (second, 1)):
        assert 0 < body["session"].pop("session_id") < 2**63
        assert body["session"] == {"batch_seq": 1, "last_batch_flag": True, "estimated_num_total": rows}


def test_limited_data_use_goes_with_every_row_that_is_added(world: World) -> None:
    careful = world.opened(limited_data_use=True)
    assert kinds(careful.add(world.list_id, Batch([member(1), member(2)]))) == ["accepted"] * 2
    assert kinds(careful.remove(world.list_id, Batch([member(2)]))) == ["accepted"]
    (added,), (removed,) = (
        [entry["body"]["payload"] for entry in world.requests(name)] for name in ("users.add", "users.remove")
    )
    assert added["schema"][2:] == [
        "DATA_PROCESSING_OPTIONS",
        "DATA_PROCESSING_OPTIONS_COUNTRY",
        "DATA_PROCESSING_OPTIONS_STATE",
    ]
    assert [row[2:] for row in added["data"]] == [[["LDU"], 0, 0]] * 2
    assert removed["schema"] == ["EMAIL", "EXTERN_ID"]
    with pytest.raises(DefinitionError, match="limited_data_use"):
        world.opened(limited_data_use="perhaps")


def test_a_member_with_several_values_is_several_rows_and_one_verdict(world: World) -> None:
    emails, phones = [sha("a@x"), sha("b@x")], [sha("491"), sha("492"), sha("493")]
    both = member(1, EMAIL=emails, PHONE=phones)
    assert list(rows_of_member(both.fields, ["EMAIL", "PHONE", "MADID", "EXTERN_ID"])) == [
        (emails[0], phones[0], "", "customer-1"),
        (emails[1], phones[1], "", "customer-1"),
        ("", phones[2], "", "customer-1"),
    ]
    assert kinds(world.meta.add(world.list_id, Batch([both, member(2)]))) == ["accepted"] * 2
    assert {found["EMAIL"] for found in world.members() if "EMAIL" in found} == {*emails, sha("p2@example.com")}
    assert kinds(world.meta.remove(world.list_id, Batch([both]))) == ["accepted"]
    assert [found["EMAIL"] for found in world.members()] == [sha("p2@example.com")]


def test_members_who_share_all_identifiers_are_one_row_and_all_answered(world: World) -> None:
    assert kinds(world.meta.add(world.list_id, Batch([member(1), member(2), member(1)]))) == ["accepted"] * 3
    assert world.requests("users.add")[0]["rows"] == 2


def test_no_request_has_more_than_ten_thousand_rows(world: World) -> None:
    batch = Batch([member(n, EMAIL=[sha(f"a{n}"), sha(f"b{n}"), sha(f"c{n}")]) for n in range(4_000)])
    assert kinds(world.meta.add(world.list_id, batch)) == ["accepted"] * 4_000
    assert [entry["rows"] for entry in world.requests("users.add")] == [10_000, 2_000]


def test_nobody_costs_no_request_and_a_member_without_any_value_is_rejected_without_asking(world: World) -> None:
    assert world.meta.add(world.list_id, Batch([])) == []
    empty = [Outgoing({}), Outgoing({"EMAIL": "", "PHONE": []}), Outgoing({"UNKNOWN": "x"})]
    assert [verdict.reason_code for verdict in world.meta.add(world.list_id, Batch(empty))] == ["NO_IDENTIFIER"] * 3
    assert world.requests("users.add") == []


# Invalid entries


def test_an_invalid_entry_is_rejected_with_a_reason_and_without_its_value(world: World) -> None:
    bad = member(1, EMAIL="Zoë.Müller@example.com")
    verdicts = world.meta.add(world.list_id, Batch([member(0), bad, member(2)]))
    assert kinds(verdicts) == ["accepted", "rejected", "accepted"]
    assert verdicts[1].reason_code == "INVALID_ENTRY"
    assert verdicts[1].reason
    assert "example" not in str(verdicts[1])
    assert len(world.members()) == 2
    assert len(world.requests("users.add")) == 1


def test_more_invalid_entries_than_meta_names_are_all_found(world: World) -> None:
    bad = set(range(0, 3_000, 7))
    batch = Batch([member(n, EMAIL=f"unhashed {n}" if n in bad else sha(f"{n}")) for n in range(3_000)])
    verdicts = world.meta.add(world.list_id, batch)
    assert {n for n, kind in enumerate(kinds(verdicts)) if kind == "rejected"} == bad
    assert set(kinds(verdicts)) == {"accepted", "rejected"}
    assert len(world.members()) == 3_000 - len(bad)
    assert len(world.requests("users.add")) == 5


def test_a_batch_of_which_nothing_is_valid_is_rejected_as_a_whole(world: World) -> None:
    verdicts = world.meta.add(world.list_id, Batch([member(n, EMAIL=f"unhashed {n}") for n in range(500)]))
    assert kinds(verdicts) == ["rejected"] * 500
    assert len(world.requests("users.add")) == 1


def test_rows_that_meta_refuses_for_no_visible_reason_are_rejected_and_the_others_accepted(world: World) -> None:
    world.fault("partial", contains="customer-3")
    verdicts = world.meta.add(world.list_id, Batch([member(n) for n in range(6)]))
    assert kinds(verdicts) == ["accepted"] * 3 + ["rejected"] + ["accepted"] * 2


def test_a_member_half_taken_is_unknown_when_added_because_rejected_would_forget_the_half(world: World) -> None:
    half = member(1, EMAIL=[sha("good@x"), "bad"])
    [verdict] = world.meta.add(world.list_id, Batch([half]))
    assert (verdict.kind, verdict.reason_code) == (VerdictKind.UNKNOWN, "PARTLY_APPLIED")
    assert kinds(world.meta.remove(world.list_id, Batch([half]))) == ["rejected"]
    assert world.members() == []


def counting(bad: set[str], *, samples: Any = None, broken_after: int | None = None) -> Callable[[Any], Reply]:
    """An upload's answer that counts invalid rows, and names none unless told to."""
    calls = itertools.count()

    def answer(asked: dict[str, Any]) -> Reply:
        if broken_after is not None and next(calls) >= broken_after:
            return 500, {}, {}
        rows = asked["payload"]["data"]
        invalid = sum(any(value in bad for value in row) for row in rows)
        named = samples(rows) if samples else []
        return 200, {}, {
            "num_received": len(rows), "num_invalid_entries": invalid, "invalid_entry_samples": named
        }  # fmt: skip

    return answer


def test_invalid_entries_that_meta_does_not_name_are_searched_for(stub: Stub) -> None:
    bad = {17, 18, 900}
    stub.answer = counting({f"customer-{number}" for number in bad})
    verdicts = stub.opened().add(LIST, Batch([member(number) for number in range(1_000)]))
    assert {number for number, kind in enumerate(kinds(verdicts)) if kind == "rejected"} == bad
    assert set(kinds(verdicts)) == {"accepted", "rejected"}


def test_the_search_is_bounded_and_whoever_it_leaves_open_is_unknown() -> None:
    bad = set(range(0, 4_000, 5))
    sent: list[int] = []

    def send(_schema: Sequence[str], rows: Sequence[Sequence[str]]) -> Receipt:
        sent.append(len(rows))
        invalid = sum(int(row[1].removeprefix("customer-")) in bad for row in rows)
        return Receipt(invalid, {})

    verdicts = kinds(Upload(FIELDS, send, adding=True).of([member(number) for number in range(4_000)]))
    assert len(sent) == SEARCH_REQUESTS + 1
    assert not [number for number in bad if verdicts[number] == "accepted"]
    assert not [number for number in range(4_000) if number not in bad and verdicts[number] == "rejected"]
    assert "unknown" in verdicts


def test_a_search_that_is_cut_short_rejects_nobody_and_forgets_nobody(stub: Stub) -> None:
    stub.answer = counting({"customer-3"}, broken_after=1)
    verdicts = stub.opened().add(LIST, Batch([member(number) for number in range(10)]))
    assert kinds(verdicts) == ["unknown"] * 10


@pytest.mark.parametrize("shape", ["map", "list of maps", "list of values"])
def test_samples_are_read_in_every_shape(stub: Stub, shape: str) -> None:
    def samples(rows: list[list[str]]) -> Any:
        named = [value for row in rows for value in row if value in {"customer-1", "customer-2"}]
        if shape == "list of values":
            return named
        reasons = dict.fromkeys(named, "Invalid data of customer@example.com")
        return reasons if shape == "map" else [{value: reason} for value, reason in reasons.items()]

    stub.answer = counting({"customer-1", "customer-2"}, samples=samples)
    verdicts = stub.opened().add(LIST, Batch([member(number) for number in range(5)]))
    assert kinds(verdicts) == ["accepted", "rejected", "rejected", "accepted", "accepted"]
    assert len(stub.asked) == 1
    assert "example" not in str(verdicts)


def test_a_sample_shared_by_more_rows_than_are_invalid_rejects_only_the_invalid(stub: Stub) -> None:
    stub.answer = counting({"customer-4"}, samples=lambda _: {sha("de"): "Invalid data"})
    verdicts = stub.opened().add(LIST, Batch([member(number, COUNTRY=sha("de")) for number in range(9)]))
    assert [number for number, kind in enumerate(kinds(verdicts)) if kind == "rejected"] == [4]


def test_counts_of_a_repeated_session_are_not_counted_twice(stub: Stub) -> None:
    body = {"num_received": 8, "num_invalid_entries": 2, "invalid_entry_samples": {"customer-0": "Invalid data"}}
    stub.answer = lambda _: (200, {}, body)
    verdicts = stub.opened().add(LIST, Batch([member(number) for number in range(4)]))
    assert kinds(verdicts) == ["rejected"] + ["accepted"] * 3


@pytest.mark.parametrize(
    "body",
    [{}, {"success": True}, {"num_received": 0}, {"num_received": "many"}, {"num_received": None}, [], b"", b"<html>"],
)
def test_an_answer_that_does_not_acknowledge_the_rows_is_no_answer(stub: Stub, body: Any) -> None:
    stub.answer = lambda _: (200, {}, body)
    with pytest.raises(NoAnswer):
        stub.opened().add(LIST, Batch([member(1)]))


# Faults


FAULTS = {
    "rate_limit": NotApplied,
    "server_error": NoAnswer,
    "server_error_after": NoAnswer,
    "timeout_before": NoAnswer,
    "timeout_after": NoAnswer,
    "reset_before": NoAnswer,
    "reset_after": NoAnswer,
    "malformed": NoAnswer,
    "reject_batch": BatchRefused,
    "forbidden": AccessRefused,
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_that_stays_says_what_became_of_the_batch_and_nothing_about_anybody(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world.fault(kind)
    for call in (world.meta.add, world.meta.remove):
        with pytest.raises(AudienceSyncsError) as raised:
            call(world.list_id, Batch([member(1, FN=sha("zoë"))]))
        assert type(raised.value) is FAULTS[kind]
        told = f"{raised.value!r} {raised.value} {caplog.text}"
        for secret in (world.token, sha("p1@example.com"), "customer-1", sha("zoë")):
            assert secret not in told


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in ("reject_batch", "forbidden")])
def test_a_fault_that_passes_is_not_noticed_and_nobody_is_there_twice(world: World, kind: str) -> None:
    world.fault(kind, count=1)
    assert kinds(world.meta.add(world.list_id, Batch([member(1), member(2)]))) == ["accepted"] * 2
    assert len(world.members()) == 2
    world.fault(kind, count=1)
    assert kinds(world.meta.remove(world.list_id, Batch([member(1)]))) == ["accepted"]
    assert len(world.members()) == 1


def test_an_answer_that_is_only_slow_is_waited_for(world: World) -> None:
    world.fault("slow", delay_s=0.3)
    assert kinds(world.meta.add(world.list_id, Batch([member(1)]))) == ["accepted"]


def test_a_refused_batch_gives_the_platforms_code_and_words(world: World) -> None:
    world.fault("reject_batch")
    with pytest.raises(BatchRefused) as refused:
        world.meta.add(world.list_id, Batch([member(1)]))
    assert (refused.value.reason_code, refused.value.reason) == ("100", "Invalid parameter")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("rate_limit", "retryable"), ("forbidden", "retryable"), ("reset_before", "unknown"), ("reset_after", "unknown")],
)
def test_once_a_part_of_a_batch_is_applied_an_error_is_only_of_the_rest(world: World, kind: str, expected: str) -> None:
    world.fault(kind, skip=1)
    batch = Batch([member(n, EMAIL=[sha(f"a{n}"), sha(f"b{n}")]) for n in range(6_000)])
    verdicts = kinds(world.meta.add(world.list_id, batch))
    assert verdicts == ["accepted"] * 5_000 + [expected] * 1_000


def test_a_row_that_makes_meta_refuse_the_second_part_of_a_batch_is_found(world: World) -> None:
    world.fault("reject_batch", contains="customer-5500")
    batch = Batch([member(n, EMAIL=[sha(f"a{n}"), sha(f"b{n}")]) for n in range(6_000)])
    verdicts = kinds(world.meta.add(world.list_id, batch))
    assert verdicts[5_500] == "rejected"
    assert verdicts.count("accepted") == 5_999


def test_a_revoked_token_stops_every_call_with_what_to_do(world: World) -> None:
    world.revoke_token()
    calls: list[Callable[[], Any]] = [
        lambda: world.meta.ensure_list(ListRequest("People")),
        lambda: world.meta.ensure_list(ListRequest("People", id=world.list_id)),
        lambda: world.meta.add(world.list_id, Batch([member(1)])),
        lambda: world.meta.remove(world.list_id, Batch([member(1)])),
        lambda: world.meta.matched_users(world.list_id),
    ]
    for call in calls:
        with pytest.raises(AccessRefused) as refused:
            call()
        assert "token" in refused.value.remedy
        assert world.token not in str(refused.value)


THROTTLES = [(4, None), (17, 2446079), (613, 1487742), (80000, None), (80003, None), (80004, None), (80014, None)]


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        *[(400, envelope(code, sub, is_transient=True), NotApplied, "") for code, sub in THROTTLES],
        (400, envelope(2650, 1870145), NotApplied, ""),
        (400, envelope(2650, 1870148), NoAnswer, ""),
        (400, envelope(2650, 1870158), NoAnswer, "sessions"),
        (400, envelope(2650, 1870159), NoAnswer, "sessions"),
        (500, envelope(1), NoAnswer, ""),
        (503, envelope(2), NoAnswer, ""),
        (400, envelope(999, is_transient=True), NoAnswer, ""),
        (401, envelope(190, 460), AccessRefused, "token"),
        (400, envelope(190, 463), AccessRefused, "token"),
        (400, envelope(10), AccessRefused, "permission"),
        (403, envelope(200), AccessRefused, "permission"),
        (400, envelope(294), AccessRefused, "permission"),
        (403, envelope(200, 1870090), AccessRefused, "terms"),
        (400, envelope(100, 1870090), AccessRefused, "terms"),
        (400, envelope(368), AccessRefused, "blocks"),
        (400, envelope(100, 33), ListMissing, ""),
        (404, envelope(100, message=f"Object with ID '{LIST}' does not exist"), ListMissing, ""),
        (400, envelope(100, 1713230), DestinationError, "neutral name"),
        (400, envelope(2635), DestinationError, "api_version"),
        (400, envelope(194), DestinationError, "194"),
        (400, envelope(100), BatchRefused, ""),
        (400, envelope(100, 1713098, error_user_title="Bad rows"), BatchRefused, "Bad rows"),
        (413, b"<html>too large</html>", BatchRefused, "large"),
        (403, b"<html>the proxy says no</html>", DestinationError, "proxy"),
        (429, b"", NotApplied, ""),
        (502, b"<html>", NoAnswer, ""),
    ],
)
def test_every_documented_error_is_of_its_kind(
    stub: Stub, status: int, body: Any, error: type[AudienceSyncsError], words: str
) -> None:
    stub.answer = lambda _: (status, {}, body)
    with pytest.raises(AudienceSyncsError) as raised:
        stub.opened().add(LIST, Batch([member(1)]))
    assert type(raised.value) is error
    assert words in str(raised.value)
    assert "anna@example.com" not in str(raised.value)
    if isinstance(raised.value, DestinationError):
        assert raised.value.remedy
        assert raised.value.where == "destination meta_ads"


def test_an_ad_account_that_is_not_there_is_not_called_a_missing_list(stub: Stub) -> None:
    stub.answer = lambda _: (400, {}, envelope(100, 33))
    with pytest.raises(AccessRefused, match="ad_account_id"):
        stub.opened().ensure_list(ListRequest("People"))


def test_a_session_that_is_over_is_followed_by_a_new_one(stub: Stub) -> None:
    over = iter([True, False])
    stub.answer = lambda asked: (400, {}, envelope(2650, 1870159)) if next(over) else counting(set())(asked)
    assert kinds(stub.opened().add(LIST, Batch([member(1)]))) == ["accepted"]
    assert len({asked["session"]["session_id"] for asked in stub.asked}) == 2


def test_a_wait_longer_than_we_have_is_not_waited_and_nothing_was_applied(stub: Stub) -> None:
    usage = {"1": [{"type": "custom_audience", "call_count": 100, "estimated_time_to_regain_access": 45}]}
    stub.answer = lambda _: (400, {"X-Business-Use-Case-Usage": orjson.dumps(usage).decode()}, envelope(80003))
    with pytest.raises(NotApplied):
        stub.opened(attempts=5).add(LIST, Batch([member(1)]))
    assert len(stub.asked) == 1


# Reading answers, without a server


def answer(body: Any, status: int = 200, usage: str = "") -> Answer:
    return Answer(status, {"X-Business-Use-Case-Usage": usage} if usage else {}, body)


def test_the_time_until_access_is_regained_is_what_is_waited() -> None:
    usage = orjson.dumps(
        {"1": [{"estimated_time_to_regain_access": 2}, {"estimated_time_to_regain_access": 1}]}
    ).decode()
    throttled = answer(envelope(80003), 400, usage)
    assert meta_answers.reading(throttled) == Retry(120.0, maybe_applied=False)
    assert meta_answers.reading(answer(envelope(17), 400)) == Retry(None, maybe_applied=False)
    assert meta_answers.reading(answer(envelope(190), 500)) is Outcome.REFUSED


@pytest.mark.parametrize(
    ("usage", "share"),
    [
        ("", 1.0),
        ("not json", 1.0),
        ("[]", 1.0),
        ('{"7": null, "8": [null, {"call_count": "many"}]}', 1.0),
        ('{"7": [{"call_count": 74}]}', 1.0),
        ('{"7": [{"call_count": 10, "total_cputime": 90}]}', 0.4),
        ('{"7": [{"call_count": 100}]}', 0.05),
        ('{"7": [{"call_count": 400}]}', 0.05),
        ('{"7": [{"call_count": 10}], "8": [{"call_count": 100}]}', 1.0),
        ('{"8": [{"call_count": 100}]}', 0.05),
    ],
)
def test_the_pace_falls_as_the_accounts_usage_nears_its_limit(usage: str, share: float) -> None:
    assert meta_answers.share_of_pace(answer({}, usage=usage), "7") == pytest.approx(share)


@pytest.mark.parametrize(
    "said",
    [
        "about anna.mueller@example.com here",
        f"about {sha('x')} here",
        "about +49 151 1234567 here",
        "about 120200000000010001 here",
        "about 6032d997-3ab0-4de0-aa16-8af0e5b482fb here",
        "about 'Zoë Müller' here",
        'about "customer-1" here',
    ],
)
def test_words_of_meta_are_shown_without_anything_that_identifies_somebody(said: str) -> None:
    assert meta_answers.without_identifiers(said) == "about ... here"
    assert len(meta_answers.without_identifiers("word " * 10_000)) <= 200


# Matched users and settings


def test_matched_users_are_a_range_and_none_until_it_is_computed(world: World, stub: Stub) -> None:
    assert isinstance(world.meta, TellsMatchedUsers)
    world.meta.add(world.list_id, Batch([member(number) for number in range(3_000)]))
    world.advance(86_400)
    matched = world.meta.matched_users(world.list_id)
    assert matched.lower is not None
    assert matched.upper is not None
    assert 1_000 < matched.lower <= matched.upper < 3_300
    assert not matched.exact
    for bound in (-1, 0, None, "soon"):
        body = {"approximate_count_lower_bound": bound, "approximate_count_upper_bound": bound}
        stub.answer = lambda _, body=body: (200, {}, body)  # type: ignore[misc]
        unknown = stub.opened().matched_users(LIST)
        assert (unknown.lower, unknown.upper) == (None, None)


def test_matched_users_say_when_the_audience_is_not_in_order_or_too_small_to_tell(world: World) -> None:
    assert "410" in world.meta.matched_users(world.list_id).note
    world.meta.add(world.list_id, Batch([member(1)]))
    small, recognised = world.meta.matched_users(world.list_id).note.split("; ")
    assert small == "Meta shows 1,000 for smaller audiences, too"
    assert recognised == "of 1 rows of the latest uploads Meta has recognised 1"


def test_the_address_is_the_settings_then_the_variables_then_metas_own(world: World) -> None:
    named = {"ad_account_id": "1", "base_url_env": "META"}

    def address(settings: dict[str, Any], environ: dict[str, str]) -> str:
        return Meta(Account("m", {"access_token": "t"}, settings), environ)._http._base_url

    assert address(named | {"base_url": "https://proxy/x/"}, {"META": "https://other"}) == "https://proxy/x/v26.0"
    assert address(named, {"META": "https://other"}) == "https://other/v26.0"
    assert address(named, {"META": " "}) == "https://graph.facebook.com/v26.0"
    assert address(named | {"api_version": 25.0}, {}) == "https://graph.facebook.com/v25.0"


def test_requests_are_counted_with_their_retries(world: World) -> None:
    before = world.meta.requests_sent
    world.fault("server_error", count=1)
    world.meta.add(world.list_id, Batch([member(1)]))
    assert world.meta.requests_sent == before + 2


def test_verdicts_never_name_anybody(world: World) -> None:
    batch = Batch(
        [member(n, EMAIL=[f"unhashed{n}@example.com", sha(f"{n}")] if n % 2 else f"Müller {n}") for n in range(300)]
    )
    verdicts: list[Verdict] = list(world.meta.add(world.list_id, batch))
    assert "accepted" not in kinds(verdicts)
    assert not any("example" in str(verdict) or "ller" in str(verdict) for verdict in verdicts)
