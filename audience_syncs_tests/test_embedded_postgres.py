"""The embedded PostgreSQL: starts, is shared, survives a kill -9, and is stopped by who started it."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from audience_syncs.demo.postgres import EmbeddedPostgres


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="as_pg_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "postgres"


def ask(url: str, query: str) -> object:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        result = connection.exec_driver_sql(query)
        return result.scalar() if result.returns_rows else None


def test_it_is_a_postgres_18_that_keeps_what_was_committed_through_kill_9(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        url = server.create_database("warehouse")
        assert server.create_database("warehouse") == url
        assert str(ask(url, "SHOW server_version")).startswith("18")
        assert ask(url, "SHOW fsync") == "on"
        ask(url, "CREATE TABLE t AS SELECT 42 AS answer")
        os.kill(int((data_dir / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
        time.sleep(0.5)
    with EmbeddedPostgres(data_dir) as server:
        assert ask(server.create_database("warehouse"), "SELECT answer FROM t") == 42


def test_a_second_one_shares_it_and_does_not_stop_it(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as first:
        url = first.url()
        with EmbeddedPostgres(data_dir) as second:
            assert (first.started_here, second.started_here) == (True, False)
            assert second.url() == url
        assert ask(url, "SELECT 1") == 1
    with pytest.raises(sa.exc.OperationalError):
        ask(url, "SELECT 1")


def test_a_long_path_is_no_problem_although_sockets_have_short_ones(data_dir: Path) -> None:
    deep = data_dir.parent / ("long-" * 10) / ("longer-" * 10) / "postgres"
    deep.parent.mkdir(parents=True)
    for folder in (deep.parent, deep.parent.parent):
        folder.chmod(0o755)
    with EmbeddedPostgres(deep) as server:
        assert ask(server.url(), "SELECT 1") == 1
