"""Every example in docs/audiences.md is sound, is of the demo shop, and finds somebody there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from audience_syncs.audiences import evaluate_audience
from audience_syncs.audiences.size import size_of
from audience_syncs.cli.main import app
from audience_syncs.demo.shop import create_shop
from audience_syncs.project import Project, configured_defs_dir, format_problems, load_project
from audience_syncs.project.yaml_documents import read_documents
from audience_syncs.warehouse import open_warehouse_at

PAGE = Path(__file__).parent.parent / "docs" / "audiences.md"
EXAMPLE = re.compile(r"(?:^<!-- (?P<marker>[^\n]*) -->\n)?^```yaml\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [(found["marker"], found["text"]) for found in EXAMPLE.finditer(PAGE.read_text(encoding="utf-8"))]
COMPONENT = "audience_syncs.components"


def parsed(folder: Path, text: str) -> Any:
    """The value of a piece of YAML, read as definitions are read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "example.yaml").write_text(text, encoding="utf-8")
    (document,), problems = read_documents(folder / "example.yaml")
    assert format_problems(problems) == ""
    return document.value


def merged(one: Any, other: Any) -> Any:
    """A definition with a part of another one in it."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{key: merged(one.get(key), value) for key, value in other.items()}}
    return other


def audience(name: str, **attributes: Any) -> dict[str, Any]:
    return {"type": f"{COMPONENT}.Audience", "attributes": {"name": name, "model": "customers", **attributes}}


def definitions(number: int, marker: str, value: Any, demo: dict[str, Any]) -> dict[str, Any]:
    """What an example is or is a part of, by the folder it belongs into."""
    if marker == "a definition":
        return {f"examples/example_{number}": value}
    if marker == "part of an audience":
        return {f"examples/example_{number}": audience(f"example_{number}", **value)}
    if marker == "part of the model":
        return {"models/customers": merged(demo["models/customers"], {"attributes": value})}
    # The demo's own audiences would need the columns of the exclusions, too.
    destination = merged(demo["destinations/meta_ads"], {"attributes": {"name": "excluding", **value}})
    sync = {"destination": "excluding", "list": {"name": f"Example {number}"}, "mapping": {"EMAIL": "email"}}
    return {"destinations/excluding": destination, f"examples/example_{number}": audience("excluded", syncs=[sync])}


def write_examples(defs: Path, scratch: Path) -> list[str]:
    """Writes the project of all examples, beside the demo's own definitions; the names of their audiences."""
    shutil.copytree(configured_defs_dir({}), defs)
    project = {
        place: parsed(scratch, (defs / place / "defs.yaml").read_text(encoding="utf-8"))
        for place in ("models/customers", "destinations/meta_ads")
    }
    for number, (marker, text) in enumerate(EXAMPLES):
        project |= definitions(number, marker, parsed(scratch, text), project)
    for place, definition in project.items():
        (defs / place).mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        (defs / place / "defs.yaml").write_text(json.dumps(definition, ensure_ascii=False), encoding="utf-8")
    return [one["attributes"]["name"] for one in project.values() if one["type"].endswith("Audience")]


@pytest.fixture(scope="module")
def shop(postgres_url: str) -> str:
    engine = sa.create_engine(postgres_url)
    create_shop(engine, users=3_000)
    engine.dispose()
    return postgres_url


@pytest.fixture(scope="module")
def examples(shop: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    folder = tmp_path_factory.mktemp("docs")
    names = write_examples(folder / "defs", folder / "scratch")
    environ = {"AUDIENCE_SYNCS_DEFS": str(folder / "defs"), "AUDIENCE_SYNCS_SHOP_URL": shop}
    done = CliRunner().invoke(
        app, ["columns"], env={**environ, "AUDIENCE_SYNCS_HOME": str(folder)}, catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return load_project(folder / "defs", environ), names


def test_every_example_says_what_it_is_a_part_of() -> None:
    assert len(EXAMPLES) > 15
    known = {"a definition", "part of an audience", "part of the model", "part of the destination"}
    assert {marker for marker, _ in EXAMPLES} == known


def test_every_example_is_sound(examples: tuple[Project, list[str]]) -> None:
    project, names = examples
    assert format_problems(project.problems) == ""
    assert set(names) <= set(project.audiences)
    assert "one_message" in project.priorities


def test_every_condition_and_operator_is_shown() -> None:
    from audience_syncs.model.comparisons import OPERATORS
    from audience_syncs.model.filters import CONDITION_KINDS
    from audience_syncs.model.schema import Aggregation

    page = PAGE.read_text(encoding="utf-8")
    shown = "\n".join(text for _, text in EXAMPLES)
    assert [kind for kind in CONDITION_KINDS if not re.search(rf"\b{kind}:", shown)] == []
    assert [operator for operator in OPERATORS if f"`{operator}:" not in page] == []
    assert [take for take in Aggregation if f"`{take}`" not in page] == []


def test_the_record_of_the_demos_model_is_that_of_a_real_shop(shop: str) -> None:
    done = CliRunner().invoke(
        app,
        ["columns", "customers", "--check"],
        env={"AUDIENCE_SYNCS_DEFS": str(configured_defs_dir({})), "AUDIENCE_SYNCS_SHOP_URL": shop},
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output


def test_every_example_finds_somebody_and_not_everybody(shop: str, examples: tuple[Project, list[str]]) -> None:
    project, names = examples
    everybody = {"excluded"}
    with open_warehouse_at(shop) as warehouse:
        sizes = {name: evaluate_audience(project.audiences[name], warehouse, run_id="docs").members for name in names}
        people = size_of(project.audiences["cart_abandoners_as_filter"], warehouse).people
    assert [name for name, size in sizes.items() if not size] == []
    assert [name for name, size in sizes.items() if size == people and name not in everybody] == []
