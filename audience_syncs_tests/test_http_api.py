"""An HTTP API from YAML alone: requests as described, every answer a verdict, and no value that breaks out of its place."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
import yaml

from audience_syncs.destinations import pacing
from audience_syncs.destinations.contract import ListRequest, TellsMatchedUsers
from audience_syncs.destinations.http_api import json_path, templates
from audience_syncs.destinations.http_api.account import HttpApi
from audience_syncs.destinations.http_api.answers import verdicts
from audience_syncs.destinations.http_api.declaration import Answers
from audience_syncs.destinations.registry import check_destination, check_sync, open_destination
from audience_syncs.model.config import DestinationConfig, SyncConfig
from audience_syncs.model.errors import (
    AccessRefused,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs.project import load_project
from audience_syncs.project.schemas import file_schema
from audience_syncs.simulators import SimulatorServer

BULK = """
key: id
base_url: {base_url}
auth: {{type: bearer}}
lists:
  find: {{method: GET, path: /lists, query: {{name: "${{list.name}}"}}, items: data}}
  create: {{path: /lists, body: {{name: "${{list.name}}"}}, id: data.id}}
  count: {{method: GET, path: "/lists/${{list.id}}", count: data.size}}
add:
  path: /lists/${{list.id}}/members
  headers: {{Idempotency-Key: "${{request.id}}"}}
  body: {{members: "${{members}}"}}
  answers: {{results: results, key: id, accepted: "${{item.status == 'ok'}}", reason: detail}}
remove:
  path: /lists/${{list.id}}/members/remove
  body: {{ids: "${{members | map(attribute='id') | list}}"}}
  answers: {{results: errors, only_failures: true, index: position, reason: detail, retry_codes: [LOCKED]}}
requests_per_s: 1000
attempts: 2
timeout_s: 1
"""
SINGLE = """
key: email
base_url: {base_url}
auth: {{type: oauth2, token_url: "{base_url}/oauth/token"}}
lists:
  find: {{method: GET, path: /lists, query: {{name: "${{list.name}}"}}, items: data}}
  create: {{path: /lists, body: {{name: "${{list.name}}"}}, id: data.id}}
add:
  method: PUT
  path: /lists/${{list.id}}/members/${{member.email}}
  one_by_one: true
  body:
    name: "${{member.first_name or 'friend'}}"
    orders: "${{member.orders | int}}"
    tags: [vip, "from ${{list.name}}"]
remove:
  method: DELETE
  path: /lists/${{list.id}}/members/${{member.email}}
  one_by_one: true
  accepted_statuses: [404]
