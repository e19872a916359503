"""New definitions as commented YAML: they pass the check as they are, say every key, and touch nothing that is there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.destinations.platforms import PLATFORMS
from audience_syncs.destinations.registry import spec_of
from audience_syncs.model.config import SyncConfig
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.names import NAME, as_name
from audience_syncs.project import MODELS, load_project
from audience_syncs.project.dg_projects import dg_defs_dir
from audience_syncs.project.scaffolds import FOLDERS, Wishes, add_sync, scaffold
from audience_syncs.project.scaffolds.commented import entry
from audience_syncs.project.scaffolds.examples import example
from audience_syncs.project.schemas import file_schema

New = Callable[..., str]

WISHES: dict[str, list[str]] = {
    "Source": ["source", "second_shop"],
    "Model": ["model", "people", "--table", "shop.users", "--primary-key", "user_id", "--source", "shop"],
    "Audience": [
        "audience",
        "lapsed",
        "--model",
        "customers",
        "--destination",
        "meta_ads",
        "--title",
        "Ünïcode: 日本 #1",
    ],
    "SyncTemplate": ["template", "hourly", "--destination", "meta_ads"],
    "Priority": ["priority", "who_first"],
    "Sequence": ["sequence", "morning"],
    "Alerts": ["alerts"],
}


@pytest.fixture
def defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "defs"
    folder.mkdir()
    monkeypatch.setenv("AUDIENCE_SYNCS_DEFS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def new(defs: Path) -> New:
    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["new", *arguments], catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.output

    return run


@pytest.fixture
def shop(new: New, defs: Path) -> Path:
    """A project with one of each that others refer to."""
    new("source", "shop")
    new("destination", "meta_ads", "--platform", "meta")
    new("model", "customers", "--table", "shop.users", "--primary-key", "user_id")
    record(defs, "customers")
    for name in ("carts", "buyers"):
        new("audience", name, "--destination", "meta_ads")
    return defs


def record(defs: Path, model: str, **more: str) -> None:
    """What `audience-syncs columns` records."""
    columns = {"user_id": "INTEGER", "email": "TEXT", **more}
    (defs / "models" / model / "columns.json").write_text(json.dumps({model: columns}))


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "Destination"])
def test_every_kind_is_written_so_that_it_passes_the_check_and_fits_its_schema(shop: Path, new: New, kind: str) -> None:
    before = {file: file.read_bytes() for file in shop.rglob("*") if file.is_file()}
    new(*WISHES[kind])
    (file,) = {file for file in shop.rglob("*") if file.is_file()} - set(before)
    assert file.relative_to(shop).parts[0] == FOLDERS[kind]
    assert load_project(shop, {}, with_columns=False).problems == []
    if kind == "Model":
        record(shop, "people")
    assert load_project(shop, {}).problems == []
    written = file.read_text(encoding="utf-8")
    jsonschema.validate(yaml.safe_load(written), file_schema(kind))
    address = written.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / address).resolve().is_file()
    for name, field in MODELS[kind].model_fields.items():
        assert f" {field.alias or name}:" in written, f"{name} is not mentioned"
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_destination_of_every_platform_passes_with_a_sync_to_it_and_names_all_it_understands(
    shop: Path, new: New, platform: str
) -> None:
    spec = spec_of(platform)
    new("destination", "account", "--platform", platform)
    file = shop / "destinations" / "account" / "defs.yaml"
    written = file.read_text(encoding="utf-8")
    for secret in (*spec.credentials, *spec.optional_credentials):
        assert f"{secret}: {{env: ACCOUNT_{secret.upper()}}}" in written
    for setting in spec.settings:
        assert f" {setting}:" in written, setting
    jsonschema.validate(yaml.safe_load(written), file_schema("Destination"))
    new("sync", "carts", "account")
    project = load_project(shop, {})
    assert project.problems == []
    assert project.audiences["carts"].sync("account").mapping.keys() >= spec.required_fields
    text = (shop / "audiences" / "carts" / "defs.yaml").read_text(encoding="utf-8")
    for field in spec.fields:
        assert f" {field.name}: " in text, field.name


ONE_OF = {
    ("Audience", "model"): "exactly one of `sql` and `model`",
    ("Audience", "filter"): "`filter` is for audiences with a `model`",
    ("Audience", "columns"): "`columns` is for audiences with a `model`",
    ("Audience", "timezone"): "`timezone` is for audiences with a `model`",
    ("Model", "sql"): "exactly one of `table` and `sql`",
}
"""Keys that are offered instead of others."""


@pytest.mark.parametrize("kind", MODELS)
def test_every_example_is_accepted_once_its_comment_sign_is_taken_away(kind: str) -> None:
    whole: dict[str, Any] = {
        "Source": {"name": "a", "url": {"env": "A"}},
        "Destination": {"name": "a", "platform": "meta"},
        "Model": {"name": "a", "source": "b", "table": "c", "primary_key": "id", "related": {"orders": ORDERS}},
        "Audience": {"name": "a", "source": "b", "sql": "SELECT 1", "primary_key": "id"},
        "Priority": {"name": "a", "audiences": ["b", "c"]},
        "Sequence": {"name": "a", "steps": ["b/c"]},
    }.get(kind, {"name": "a"} if "name" in MODELS[kind].model_fields else {})
    models: list[tuple[type[BaseModel], dict[str, Any]]] = [(MODELS[kind], whole)]
    if kind == "Audience":
        models.append((SyncConfig, {"destination": "a", "mapping": {"EMAIL": "email"}}))
    for model, sound in models:
        for name, field in model.model_fields.items():
            if field.is_required():
                continue
            given = yaml.safe_load("\n".join(entry(field.alias or name, example(model, name), 0)))
            expected = ONE_OF.get((kind, name)) if model is MODELS[kind] else None
            if expected is None:
                model.model_validate({**sound, **given})
            else:
                with pytest.raises(ValidationError, match=re.escape(expected)):
                    model.model_validate({**sound, **given})


ORDERS = {"table": "orders", "join": {"id": "customer_id"}}


def test_nothing_that_is_there_is_overwritten(shop: Path, new: New) -> None:
    for arguments in (["source", "shop"], ["audience", "carts"], ["destination", "meta_ads", "--platform", "meta"]):
        with pytest.raises(DefinitionError, match=r"there is a .* already"):
            new(*arguments)
    # A file that defines something else, under either of Dagster's names.
    for number, name in enumerate(("defs.yaml", "defs.yml")):
        folder = shop / "sources" / f"other_{number}"
        folder.mkdir()
        (folder / name).write_text("type: dagster.FunctionComponent\nattributes: {}\n")
        with pytest.raises(DefinitionError, match="is there already"):
            new("source", f"other_{number}")
        assert "FunctionComponent" in (folder / name).read_text()
        assert [file.name for file in folder.iterdir()] == [name]
    new("alerts")
    with pytest.raises(DefinitionError, match="defined already"):
        new("alerts")


REFUSED = [
    (["source", "Shop"], "cannot be a name", "lower-case"),
    (["source", "two__underscores"], "cannot be a name", "single underscores"),
    (["source", "../../etc"], "cannot be a name", ""),
    (["destination", "x"], "which platform", "braze"),
    (["destination", "x", "--platform", "hubsopt"], "no platform `hubsopt`", "did you mean `hubspot`"),
    (["model", "x", "--source", "shpo"], "no source `shpo`", "did you mean `shop`"),
    (["audience", "x", "--model", "custumers"], "no model `custumers`", "did you mean `customers`"),
    (["audience", "x", "--destination", "meta"], "no destination `meta`", "did you mean `meta_ads`"),
    (["sync", "cart", "meta_ads"], "no audience `cart`", "did you mean `carts`"),
    (["sync", "carts", "meta_ad"], "no destination `meta_ad`", "did you mean `meta_ads`"),
    (["sync", "carts", "meta_ads", "--name", "a: b\n  c"], "cannot be a name", "lower-case"),
    (["sync", "carts", "meta_ads"], "has a sync `meta_ads` already", "--name"),
    (["priority", "x", "--audience", "carts"], "needs two audiences", "--audience A"),
    (["sequence", "x", "--step", "carts/meta"], "no sync `carts/meta`", "did you mean `carts/meta_ads`"),
]


@pytest.mark.parametrize("arguments, message, remedy", REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_what_cannot_be_is_refused_with_the_nearest_name_and_nothing_is_written(
    shop: Path, new: New, arguments: list[str], message: str, remedy: str
) -> None:
    before = {file: file.read_bytes() for file in shop.rglob("*") if file.is_file()}
    with pytest.raises(DefinitionError) as raised:
        new(*arguments)
    assert message in raised.value.message
    assert remedy in raised.value.remedy
    assert {file: file.read_bytes() for file in shop.rglob("*") if file.is_file()} == before


def test_the_only_source_is_taken_and_of_several_one_must_be_named(new: New, shop: Path) -> None:
    new("audience", "everybody")
    assert load_project(shop, {}).audiences["everybody"].source == "shop"
    new("source", "second")
    with pytest.raises(DefinitionError, match="there are 2 of them") as raised:
        new("audience", "others")
    assert "--source: `second`, `shop`" in raised.value.remedy


def test_without_anything_to_refer_to_it_is_said_what_to_make_first(new: New) -> None:
    for arguments, first in (
        (["model", "x"], "audience-syncs new source NAME"),
        (["audience", "x"], "audience-syncs new source NAME"),
        (["sequence", "x"], "audience-syncs new sync AUDIENCE DESTINATION"),
        (["sync", "x", "y"], "audience-syncs new audience NAME"),
    ):
        with pytest.raises(DefinitionError) as raised:
            new(*arguments)
        assert first in raised.value.remedy


def test_problems_of_the_new_file_are_shown_and_those_of_others_are_not(shop: Path, new: New) -> None:
    (shop / "broken").mkdir()
    (shop / "broken" / "defs.yaml").write_text("type: audience_syncs.components.Sorce\nattributes: {}\n")
    assert "Sorce" not in new("source", "fine")
    shown = new("audience", "odd", "--source", "shop", "--title", "x" * 121, code=1)
    assert "audiences/odd/defs.yaml:" in shown
    assert "120" in shown
    assert "Sorce" not in shown


def test_a_new_model_says_that_its_columns_are_to_be_recorded_which_is_no_mistake(shop: Path, new: New) -> None:
    shown = new("model", "people", "--table", "shop.people", "--source", "shop")
    assert "models/people/defs.yaml:" in shown
    assert "run `audience-syncs columns`" in shown


def test_columns_that_were_recorded_are_mapped_to_the_fields_called_like_them(shop: Path, new: New) -> None:
    record(shop, "customers", Phone="TEXT", country="TEXT", größe="TEXT")
    new("audience", "known", "--model", "customers", "--destination", "meta_ads")
    mapping = load_project(shop, {}).audiences["known"].sync("meta_ads").mapping
    assert {name: field.column for name, field in mapping.items()} == {
        "EMAIL": "email",
        "PHONE": "Phone",
        "COUNTRY": "country",
        "EXTERN_ID": "user_id",
    }
    assert mapping["PHONE"].region == "country"


# A sync in an existing file ------------------------------------------------------------------------------------------

HEAD = """\
# Above everything.
type: audience_syncs.components.Audience
attributes:
  name: carts   # the name
  source: shop
  primary_key: id
