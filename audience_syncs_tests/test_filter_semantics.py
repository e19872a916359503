"""A compiled filter chooses whom its words say: PostgreSQL, DuckDB and a plain evaluator in Python agree on random cases.

2,000 audiences with data of their own, the same in every run of the suite; ``--filters N`` tries so many, and
``--first-filter S`` others. What ever differed is kept in ``data/filter_cases.yaml``, with the answer that is right.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile
from typing import Any

import duckdb
import pytest
import yaml

from audience_syncs.model.comparisons import OPERATORS
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.model.filters import CONDITION_KINDS
from audience_syncs.model.schema import Aggregation
from audience_syncs_tests.filter_cases import Case, play_cases
from audience_syncs_tests.filter_data import Data
from audience_syncs_tests.filter_engines import Engine, OnDuckDB, OnPostgreSQL
from audience_syncs_tests.filter_kept import KEPT, Kept
from audience_syncs_tests.filter_mistakes import MISTAKES, with_mistake, written

PARTS = 4
FILTERS = 2000
PER_DATA = 10
"""Audiences for each random data: making that is most of the work. Each data has a seed of its own."""

ANCHORS = (
    "since",
    "after",
    "until",
    "before",
    "first",
    "last",
    "any",
    "at_most_apart",
    "within_after",
    "among",
    "seed",
)


@pytest.fixture(scope="module")
def engines(postgres_url: str) -> Iterator[list[Engine]]:
    postgres, duck = OnPostgreSQL(postgres_url), OnDuckDB()
    yield [postgres, duck]
    postgres.close()
    duck.close()


# In parts, so that they can be played side by side.
@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_compiled_filter_chooses_whom_its_words_say(
    part: int, engines: list[Engine], request: pytest.FixtureRequest
) -> None:
    count = max(1, (request.config.getoption("--filters") or FILTERS) // PARTS // PER_DATA)
    sizes: Counter[str] = Counter()
    met: set[str] = set()

    def play(case: Case) -> None:
        for engine in engines:
            engine.load(case.data)
        met.update(trait.take for trait in case.data.people.traits.values())
        for audience in case.audiences:
            sizes[check(case, audience, engines)] += 1
            met.update(words_of(written(audience)))

    first = request.config.getoption("--first-filter") + part
    play_cases(play, PER_DATA, range(first, first + count * PARTS, PARTS))
    trivial = 1 - sizes["some"] / sizes.total()
    sys.stdout.write(f"{sizes.total()} filters, {dict(sizes)}, {trivial:.0%} of them nobody or everybody\n")
    assert sizes.total() == count * PER_DATA
    if count >= FILTERS // PARTS // PER_DATA:
        assert {*CONDITION_KINDS, *OPERATORS, *ANCHORS, *Aggregation} <= met, "some conditions are not drawn any more"
    assert trivial < 0.4, "too many filters choose nobody or everybody: the cases prove less than they say"


@pytest.mark.slow
def test_each_typical_mistake_of_a_compiler_would_be_noticed(engines: list[Engine]) -> None:
    engine, unnoticed, tried = engines[0], dict(MISTAKES), Counter[str]()

    def play(case: Case) -> None:
        loaded = False
        for audience in case.audiences:
            for name, mistake in list(unnoticed.items()):
                wrong = with_mistake(audience, mistake)
                if wrong is audience:
                    continue
                if not loaded:
                    engine.load(case.data)
                    loaded = True
                tried[name] += 1
                if difference(case, audience, engine, wrong) is not None:
                    del unnoticed[name]

    play_cases(play, PER_DATA, takewhile(lambda _: unnoticed, range(80)))
    assert not unnoticed, f"not noticed: {', '.join(f'{name} ({tried[name]} cases)' for name in unnoticed)}"
    sys.stdout.write(f"audiences until a mistake is noticed: {dict(tried)}\n")


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.why)
def test_what_once_differed_is_answered_right(kept: Kept, engines: list[Engine]) -> None:
    assert kept.case.evaluator.members(kept.audience) == kept.members
    for engine in engines:
        engine.load(kept.case.data)
    check(kept.case, kept.audience, engines)


def words_of(value: Any) -> Iterator[str]:
    """All keys in a YAML value."""
    children = (
        value.items() if isinstance(value, dict) else ((None, one) for one in value) if isinstance(value, list) else ()
    )
    for key, child in children:
        if key is not None:
            yield key
        yield from words_of(child)


def check(case: Case, audience: AudienceConfig, engines: list[Engine]) -> str:
    """Fails where an engine differs from the evaluator; returns how many it chooses: nobody, some, everybody."""
    for engine in engines:
        try:
            found = difference(case, audience, engine)
        except (AudienceSyncsError, duckdb.Error) as error:
            found = "\n".join((str(error), *shown(case.data, audience, engine, audience)))
        if found is not None:
            pytest.fail(f"{engine.name} answers otherwise\n{found}", pytrace=False)
    members = len(case.right(audience))
    return "nobody" if not members else "everybody" if members == len(case.data.tables["people"].rows) else "some"


def difference(
    case: Case, audience: AudienceConfig, engine: Engine, compiled: AudienceConfig | None = None
) -> str | None:
    """What an engine answers otherwise than the evaluator, with all that is needed to see why; None: nothing.

    ``compiled``: what the engine is asked instead.
    """
    compiled = compiled or audience
    key = audience.primary_key
    expected = {member: {**values, key: member} for member, values in case.right(audience).items()}
    answer = engine.answer(compiled, case.data.now)
    found = {row[key]: row for row in answer}
    if (
        len(found) == len(answer)
        and found.keys() == expected.keys()
        and all(
            same(found[member][column], value)
            for member, values in expected.items()
            for column, value in values.items()
        )
    ):
        return None
    if audience.columns is None or found.keys() != expected.keys():
        words = f"right: {sorted(expected)}\nfound: {sorted(row[key] for row in answer)}"
    else:
        words = f"right: {expected}\nfound: {found}"
    return "\n".join((words, *shown(case.data, audience, engine, compiled)))


def shown(data: Data, audience: AudienceConfig, engine: Engine, compiled: AudienceConfig) -> Iterator[str]:
    """What is needed to see why: the filter, its data, and the SQL."""
    yield yaml.safe_dump(written(audience), sort_keys=False, allow_unicode=True)
    yield explained(data, str(written(audience)))
    yield engine.sql(compiled, data.now)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same; averages to nine digits."""
    if one is None or other is None:
        return one is other
    if isinstance(one, datetime):
        return isinstance(other, datetime) and _on_one_clock(one) == _on_one_clock(other)
    if isinstance(other, (Fraction, float, Decimal)):
        a, b = Fraction(str(one)), Fraction(str(other))
        return abs(a - b) <= Fraction(1, 10**9) * max(1, abs(b))
    return bool(one == other)


def _on_one_clock(time: datetime) -> datetime:
    return time if time.tzinfo is None else time.astimezone(UTC)


def explained(data: Data, words: str) -> str:
    """The data behind a filter: people, and the rows and traits that it names."""
    lines = [f"now: {data.now}, the models' time zone: {data.wall}"]
    model = data.people.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for name, trait in model["traits"].items():
        if name in words:
            lines.append(f"trait {name}: {trait}")
            words += str(trait)
    other = "audience" in words
    for part, table in data.tables.items():
        name = part.removeprefix("people.").removesuffix(".through")
        if other or part == "people" or name in words:
            definition = {**model["related"], **model["events"]}.get(name, "")
            lines += [f"{part}: {table.columns} {definition}", *(f"  {row}" for row in map(_plain, table.rows))]
    return "\n".join(lines)


def _plain(row: tuple[Any, ...]) -> str:
    return ", ".join(repr(value) if isinstance(value, str) else str(value) for value in row)
