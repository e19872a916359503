"""The pages about destinations: their YAML is sound, and they tell of every field and setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from audience_syncs.destinations.registry import spec_of
from audience_syncs.project import load_project

PAGES = sorted((Path(__file__).parent.parent / "docs" / "destinations").glob("*.md"))
SOURCE = "type: audience_syncs.components.Source\nattributes:\n  name: shop\n  url: {env: SHOP_URL}\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_yaml_of_the_page_is_sound_and_every_field_and_setting_is_told(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "defs.yaml").write_text("---\n".join([SOURCE, *examples]), encoding="utf-8")
    project = load_project(tmp_path, environ={})
    assert project.problems == []
    (found,) = re.findall(r"platform: (\w+)", examples[0])
    spec = spec_of(found)
    for name in (*spec.settings, *(field.name for field in spec.fields)):
        assert f"`{name}`" in text