"""
SYNC = "- destination: other\n  mapping: {EMAIL: email}\n"


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


FILES = {
    "no syncs at all": HEAD + "  sql: SELECT id, email FROM a\n",
    "without a line end": HEAD + "  sql: SELECT id, email FROM a",
    "sql last": HEAD + "  sql: |\n    SELECT id, email\n    -- # no comment of YAML\n    FROM a\n\n\n# The end.\n",
    "folded text last": HEAD + "  sql: SELECT id, email FROM a\n  description: >-\n    two\n    lines\n",
    "commented syncs": HEAD + "  sql: SELECT id, email FROM a\n\n  # Optional.\n  # syncs:\n  #   - destination: x\n",
    "empty list": HEAD + "  syncs: []  # none yet\n  sql: SELECT id, email FROM a\n",
    "one sync": HEAD + "  sql: SELECT id, email FROM a\n  syncs:\n" + indented(SYNC, 4),
    "list at the key's column": HEAD + "  sql: SELECT id, email FROM a\n  syncs:\n" + indented(SYNC, 2),
    "comments of the last sync": HEAD
    + "  sql: SELECT id, email FROM a\n  syncs:\n"
    + indented(SYNC + "  # mode: mirror\n\n  # retries: 1\n", 4)
    + "  # of the audience\n  owners: ['team:crm']\n",
    "syncs in the middle": HEAD
    + "  syncs:\n"
    + indented(SYNC, 4)
    + "\n  # The people.\n  sql: SELECT id, email FROM a\n",
    "an anchor": HEAD + "  sql: &q SELECT id, email FROM a\n  freshness_sql: *q\n  syncs:\n" + indented(SYNC, 4),
    "windows line ends": (HEAD + "  sql: SELECT id, email FROM a\n  syncs:\n" + indented(SYNC, 4)).replace(
        "\n", "\r\n"
    ),
    "a mark at the start": "\ufeff" + HEAD + "  sql: SELECT id, email FROM a\n",
    "non-ASCII before it": HEAD
    + "  title: 顧客 🛒 — ß\n  sql: SELECT id, email FROM a\n  syncs:\n"
    + indented(SYNC, 4),
    "wide indents": HEAD.replace("\n  ", "\n      ")
    + "      sql: SELECT id, email FROM a\n      syncs:\n"
    + indented(SYNC, 12),
    "two documents": HEAD
    + "  sql: SELECT id, email FROM a\n  syncs:\n"
    + indented(SYNC, 4)
    + "---\ntype: audience_syncs.components.Source\nattributes: {name: second, url: {env: B}}\n",
    "after another document": "type: audience_syncs.components.Source\nattributes: {name: second, url: {env: B}}\n---\n"
    + HEAD
    + "  sql: SELECT id, email FROM a\n",
}


BEFORE = {
    "sql last": "# The end.",
    "empty list": "  sql: SELECT id, email FROM a",
    "comments of the last sync": "  # of the audience",
    "syncs in the middle": "  # The people.",
    "two documents": "---",
}
"""What the new sync stands before; otherwise it ends the file."""


@pytest.mark.parametrize("case", FILES)
def test_a_sync_is_added_and_every_other_line_stays_as_it_was(defs: Path, new: New, case: str) -> None:
    text = FILES[case]
    new("source", "shop")
    new("destination", "meta_ads", "--platform", "meta")
    new("destination", "other", "--platform", "meta")
    file = defs / "carts" / "defs.yaml"
    file.parent.mkdir()
    file.write_bytes(text.encode())
    before = load_project(defs, {})
    assert before.problems == []
    new("sync", "carts", "meta_ads")
    after = load_project(defs, {})
    assert after.problems == []
    syncs = after.audiences["carts"].syncs
    assert [sync.key for sync in syncs] == [*(sync.key for sync in before.audiences["carts"].syncs), "meta_ads"]
    assert syncs[:-1] == before.audiences["carts"].syncs
    written = file.read_bytes().decode()
    was, now = text.splitlines(), written.splitlines()
    # Only an empty list makes room for what comes.
    was = [line.replace("syncs: []  #", "syncs: #") for line in was]
    number = next((i for i, (one, other) in enumerate(zip(was, now, strict=False)) if one != other), len(was))
    added = now[number : number + len(now) - len(was)]
    assert [*was[:number], *added, *was[number:]] == now
    assert sum("destination: meta_ads" in line for line in added) == 1
    assert next((line for line in was[number:] if line.strip()), None) == BEFORE.get(case)
    assert ("\r\n" in written) == ("\r\n" in text)
    if "\r\n" in text:
        assert written.count("\r\n") == written.count("\n")
    assert written.startswith("\ufeff") == text.startswith("\ufeff")


REFUSING = {
    "on one line": HEAD + "  sql: SELECT id, email FROM a\n  syncs: [{destination: other, mapping: {EMAIL: email}}]\n",
    "all on one line": "type: audience_syncs.components.Audience\n"
    "attributes: {name: carts, source: shop, primary_key: id, sql: SELECT 1}\n",
}


@pytest.mark.parametrize("text", REFUSING.values(), ids=REFUSING.keys())
def test_a_file_that_cannot_be_added_to_line_by_line_is_left_as_it_is(defs: Path, new: New, text: str) -> None:
    new("source", "shop")
    new("destination", "meta_ads", "--platform", "meta")
    new("destination", "other", "--platform", "meta")
    file = defs / "carts" / "defs.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(DefinitionError, match="cannot be added") as raised:
        add_sync("carts", "meta_ads", load_project(defs, {}, with_columns=False))
    assert "by hand" in raised.value.remedy
    assert file.read_text() == text
    assert [path.name for path in file.parent.iterdir()] == ["defs.yaml"]


def test_an_audience_with_mistakes_is_not_said_to_be_missing(shop: Path, new: New) -> None:
    file = shop / "audiences" / "carts" / "defs.yaml"
    file.write_text(file.read_text().replace("  source: shop\n", "  source: shpo\n"))
    with pytest.raises(DefinitionError, match="no audience `carts` without mistakes") as raised:
        new("sync", "carts", "meta_ads")
    assert "audience-syncs check" in raised.value.remedy


def test_a_second_sync_to_the_same_destination_has_a_name_of_its_own(shop: Path, new: New) -> None:
    shown = new("sync", "carts", "meta_ads", "--name", "second", code=1)
    # Both would keep one list: said at once, with the line.
    assert "keep the same list" in shown
    assert load_project(shop, {}).problems != []


# Names and folders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, name",
    [
        ("High-value Kündinnen", "high_value_kundinnen"),
        ("a__b", "a_b"),
        ("Straße", "strasse"),
        ("2024 buyers", "n_2024_buyers"),
        ("syncs/daily", "syncs_daily"),
        ("x" * 80, "x" * 60),
    ],
)
def test_any_text_becomes_a_name(text: str, name: str) -> None:
    assert as_name(text) == name


@pytest.mark.parametrize("text", ["顧客", "", "🛒", "___", "\ud800"])
def test_text_without_letters_becomes_a_name_of_its_own(text: str) -> None:
    assert NAME.fullmatch(as_name(text))
    assert as_name(text) == as_name(text)
    assert as_name("顧客") != as_name("会員")


@pytest.mark.parametrize(
    "files, folder",
    [
        ({"pyproject.toml": "[tool.dg.project]\nroot_module = 'acme'\n", "src/acme/defs/x": ""}, "src/acme/defs"),
        ({"pyproject.toml": "[tool.dg.project]\nroot_module = 'acme'\n", "acme/defs/x": ""}, "acme/defs"),
        ({"dg.toml": "[project]\nroot_module = 'a'\ndefs_module = 'a.b.c'\n", "a/b/c/x": ""}, "a/b/c"),
        ({"pyproject.toml": "[tool.dg.project]\nroot_module = 'acme'\n"}, None),
        ({"pyproject.toml": "[project]\nname = 'acme'\n", "acme/defs/x": ""}, None),
        ({"pyproject.toml": "[tool.dg.project]\nroot_module = 7\n"}, None),
        ({"pyproject.toml": "this is = = no TOML"}, None),
        ({"pyproject.toml": "tool = 'text'"}, None),
    ],
)
def test_commands_find_the_folder_of_the_dg_project_they_are_given_in(
    tmp_path: Path, files: dict[str, str], folder: str | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    below = tmp_path / "some" / "where"
    below.mkdir(parents=True)
    found = dg_defs_dir(below)
    assert found == (tmp_path / folder if folder is not None else None)


def test_a_kind_that_does_not_exist_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no component `Audienze`") as raised:
        scaffold("Audienze", "x", Wishes(), load_project(tmp_path), tmp_path / "defs.yaml")
    assert "Audience" in raised.value.remedy
