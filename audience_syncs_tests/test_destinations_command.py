"""`audience-syncs destinations` tells what each platform can do, from the same declarations that are checked."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.destinations.registry import PLATFORMS, spec_of
from audience_syncs.model.errors import DefinitionError


def output(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["destinations", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_all_platforms_are_listed_with_what_they_can_do(capfd: pytest.CaptureFixture[str]) -> None:
    shown = output()
    for name in PLATFORMS:
        assert name in shown
    assert "mirror" in shown


def test_json_tells_the_same_as_the_declarations() -> None:
    found = {one["platform"]: one for one in json.loads(output("--json"))}
    assert set(found) == set(PLATFORMS)
    for name, one in found.items():
        spec = spec_of(name)
        assert set(one["modes"]) == set(spec.modes)
        assert set(one["removals"]) == set(spec.removals)
        assert one["batch_size"] == spec.batch_size
        assert one["identifiers"] == [field.name for field in spec.fields if field.identifier]
        assert one["docs"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_one_platform_is_shown_with_all_fields_secrets_and_settings(platform: str) -> None:
    spec, shown = spec_of(platform), output(platform)
    for word in (*spec.credentials, *spec.optional_credentials, *spec.settings, *(field.name for field in spec.fields)):
        assert word in shown, word
    details = json.loads(output(platform, "--json"))
    assert {one["name"] for one in details["settings"] if one["required"]} == spec.required_settings
    assert {one["name"] for one in details["credentials"] if one["required"]} == set(spec.credentials)


def test_every_setting_and_field_says_what_it_is_for() -> None:
    for platform in PLATFORMS:
        spec = spec_of(platform)
        assert [name for name, description in spec.settings.items() if not description] == []
        assert [field.name for field in spec.fields if not field.description] == []


def test_an_unknown_platform_is_refused_with_the_nearest() -> None:
    with pytest.raises(DefinitionError, match="did you mean `sql_table`"):
        CliRunner().invoke(app, ["destinations", "sqltable"], catch_exceptions=False)
