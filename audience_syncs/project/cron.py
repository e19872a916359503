"""Is this a cron expression? Answered here, without Dagster, so that the terminal and Dagster refuse the same ones."""

from __future__ import annotations

import re

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# name, lowest, highest, names and the number of the first name
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_PART = re.compile(r"(\*|[0-9]+|[a-z]+)(?:-([0-9]+|[a-z]+))?(?:/([0-9]+))?")


def objection(cron: str) -> str | None:
    """What is wrong with a cron expression of five fields, or None: ``0 25 * * *`` -> hour 25 is beyond 0-23."""
    fields = cron.lower().split()
    if len(fields) != 5:
        return "a cron expression has five fields: minute, hour, day of month, month, day of week"
    values: list[set[int]] = []
    for text, (name, lowest, highest, names) in zip(fields, _FIELDS, strict=True):
        try:
            values.append(_values(text, name, lowest, highest, names))
        except ValueError as error:
            return str(error)
    days, months = values[2], values[3]
    if fields[4] == "*" and not any(day <= _LONGEST[month - 1] for month in months for day in days):
        return "no such day: none of these months has that many days"
    return None


def _values(text: str, name: str, lowest: int, highest: int, names: tuple[str, ...]) -> set[int]:
    """All values a field stands for; ValueError with the words for people."""
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"`{part}` is not a {name}")
        start_text, end_text, step_text = match.groups()
        if start_text == "*":
            if end_text is not None:
                raise ValueError(f"`{part}` is not a {name}")
            start, end = lowest, highest
        else:
            start = _number(start_text, name, lowest, highest, names)
            end = start if end_text is None else _number(end_text, name, lowest, highest, names)
            if end_text is None and step_text is not None:
                end = highest
        step = int(step_text) if step_text else 1
        if step < 1 or step > highest:
            raise ValueError(f"{name}: a step of {step} makes no sense")
        if end < start:
            raise ValueError(f"{name}: the range {start_text}-{end_text} runs backwards")
        found.update(range(start, end + 1, step))
    return found


def _number(text: str, name: str, lowest: int, highest: int, names: tuple[str, ...]) -> int:
    if not text.isdigit():
        if text not in names:
            raise ValueError(f"`{text}` is not a {name}")
        # Months count from 1, days of the week from 0.
        return names.index(text) + lowest
    number = int(text)
    if not lowest <= number <= highest:
        raise ValueError(f"{name} {number} is beyond {lowest}-{highest}")
    return number
