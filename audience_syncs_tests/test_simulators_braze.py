"""The Braze simulator refuses what Braze refuses, in its words, and does some moments later what it took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from audience_syncs.simulators import SimulatorServer


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/braze"


def post(url: str, path: str, body: Any, key: str = "good") -> requests.Response:
    return requests.post(f"{url}{path}", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=20)


def get(url: str, path: str, **params: Any) -> requests.Response:
    return requests.get(f"{url}{path}", params=params, headers={"Authorization": "Bearer good"}, timeout=20)


def track(url: str, *attributes: Any) -> requests.Response:
    return post(url, "/users/track", {"attributes": list(attributes)})


def exported(url: str, **named: Any) -> list[dict[str, Any]]:
    fields = ["braze_id", "external_id", "email", "user_aliases", "custom_attributes"]
    found: list[dict[str, Any]] = post(url, "/users/export/ids", {**named, "fields_to_export": fields}).json()["users"]
    return found


def test_objects_that_are_wrong_are_named_by_their_place_and_the_others_are_taken(url: str) -> None:
    rows = [
        {"external_id": "1", "in_vip": True},
        {"in_vip": True},
        {"external_id": "2", "email": "nonsense"},
        {"external_id": "3", "email_subscribe": "maybe"},
        {"external_id": "4", "braze_id": "0"},
        {"external_id": 5},
        {"external_id": "6", "$set": 1},
        "nobody",
    ]
    answer = track(url, *rows)
    told = answer.json()
    assert (answer.status_code, told["message"], told["attributes_processed"]) == (201, "success", 1)
    assert [error["index"] for error in told["errors"]] == [1, 2, 3, 4, 5, 6, 7]
    assert {error["input_array"] for error in told["errors"]} == {"attributes"}
    assert [user["external_id"] for user in exported(url, external_ids=["1", "2", "3", "4"])] == ["1"]


def test_nothing_in_order_is_a_refusal_of_all(url: str) -> None:
    bodies: list[Any] = [{}, {"attributes": []}, {"attributes": "x"}, {"attributes": [{"x": 1}]}, []]
    for body in bodies:
        answer = post(url, "/users/track", body)
        assert answer.status_code == 400
        assert answer.json()["message"].startswith("Valid data must be provided")


def test_seventy_six_objects_are_too_many_over_all_arrays(url: str) -> None:
    rows = [{"external_id": str(n)} for n in range(70)]
    events = [{"external_id": "1", "name": "x", "time": "2026-11-26T00:00:00Z"}] * 6
    answer = post(url, "/users/track", {"attributes": rows, "events": events})
    assert (answer.status_code, answer.json()["message"]) == (400, "Max Input Length Exceeded")
    assert post(url, "/users/track", {"attributes": rows, "events": events[:5]}).status_code == 201


def test_four_megabytes_are_too_many(url: str) -> None:
    assert track(url, {"external_id": "1", "story": "x" * 4_000_000}).status_code == 413


def test_an_alias_makes_a_user_only_when_asked(url: str) -> None:
    alias = {"alias_name": "a", "alias_label": "crm"}
    track(url, {"user_alias": alias, "x": "1"})
    assert exported(url, user_aliases=[alias]) == []
    track(url, {"user_alias": alias, "x": "1", "_update_existing_only": False})
    assert len(exported(url, user_aliases=[alias])) == 1
    track(url, {"external_id": "9", "_update_existing_only": True})
    assert exported(url, external_ids=["9"]) == []


def test_an_email_means_who_was_updated_last_with_an_external_id_first(url: str) -> None:
    shared = {"email": "Shared@Example.com"}
    track(url, {"external_id": "1", **shared}, {"external_id": "2", **shared})
    track(url, {"user_alias": {"alias_name": "a", "alias_label": "b"}, "_update_existing_only": False, **shared})
    track(url, {"email": "shared@example.com", "in_vip": True})
    found = exported(url, email_address="shared@example.com")
    assert len(found) == 3
    assert [user.get("external_id") for user in found if user.get("custom_attributes")] == ["2"]


def test_null_takes_an_attribute_away_and_a_blocklisted_one_takes_nothing(url: str, server: SimulatorServer) -> None:
    track(url, {"external_id": "1", "tier": "gold", "in_vip": True})
    track(url, {"external_id": "1", "tier": None})
    requests.post(f"{server.url}/_simulator/braze/lists/in_vip/delete", timeout=10).raise_for_status()
    assert track(url, {"external_id": "2", "in_vip": True}).status_code == 201
    one, two = exported(url, external_ids=["1", "2"])
    assert one["custom_attributes"] == {"in_vip": True}
    assert "custom_attributes" not in two
    told = {
        each["name"]: (each["data_type"], each["status"])
        for each in get(url, "/custom_attributes").json()["attributes"]
    }
    assert told == {"tier": ("String", "Active"), "in_vip": ("Boolean", "Blocklisted")}


@pytest.mark.parametrize(
    "body",
    [
        {"external_ids": ["1"]},
        {"fields_to_export": ["email"]},
        {"external_ids": [str(n) for n in range(51)], "fields_to_export": ["email"]},
        {"email_address": "a@b.co", "phone": "+15005550006", "fields_to_export": ["email"]},
    ],
)
def test_exports_that_ask_wrongly_are_refused(url: str, body: dict[str, Any]) -> None:
    assert post(url, "/users/export/ids", body).status_code == 400


def test_an_export_tells_who_is_nobody_and_only_what_was_asked(url: str) -> None:
    track(url, {"external_id": "1", "email": "a@example.com"})
    body = {"external_ids": ["1", "2"], "fields_to_export": ["email"]}
    answer = post(url, "/users/export/ids", body).json()
    assert answer == {"message": "success", "users": [{"email": "a@example.com"}], "invalid_user_ids": ["2"]}


def test_deletion_takes_fifty_of_one_kind(url: str) -> None:
    track(url, {"external_id": "1", "in_vip": True})
    assert post(url, "/users/delete", {"external_ids": ["1", "2"]}).json()["deleted"] == 1
    assert post(url, "/users/delete", {"external_ids": [str(n) for n in range(51)]}).status_code == 400
    assert post(url, "/users/delete", {"external_ids": ["1"], "braze_ids": ["x"]}).status_code == 400
    assert exported(url, external_ids=["1"]) == []


def test_keys_are_told_apart_and_the_window_is_always_told(url: str) -> None:
    assert post(url, "/users/track", {}, "revoked-key").json() == {"message": "Invalid API key: revoked-key"}
    assert post(url, "/users/track", {}, "noscope").status_code == 403
    assert get(url, "/nowhere").status_code == 404
    headers = track(url, {"external_id": "1"}).headers
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("3000", "2999")
    assert int(headers["x-ratelimit-reset"]) > 1_700_000_000


def test_what_is_taken_survives_a_crash_of_the_server(tmp_path: Any) -> None:
    with SimulatorServer(tmp_path) as server:
        url = f"{server.url}/braze"
        track(url, {"external_id": "1", "in_vip": True})
        post(url, "/users/track", {"attributes": [{"external_id": "2", "in_vip": True}]}, "slow")
        server.kill()
        server.start()
        requests.post(f"{server.url}/_simulator/clock", json={"advance_s": 120}, timeout=10).raise_for_status()
        found = requests.get(f"{server.url}/_simulator/braze/lists/in_vip/members", timeout=10).json()["members"]
    assert [member["external_id"] for member in found] == ["1", "2"]
