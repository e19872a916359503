"""What the whole suite shares: a real PostgreSQL, embedded from a wheel, with a fresh database per test module."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from audience_syncs.demo.postgres import EmbeddedPostgres
from audience_syncs_tests.sync_bench import Bench


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of an embedded PostgreSQL server that lives as long as the test session."""
    # A short path: a Unix socket's is limited to some 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="as_pg_"))
    folder.chmod(0o755)  # as root, PostgreSQL runs as a user of its own
    with EmbeddedPostgres(folder / "data") as server:
        yield server.url()
    shutil.rmtree(folder, ignore_errors=True)


def create_database(server_url: str) -> str:
    """A fresh, empty database; returns its URL."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def postgres_url(postgres_server: str) -> str:
    """A fresh database for this test module."""
    return create_database(postgres_server)


@pytest.fixture
def fresh_postgres_url(postgres_server: str) -> str:
    """A fresh database for this test."""
    return create_database(postgres_server)


@pytest.fixture
def bench(fresh_postgres_url: str) -> Iterator[Bench]:
    """A sync to a list in memory, in a database of its own."""
    bench = Bench(fresh_postgres_url)
    yield bench
    bench.warehouse.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--histories", type=int, default=0, help="how many random histories to try; 0: the default")
    parser.addoption("--first-history", type=int, default=0, help="the first random history's seed")
    parser.addoption("--filters", type=int, default=0, help="how many random filters to try; 0: the default")
    parser.addoption("--first-filter", type=int, default=0, help="the first random filters' seed")
    parser.addoption("--kills", type=int, default=0, help="how many processes the kill test kills; 0: the default")
    parser.addoption("--kill-members", type=int, default=0, help="members of the kill test's audience; 0: the default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
