"""`audience-syncs destinations` says of every platform what it declares, to people and to machines."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.destinations.registry import PLATFORMS, spec_of


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["destinations", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_all_platforms_are_listed_with_what_they_can_do() -> None:
    listed = {one["platform"]: one for one in json.loads(shown("--json"))}
    assert set(listed) == set(PLATFORMS)
    assert listed["meta"]["tells_matched_users"]
    assert not listed["meta"]["reads_members"]
    assert listed["hubspot"]["identifiers"] == ["email"]
    assert not listed["sql_table"]["tells_matched_users"]
    assert listed["sql_table"]["removals"] == ["keep", "remove"]
    text = shown()
    assert all(spec_of(name).title in text for name in PLATFORMS)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_one_platform_is_shown_with_every_field_secret_and_setting(platform: str) -> None:
    spec = spec_of(platform)
    found = json.loads(shown(platform, "--json"))
    names = {field.name for field in spec.fields}
    assert {field["name"] for field in found["fields"]} == names
    assert {field["name"] for field in found["fields"] if field["required"]} == spec.required_fields
    assert {one["name"]: one["description"] for one in found["settings"]} == dict(spec.settings)
    text = shown(platform)
    assert all(name in text for name in (*names, *spec.credentials, *spec.settings))
    assert ("any other" in text) == (spec.open_fields is not None)


def test_an_unknown_platform_is_refused_with_the_nearest() -> None:
    done = CliRunner().invoke(app, ["destinations", "mta"])
    assert "did you mean `meta`" in str(done.exception)
