"""The demo shop: believable, the same every time, made by the database, and alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import phonenumbers
import pytest
import sqlalchemy as sa

from audience_syncs.audiences.compile import compile_audience
from audience_syncs.demo.shop import ShopError, create_shop, shop_exists, shop_now, tick
from audience_syncs.model.config import AudienceConfig
from audience_syncs.project import configured_defs_dir, load_project
from audience_syncs.warehouse.expressions import PostgreSQLExpressions, readable

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


def test_about_one_in_a_hundred_shares_an_email_and_as_many_a_phone(engine: sa.Engine) -> None:
    users = 20_000
    create_shop(engine, users=users)
    with engine.connect() as connection:
        emails = Counter(connection.scalars(sa.text("SELECT email FROM shop.users WHERE email LIKE '%@%'")))
        phones: Counter[str] = Counter()
        written: dict[str, set[str]] = {}
        for phone, country in connection.execute(
            sa.text(
                "SELECT u.phone, c.country FROM shop.users u JOIN shop.countries c ON u.city = ANY (c.cities) "
                "WHERE u.phone ~ '[0-9]'"
            )
        ):
            number = phonenumbers.parse(phone, country)
            assert phonenumbers.is_possible_number(number), country
            normalised = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            phones[normalised] += 1
            written.setdefault(normalised, set()).add(phone)
    for kind in (emails, phones):
        assert 0.004 * users < sum(n for n in kind.values() if n > 1) < 0.03 * users
        assert max(kind.values()) <= 4
    assert any(len(ways) > 1 for ways in written.values()), "a shared phone is always written alike"


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
    assert one(engine, "SELECT count(*) FROM shop.events e, shop.clock c WHERE e.ts >= c.now") == 0
    assert one(engine, "SELECT count(*) FROM shop.events JOIN shop.users USING (user_id) WHERE ts < created_at") == 0
    assert one(engine, "SELECT count(*) FROM shop.users WHERE updated_at < created_at") == 0


def test_the_shop_does_not_depend_on_the_time_zone_of_the_server(engine: sa.Engine, fresh_postgres_url: str) -> None:
    # New York changes its clocks within the shop's history.
    elsewhere = sa.create_engine(fresh_postgres_url, connect_args={"options": "-c TimeZone=America/New_York"})
    made = []
    for here in (engine, elsewhere):
        create_shop(here, users=500)
        tick(here, hours=24 * 7)
        made.append((one(here, "SELECT sum(extract(epoch FROM ts) * event_id) FROM shop.events"), shop_now(here)))
    elsewhere.dispose()
    assert made[0] == made[1]


def test_nobody_gets_the_id_of_somebody_who_left(engine: sa.Engine) -> None:
    create_shop(engine, users=50)
    seen = 50
    for _ in range(12):
        # As many hours as make half of them leave.
        counts = tick(engine, hours=24 * 500)
        newest = one(engine, "SELECT max(user_id) FROM shop.users")
        assert counts.deleted > 0
        assert newest == seen + counts.signed_up
        seen = newest


def sql_of(engine: sa.Engine, audience: AudienceConfig) -> str:
    """The audience's own SQL, or what its filter is compiled to, now in the shop."""
    expressions = PostgreSQLExpressions()
    return audience.sql or readable(compile_audience(audience, expressions, shop_now(engine)), expressions)


def test_a_day_moves_people_in_and_out_of_every_audience_and_changes_some(engine: sa.Engine) -> None:
    create_shop(engine, users=20_000)
    audiences = load_project(configured_defs_dir({}), {}).audiences.values()

    def members(sql: str) -> dict[int, tuple[object, ...]]:
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
            return {row.user_id: (row.email, row.phone, row.last_name) for row in rows}

    before = {audience.name: members(sql_of(engine, audience)) for audience in audiences}
    tick(engine, hours=48)
    changed = 0
    for audience in audiences:
        was, now = before[audience.name], members(sql_of(engine, audience))
        assert now.keys() - was.keys(), f"nobody entered {audience.name}"
        assert was.keys() - now.keys(), f"nobody left {audience.name}"
        changed += sum(was[member] != now[member] for member in was.keys() & now.keys())
    assert changed > 0


