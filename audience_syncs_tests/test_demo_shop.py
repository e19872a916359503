"""The demo shop: believable, the same every time, made by the database, and alive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from audience_syncs.demo.shop import ShopError, create_shop, shop_exists, shop_now, tick
from audience_syncs.project import default_defs_dir, load_project

TABLES = ("users", "events", "orders", "order_items", "products", "clock")


@pytest.fixture
def engine(fresh_postgres_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(fresh_postgres_url)
    yield engine
    engine.dispose()


def digest(engine: sa.Engine) -> dict[str, str]:
    """Of the content of every table, whatever the order of its rows."""
    with engine.connect() as connection:
        return {
            table: str(
                connection.scalar(sa.text(f"SELECT sum(hashtextextended(t::text, 0)::numeric) FROM shop.{table} t"))
            )
            for table in TABLES
        }


def one(engine: sa.Engine, query: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text(query)).scalar_one() or 0)


def test_the_same_seed_and_the_same_time_make_the_same_shop(engine: sa.Engine) -> None:
    create_shop(engine, users=2_000)
    first = digest(engine)
    happened = [tick(engine, hours=24), tick(engine, hours=5)]
    lived = digest(engine)
    create_shop(engine, users=2_000)
    assert digest(engine) == first
    assert [tick(engine, hours=24), tick(engine, hours=5)] == happened
    assert digest(engine) == lived
    create_shop(engine, users=2_000, seed=8)
    assert digest(engine)["users"] != first["users"]


def test_the_shop_has_people_of_every_kind(engine: sa.Engine) -> None:
    counts = create_shop(engine, users=20_000)
    assert counts.users == 20_000
    assert counts.events > counts.orders > 1_000
    users = "SELECT count(*) FROM shop.users WHERE "
    for kind, condition in {
        "null emails": "email IS NULL",
        "empty emails": "email = ''",
        "broken emails": "email LIKE '%@@%'",
        "spaces around emails": "email <> trim(email)",
        "capitals": "email <> lower(email)",
        "plus tags": "email LIKE '%+%'",
        "national phones": "phone LIKE '0%'",
        "phones with plus": "phone LIKE '+%'",
        "garbage phones": "phone = 'call me'",
        "no phone": "phone IS NULL",
        "no country": "country IS NULL",
        "small countries": "country <> upper(country)",
        "Cyrillic": "first_name ~ '[А-я]'",
        "Japanese": "last_name ~ '[一-龯]'",
        "Arabic": "last_name ~ '[ء-ي]'",
        "diacritics": "first_name ~ '[éüöłż]'",
        "no consent": "NOT ads_consent",
    }.items():
        assert one(engine, users + condition) > 0, kind
    shared = one(engine, "SELECT count(*) - count(DISTINCT email) FROM shop.users WHERE email <> ''")
    assert 50 < shared < 1_000
    assert one(engine, "SELECT count(*) - count(DISTINCT phone) FROM shop.users WHERE length(phone) > 8") > 50


def test_every_address_is_one_nobody_has(engine: sa.Engine) -> None:
    create_shop(engine, users=5_000)
    tick(engine, hours=240)
    strange = one(
        engine,
        "SELECT count(*) FROM shop.users WHERE email LIKE '%@%' "
        "AND lower(trim(email)) !~ '@example\\.(com|org|net)$' AND email !~ '^shopper\\.[0-9]+@gmail\\.com$'",
    )
    assert strange == 0


def test_orders_events_and_items_belong_together(engine: sa.Engine) -> None:
    create_shop(engine, users=3_000)
    tick(engine, hours=72)
    assert one(engine, "SELECT count(*) FROM shop.orders o LEFT JOIN shop.users u USING (user_id) WHERE u IS NULL") == 0
    assert one(engine, "SELECT count(*) FROM shop.events e LEFT JOIN shop.users u USING (user_id) WHERE u IS NULL") == 0
    assert one(engine, "SELECT count(*) FROM shop.events WHERE event = 'purchase'") == one(
        engine, "SELECT count(*) FROM shop.orders"
    )
    assert one(engine, "SELECT count(*) FROM shop.orders") == one(
        engine, "SELECT count(DISTINCT order_id) FROM shop.order_items"
    )
    assert one(engine, "SELECT count(*) - count(DISTINCT event_id) FROM shop.events") == 0
    assert one(engine, "SELECT count(*) FROM shop.events e, shop.clock c WHERE e.ts > c.now + interval '1 hour'") == 0


def test_a_day_changes_a_little_of_everything_and_moves_the_clock(engine: sa.Engine) -> None:
    create_shop(engine, users=20_000)
    before = shop_now(engine)
    happened = tick(engine, hours=24)
    assert (shop_now(engine) - before).total_seconds() == 86_400
    assert 20 <= happened.signed_up <= 60
    assert 20 <= happened.changed_email <= 80
    assert 5 <= happened.deleted <= 60
    assert happened.changed_phone > 0
    assert happened.changed_name > 0
    assert happened.changed_consent > 0
    assert 700 <= happened.visited <= 2_500
    assert one(engine, "SELECT count(*) FROM shop.users") == 20_000 + happened.signed_up - happened.deleted


def test_a_creation_that_is_interrupted_leaves_what_was_there(engine: sa.Engine) -> None:
    def interrupt(step: str, done: int, total: int | None) -> None:
        if step == "history":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_shop(engine, users=1_000, progress=interrupt)
    assert not shop_exists(engine)
    create_shop(engine, users=1_000)
    kept = digest(engine)
    with pytest.raises(KeyboardInterrupt):
        create_shop(engine, users=5_000, progress=interrupt)
    assert digest(engine) == kept


def test_no_shop_no_time(engine: sa.Engine) -> None:
    with pytest.raises(ShopError, match="audience-syncs demo"):
        tick(engine)


def test_the_work_is_done_in_the_database_whatever_the_number_of_users(engine: sa.Engine) -> None:
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda c, cursor, statement, *_: statements.append(statement))
    create_shop(engine, users=200)
    small = len(statements)
    statements.clear()
    create_shop(engine, users=5_000)
    assert len(statements) == small


@pytest.mark.parametrize("users", [2_000, 20_000])
def test_the_audiences_of_the_demo_have_believable_sizes(engine: sa.Engine, users: int) -> None:
    create_shop(engine, users=users)
    project = load_project(default_defs_dir({}), {})
    assert project.problems == []
    assert len(project.audiences) >= 3
    for audience in project.audiences.values():
        members = one(engine, f"SELECT count(*) FROM ({audience.sql}) q")
        assert 0.005 * users < members < 0.2 * users, audience.name
        assert one(engine, f"SELECT count(*) - count(DISTINCT {audience.primary_key}) FROM ({audience.sql}) q") == 0