requests_per_s: 1000
attempts: 2
timeout_s: 1
"""


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def url(simulators: SimulatorServer) -> str:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    pacing._pacers.clear()
    return simulators.url


def config(settings: Any, *credentials: str) -> DestinationConfig:
    return DestinationConfig.model_validate(
        {
            "name": "house_api",
            "platform": "http_api",
            "credentials": {name: {"env": name.upper()} for name in credentials},
            "settings": settings,
        }
    )


def settings(text: str, url: str, **changes: Any) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(text.format(base_url=f"{url}/json_api"))
    return read | changes


def opened(given: dict[str, Any], **credentials: str) -> HttpApi:
    api = open_destination(config(given, *credentials), {name.upper(): value for name, value in credentials.items()})
    assert isinstance(api, HttpApi)
    api._http._first_backoff_s = 0.01
    return api


def bulk(url: str, token: str = "acme", **changes: Any) -> HttpApi:
    return opened(settings(BULK, url, **changes), token=token)


def single(url: str, **changes: Any) -> HttpApi:
    return opened(settings(SINGLE, url, **changes), client_id="acme", client_secret="s3cret")


def batch(*members: dict[str, Any], fields: tuple[str, ...] = ()) -> Batch:
    return Batch([Outgoing(member) for member in members], fields=fields)


def kinds(found: Any) -> list[str]:
    return [verdict.kind.value for verdict in found]


def listed(url: str, list_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(f"{url}/_simulator/json_api/lists/{list_id}/members", timeout=10).json()[
        "members"
    ]
    return found


def fault(url: str, **fields: Any) -> None:
    asked = {"platform": "json_api", "rate": 1.0} | fields
    requests.post(f"{url}/_simulator/faults", json=asked, timeout=10).raise_for_status()


def received(url: str, operation: str) -> list[dict[str, Any]]:
    journal: Any = requests.get(f"{url}/_simulator/json_api/requests", timeout=10).json()
    return [entry for entry in journal if entry["operation"] == operation]


def test_a_list_is_made_once_filled_counted_and_emptied(url: str) -> None:
    api = bulk(url)
    made = api.ensure_list(ListRequest('VIPs & "friends" / 100%'))
    assert made.created
    again = api.ensure_list(ListRequest('VIPs & "friends" / 100%'))
    assert (again.id, again.created) == (made.id, False)
    people = batch({"id": "1", "name": 'O"Brien\\'}, {"id": "2"}, fields=("id", "name"))
    assert kinds(api.add(made.id, people)) == ["accepted", "accepted"]
    assert listed(url, made.id) == [{"id": "1", "name": 'O"Brien\\'}, {"id": "2", "name": None}]
    assert isinstance(api, TellsMatchedUsers)
    assert api.matched_users(made.id).upper == 2
    assert kinds(api.remove(made.id, batch({"id": ["1", "x"]}, {"id": "nobody"}))) == ["accepted", "accepted"]
    assert [member["id"] for member in listed(url, made.id)] == ["2"]


def test_verdicts_are_read_by_key_and_by_place(url: str) -> None:
    api = bulk(url)
    list_id = api.ensure_list(ListRequest("VIPs")).id
    fault(url, kind="partial", contains='"bad@example.com"')
    people = batch({"id": "1"}, {"id": "bad@example.com"}, {"id": "3"})
    added = api.add(list_id, people)
    assert kinds(added) == ["accepted", "rejected", "accepted"]
    assert (added[1].reason_code, added[1].reason) == ("BAD_MEMBER", "... is not wanted")
    removed = api.remove(list_id, people)
    assert kinds(removed) == ["accepted", "retryable", "accepted"]
    assert removed[1].reason_code == "LOCKED"


def test_one_by_one_each_member_has_a_request_with_values_of_their_own_type(url: str) -> None:
    api = single(url)
    list_id = api.ensure_list(ListRequest("VIPs")).id
    mapped = ("email", "first_name", "orders")
    hostile = "../../lists/1?x=1&y#z%2e%2e/ü@example.com"
    people = batch({"email": hostile, "orders": "12"}, {"email": "b@example.com", "first_name": "Bob", "orders": "x"})
    assert kinds(api.add(list_id, people)) == ["accepted", "accepted"]
    assert listed(url, list_id) == [
        {"id": hostile, "name": "friend", "orders": 12, "tags": ["vip", "from VIPs"]},
        {"id": "b@example.com", "name": "Bob", "orders": 0, "tags": ["vip", "from VIPs"]},
    ]
    assert kinds(api.remove(list_id, batch({"email": hostile}, {"email": "nobody@example.com"}))) == ["accepted"] * 2
    assert [member["id"] for member in listed(url, list_id)] == ["b@example.com"]
    # Somebody whose key would be another path than theirs is rejected alone.
    assert kinds(api.add(list_id, batch({"email": ".."}, {"email": "c@example.com"}, fields=mapped))) == [
        "rejected",
        "accepted",
    ]


def test_a_token_is_fetched_once_and_again_when_it_is_over(url: str) -> None:
    api = single(url)
    list_id = api.ensure_list(ListRequest("VIPs")).id
    api.add(list_id, batch({"email": "a@example.com", "orders": "1"}))
    assert len(received(url, "token")) == 1
    requests.post(f"{url}/_simulator/clock", json={"advance_s": 4_000}, timeout=10)
    assert kinds(api.add(list_id, batch({"email": "b@example.com"}, fields=("email", "orders")))) == ["accepted"]
    assert len(received(url, "token")) == 2
    refused = opened(settings(SINGLE, url), client_id="revoked-client", client_secret="s3cret-of-the-test")
    with pytest.raises(AccessRefused) as no_token:
        refused.ensure_list(ListRequest("VIPs"))
    assert "s3cret" not in str(no_token.value)


@pytest.mark.parametrize(
    ("auth", "credentials"),
    [
        ({"type": "bearer"}, {"token": "acme"}),
        ({"type": "header", "header": "X-Api-Key"}, {"token": "acme"}),
        ({"type": "basic"}, {"username": "acme", "password": "ü: pw"}),
    ],
)
def test_every_way_to_sign_in(auth: dict[str, str], credentials: dict[str, str], url: str) -> None:
    api = opened(settings(BULK, url, auth=auth), **credentials)
    list_id = api.ensure_list(ListRequest("VIPs")).id
    (found,) = requests.get(f"{url}/_simulator/json_api/lists", timeout=10).json()
    assert (found["account"], found["id"]) == ("acme", list_id)
    missing = check_destination(config(settings(BULK, url, auth=auth)))
    assert sorted(problem.path[-1] for problem in missing) == sorted(credentials)


FAULTS: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "rate_limit", "count": 1, "retry_after_s": 0}, ["accepted"]),
    ({"kind": "server_error", "count": 1}, ["accepted"]),
    ({"kind": "reset_after", "count": 1}, ["accepted"]),
    ({"kind": "malformed", "count": 1}, NoAnswer),
    ({"kind": "rate_limit", "retry_after_s": 0}, NotApplied),
    ({"kind": "server_error"}, NoAnswer),
    ({"kind": "timeout_after", "delay_s": 2}, NoAnswer),
    ({"kind": "forbidden"}, AccessRefused),
    ({"kind": "reject_batch"}, BatchRefused),
    ({"kind": "reject_batch", "status": 418}, DestinationError),
]


@pytest.mark.parametrize(("asked", "becomes"), FAULTS)
def test_every_failure_becomes_what_it_means(asked: dict[str, Any], becomes: Any, url: str) -> None:
    api = bulk(url)
    list_id = api.ensure_list(ListRequest("VIPs")).id
    fault(url, operation="members.put", **asked)
    if isinstance(becomes, list):
        assert kinds(api.add(list_id, batch({"id": "1"}))) == becomes
        return
    with pytest.raises(becomes):
        api.add(list_id, batch({"id": "1"}))


def test_a_list_that_is_gone_is_said_to_be_gone_and_one_that_cannot_be_made_too(url: str) -> None:
    api = bulk(url)
    list_id = api.ensure_list(ListRequest("VIPs")).id
    requests.post(f"{url}/_simulator/json_api/lists/{list_id}/delete", timeout=10).raise_for_status()
    for call in (api.add, api.remove):
        with pytest.raises(ListMissing):
            call(list_id, batch({"id": "1"}))
    lists = yaml.safe_load(BULK.format(base_url="https://x"))["lists"]
    with pytest.raises(ListMissing, match="no list"):
        bulk(url, lists={"find": lists["find"]}).ensure_list(ListRequest("VIPs"))
    # Nothing about lists described: its name is all there is.
    assert bulk(url, lists={}).ensure_list(ListRequest("VIPs")).id == "VIPs"


def test_a_list_whose_creation_was_not_answered_is_found_not_made_twice(url: str) -> None:
    fault(url, kind="reset_after", operation="lists.create", count=1)
    made = bulk(url).ensure_list(ListRequest("VIPs"))
    assert made.created
    assert len(received(url, "lists.create")) == 1


def test_all_attempts_of_a_request_have_one_idempotency_key(url: str) -> None:
    api = bulk(url)
    list_id = api.ensure_list(ListRequest("VIPs")).id
    seen: list[str] = []
    once = api._http._once

    def watched(*arguments: Any) -> Any:
        seen.append(arguments[-1].get("Idempotency-Key", ""))
        return once(*arguments)

    api._http._once = watched  # type: ignore[method-assign]
    fault(url, kind="server_error", count=1)
    api.add(list_id, batch({"id": "1"}))
    api.add(list_id, batch({"id": "2"}))
    assert len(seen) == 3
    assert seen[0] == seen[1] != seen[2]
    assert all(len(key) == 32 for key in seen)


# Answers


OK = "${item.ok}"
READ: list[tuple[dict[str, Any], Any, Any]] = [
    ({"results": "$.a[0].b", "accepted": OK}, {"a": [{"b": [{"ok": True}, {"ok": 1}]}]}, ["accepted", "rejected"]),
    ({"results": "r", "accepted": OK}, {"r": [{"ok": True}]}, ["accepted", "unknown"]),
    ({"results": "r", "accepted": OK}, {"r": [{"ok": True}] * 3}, NoAnswer),
    ({"results": "r", "accepted": OK}, {"r": {}}, NoAnswer),
    ({"results": "r", "accepted": OK}, {}, NoAnswer),
    ({"results": "r", "accepted": "${item.x.y.z}"}, {"r": [{}, {}]}, NoAnswer),
    ({"results": "r", "accepted": OK, "key": "k"}, {"r": [{"k": 2, "ok": True}, {"k": "1"}]}, ["rejected", "accepted"]),
    ({"results": "r", "accepted": OK, "key": "k"}, {"r": [{"k": 3, "ok": True}]}, NoAnswer),
    ({"results": "r", "only_failures": True, "index": "i"}, {"r": [{"i": "1"}]}, ["accepted", "rejected"]),
    ({"results": "r", "only_failures": True, "index": "i"}, {}, ["accepted", "accepted"]),
    ({"results": "r", "only_failures": True, "index": "i"}, [], NoAnswer),
    ({"results": "r", "only_failures": True, "index": "i"}, None, NoAnswer),
    ({"results": "r", "only_failures": True, "index": "i"}, {"r": [{"i": 2}]}, NoAnswer),
    ({"results": "r", "only_failures": True, "index": "i"}, {"r": [{"i": -1}]}, NoAnswer),
    ({"results": "r", "only_failures": True, "index": "i"}, {"r": [{}]}, NoAnswer),
    (
        {"results": "r", "only_failures": True, "index": "i", "retry_codes": [7]},
        {"r": [{"i": 0, "code": 7}, {"i": 1, "code": 8}]},
        ["retryable", "rejected"],
    ),
]


@pytest.mark.parametrize(("asked", "body", "becomes"), READ)
def test_an_answer_is_read_as_described_and_what_it_does_not_tell_is_not_accepted(
    asked: dict[str, Any], body: Any, becomes: Any
) -> None:
    described = Answers.model_validate(asked)
    if isinstance(becomes, list):
        assert kinds(verdicts(described, body, [["1"], ["2"]])) == becomes
        return
    with pytest.raises(becomes):
        verdicts(described, body, [["1"], ["2"]])


def test_reasons_are_kept_without_anything_that_identifies_a_person() -> None:
    described = Answers.model_validate({"results": "r", "only_failures": True, "index": "i"})
    words = "anna.b+x@example.co.uk and +49 151 1234567 are wrong" + "x" * 500
    (verdict,) = verdicts(described, {"r": [{"i": 0, "code": "a@b.c", "message": words}]}, [["1"]])
    assert verdict.reason.startswith("... and ... are wrong")
    assert len(verdict.reason) <= 200
    assert "@" not in verdict.reason_code


@pytest.mark.parametrize("path", ["a.b", "$.a.b", "a[0]", "$", "", "a.b[12].c", "[0].a"])
def test_a_json_path_of_nothing_is_nothing(path: str) -> None:
    for value in (None, 1, "x", [], {}, {"a": None}, [[]]):
        assert json_path.at(value, path) in (None, value)
    assert json_path.at({"a": [{"b": 1}]}, "$.a[0].b") == 1


# Templates


@pytest.mark.parametrize(
    "source",
    [
        "${member.__class__.__mro__}",
        "${member.items.__globals__}",
        "${''.__class__}",
        "${members.append(1)}",
        "${member.update({'a': 1})}",
        "${1 / 0}",
    ],
)
def test_a_template_reaches_nothing_of_python_and_changes_nothing(source: str) -> None:
    about = {"member": {"id": "1"}, "members": [{"id": "1"}]}
    try:
        assert templates.fill(source, about) is None
    except templates.TemplateFailed as failed:
        assert "'1'" not in str(failed)  # noqa: PT017
    assert about == {"member": {"id": "1"}, "members": [{"id": "1"}]}


def test_values_are_put_in_as_they_are_and_never_read_as_templates() -> None:
    evil = '${request.id}"}, {"x": "{{ 1 }}'
    about = {"member": {"name": evil, "n": 3, "none": None, "yes": True}}
    assert templates.fill({"a": "${member.name}", "b": ["x ${member.name}"]}, about) == {"a": evil, "b": [f"x {evil}"]}
    assert templates.fill("${member.n}", about) == 3
    assert templates.fill("<${member.none}|${member.yes}>", about) == "<|true>"
    assert templates.fill_path("/a/${member.name}", {"member": {"name": "b/../c?d"}}) == "/a/b%2F..%2Fc%3Fd"


# Definitions


WRONG: list[tuple[str, str, int, str]] = [
    ("path: /lists/${list.id}/members\n", "path: /lists/${lst.id}/members\n", 15, "there is no `lst` here"),
    ("path: /lists/${list.id}/members\n", "path: /lists/${list.id/members\n", 15, "never closed"),
    ('"${members}"', '"${members |}"', 15, "cannot be read"),
    ('"${members}"', '"${member.id}"', 15, "there is no `member` here"),
    ("type: bearer", "type: token", 10, "must be 'none', 'bearer'"),
    ("type: bearer", "type: header", 10, "needs `header`"),
    ("results: results", "result: results", 19, "unknown key `result`"),
    ("accepted: \"${item.status == 'ok'}\", ", "", 19, "how the failed are known"),
    ("position", "position, key: id", 23, "by `index` or by `key`"),
    ("Idempotency-Key", "Authorization", 17, "made by `auth`"),
    ("add:", "ad:", 15, "has no `ad` among its settings"),
    ("method: GET", "method: FETCH", 12, "must be"),
    ("requests_per_s: 1000", "requests_per_s: fast", 24, "number"),
    ("https://api.example.com", "api.example.com", 9, "not an address"),
]


def yaml_of(text: str) -> str:
    body = text.format(base_url="https://api.example.com").strip("\n").replace("\n", "\n    ")
    return (
        "type: audience_syncs.components.Destination\nattributes:\n  name: house_api\n  platform: http_api\n"
        f"  credentials:\n    token: {{env: TOKEN}}\n  settings:\n    {body}\n"
    )


@pytest.mark.parametrize(("right", "wrong", "line", "message"), WRONG)
def test_a_mistake_in_nested_settings_is_shown_in_its_line_with_what_to_do(
    right: str, wrong: str, line: int, message: str, tmp_path: Path
) -> None:
    text = yaml_of(BULK)
    (tmp_path / "api").mkdir()
    file = tmp_path / "api" / "defs.yaml"
    file.write_text(text)
    assert load_project(tmp_path, environ={}).problems == []
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    problems = load_project(tmp_path, environ={}).problems
    found = [problem for problem in problems if message in problem.message]
    assert found, problems
    assert found[0].line == line, found[0]
    assert found[0].remedy


def test_editors_know_the_nested_settings_of_each_platform() -> None:
    schema = file_schema("Destination")
    good = yaml.safe_load(yaml_of(BULK))
    jsonschema.validate(good, schema)
    jsonschema.validate(
        yaml.safe_load(yaml_of(BULK).replace("requests_per_s: 1000", "requests_per_s: '{{ env.X }}'")), schema
    )
    for wrong, where in (
        ({"add": {"path": "lists"}}, "path"),
        ({"auth": {"type": "token"}}, "type"),
        ({"ad": {}}, "settings"),
    ):
        bad = {**good, "attributes": {**good["attributes"], "settings": good["attributes"]["settings"] | wrong}}
        with pytest.raises(jsonschema.ValidationError) as refused:
            jsonschema.validate(bad, schema)
        assert where in [*refused.value.absolute_path]


def test_what_an_api_cannot_do_is_refused_when_definitions_load(url: str) -> None:
    def asked(given: dict[str, Any], **sync: Any) -> list[str]:
        written = {"destination": "house_api", "mapping": {"id": "id"}} | sync
        return [problem.message for problem in check_sync(config(given, "token"), SyncConfig.model_validate(written))]

    whole, without = settings(BULK, url), settings(BULK, url)
    del without["remove"]
    assert asked(whole) == []
    assert asked(without) == [
        "HTTP API cannot do mode `mirror`",
        "HTTP API cannot do removal `remove`",
    ]
    assert asked(without, mode="add") == []
    assert asked(whole, mapping={"email": "email"}) == ["HTTP API needs the field `id`"]


def test_a_field_that_a_template_names_must_be_mapped_and_removals_know_the_key_alone(url: str) -> None:
    given = settings(SINGLE, url)
    account = config(given, "client_id", "client_secret")
    sync = {"destination": "house_api", "mapping": {"email": "email", "first_name": "name"}}
    (found,) = check_sync(account, SyncConfig.model_validate(sync))
    assert "member.orders" in found.message
    assert "map a column to `orders`" in found.remedy
    sync["mapping"] = {"email": "email", "first_name": "name", "orders": "orders"}
    assert check_sync(account, SyncConfig.model_validate(sync)) == []
    given["remove"]["path"] = "/lists/${list.id}/members/${member['customer id']}"
    (found,) = check_destination(config(given, "client_id", "client_secret"))
    assert "member.customer id" in found.message


def test_secrets_are_never_shown() -> None:
    given = settings(BULK, "https://api.example.com")
    with pytest.raises(AccessRefused) as refused:
        opened(given, token="sec\u00fcr\u00e9-token")
    assert "sec\u00fcr\u00e9" not in str(refused.value)
    with pytest.raises(DefinitionError, match="anybody on the way"):
        opened(given | {"base_url": "http://api.example.com"}, token="x")
    assert base64.b64encode(b"x").decode() not in repr(opened(given, token="x"))
