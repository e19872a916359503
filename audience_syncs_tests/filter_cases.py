"""Random audiences over random data, and how each is played. A failing one is made as small as it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.schema import Trait
from audience_syncs.project.inheritance import from_model
from audience_syncs_tests.filter_author import Author
from audience_syncs_tests.filter_data import Data, data, one_of, some_of
from audience_syncs_tests.filter_evaluator import Evaluator

DEPTH = 3
TRIES = 2
"""How often an audience that is empty, or everybody, is drawn again."""


class Case:
    """Data, and audiences to choose from it. No dataclass: hypothesis would print all of it."""

    def __init__(self, data: Data, audiences: list[AudienceConfig]) -> None:
        self.data = data
        self.audiences = audiences
        rows = {part: table.records for part, table in data.tables.items()}
        self.evaluator = Evaluator(data.schema, rows, data.keys, data.now)
        self._right: dict[int, tuple[AudienceConfig, dict[Any, dict[str, Any]]]] = {}

    def __repr__(self) -> str:
        return f"<{len(self.audiences)} audiences>"

    def right(self, audience: AudienceConfig) -> dict[Any, dict[str, Any]]:
        """What the evaluator answers: key of each member -> columns. Asked once, as there are several engines."""
        if id(audience) not in self._right:
            # With the audience itself, so that no other one comes to have its id.
            self._right[id(audience)] = (audience, self.evaluator.values(audience))
        return self._right[id(audience)][1]


@st.composite
def cases(draw: st.DrawFn, filters: int) -> Case:
    """Random data with so many audiences. Most are neither empty nor everybody: two such are drawn again."""
    found = draw(data())
    author = Author(draw, found, ZoneInfo(found.wall))
    traits = [author.trait() for _ in range(author.number_of(3, 6))]
    named = {f"{trait['take']}_{number}": Trait.model_validate(trait) for number, trait in enumerate(traits)}
    found.models["people"] = found.people.model_copy(update={"traits": named})
    case = Case(found, [])
    again = TRIES
    while len(case.audiences) < filters:
        audience = resolved(_audience(draw, found), found)
        if 0 < len(case.right(audience)) < len(found.tables["people"].rows) or again == 0:
            case.audiences.append(audience)
            again = TRIES
        else:
            again -= 1
    return case


def play_cases(play: Callable[[Case], None], filters: int, seeds: Iterable[int]) -> None:
    """Plays a random case of each seed. One that fails is made as small as it can be."""
    for number in seeds:
        test: Any = given(cases(filters))(_but_the_first(play))
        test = settings(
            max_examples=2,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            print_blob=False,
        )(test)
        seed(number)(test)()


def _but_the_first(play: Callable[[Case], None]) -> Callable[[Case], None]:
    """Hypothesis begins with the simplest case of all, and follows a case with variations that hardly differ from it: so each
    seed is asked for one case beyond the simplest, and for no more."""
    calls = count()

    def play_one(case: Case) -> None:
        if next(calls):
            play(case)

    return play_one


def resolved(config: dict[str, Any], found: Data) -> AudienceConfig:
    """An audience as the project has it once it is loaded."""
    return from_model(AudienceConfig.model_validate(config), found.schema)


def _audience(draw: st.DrawFn, found: Data) -> dict[str, Any]:
    """An audience as it stands in YAML."""
    zone = one_of(draw, (None, *found.zones, *(zone for zone in found.zones if zone != found.wall)))
    author = Author(draw, found, ZoneInfo(zone or found.wall))
    config: dict[str, Any] = {"name": "asked", "model": "people"}
    if zone is not None:
        config["timezone"] = zone
    config["filter"] = author.condition(author.one_of(0, 1, 1, 2, DEPTH))
    if author.one_in(3):
        config["columns"] = some_of(draw, [*found.tables["people"].columns, *found.people.traits], 1, 4)
    return config
