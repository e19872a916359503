"""The Microsoft simulator answers what Microsoft's own client understands, and refuses what Microsoft refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.microsoft_bench import SCOPE, World, misfits
from audience_syncs_tests.platforms.harness import sha


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def world(server: SimulatorServer) -> World:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return World(server.url).make_list()


def applied(world: World, **changed: Any) -> requests.Response:
    data = {
        "AudienceId": world.list_id,
        "ActionType": "Add",
        "CustomerListItemSubType": "Email",
        "CustomerListItems": [sha("a")],
    }
    return world.post("/CustomerListUserData/Apply", {"CustomerListUserData": data | changed})


def codes(answer: requests.Response) -> list[int]:
    body = answer.json()
    names = ("Errors", "OperationErrors", "BatchErrors", "PartialErrors")
    return [each["Code"] for name in names for each in body.get(name) or []]


@pytest.mark.skipif("MSADS_PATH" not in os.environ, reason="MSADS_PATH names no folder with Microsoft's own client")
def test_microsofts_own_client_makes_a_list_and_fills_it(world: World) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("msads_client.py")), f"{world.url}/microsoft"],
        env={**os.environ, "PYTHONPATH": os.environ["MSADS_PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "understood\n", done.stderr


def test_its_answers_fit_the_models_of_microsofts_own_client(world: World) -> None:
    found = world.post("/Audiences/QueryByIds", {"Type": "CustomerList", "AudienceIds": None})
    assert misfits(found.json(), "GetAudiencesByIdsResponse") == []
    taken = {"Type": "CustomerList", "Name": "People", "Scope": "Account", "ParentId": world.account}
    made = world.post("/Audiences", {"Audiences": [taken, taken | {"Name": "Others"}]})
    assert misfits(made.json(), "AddAudiencesResponse") == []
    assert [each is None for each in made.json()["AudienceIds"]] == [True, False]
    partly = applied(world, CustomerListItems=["plain", sha("a")])
    assert misfits(partly.json(), "ApplyCustomerListUserDataResponse") == []
    assert [(each["Index"], each["Code"]) for each in partly.json()["PartialErrors"]] == [(0, 8004)]
    assert misfits(applied(world, ActionType="Delete").json(), "ApiFaultDetail") == []
    assert misfits(world.post("/Audiences", {}, DeveloperToken="").json(), "AdApiFaultDetail") == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"CustomerListItems": ["a@example.com"]}, 8004),
        ({"CustomerListItems": [sha("a").upper()]}, 8004),
        ({"CustomerListItemSubType": "CRM", "CustomerListItems": ["x" * 101]}, 8005),
        ({"CustomerListItemSubType": "Phone"}, 8002),
        ({"ActionType": "None"}, 8001),
        ({"AudienceId": "5"}, 8000),
        ({"AudienceId": None}, 8000),
        ({"CustomerListItems": []}, 203),
        ({"CustomerListItems": [1, None]}, 203),
        ({"CustomerListItems": [sha(str(n)) for n in range(1_001)]}, 6999),
        ({"AcceptCustomerMatchTerm": False}, 8003),
    ],
)
def test_uploads_that_microsoft_refuses(world: World, changed: dict[str, Any], code: int) -> None:
    assert codes(applied(world, **changed)) == [code]
    assert world.members() == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"Type": "RemarketingList"}, 4859),
        ({"Name": ""}, 4838),
        ({"Name": "x" * 129}, 4838),
        ({"Name": " people "}, 4853),
        ({"Description": "x" * 1_025}, 4841),
        ({"MembershipDuration": 391}, 4842),
        ({"MembershipDuration": 0}, 4842),
        ({"Scope": "Everybody"}, 4849),
        ({"ParentId": None}, 4848),
        ({"Scope": "Customer"}, 4843),
        ({"Id": "7"}, 4847),
    ],
)
def test_lists_that_microsoft_does_not_make(world: World, changed: dict[str, Any], code: int) -> None:
    good = {"Type": "CustomerList", "Name": "New", "Scope": "Account", "ParentId": world.account}
    answer = world.post("/Audiences", {"Audiences": [good | changed]})
    assert (answer.status_code, answer.json()["AudienceIds"], codes(answer)) == (200, [None], [code])


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"DeveloperToken": ""}, 400, 116),
        ({"CustomerId": ""}, 400, 116),
        ({"CustomerAccountId": ""}, 400, 116),
        ({"Authorization": ""}, 400, 116),
        ({"Authorization": "Bearer nonsense"}, 401, 105),
        ({"Authorization": "Bearer at.1.5.me"}, 401, 109),
        ({"DeveloperToken": "wrong"}, 401, 105),
    ],
)
def test_who_may_not_ask(world: World, headers: dict[str, str], status: int, code: int) -> None:
    answer = world.post("/Audiences/QueryByIds", {"Type": "CustomerList"}, **headers)
    assert (answer.status_code, codes(answer)) == (status, [code])


def test_lists_are_asked_for_as_microsoft_wants_it(world: World) -> None:
    assert codes(world.post("/Audiences/QueryByIds", {"Type": "CustomerList", "AudienceIds": []})) == [4851]
    assert codes(world.post("/Audiences/QueryByIds", {})) == [4859]
    other_kind = world.post("/Audiences/QueryByIds", {"Type": "RemarketingList", "AudienceIds": [world.list_id]})
    assert (codes(other_kind), other_kind.json()["Audiences"]) == ([4861], [None])
    gone = world.post("/Audiences/QueryByIds", {"Type": "CustomerList", "AudienceIds": ["5"]})
    assert (codes(gone), gone.json()["Audiences"]) == ([4835], [None])
    assert codes(world.post("/Nowhere", {})) == [204]
    of_others = world.post("/Audiences/QueryByIds", {"Type": "CustomerList"}, CustomerAccountId="1")
    assert of_others.json()["Audiences"] == []


def test_a_list_is_made_for_thirty_days_unless_it_is_said(world: World) -> None:
    wanted = {"Type": "CustomerList", "Name": "New", "Scope": "Account", "ParentId": world.account}
    (list_id,) = world.post("/Audiences", {"Audiences": [wanted]}).json()["AudienceIds"]
    asked = {"Type": "CustomerList", "AudienceIds": [list_id]}
    (shown,) = world.post("/Audiences/QueryByIds", asked).json()["Audiences"]
    assert (shown["MembershipDuration"], shown["SearchSize"]) == (30, None)


def test_members_are_added_removed_and_replaced_and_counted_late(world: World) -> None:
    hashes = [sha(str(n)) for n in range(10)]
    applied(world, CustomerListItems=[*hashes, hashes[0]])
    applied(world, ActionType="Remove", CustomerListItems=[hashes[0], sha("nobody")])
    assert world.emails() == set(hashes[1:])
    asked = {"Type": "CustomerList", "AudienceIds": [world.list_id]}
    (shown,) = world.post("/Audiences/QueryByIds", asked).json()["Audiences"]
    assert shown["SearchSize"] is None
    time.sleep(0.6)
    (shown,) = world.post("/Audiences/QueryByIds", asked).json()["Audiences"]
    recognised = [each for each in hashes[1:] if int(each[:4], 16) % 5]
    assert shown["SearchSize"] == str(len(recognised))
    applied(world, ActionType="Replace", CustomerListItems=[sha("only")])
    assert world.emails() == {sha("only")}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"refresh_token": "revoked-1"}, "invalid_grant"),
        ({"client_id": ""}, "invalid_request"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"client_secret": "wrong-1"}, "invalid_client"),
        ({"grant_type": "password"}, "invalid_grant"),
    ],
)
def test_sign_ins_that_are_refused(world: World, changed: dict[str, str], error: str) -> None:
    form = {"grant_type": "refresh_token", "client_id": "app", "refresh_token": "me", "scope": SCOPE}
    answer = requests.post(f"{world.url}/microsoft/common/oauth2/v2.0/token", data=form | changed, timeout=10)
    assert (answer.status_code in (400, 401), answer.json()["error"]) == (True, error)


def test_a_new_refresh_token_comes_with_each_access_token_and_the_old_one_stays_good(world: World) -> None:
    form = {"grant_type": "refresh_token", "client_id": "app", "refresh_token": "me", "scope": SCOPE}
    path = f"{world.url}/microsoft/organizations/oauth2/v2.0/token"
    answers = [requests.post(path, data=form, timeout=10).json() for _ in range(2)]
    assert answers[0]["refresh_token"] != "me"
    assert answers[0]["access_token"] != answers[1]["access_token"]


def test_state_survives_a_kill(tmp_path: Path) -> None:
    with SimulatorServer(tmp_path) as server:
        world = World(server.url).make_list()
        applied(world)
        server.kill()
        server.start()
        assert world.emails() == {sha("a")}
        assert applied(world, ActionType="Remove").json() == {"PartialErrors": []}
        assert world.members() == []
