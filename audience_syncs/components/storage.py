"""Dagster's own storage on PostgreSQL, with its address from the environment.

One ``dagster.yaml`` serves a laptop and production: the address comes as one URL, ``AUDIENCE_SYNCS_PG_URL``, or in
parts, ``AUDIENCE_SYNCS_PG_HOST``, ``_PORT``, ``_USER``, ``_PASSWORD`` and ``_DB``, as container platforms hand out
secrets. ``dagster.yaml`` by itself can name either, not both. Each process reads its own environment, so that the
password is never handed on in the description of the instance that run workers get.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from audience_syncs.model.errors import MissingSecret

URL_VARIABLE = "AUDIENCE_SYNCS_PG_URL"
_HOST, _PORT, _USER, _PASSWORD, _DB = (
    f"AUDIENCE_SYNCS_PG_{part}" for part in ("HOST", "PORT", "USER", "PASSWORD", "DB")
)


class EnvironmentPostgresStorage(DagsterPostgresStorage):
    """``DagsterPostgresStorage`` that finds its database in the environment."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> EnvironmentPostgresStorage:
        return cls(postgres_url(os.environ), inst_data=inst_data)

    # The base class would describe its parts as dagster-postgres' own, with a configuration we do not have.
    @property
    def event_storage_data(self) -> ConfigurableClassData | None:
        return None

    @property
    def run_storage_data(self) -> ConfigurableClassData | None:
        return None

    @property
    def schedule_storage_data(self) -> ConfigurableClassData | None:
        return None


def postgres_url(environ: Mapping[str, str]) -> str:
    """The database's address, for SQLAlchemy; raises MissingSecret naming the variables that are missing."""
    whole = environ.get(URL_VARIABLE, "").strip()
    if whole:
        scheme, separator, rest = whole.partition("://")
        if not separator or scheme.split("+")[0] not in ("postgresql", "postgres"):
            raise MissingSecret(
                f"{URL_VARIABLE} is not the address of a PostgreSQL database",
                where="Dagster's storage",
                remedy=f"set {URL_VARIABLE} to postgresql://user:password@host:5432/database",
            )
        # SQLAlchemy 2.1 would take psycopg 3; dagster-postgres brings psycopg2.
        return f"postgresql+psycopg2://{rest}"
    parts = {name: environ.get(name, "") for name in (_HOST, _USER, _DB)}
    missing = [name for name, value in parts.items() if not value]
    if missing:
        given = f"; missing: {', '.join(missing)}" if len(missing) < len(parts) else ""
        raise MissingSecret(
            f"Dagster keeps its runs and schedules in PostgreSQL, and the environment does not say where{given}",
            where="Dagster's storage",
            remedy=f"`audience-syncs demo` starts one by itself; else set {URL_VARIABLE}, or {_HOST}, {_USER}, "
            f"{_PASSWORD}, {_DB} and, where it is not 5432, {_PORT}",
        )
    port = environ.get(_PORT, "").strip() or "5432"
    if not port.isdigit():
        raise MissingSecret(f"{_PORT} is not a number", where="Dagster's storage", remedy=f"set {_PORT} to e.g. 5432")
    password = environ.get(_PASSWORD, "")
    login = quote(parts[_USER], safe="") + (f":{quote(password, safe='')}" if password else "")
    database = quote(parts[_DB], safe="")
    host = parts[_HOST]
    if host.startswith("/"):
        # A Unix socket's folder.
        return f"postgresql+psycopg2://{login}@/{database}?host={quote(host, safe='')}&port={port}"
    return f"postgresql+psycopg2://{login}@{f'[{host}]' if ':' in host else host}:{port}/{database}"
