"""From one version of the state tables to the next.

New tables are made by ``State.prepare`` anyway; a step here changes those that exist. Steps are added, never edited:
somebody's tables are still of the old version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

STEPS: Mapping[int, Sequence[str]] = {
    1: (
        "ALTER TABLE {schema}.snapshots ADD COLUMN source_as_of timestamp with time zone",
        "ALTER TABLE {schema}.snapshots ADD COLUMN partition_key text",
        "DROP INDEX {schema}.snapshots_by_audience",
        "CREATE INDEX snapshots_by_audience ON {schema}.snapshots (audience, partition_key, id)",
        "CREATE INDEX membership_by_snapshot ON {schema}.membership (snapshot_id)",
        "ALTER TABLE {schema}.plan ADD COLUMN before text[]",
    ),
    # Only new tables: alerts, alert_messages, paces.
    2: (),
    # And a new table: jobs.
    3: (
        "ALTER TABLE {schema}.ledger ADD COLUMN lacks text",
        "ALTER TABLE {schema}.plan ADD COLUMN lacks text",
        "ALTER TABLE {schema}.sync_runs ADD COLUMN reach json",
    ),
    # And a new table: split_positions.
    4: (
        "ALTER TABLE {schema}.sync_runs ADD COLUMN withheld json",
        "ALTER TABLE {schema}.snapshots ADD COLUMN split json",
        "ALTER TABLE {schema}.membership ADD COLUMN split_group text",
    ),
}
"""Version -> the statements that lead from it to the next one."""


def migrate(connection: sa.Connection, schema: str, version: int, wanted: int) -> None:
    """Brings existing tables from ``version`` to ``wanted``, in the connection's transaction."""
    for step in range(version, wanted):
        for statement in STEPS[step]:
            connection.exec_driver_sql(statement.format(schema=schema))
