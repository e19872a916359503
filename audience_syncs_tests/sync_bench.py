"""A table of people, an audience over it, a sync, and a list in memory: what the engine's tests work with."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, SyncConfig
from audience_syncs.model.values import RunOptions, SyncReport
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs_tests.person_list import PersonList


def email_hash(email: str) -> str:
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


def sync_config(**changes: Any) -> SyncConfig:
    values: dict[str, Any] = {
        "destination": "list",
        "mapping": {"EMAIL": "email", "PHONE": "phone", "FN": "first_name"},
        "list": {"name": "People"},
    }
    return SyncConfig(**(values | changes))


class Bench:
    """A table of people, an audience over it, a sync, a list."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.warehouse: Warehouse = open_warehouse_at(url)
        self.list = PersonList()
        self.sync = sync_config()
        self.sql = "SELECT id, email, phone, first_name FROM people"
        self.freshness_sql: str | None = None
        self.runs = 0
        self.execute("CREATE TABLE people (id text, email text, phone text, first_name text)")

    @property
    def audience(self) -> AudienceConfig:
        return AudienceConfig(
            name="people",
            source="shop",
            primary_key="id",
            sql=self.sql,
            freshness_sql=self.freshness_sql,
            syncs=[self.sync],
        )

    def execute(self, statement: str) -> None:
        with self.warehouse.engine.begin() as connection:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.warehouse.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def people(self, *rows: tuple[str, str | None, str | None] | tuple[str, str | None]) -> None:
        """Replaces everybody: (id, email[, phone])."""
        self.execute("DELETE FROM people")
        with self.warehouse.engine.begin() as connection:
            for row in rows:
                connection.execute(
                    sa.text("INSERT INTO people VALUES (:id, :email, :phone, 'Zoë')"),
                    {"id": row[0], "email": row[1], "phone": row[2] if len(row) > 2 else None},
                )

    def crowd(self, count: int) -> None:
        """Replaces everybody by so many people."""
        self.execute(
            f"DELETE FROM people; INSERT INTO people "
            f"SELECT g, 'p' || g || '@example.com', NULL, 'Zoë' FROM generate_series(1, {count}) g"
        )

    def run(self, **options: Any) -> SyncReport:
        self.runs += 1
        evaluate_audience(self.audience, self.warehouse, run_id=f"run-{self.runs}")
        return self.run_only(**options)

    def run_only(self, **options: Any) -> SyncReport:
        return run_sync(
            self.audience,
            self.sync,
            self.list,
            self.warehouse,
            run_id=f"run-{self.runs}",
            options=RunOptions(**options),
        )

    def put_others(self, *emails: str) -> None:
        """People whom somebody else put into the list."""
        for email in emails:
            self.list.people[f"EMAIL:{email_hash(email)}"] = {"EMAIL": {email_hash(email)}}

    def operations(self, mark: int = 0) -> list[tuple[str, int]]:
        """What was called since, with how many members."""
        return self.list.sent_since(mark)

    def ledger(self) -> dict[str, tuple[str, list[str]]]:
        return {
            key: (state, identifiers)
            for key, state, identifiers in self.rows("SELECT member_key, state, identifiers FROM audience_syncs.ledger")
        }

    def expected(self) -> set[str]:
        return {email_hash(email) for (email,) in self.rows("SELECT email FROM people WHERE email IS NOT NULL")}
