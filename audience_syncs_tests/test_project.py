"""The YAML: every mistake is found, shown where it stands, with what to do; and nothing else is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from dagster._utils.schedules import is_valid_cron_schedule

from audience_syncs.destinations.registry import spec_of
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import DefinitionError
from audience_syncs.project import check_project, configured_defs_dir, format_problems, load_project
from audience_syncs.project.cron import objection
from audience_syncs.project.schemas import SCHEMAS_DIR, attributes_schema, file_schema, schema_text

SOURCE = "type: audience_syncs.components.Source\nattributes:\n  name: shop\n  url: {env: SHOP_URL}\n"

AUDIENCE = """\
type: audience_syncs.components.Audience
attributes:
  name: carts
  title: Verlassene Körbe 🛒
  source: shop
  primary_key: customer_id
  sql: |
    SELECT customer_id, email FROM customers
  owners: ["team:marketing", "maría@example.com"]
  syncs:
    - destination: meta_ads
      schedule: {every: 1 hour}
      mapping:
        EMAIL: email
""".replace("maría@", "maria@")


def destination_yaml(name: str = "meta_ads", platform: str = "meta") -> str:
    """A sound destination of a platform, whatever it needs."""
    spec = spec_of(platform)
    return yaml.safe_dump(
        {
            "type": "audience_syncs.components.Destination",
            "attributes": {
                "name": name,
                "platform": platform,
                "credentials": {key: {"env": f"{name}_{key}".upper()} for key in spec.credentials},
                "settings": dict.fromkeys(sorted(spec.required_settings), "1"),
            },
        },
        sort_keys=False,
    )


def write(folder: Path, **files: str) -> Path:
    """A folder of definitions: ``carts="..."`` becomes ``carts/defs.yaml``."""
    for name, text in files.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "defs.yaml").write_text(text, encoding="utf-8")
    return folder


def sound(folder: Path, **files: str) -> Path:
    """A project without mistakes, with some of its files replaced."""
    return write(folder, **{"shop": SOURCE, "meta_ads": destination_yaml(), "carts": AUDIENCE, **files})


def test_a_sound_project_loads_without_any_variable_set(tmp_path: Path) -> None:
    project = load_project(sound(tmp_path), environ={})
    assert project.problems == []
    assert list(project.sources) == ["shop"]
    assert list(project.destinations) == ["meta_ads"]
    assert project.audiences["carts"].title == "Verlassene Körbe 🛒"
    assert project.audiences["carts"].sync("meta_ads").mapping["EMAIL"].column == "email"


def test_several_definitions_may_share_one_file(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, all="\n---\n".join([SOURCE, destination_yaml(), AUDIENCE])), environ={})
    assert project.problems == []
    assert list(project.audiences) == ["carts"]


def test_components_of_others_are_left_alone(tmp_path: Path) -> None:
    folder = sound(tmp_path, other="type: dagster.FunctionComponent\nattributes: {nonsense: 1}\n")
    assert check_project(folder, environ={}) == []


# text to replace, what stands there instead, where the mistake is shown, words of the message, words of the remedy
MISTAKES = [
    ("title:", "titel:", "4:3", "unknown key `titel`", "did you mean `title`"),
    ("  primary_key: customer_id\n", "", "2:1", "`primary_key` is missing", "unique and never null"),
    ("source: shop", "source: shpo", "5:11", "no source `shpo`", "did you mean `shop`"),
    ("destination: meta_ads", "destination: zzz", "11:20", "no destination `zzz`", "`meta_ads`"),
    ("{every: 1 hour}", "{every: 7 minutes}", "12:25", "not an even part", "15, 20, 30 minutes"),
    ("{every: 1 hour}", "{every: soon}", "12:25", "not written as it must be", "15 minutes"),
    ("{every: 1 hour}", "{cron: '0 25 * * *'}", "12:24", "hour 25 is beyond 0-23", "0 6 * * 1-5"),
    ("{every: 1 hour}", "{cron: '0 6 31 2 *'}", "12:24", "no such day", ""),
    ("{every: 1 hour}", "{cron: '0 6 * *'}", "12:24", "five fields", ""),
    ("{every: 1 hour}", "{cron: '0 6 * * *', timezone: Mars}", "12:47", "no such time zone", "Europe/Berlin"),
    ("{every: 1 hour}", "{crn: '0 6 * * *'}", "12:18", "unknown key `crn`", "did you mean `cron`"),
    ("{every: 1 hour}", "hourly", "12:17", "`hourly` is none", "`manual`"),
    ("{every: 1 hour}", "7", "12:17", "a number is none", "`manual`"),
    ("  syncs:", "  keep_snapshots: many\n  syncs:", "10:19", "a whole number, not text", "evaluations"),
    ("  syncs:", "  keep_snapshots: 1\n  syncs:", "10:19", "greater than or equal to 2", "evaluations"),
    ("name: carts", "name: Carts", "3:9", "not written as it must be", "Lower-case"),
    ("name: carts", "name: 7", "3:9", "text, not a number", "quotes"),
    ("name: carts", "name: yes", "3:9", "text, not true or false", "quotes"),
    ("name: carts", "name: my__carts", "3:9", "two underscores", "single"),
    ("name: carts", "name: carts\n  name: carts2", "4:3", "given twice; the first is on line 3", "remove one"),
    ("EMAIL: email", "EMAIL: email\n        EMAIL: e2", "15:9", "given twice", "remove one"),
    ("EMAIL: email", "EMAIL: {colum: email}", "14:17", "unknown key `colum`", "did you mean `column`"),
    ("EMAIL: email", "EMAIL: [email]", "14:16", "a column's name, or a mapping, not a list", "column"),
    ("EMAIL: email", "EMAIL: {column: a, constant: b}", "14:16", "exactly one of", ""),
    ("EMAIL: email", "EMAIL: {constant: [1]}", "14:27", "text, a number, true or false", "single value"),
    ("EMAIL: email", 'EMAIL: ""', "14:16", "must not be empty", ""),
    ("mapping:\n        EMAIL: email", "mapping: {}", "13:16", "must not be empty", "column"),
    ("mapping:\n        EMAIL: email", "mapping: null", "13:16", "not nothing (null)", "column"),
    ("  syncs:", "  syncs: none\n  sync:", "10:10", "must be a list", ""),
    ("- destination", "- 7\n    - destination", "11:7", "must be a mapping", ""),
    ("- destination", "- mode: mirr\n      destination", "11:13", "`mirr` is none", "did you mean `mirror`"),
    ("team:marketing", "marketing", "9:12", "not an owner", "team:name"),
    ("  syncs:", "  tags: {'b c': x}\n  syncs:", "10:10", "not a tag's name", "63"),
    ("  syncs:", "  tags: {b: x y}\n  syncs:", "10:13", "not a tag's value", "63"),
    ("  syncs:", "  tags: {b: 2024-01-01, c: 1}\n  syncs:", "10:28", "text, not a number", "quotes"),
    ("attributes:", "attribtes:", "2:1", "unknown key `attribtes`", "did you mean `attributes`"),
    ("components.Audience", "components.Audiance", "1:7", "no component `Audiance`", "components.Audience`"),
    ("  title: V", "\ttitle: V", "4:1", "not YAML", "tabs"),
    ("title: V", "title: a: V", "4:11", "not YAML", "quotes"),
    ("title: V", "title: *V", "4:10", "not YAML", "anchor"),
    ("title: V", "title: !!python/object:os.system V", "4:10", "tag", "remove it"),
    ("EMAIL: email", "EMAIL: &a [*a]", "14:16", "contains itself", "write the value out"),
    ("title: V", "title: {{ env.TITLE }} V", "4:", "", ""),
    ("title: V", "title: '{{ env.TITLE }}' #", "4:10", "TITLE is not set", "{{ env('TITLE', 'a default') }}"),
    ("title: V", "title: '{{ context.x }}' #", "4:10", "cannot be rendered", "{{ env.NAME }}"),
    ("title: V", "title: '{{1,2},{3}}' #", "4:10", "cannot be read", "{% raw %}"),
    ("attributes:", "template_vars_module: .x\nattributes:", "2:1", "not available", "{{ env.NAME }}"),
]


@pytest.mark.parametrize("old, new, place, message, remedy", MISTAKES, ids=[f"{m[1][:40]!r}" for m in MISTAKES])
def test_a_mistake_is_shown_where_it_stands(
    tmp_path: Path, old: str, new: str, place: str, message: str, remedy: str
) -> None:
    assert old in AUDIENCE
    text = AUDIENCE.replace(old, new, 1)
    problems = check_project(sound(tmp_path, carts=text), environ={})
    shown = format_problems(problems)
    file = tmp_path / "carts" / "defs.yaml"
    matching = [p for p in problems if f"{p.line}:{p.column}".startswith(place) and message in p.message]
    assert matching, shown
    assert remedy in matching[0].remedy, shown
    assert all(problem.file == file for problem in problems), shown


def test_every_mistake_is_shown_not_only_the_first(tmp_path: Path) -> None:
    text = AUDIENCE.replace("source: shop", "source: shpo").replace("title", "titel")
    text = (
        text.replace("1 hour", "7 minutes").replace("team:marketing", "marketing").replace("EMAIL: email", "EMAIL: 5")
    )
    problems = check_project(
        sound(tmp_path, carts=text, shop=SOURCE.replace("url", "uri"), broken="a: [1\n"), environ={}
    )
    places = {(problem.file.parent.name, problem.line) for problem in problems}
    assert places == {
        ("broken", 2),
        ("carts", 4),
        ("carts", 5),
        ("carts", 9),
        ("carts", 12),
        ("carts", 14),
        ("shop", 2),
        ("shop", 4),
    }
    assert problems == sorted(problems)


def test_a_problem_reads_as_file_line_column_message_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (problem,) = check_project(sound(tmp_path, carts=AUDIENCE.replace("source: shop", "source: shpo")), environ={})
    assert str(problem) == (
        "carts/defs.yaml:5:11: attributes.source: there is no source `shpo`\n"
        "  What to do: did you mean `shop`? Known: `shop`"
    )


def test_a_broken_source_is_not_reported_again_by_everyone_who_names_it(tmp_path: Path) -> None:
    problems = check_project(sound(tmp_path, shop=SOURCE + "  surprise: 1\n"), environ={})
    assert [problem.message for problem in problems] == ["unknown key `surprise`"]


def test_a_secret_written_in_yaml_is_refused_and_never_repeated(tmp_path: Path) -> None:
    secret = "postgresql://user:hunter2@db/shop"
    for written in (f"url: {secret}", f"url: {{env: '{secret}'}}", f"url: {{env: A, value: '{secret}'}}"):
        problems = check_project(sound(tmp_path, shop=SOURCE.replace("url: {env: SHOP_URL}", written)), environ={})
        assert problems
        assert "hunter2" not in format_problems(problems)


def test_two_of_a_name_are_refused_with_both_places(tmp_path: Path) -> None:
    (problem,) = check_project(sound(tmp_path, shop2=SOURCE), environ={})
    assert problem.file == tmp_path / "shop2" / "defs.yaml"
    assert "shop/defs.yaml:3" in problem.message


def test_two_syncs_into_one_list_are_refused(tmp_path: Path) -> None:
    second = "    - {destination: meta_ads, name: again, mapping: {EMAIL: email}}\n"
    (problem,) = check_project(sound(tmp_path, carts=AUDIENCE + second), environ={})
    assert "same list" in problem.message
    assert problem.line == 15
    apart = second.replace("name: again", "name: again, list: {name: Another}")
    assert check_project(sound(tmp_path, carts=AUDIENCE + apart), environ={}) == []


def test_the_destination_is_asked_what_it_can_do(tmp_path: Path) -> None:
    text = AUDIENCE.replace("EMAIL: email", "EMAIL: email\n        EMIAL: email")
    problems = check_project(sound(tmp_path, carts=text), environ={})
    assert any(problem.line == 15 and "EMIAL" in str(problem) for problem in problems), format_problems(problems)


def test_a_destination_with_unknown_platform_secret_or_setting_is_refused(tmp_path: Path) -> None:
    written = destination_yaml()
    unknown = check_project(sound(tmp_path, meta_ads=written.replace("platform: meta", "platform: mata")), environ={})
    assert any("platform" in problem.path and "mata" in str(problem) for problem in unknown), format_problems(unknown)
    extra = check_project(
        sound(tmp_path, meta_ads=written.replace("credentials:\n", "credentials:\n    tokn: {env: X}\n")), environ={}
    )
    assert any("tokn" in problem.path for problem in extra), format_problems(extra)
    none = destination_yaml().split("  credentials:")[0]
    missing = check_project(sound(tmp_path, meta_ads=none), environ={})
    assert any("needs" in problem.message for problem in missing), format_problems(missing)


def test_templates_are_rendered_from_the_environment(tmp_path: Path) -> None:
    text = AUDIENCE.replace("title: V", 'title: \'{{ env.COUNTRY }}: {{ env("X", "-") }}\' # V')
    text = text.replace("  syncs:", "  keep_snapshots: '{{ env.KEEP }}'\n  syncs:")
    text = text.replace("      mapping:", "      list: {id: '{{ env.LIST }}'}\n      mapping:")
    project = load_project(sound(tmp_path, carts=text), {"COUNTRY": "日本", "KEEP": "5", "LIST": "00123"})
    assert format_problems(project.problems) == ""
    audience = project.audiences["carts"]
    assert audience.title == "日本: -"
    assert audience.keep_snapshots == 5
    assert audience.syncs[0].list.id == "00123"


def test_a_template_cannot_reach_into_python(tmp_path: Path) -> None:
    for attack in ("{{ env.__class__.__mro__ }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}"):
        text = AUDIENCE.replace("title: V", f'title: "{attack}" # V')
        problems = check_project(sound(tmp_path, carts=text), environ={})
        assert [problem.line for problem in problems] == [4], format_problems(problems)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"---\n---\n", "empty"),
        (b"- a\n", "not a mapping"),
        (b"caf\xe9: 1\n", "UTF-8"),
        (b"a: \x00\n", "not"),
        (b"a: 1\n", "`type` is missing"),
        (b"[" * 20_000, ""),
        (b"? [a]\n: 1\ntype: audience_syncs.components.Source\n", "key must be text"),
        (b"1: x\ntype: audience_syncs.components.Source\n", "not as text"),
    ],
    ids=[
        "nothing",
        "documents of nothing",
        "list",
        "latin-1",
        "nul",
        "no type",
        "deep",
        "list as key",
        "number as key",
    ],
)
def test_a_file_that_is_no_definition_is_a_problem_not_a_crash(tmp_path: Path, content: bytes, message: str) -> None:
    folder = sound(tmp_path, odd="x")
    (folder / "odd" / "defs.yaml").write_bytes(content)
    problems = check_project(folder, environ={})
    assert problems
    assert any(message in problem.message for problem in problems), format_problems(problems)
    assert {problem.file.parent.name for problem in problems} == {"odd"}


def test_anchors_and_merges_work_and_mistakes_in_them_have_a_place(tmp_path: Path) -> None:
    text = AUDIENCE.replace("mapping:\n", "mapping: &fields\n")
    text += "    - {destination: meta_ads, name: two, list: {name: Two}, mapping: {<<: *fields}}\n"
    project = load_project(sound(tmp_path, carts=text), environ={})
    assert format_problems(project.problems) == ""
    assert project.audiences["carts"].sync("two").mapping["EMAIL"].column == "email"


def test_a_file_that_dagster_would_never_read_is_reported(tmp_path: Path) -> None:
    folder = sound(tmp_path, **{"carts/inner": AUDIENCE.replace("name: carts", "name: inner")})
    (problem,) = check_project(folder, environ={})
    assert problem.file == folder / "carts" / "inner" / "defs.yaml"
    assert "never read" in problem.message


def test_hidden_folders_are_left_alone_as_by_dagster(tmp_path: Path) -> None:
    assert check_project(sound(tmp_path, **{".trash/old": "a: [1"}), environ={}) == []


def test_a_missing_folder_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="AUDIENCE_SYNCS_DEFS"):
        load_project(tmp_path / "nowhere")


def test_the_folder_comes_from_the_environment_or_is_the_packages_own(tmp_path: Path) -> None:
    assert configured_defs_dir({"AUDIENCE_SYNCS_DEFS": str(tmp_path)}) == tmp_path
    assert configured_defs_dir({}).parts[-2:] == ("audience_syncs", "defs")


def test_the_projects_own_definitions_are_sound() -> None:
    assert format_problems(check_project(configured_defs_dir({}), environ={})) == ""


def test_five_hundred_audiences_are_read_in_a_few_seconds(tmp_path: Path) -> None:
    files = {
        f"a{n}": AUDIENCE.replace("name: carts", f"name: a{n}").replace("Verlassene", f"Nr. {n}") for n in range(500)
    }
    import time

    folder = sound(tmp_path, **files)
    started = time.process_time()
    project = load_project(folder, environ={})
    assert len(project.audiences) == 501
    assert time.process_time() - started < 5


def test_reading_definitions_imports_neither_dagster_nor_drivers(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from audience_syncs.project import load_project;"
        f"p = load_project(Path({str(sound(tmp_path))!r}), {{}}); assert p.audiences and not p.problems, p.problems;"
        "print([m for m in ('dagster', 'pandas', 'requests', 'psycopg2', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


CRONS = ["* * * * *", "*/5 * * * *", "0 6 * * 1-5", "0,30 8-18/2 1,15 jan-jun mon", "5/15 0 * * 7", "0 0 29 2 *"]
NO_CRONS = [
    "60 * * * *",
    "0 24 * * *",
    "0 0 0 * *",
    "0 0 * 13 *",
    "0 0 * * 8",
    "a * * * *",
    "*/0 * * * *",
    "5-1 * * * *",
]


@pytest.mark.parametrize("cron", CRONS)
def test_a_cron_expression_we_take_is_one_that_dagster_takes(cron: str) -> None:
    assert objection(cron) is None
    assert is_valid_cron_schedule(cron)


@pytest.mark.parametrize("cron", [*NO_CRONS, "0 0 30 2 *", "0 0 31 4,6 *", "* * * *", "--1 * * * *", "1,,2 * * * *"])
def test_a_cron_expression_that_never_comes_is_refused(cron: str) -> None:
    assert objection(cron)


@pytest.mark.parametrize("component", ["Source", "Destination", "Audience", "Sequence"])
def test_the_json_schemas_are_current(component: str) -> None:
    written = (SCHEMAS_DIR / f"{component.lower()}.json").read_text(encoding="utf-8")
    assert written == schema_text(component), "run: python -m audience_syncs.project.schemas"
    jsonschema.Draft202012Validator.check_schema(json.loads(written))


def test_the_json_schema_takes_what_the_loader_takes() -> None:
    validator = jsonschema.Draft202012Validator(file_schema("Audience"))
    document = yaml.safe_load(AUDIENCE)
    assert list(validator.iter_errors(document)) == []
    document["attributes"]["keep_snapshots"] = "{{ env.KEEP }}"
    document["attributes"]["name"] = "{{ env.NAME }}"
    document["attributes"]["syncs"][0]["mode"] = "{{ env('MODE', 'mirror') }}"
    assert list(validator.iter_errors(document)) == []
    document["attributes"]["keep_snapshots"] = "many"
    document["attributes"]["name"] = "No Name"
    document["attributes"]["syncs"][0]["surprise"] = 1
    found = {tuple(error.absolute_path) for error in validator.iter_errors(document)}
    assert found == {("attributes", "keep_snapshots"), ("attributes", "name"), ("attributes", "syncs", 0)}


def test_the_projects_own_files_lead_editors_to_a_schema_that_takes_them() -> None:
    files = sorted(configured_defs_dir({}).rglob("defs.yaml"))
    assert files
    for file in files:
        first, _, rest = file.read_text(encoding="utf-8").partition("\n")
        schema = file.parent / first.removeprefix("# yaml-language-server: $schema=")
        validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
        assert [error.message for error in validator.iter_errors(yaml.safe_load(rest))] == [], file


def test_the_json_schema_describes_every_key_for_editors() -> None:
    described = attributes_schema("Audience")["properties"]
    assert set(described) == set(AudienceConfig.model_fields)
    assert described["primary_key"]["description"]
