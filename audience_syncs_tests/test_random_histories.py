"""After any history of people, definitions and faults, one clean run makes the list the audience.

Histories are drawn by hypothesis and played on real PostgreSQL, through the real HTTP client, to the real simulators. A
history that ever failed is kept below as an example.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st

from audience_syncs.model.values import SyncReport
from audience_syncs.simulators import SimulatorServer
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs_tests.history_places import REFUSED, STRANGER
from audience_syncs_tests.history_world import Change, History, Run, World
from audience_syncs_tests.platforms import HARNESSES

PEOPLE_CHANGES = ["enter", "enter", "enter", "leave", "email", "emails", "phone", "lose", "swap", "share"]
KINDS = [
    "rate_limit",
    "server_error",
    "server_error_after",
    "timeout_before",
    "timeout_after",
    "reset_before",
    "reset_after",
    "malformed",
    "partial",
    "reject_batch",
    "forbidden",
]

changes = st.builds(
    Change,
    what=st.sampled_from([*PEOPLE_CHANGES, *PEOPLE_CHANGES, "mapping", "rules"]),
    who=st.integers(0, 8),
    value=st.integers(0, 47),
)


@st.composite
def faults(draw: st.DrawFn) -> tuple[tuple[str, Any], ...]:
    asked: dict[str, Any] = {
        "kind": draw(st.sampled_from(KINDS)),
        "rate": draw(st.sampled_from([0.3, 0.6, 1.0])),
        "seed": draw(st.integers(0, 9)),
        "skip": draw(st.integers(0, 6)),
        "count": draw(st.integers(1, 6)),
    }
    if asked["kind"] in ("partial", "reject_batch") and draw(st.booleans()):
        asked["email"] = draw(st.integers(0, 15))
    return tuple(sorted(asked.items()))


runs = st.builds(
    Run,
    faults=st.lists(faults(), max_size=2).map(tuple),
    cut_at=st.none() | st.integers(0, 110),
    dies_at=st.none() | st.integers(0, 29),
    overlap=st.sampled_from([False] * 7 + [True]),
)


def histories(platform: str) -> st.SearchStrategy[History]:
    rounds = st.tuples(st.lists(changes, min_size=1, max_size=5).map(tuple), runs)
    return st.builds(
        History,
        platform=st.just(platform),
        batch_size=st.sampled_from([1, 2, 3, 7]),
        concurrency=st.sampled_from([1, 3]),
        rounds=st.lists(rounds, min_size=1, max_size=5).map(tuple),
        last=st.lists(changes, max_size=4).map(tuple),
        rejected_at_last=st.none() | st.integers(0, 15),
    )


KEPT: list[History] = [
    # An addition that may have been applied, and the person is gone before the next run.
    History(
        "meta",
        2,
        1,
        (
            (
                (Change("enter", 0, 0), Change("enter", 1, 1)),
                Run(((("kind", "timeout_after"), ("operation", "users.add")),)),
            ),
        ),
        (Change("leave", 0),),
    ),
    # An email that passes to somebody who then does not get in, and leaves too.
    History(
        "meta",
        2,
        1,
        (
            ((Change("enter", 0, 0), Change("enter", 2, 1)), Run()),
            (
                (Change("leave", 0), Change("enter", 1, 0)),
                Run(((("kind", "forbidden"), ("operation", "users.add")),)),
            ),
        ),
        (Change("leave", 1),),
    ),
    # Somebody who is in the list, is refused with a new first name, and leaves.
    History(
        "meta",
        2,
        1,
        (
            ((Change("enter", 0, 0), Change("enter", 1, 1)), Run()),
            ((Change("mapping", 0, 2),), Run(((("email", 0), ("kind", "partial")),))),
        ),
        (Change("leave", 0),),
    ),
    # Who shares an email with somebody who is taken out by their phone: the platform takes out the person both are.
    History(
        "meta",
        2,
        1,
        (((Change("enter", 0, 0), Change("enter", 1, 12), Change("share", 1, 0), Change("phone", 1, 4)), Run()),),
        (Change("leave", 0),),
    ),
    # Somebody who got in by an attempt without an answer, is refused by the next attempt of the same call, and leaves.
    History(
        "meta",
        1,
        1,
        (
            (
                (Change("enter", 0, 0),),
                Run(
                    (
                        (("count", 1), ("kind", "server_error_after"), ("operation", "users.add")),
                        (("count", 1), ("kind", "reject_batch"), ("operation", "users.add")),
                    )
                ),
            ),
        ),
        (Change("leave", 0),),
    ),
    # Who shares the old email of somebody who is taken out by their phone, and is looked at again for a new mapping: nothing of
    # theirs changes, and they must be sent again all the same.
    *(
        History(
            platform,
            1,
            1,
            (((Change("enter", 8, 12), Change("enter", 5, 12), Change("phone", 5, 2)), Run()),),
            (Change("email", 5, 5), Change("mapping", 5, 1)),
        )
        for platform in ("google", "meta")
    ),
    # Somebody whose email passes to another, whose own change may not have come through, or was refused, and who leaves by their
    # phone: at the platform the phone may still be that of the email, and so take out the other.
    *(
        History(
            platform,
            1,
            1,
            (
                ((Change("enter", 5, 12), Change("phone", 5, 4), Change("enter", 3, 2), Change("enter", 7, 3)), Run()),
                (
                    (Change("share", 3, 1), Change("email", 7, 2)),
                    Run(((("email", 12), ("kind", kind)),)),
                ),
            ),
            (Change("leave", 3),),
        )
        for platform in ("google", "meta")
        for kind in ("server_error", "partial")
    ),
    # Somebody joins in one call with somebody who is in already, from a call without an answer; the question whether the other
    # one is a member finds no answer either; and who joined leaves.
    History(
        "salesforce",
        2,
        1,
        (
            (
                (Change("enter", 0, 0),),
                Run(
                    (
                        (("count", 2), ("kind", "server_error_after"), ("operation", "CampaignMember.insert")),
                        (("count", 2), ("kind", "server_error"), ("operation", "jobs.results"), ("skip", 1)),
                    )
                ),
            ),
            (
                (Change("enter", 1, 1),),
                Run(((("count", 2), ("kind", "server_error"), ("operation", "query"), ("skip", 2)),)),
            ),
        ),
        (Change("leave", 1),),
    ),
    # Who takes over an email in a run that is cut off, and leaves: the ledger has both emails, and one record's id.
    *(
        History(
            platform,
            1,
            1,
            (
                ((Change("enter", 0, 0), Change("enter", 1, 1)), Run()),
                (
                    (Change("share", 0, 1), Change("email", 1, 2)),
                    Run(((("count", 2), ("kind", "rate_limit"), ("operation", "lists.get")),)),
                ),
            ),
            (Change("leave", 0),),
        )
        for platform in HARNESSES
    ),
]


@pytest.fixture(scope="module")
def simulators() -> Iterator[str]:
    with SimulatorServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def warehouse(postgres_url: str) -> Iterator[Warehouse]:
    with open_warehouse_at(postgres_url) as warehouse:
        with warehouse.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            name = connection.scalar(sa.text("SELECT current_database()"))
            # What dies in these histories is our process, never the machine.
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
        yield warehouse


# In parts, so that they can be played side by side.
@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize("platform", HARNESSES)
def test_after_any_history_one_clean_run_makes_the_list_the_audience(
    platform: str, part: int, warehouse: Warehouse, simulators: str, request: pytest.FixtureRequest
) -> None:
    count = request.config.getoption("--histories") or HARNESSES[platform].histories
    # The same histories in every run of the suite, unless ``--first-history`` asks for others.
    first = request.config.getoption("--first-history") + part
    played: list[World] = []

    def play_one(history: History) -> None:
        played.append(play(history, warehouse, simulators))

    test: Any = given(histories(platform))(play_one)
    test = settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        print_blob=True,
    )(test)
    test = seed(first)(test)
    for kept in KEPT:
        if kept.platform == platform and part == 1:
            test = example(kept)(test)
    test()
    died = sum(world.cuts for world in played)
    bad = sum(len(world.history.rounds) for world in played)
    sys.stdout.write(f"{platform}: {len(played)} histories, {bad} bad runs, {died} of them killed\n")
    assert died > len(played) / 5, "hardly any process was killed: the histories prove less than they say"


def play(history: History, warehouse: Warehouse, simulators: str) -> World:
    world = World(warehouse, simulators, history)
    for before, run in history.rounds:
        for change in before:
            world.change(change)
        world.run(run)
    for change in history.last:
        world.change(change)
    refused = set()
    if history.rejected_at_last is not None:
        refused = {REFUSED}
        world.refuse(history.rejected_at_last)
    report = world.run()
    assert report is not None
    check(world, report, refused)
    world.place.forget_calls()
    world.run_again()
    changing = world.place.calls()
    assert not changing, f"the second run sent {changing}"
    world.heal()
    world.place.clean_up()
    return world


def check(world: World, report: SyncReport, refused: set[str]) -> None:
    """List = audience, ledger = list, rejected named, the stranger still there."""
    harness = world.harness
    on_wire = harness.on_wire
    members = world.place.members()
    field = harness.name_of_email
    listed = [member[field] for member in members if member.get(field)]
    rejected = {
        who for who, person in world.people.items() if set(person.emails) & refused or not world.reaches(person)
    }
    delivered = {who: person for who, person in world.people.items() if who not in rejected}
    wanted = {address for person in delivered.values() for address in world.emails_of(person)}
    found = set(listed) - {on_wire(STRANGER)}
    assert not world.place.shares or on_wire(STRANGER) in listed, "somebody else's row was removed"
    assert {on_wire(address) for address in wanted} <= found, "somebody is missing"
    assert found <= {on_wire(address) for address in wanted}, "somebody is there who should not be"
    if not harness.several:
        assert len(listed) == len(set(listed))
    check_phones(world, members, delivered)
    with world.warehouse.engine.connect() as connection:
        ledger = {
            key: (state, set(identifiers))
            for key, state, identifiers in connection.execute(
                sa.text("SELECT member_key, state, identifiers FROM audience_syncs.ledger")
            )
        }
        named = set(connection.scalars(sa.text("SELECT member_key FROM audience_syncs.rejections")))
        unsettled = connection.scalar(sa.text("SELECT count(*) FROM audience_syncs.plans WHERE status <> 'settled'"))
    assert unsettled == 0
    assert {who for who, (state, _) in ledger.items() if state == "accepted"} == {str(who) for who in delivered}
    for who, person in delivered.items():
        assert ledger[str(who)][1] == world.identifiers_of(who, person), "the ledger is not the list"
    assert {str(who) for who in rejected} <= named, "a rejected member is not named"
    assert not named & {str(who) for who in delivered}, "an accepted member is called rejected"
    assert report.accepted == len(delivered)


def check_phones(world: World, members: list[dict[str, Any]], delivered: dict[int, Any]) -> None:
    """Who has only a phone is there by it, and nobody else is."""
    harness = world.harness
    if not harness.phone:
        return
    with_phone = [person for person in delivered.values() if person.phone and harness.phone in world.mapped]
    phones = {harness.phone_on_wire(person.phone) for person in with_phone}
    without_email = {harness.phone_on_wire(person.phone) for person in with_phone if not person.emails}
    held = {member[harness.phone] for member in members if member.get(harness.phone)}
    assert without_email <= held, "somebody with only a phone is missing"
    alone = {
        member[harness.phone]
        for member in members
        if member.get(harness.phone) and not member.get(harness.name_of_email)
    }
    assert alone <= phones, "somebody is there by a phone that nobody has"