def test_only_who_agreed_to_ads_and_to_marketing_is_in_an_audience(engine: sa.Engine) -> None:
    create_shop(engine, users=5_000)
    for audience in load_project(configured_defs_dir({}), {}).audiences.values():
        members = f"SELECT count(*) FROM ({sql_of(engine, audience)}) q JOIN shop.users u USING (user_id)"
        assert one(engine, members) > 0, audience.name
        assert one(engine, f"{members} WHERE NOT (u.ads_consent AND u.marketing_consent)") == 0, audience.name


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


def test_a_creation_whose_connection_is_killed_is_done_again(engine: sa.Engine, fresh_postgres_url: str) -> None:
    killer = sa.create_engine(fresh_postgres_url, isolation_level="AUTOCOMMIT")

    def kill(step: str, done: int, total: int | None) -> None:
        if step == "history":
            with killer.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    with pytest.raises(sa.exc.OperationalError):
        create_shop(engine, users=1_000, progress=kill)
    killer.dispose()
    assert not shop_exists(engine)
    assert create_shop(engine, users=1_000).users == 1_000
    assert shop_exists(engine)


@pytest.mark.parametrize("table", ["clock", "orders"])
def test_a_schema_of_somebody_else_is_neither_dropped_nor_lived_in(engine: sa.Engine, table: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA shop")
        connection.exec_driver_sql(f"CREATE TABLE shop.{table} AS SELECT timestamptz '2020-01-01 00:00+00' AS now")
    assert not shop_exists(engine)
    with pytest.raises(ShopError, match="not the demo's"):
        create_shop(engine, users=100)
    with pytest.raises(ShopError, match="no demo shop"):
        tick(engine)
    assert one(engine, f"SELECT extract(year FROM now AT TIME ZONE 'UTC')::int FROM shop.{table}") == 2020


def test_what_makes_no_sense_is_refused_and_the_shop_stays_as_it_is(engine: sa.Engine) -> None:
    create_shop(engine, users=100, seed=2**31 - 1)
    kept = digest(engine)
    with pytest.raises(ShopError, match="0 users"):
        create_shop(engine, users=0)
    with pytest.raises(ShopError, match="seed"):
        create_shop(engine, users=100, seed=2**31)
    with pytest.raises(ShopError, match="zone"):
        create_shop(engine, users=100, now=datetime(2026, 11, 1, 12))
    for hours in (0, -24):
        with pytest.raises(ShopError, match="hours cannot pass"):
            tick(engine, hours=hours)
    assert digest(engine) == kept


def test_the_smallest_shop_lives(engine: sa.Engine) -> None:
    assert create_shop(engine, users=1).users == 1
    assert tick(engine, hours=1).deleted == 0


def test_a_schema_of_that_name_that_is_somebody_elses_is_never_touched(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA shop")
        connection.exec_driver_sql("CREATE TABLE shop.orders AS SELECT 1 AS theirs")
    assert not shop_exists(engine)
    with pytest.raises(ShopError, match="not the demo's"):
        create_shop(engine, users=100)
    assert one(engine, "SELECT theirs FROM shop.orders") == 1


def test_no_shop_no_time(engine: sa.Engine) -> None:
    with pytest.raises(ShopError, match="audience-syncs demo"):
        tick(engine)


def test_the_work_is_done_in_the_database_whatever_the_number_of_users(engine: sa.Engine) -> None:
    statements: list[str] = []
    create_shop(engine, users=200)
    sa.event.listen(engine, "before_cursor_execute", lambda c, cursor, statement, *_: statements.append(statement))
    create_shop(engine, users=200)
    small = len(statements)
    statements.clear()
    create_shop(engine, users=5_000)
    assert len(statements) == small


@pytest.mark.parametrize("users, least", [(2_000, 10), (50_000, 500)])
def test_the_audiences_of_the_demo_have_believable_sizes(engine: sa.Engine, users: int, least: int) -> None:
    create_shop(engine, users=users)
    project = load_project(configured_defs_dir({}), {})
    assert project.problems == []
    assert len(project.audiences) >= 3
    for audience in project.audiences.values():
        members = one(engine, f"SELECT count(*) FROM ({sql_of(engine, audience)}) q")
        assert least <= members < 0.15 * users, audience.name
        assert (
            one(engine, f"SELECT count(*) - count(DISTINCT {audience.primary_key}) FROM ({sql_of(engine, audience)}) q")
            == 0
        )
