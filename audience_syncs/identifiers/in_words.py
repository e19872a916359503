"""The table of rules as the documentation shows it. ``python -m audience_syncs.identifiers.in_words FILE`` rewrites it there."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from audience_syncs.identifiers.rules import RULES

BEGIN, END = "<!-- rules: written by audience_syncs.identifiers.in_words -->", "<!-- /rules -->"


def rules_in_words() -> str:
    """One table for each platform, in the order of the rules, and under it where that is written."""
    parts = []
    for platform, of_platform in groupby(RULES.values(), key=lambda rule: rule.platform):
        rules = list(of_platform)
        sources = list(dict.fromkeys(rule.source.text for rule in rules))
        rows = [
            f"| `{rule.field}` | {rule.says} | {'SHA-256' if rule.hashed else 'plain'} | {rule.version} "
            f"| {rule.source.sureness} | {sources.index(rule.source.text) + 1} |"
            for rule in rules
        ]
        head = ["| field | becomes | sent | version | sure | source |", "|---|---|---|---|---|---|"]
        notes = [f"{number}. {text}" for number, text in enumerate(sources, 1)]
        parts.append("\n".join([f"### {platform}", "", *head, *rows, "", *notes]))
    return "\n\n".join(parts)


def rewritten(page: str) -> str:
    """The page with the table of today between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{rules_in_words()}\n\n{END}{after}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(rewritten(file.read_text(encoding="utf-8")), encoding="utf-8")
