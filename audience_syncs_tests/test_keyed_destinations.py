"""What destinations that know a member by one key have in common, whatever they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audience_syncs.destinations.contract import Destination, ListRequest
from audience_syncs.destinations.registry import open_destination, spec_for
from audience_syncs.model.config import DestinationConfig
from audience_syncs.model.errors import DestinationError
from audience_syncs.model.values import Batch, Outgoing

SECRETS = {"url": {"env": "URL"}, "secret": {"env": "SECRET"}}
ACCOUNTS: dict[str, dict[str, Any]] = {
    "sql_table": {"credentials": {"url": {"env": "URL"}}},
    "files": {"settings": {"url": "/nowhere"}},
    "webhook": {"credentials": SECRETS},
    "http_api": {
        "settings": {
            "base_url": "https://api.example.com",
            "add": {"path": "/add", "body": "${members}"},
            "remove": {"path": "/remove", "body": "${members}"},
        }
    },
}


def opened(platform: str, folder: Path, key: str) -> Destination:
    written = {"name": "account", "platform": platform, **ACCOUNTS[platform]}
    settings = {**written.get("settings", {}), "key": key}
    if platform == "files":
        settings["url"] = str(folder)
    config = DestinationConfig.model_validate({**written, "settings": settings})
    url = f"sqlite:///{folder}/lists.db" if platform == "sql_table" else "https://example.com/hook"
    return open_destination(config, {"URL": url, "SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})


@pytest.mark.parametrize("platform", ACCOUNTS)
def test_a_list_that_was_filled_by_another_key_is_not_silently_left_as_it_is(platform: str, tmp_path: Path) -> None:
    destination = opened(platform, tmp_path, key="email")
    list_id = destination.ensure_list(ListRequest("people")).id
    with pytest.raises(DestinationError, match="known by `id`") as refused:
        destination.remove(list_id, Batch([Outgoing({"id": "7"})]))
    assert refused.value.code == "KEY_CHANGED"
    assert "7" not in refused.value.message


@pytest.mark.parametrize("platform", ACCOUNTS)
@pytest.mark.parametrize(
    ("key", "rule"), [("id", "external_id"), ("email", "email"), ("phone", "phone"), ("Kunden-Nr.", "external_id")]
)
def test_the_key_may_have_any_name_and_alone_finds_a_member(platform: str, key: str, rule: str, tmp_path: Path) -> None:
    spec = opened(platform, tmp_path, key).spec
    assert [(field.name, field.rule) for field in spec.fields if field.identifier] == [(key, f"generic.{rule}")]
    assert spec.required_fields == {key}
    assert len({field.name for field in spec.fields}) == len(spec.fields)
    assert spec == spec_for(
        DestinationConfig.model_validate(
            {
                "name": "account",
                "platform": platform,
                **ACCOUNTS[platform],
                "settings": {**ACCOUNTS[platform].get("settings", {}), "key": key},
            }
        )
    )
