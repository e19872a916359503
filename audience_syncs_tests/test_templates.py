"""Sync templates: how they are put together, what they lock, and that every mistake is shown where its value stands."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from audience_syncs.components import SyncTemplate
from audience_syncs.model.config import SyncConfig
from audience_syncs.model.placeholders import UnknownPlaceholder, filled
from audience_syncs.model.templates import NOT_SHARED, PARTS, SECTIONS, SyncTemplateConfig
from audience_syncs.project import Project, load_project
from audience_syncs.project.effective import effective
from audience_syncs.project.schemas import file_schema
from audience_syncs_tests.test_project import SOURCE, destination_yaml, write


def component(kind: str, text: str) -> str:
    return f"type: audience_syncs.components.{kind}\nattributes:\n" + textwrap.indent(textwrap.dedent(text), "  ")


def template(name: str, text: str) -> str:
    return component("SyncTemplate", f"name: {name}\n" + textwrap.dedent(text))


def audience(syncs: str, name: str = "carts", title: str = "Carts") -> str:
    head = f"name: {name}\ntitle: '{title}'\nsource: shop\nprimary_key: id\nsql: SELECT id, email FROM people\nsyncs:\n"
    return component("Audience", head + textwrap.indent(textwrap.dedent(syncs), "  "))


def project(folder: Path, environ: dict[str, str] | None = None, **files: str) -> Project:
    sound = {"shop": SOURCE, "meta_ads": destination_yaml(), "crm": destination_yaml("crm", "hubspot")}
    return load_project(write(folder, **{**sound, **files}), environ=environ or {})


def sync_of(found: Project, key: str = "meta_ads", audience: str = "carts") -> SyncConfig:
    assert found.problems == [], [str(problem) for problem in found.problems]
    return found.audiences[audience].sync(key)


ADS = """\
destination: meta_ads
mapping: {EMAIL: email}
schedule: {every: 1 hour}
guard: {max_drop_percent: 20, min_drop: 5}
"""


def test_a_template_can_say_whatever_a_sync_can_say() -> None:
    assert set(PARTS) == set(SyncConfig.model_fields) - {"name", "templates", "description"}
    assert set(SyncTemplateConfig.model_fields) == {*PARTS, "name", "description", "locked"}
    assert {"mapping", "guard", "list", "limits", "notify"} == SECTIONS, "a new one: is it merged key by key?"
    assert NOT_SHARED == ("templates", "name", "description")


def test_a_template_alone_need_not_be_whole(tmp_path: Path) -> None:
    found = project(tmp_path, t=template("quiet", "paused: true\n"))
    assert found.problems == []
    assert found.templates["quiet"].model_fields_set == {"name", "paused"}


# first template, second template, sync; path, expected value
MERGING: list[tuple[str, str, str, str, Any]] = [
    # key by key
    ("mapping: {EMAIL: a, FN: a}", "mapping: {FN: b, LN: b}", "mapping: {LN: c}", "mapping.EMAIL.column", "a"),
    ("mapping: {EMAIL: a, FN: a}", "mapping: {FN: b, LN: b}", "mapping: {LN: c}", "mapping.FN.column", "b"),
    ("mapping: {EMAIL: a, FN: a}", "mapping: {FN: b, LN: b}", "mapping: {LN: c}", "mapping.LN.column", "c"),
    ("guard: {min_drop: 1, max_removals: 9}", "guard: {min_drop: 2}", "", "guard.min_drop", 2),
    ("guard: {min_drop: 1, max_removals: 9}", "guard: {min_drop: 2}", "", "guard.max_removals", 9),
    ("guard: {max_removals: 9}", "", "guard: {max_removals: null}", "guard.max_removals", None),
    ("guard: {max_removals: 9}", "", "guard: {}", "guard.max_removals", 9),
    ("limits: {removals: {warning: 1, critical: 2}}", "", "limits: {late_minutes: {warning: 9}}", "limits.removals.critical", 2),
    # a field, a limit and a schedule are one value
    ("mapping: {PHONE: {column: p, default_region: DE}}", "", "mapping: {PHONE: m}", "mapping.PHONE.default_region", None),
    ("limits: {removals: {warning: 1, critical: 2}}", "", "limits: {removals: {warning: 3}}", "limits.removals.critical", None),
    ("schedule: {every: 1 hour}", "schedule: {cron: '0 6 * * *', timezone: UTC}", "", "schedule.cron", "0 6 * * *"),
    ("schedule: {every: 1 hour}", "", "schedule: manual", "schedule", "manual"),
    # lists replace
    ("notify: {channels: [a], remind_every: 1 day}", "notify: {channels: [b]}", "", "notify.channels", ["b"]),
    ("notify: {channels: [a], remind_every: 1 day}", "notify: {channels: []}", "", "notify.channels", []),
    ("notify: {channels: [a], remind_every: 1 day}", "notify: {channels: [b]}", "", "notify.remind_every", "1 day"),
    # the rest is replaced
    ("priority: 5", "priority: 7", "", "priority", 7),
    ("priority: 5", "priority: 7", "priority: 0", "priority", 0),
    ("max_age: 1 hour", "", "max_age: null", "max_age", None),
    ("adopt: true", "", "adopt: false", "adopt", False),
    ("mode: add", "mode: mirror", "", "mode", "mirror"),
    # a list has a name or an id
    ("list: {name: x, description: d}", "", "list: {id: '5'}", "list.name", None),
    ("list: {name: x, description: d}", "", "list: {id: '5'}", "list.description", "d"),
    ("list: {id: '5'}", "list: {name: x}", "", "list.id", None),
    # null leaves out a field that a template maps
    ("mapping: {EMAIL: a, FN: a}", "", "mapping: {FN: null}", "mapping.FN", None),
    # what was meant for another mode
    ("removal: clear_fields", "", "mode: add", "removal", "remove"),
    ("mode: add", "", "removal: keep", "removal", "keep"),
]  # fmt: skip


@pytest.mark.parametrize(
    "first, second, own, path, expected", MERGING, ids=[" + ".join(m[:3]) + f" {m[3]}" for m in MERGING]
)
def test_layers_are_put_together(tmp_path: Path, first: str, second: str, own: str, path: str, expected: Any) -> None:
    base = "destination: meta_ads\nmapping: {EMAIL: email}\n"
    sync = f"- templates: [base, first, second]\n{textwrap.indent(own, '  ')}\n"
    channels = "channels: {a: {url: {env: A}}, b: {url: {env: B}}}\n"
    found: Any = sync_of(
        project(
            tmp_path,
            base=template("base", base),
            first=template("first", first),
            second=template("second", second),
            alerts=component("Alerts", channels),
            carts=audience(sync),
        )
    ).model_dump(mode="json")
    for step in path.split("."):
        found = found.get(step)
    assert found == expected


def test_a_sync_is_called_like_the_destination_its_template_gives(tmp_path: Path) -> None:
    found = project(tmp_path, ads=template("ads", ADS), carts=audience("- templates: [ads]\n"))
    assert list(found.origins) == ["carts/meta_ads"]
    assert found.origins["carts/meta_ads"].templates == ("ads",)
    assert sync_of(found).templates == ["ads"]


def test_two_syncs_from_one_template_need_names(tmp_path: Path) -> None:
    found = project(tmp_path, ads=template("ads", ADS), carts=audience("- templates: [ads]\n- templates: [ads]\n"))
    assert any("two syncs are called meta_ads" in problem.message for problem in found.problems)


# template, sync, file:line:column, words of the message, words of the remedy
LOCKS = [
    ("locked: [removal]\nremoval: remove", "removal: keep", "carts:10", "`removal` cannot be changed", "take `removal` out"),
    ("locked: [removal]\nremoval: remove", "removal: remove", "", "", ""),
    ("locked: [mapping.EMAIL]", "mapping: {EMAIL: mail}", "carts:10", "locks `mapping.EMAIL` (", "remove it here"),
    ("locked: [mapping.EMAIL]", "mapping: {EMAIL: {column: email}}", "", "", ""),
    ("locked: [mapping.EMAIL]", "mapping: {EMAIL: null}", "carts:10", "`mapping.EMAIL` cannot be changed", ""),
    ("locked: [mapping.EMAIL]", "mapping: {FN: first}", "", "", ""),
    ("locked: [mapping.EMAIL]", "mapping: null", "carts:10", "`mapping` cannot be changed", ""),
    ("locked: [mapping]", "mapping: {FN: first}", "carts:10", "`mapping.FN` cannot be changed", "`mapping` out of"),
    ("locked: [guard]", "guard: {max_removals: 5}", "carts:10", "`guard.max_removals` cannot be changed", ""),
    ("locked: [guard]", "guard: {min_drop: 5}", "", "", ""),
    ("locked: [guard.min_drop]", "guard: {max_removals: 5}", "", "", ""),
    ("locked: [destination]", "destination: crm", "carts:10", "`destination` cannot be changed", ""),
    ("locked: [list.name]\nlist: {name: x}", "list: {id: '5'}", "carts:10", "`list.id` cannot be changed", ""),
    ("locked: [schedule]", "schedule: {every: 2 hours}", "carts:10", "`schedule` cannot be changed", ""),
    ("locked: [removal]\nremoval: remove", "mode: add", "ads:9", "`removal: remove` would do nothing (in the sync", ""),
    ("locked: [paused]", "", "ads:8", "does not set `paused`", "take it out of `locked`"),
    ("locked: [mapping.FN]", "", "ads:8", "does not set `mapping.FN`", "`mapping.EMAIL`"),
    ("locked: [mapping.EMAIL.column]", "", "ads:8", "does not set `mapping.EMAIL.column`", "`mapping.EMAIL`"),
    ("locked: [schedule.every]", "", "ads:8", "`schedule` is locked as a whole", "write `schedule`"),
    ("locked: [destinatoin]", "", "ads:8", "gives no `destinatoin`", "did you mean `destination`"),
    ("locked: [name]", "", "ads:8", "gives no `name`", ""),
    ("locked: ['']", "", "ads:8", "gives no ``", ""),
    ("locked: guard", "", "ads:8", "must be a list", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    "given, own, place, message, remedy", LOCKS, ids=[f"{k[0]} / {k[1]}".replace("\n", ", ") for k in LOCKS]
)
def test_what_is_locked_keeps_its_value(
    tmp_path: Path, given: str, own: str, place: str, message: str, remedy: str
) -> None:
    ads = f"{ADS}{given}\n"
    sync = f"- templates: [ads]\n{textwrap.indent(own, '  ')}\n"
    found = project(tmp_path, ads=template("ads", ads), carts=audience(sync))
    shown = [f"{p.file.parent.name}:{p.line}: {p.message} | {p.remedy}" for p in found.problems]
    if not place:
        assert shown == []
        return
    assert len(shown) == 1, shown
    line = shown[0].partition(": ")[0]
    assert (line, message in shown[0], remedy in shown[0]) == (place, True, True), shown
    if "cannot be changed" in message:
        assert "ads/defs.yaml:" in shown[0], "the template's place is named"


def test_a_later_template_may_not_change_what_an_earlier_one_locks(tmp_path: Path) -> None:
    files = {
        "ads": template("ads", ADS + "locked: [schedule]\n"),
        "daily": template("daily", "schedule: {every: 1 day}\n"),
    }
    found = project(tmp_path, **files, carts=audience("- templates: [ads, daily]\n"))
    (problem,) = found.problems
    assert (problem.file.parent.name, problem.line, problem.column) == ("carts", 9, 24)
    assert "`daily` changes `schedule`" in problem.message
    assert "daily/defs.yaml:4" in problem.message
    assert "ads/defs.yaml:6" in problem.message
    found = project(tmp_path, **files, carts=audience("- templates: [daily, ads]\n"))
    assert sync_of(found).frequency == "every 1 hour"


# file that is changed, text there, mistake instead, place, message, remedy
MISTAKES = [
    ("carts", "[ads]", "[adz]", "carts:9:19", "no sync template `adz`", "did you mean `ads`"),
    ("carts", "[ads]", "[ads, ads]", "carts:9:24", "named twice", "remove one"),
    ("carts", "[ads]", "ads", "carts:9:18", "must be a list", ""),
    ("carts", "[ads]", "[7]", "carts:9:19", "must be text", ""),
    ("carts", "[ads]", "[ads]\n      schedule: null", "carts:10:17", "null does not take back the `schedule`", "what should hold"),
    ("carts", "[ads]", "[ads]\n      guard: null", "carts:10:14", "null does not take back the `guard`", "leave the line out"),
    ("carts", "[ads]", "[ads]\n      mapping: {LN: null}", "carts:10:21", "not nothing (null)", ""),
    ("carts", "[ads]", "[ads]\n      mapping: {EMAIL: null}", "carts:10:16", "must not be empty", "Destination field"),
    ("carts", "[ads]", "[ads]\n      mapping: {XX: a}", "carts:10:17", "has no field `XX`", "EMAIL"),
    ("carts", "[ads]", "[ads]\n      guard: 7", "carts:10:14", "must be a mapping", ""),
    ("ads", "EMAIL: email", "EMIAL: email", "ads:5:13", "has no field `EMIAL` (in the sync carts/meta_ads)", "EMAIL"),
    ("ads", "{EMAIL: email}", "[]", "ads:5:12", "must be a mapping", ""),
    ("ads", "meta_ads", "meta_adz", "ads:4:16", "no destination `meta_adz`", "did you mean `meta_ads`"),
    ("ads", "{every: 1 hour}", "{cron: '0 25 * * *'}", "ads:6:20", "hour 25 is beyond", ""),
    ("ads", "{every: 1 hour}", "hourly", "ads:6:13", "`hourly` is none", "`manual`"),
    ("ads", "min_drop", "min_dorp", "ads:7:33", "unknown key `min_dorp`", "did you mean `min_drop`"),
    ("ads", "destination:", "destinatoin:", "ads:4:3", "unknown key `destinatoin`", "did you mean `destination`"),
    ("ads", "schedule:", "templates: [x]\n  schedule:", "ads:6:3", "unknown key `templates`", ""),
    ("ads", "schedule:", "mode: mirr\n  schedule:", "ads:6:9", "`mirr` is none", "did you mean `mirror`"),
    ("ads", "schedule:", "removal: clear_fields\n  schedule:", "ads:6:12", "cannot do removal `clear_fields`", ""),
    ("ads", "schedule:", "notify: {channels: [ghost]}\n  schedule:", "ads:6:", "no channel `ghost`", ""),
    ("ads", "schedule:", "list: {name: '{audeince}'}\n  schedule:", "ads:6:16", "no placeholder {audeince}", "`audience`"),
    ("ads", "schedule:", "list: {name: 'a } b'}\n  schedule:", "ads:6:16", "a brace stands alone", "raw|{{"),
    ("ads", "schedule:", "list: {name: '{audience.name}'}\n  schedule:", "ads:6:16", "no placeholder {audience.name}", ""),
    ("ads", "schedule:", "list: {name: '{0}{}'}\n  schedule:", "ads:6:16", "no placeholder {0}", ""),
    ("ads", "schedule:", "list: {name: '{{ env.NOPE }}'}\n  schedule:", "ads:6:16", "NOPE is not set", "set NOPE"),
    ("ads", "name: ads", "name: Ads", "ads:3:9", "not written as it must be", "Lower-case"),
    ("carts", "[ads]", "[ads]\n      description: '{x}'", "carts:10:20", "no placeholder {x}", ""),
]  # fmt: skip


@pytest.mark.parametrize("file, old, new, place, message, remedy", MISTAKES, ids=[f"{m[0]}: {m[2]}" for m in MISTAKES])
def test_a_mistake_is_shown_in_the_file_where_its_value_stands(
    tmp_path: Path, file: str, old: str, new: str, place: str, message: str, remedy: str
) -> None:
    files = {"ads": template("ads", ADS), "carts": audience("- templates: [ads]\n")}
    assert old in files[file]
    files[file] = files[file].replace(old, new, 1)
    found = project(tmp_path, **files)
    shown = [f"{p.file.parent.name}:{p.line}:{p.column}: {p.message} | {p.remedy}" for p in found.problems]
    hits = [one for one in shown if one.startswith(place) and message in one and remedy.split("|")[-1] in one]
    assert hits, shown
    assert len(hits) == 1
    if "unknown" not in message and file == "ads" and "Ads" not in new:
        assert len(shown) == 1, shown
    assert found.audiences == {}, "nothing is built on a mistake"


def test_one_mistake_of_a_template_is_told_once_whatever_number_of_syncs_have_it(tmp_path: Path) -> None:
    broken = template("ads", ADS.replace("EMAIL: email", "EMIAL: email"))
    syncs = "".join(f"- templates: [ads]\n  name: s{n}\n  list: {{name: l{n}}}\n" for n in range(20))
    (problem,) = project(tmp_path, ads=broken, carts=audience(syncs)).problems
    assert problem.message.endswith("(in the sync carts/s0 and 19 more)")
    wrong = template("ads", ADS.replace("{every: 1 hour}", "hourly"))
    (problem,) = project(tmp_path, ads=wrong, carts=audience(syncs)).problems
    assert "sync" not in problem.message, "it is the template's own"


def test_two_syncs_of_a_template_with_a_fixed_list_name_are_told_apart_where_they_stand(tmp_path: Path) -> None:
    ads = template("ads", ADS + "list: {name: People}\n")
    syncs = audience("- templates: [ads]\n  name: a\n- templates: [ads]\n  name: b\n")
    (problem,) = project(tmp_path, ads=ads, carts=syncs).problems
    assert (problem.file.parent.name, problem.line) == ("carts", 11)
    assert "keep the same list" in problem.message


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Shop: {audience_title}", "Shop: Körbe 🛒 {sync}"),
        ("{audience}/{sync}@{destination}<{source}>", "carts/meta_ads@meta_ads<shop>"),
        ("{{ '{{' }}x{{ '}}' }}", "{x}"),
        ("{{ env.LISTE }}: {audience}", "Ünïcode: carts"),
        ("plain", "plain"),
    ],
)  # fmt: skip
def test_placeholders_say_what_differs_between_syncs(tmp_path: Path, text: str, expected: str) -> None:
    given = template("ads", ADS + f'list: {{name: "{text}", description: "{text}"}}\n')
    files = {"ads": given, "carts": audience("- templates: [ads]\n", title="Körbe 🛒 {sync}")}
    sync = sync_of(project(tmp_path, {"LISTE": "Ünïcode"}, **files))
    assert (sync.list.name, sync.list.description) == (expected, expected)
    own = audience(
        f'- destination: meta_ads\n  mapping: {{EMAIL: email}}\n  description: "{text}"\n', title="Körbe 🛒 {sync}"
    )
    assert sync_of(project(tmp_path, {"LISTE": "Ünïcode"}, carts=own)).description == expected


def test_a_name_that_grows_too_long_by_its_placeholders_is_refused(tmp_path: Path) -> None:
    given = template("ads", ADS + f'list: {{name: "{{audience}}{"x" * 198}"}}\n')
    (problem,) = project(tmp_path, ads=given, carts=audience("- templates: [ads]\n")).problems
    assert (problem.file.parent.name, problem.line) == ("ads", 8)
    assert "200 characters" in problem.message


def test_a_value_is_never_taken_for_a_placeholder() -> None:
    assert filled("{a}{b}", {"a": "{b}", "b": "{{"}) == "{b}{{"
    for text in ("{", "}", "{a", "{a}}", "{{a}", "{!r}", "{a:>99999999}"):
        with pytest.raises(UnknownPlaceholder):
            filled(text, {"a": "x"})


def test_a_template_is_as_new_for_each_sync(tmp_path: Path) -> None:
    ads = template("ads", ADS + "list: {name: '{audience}'}\n")
    carts = audience("- templates: [ads]\n  mapping: {FN: first}\n  guard: {min_drop: 9}\n")
    found = project(tmp_path, ads=ads, carts=carts, lapsed=audience("- templates: [ads]\n", "lapsed", "Lapsed"))
    other = sync_of(found, audience="lapsed")
    assert (other.list.name, set(other.mapping), other.guard.min_drop) == ("lapsed", {"EMAIL"}, 5)
    assert set(found.templates["ads"].mapping or {}) == {"EMAIL"}


def test_hostile_yaml_is_a_problem_and_never_a_crash(tmp_path: Path) -> None:
    texts = [
        "- templates: {a: 1}\n",
        "- templates: [[ads]]\n",
        "- templates: [null, ads]\n",
        "- templates: [ads]\n  mode: [mirror]\n",
        "- templates: [ads]\n  mapping: [EMAIL]\n",
        "- templates: [ads]\n  mapping: {EMAIL: {column: [1]}}\n",
        "- templates: [ads]\n  list: {name: 7}\n",
        "- templates: [ads]\n  list: x\n",
        "- templates: [ads]\n  destination: [1]\n",
        "- templates: [ads]\n  destination: null\n",
        "- templates: [ads]\n  name: {a: b}\n",
        "- templates: [ads]\n  schedule: {every: {every: 1}}\n",
        "- 7\n",
        "- null\n",
        "- [ads]\n",
    ]
    for number, text in enumerate(texts):
        folder = tmp_path / str(number)
        ads = template("ads", ADS + "removal: remove\nlocked: [removal, guard.min_drop]\n")
        assert project(folder, ads=ads, carts=audience(text)).problems, text
    for number, text in enumerate(
        ["mapping: 7", "locked: {a: 1}", "locked: [1]", "list: []", "name: [x]", "mapping: {EMAIL: null}"]
    ):
        ads = "type: audience_syncs.components.SyncTemplate\nattributes:\n  name: ads\n" + textwrap.indent(
            ADS + text, "  "
        )
        assert project(tmp_path / f"t{number}", ads=ads, carts=audience("- templates: [ads]\n")).problems, text


def test_two_templates_of_one_name_are_told(tmp_path: Path) -> None:
    found = project(tmp_path, a=template("ads", ADS), b=template("ads", ADS))
    assert "there are two sync templates called `ads`" in found.problems[0].message


def test_each_value_has_an_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "ads": template("ads", ADS + "locked: [destination, guard]\n"),
        "carts": audience("- templates: [ads]\n  mapping: {FN: first}\n").replace(
            "  syncs:", "  limits: {removals: {warning: 5}}\n  syncs:"
        ),
        "meta_ads": destination_yaml() + "  exclude: [{name: no_consent, column: ads_consent, unless: [true]}]\n"
        "  limits: {removals: {warning: 9}, rejected: {critical: 1}}\n",
        "alerts": component("Alerts", "limits: {rejected: {critical: 7}, duration_minutes: {warning: 3}}\n"),
        "order": component("Priority", "name: order\naudiences: [lapsed, carts]\n"),
        "lapsed": audience("- templates: [ads]\n", "lapsed", "Lapsed"),
    }
    found = project(tmp_path, **files)
    shown = effective(found, found.audiences["carts"], sync_of(found))
    origins = {".".join(map(str, path)): origin for path, origin in shown.origins.items()}
    expected = {
        "templates": "carts/defs.yaml:10",
        "destination": "template ads at ads/defs.yaml:4 (locked)",
        "mapping.EMAIL": "template ads at ads/defs.yaml:5",
        "mapping.FN": "carts/defs.yaml:11",
        "guard.min_drop": "template ads at ads/defs.yaml:7 (locked)",
        "guard.max_removals": "default",
        "mode": "default",
        "schedule": "template ads at ads/defs.yaml:6",
        "limits.removals": "audience carts at carts/defs.yaml:8",
        "limits.rejected": "destination meta_ads at meta_ads/defs.yaml:11",
        "limits.duration_minutes": "alerts at alerts/defs.yaml:3",
        "limits.late_minutes": "default",
        "admission.exclude": "destination meta_ads at meta_ads/defs.yaml:10",
        "admission.after": "priority order at order/defs.yaml:4",
    }
    assert {key: origins[key] for key in expected} == expected
    plain = yaml.safe_load(shown.to_yaml())
    assert plain == yaml.safe_load(shown.to_yaml(with_origins=True)) == json.loads(json.dumps(shown.values))
    assert plain["limits"]["rejected"] == {"warning": None, "critical": 1.0}
    assert plain["admission"] == {
        "exclude": [{"name": "no_consent", "column": "ads_consent", "unless": [True], "ignore_case": False}],
        "after": ["lapsed"],
    }
    assert plain["mapping"] == {"EMAIL": {"column": "email"}, "FN": {"column": "first"}}
    lines = shown.to_yaml(with_origins=True).splitlines()
    assert "destination: meta_ads" in lines[2]
    assert lines[2].endswith("# template ads at ads/defs.yaml:4 (locked)")
    assert not any("META_ADS_ACCESS_TOKEN" in line for line in lines)


def test_the_schema_for_editors_takes_templates_and_what_uses_them() -> None:
    whole = yaml.safe_load(audience("- templates: [ads]\n  mapping: {FN: null}\n- templates: [ads]\n  name: b\n"))
    jsonschema.Draft202012Validator(file_schema("Audience")).validate(whole)
    bare = yaml.safe_load(audience("- name: x\n"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(file_schema("Audience")).validate(bare)
    validator = jsonschema.Draft202012Validator(file_schema("SyncTemplate"))
    validator.validate(yaml.safe_load(template("ads", ADS + "locked: [guard]\n")))
    assert list(validator.iter_errors(yaml.safe_load(template("ads", ADS + "mode: mirr\n"))))
    assert SyncTemplate.get_model_cls().model_json_schema()["properties"]["locked"]["type"] == "array"
