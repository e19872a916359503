"""State tables of an older version are brought up to date, and the next run goes on from them."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from audience_syncs.model.errors import SourceError
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs.warehouse.state import State
from audience_syncs.warehouse.tables import STATE_VERSION
from audience_syncs_tests.sync_bench import Bench, email_hash

BACK_TO_VERSION_4 = """
DROP TABLE audience_syncs.split_positions;
ALTER TABLE audience_syncs.sync_runs DROP COLUMN withheld;
ALTER TABLE audience_syncs.snapshots DROP COLUMN split;
ALTER TABLE audience_syncs.membership DROP COLUMN split_group;
UPDATE audience_syncs.state_version SET version = 4
"""
BACK_TO_VERSION_3 = f"""
{BACK_TO_VERSION_4};
DROP TABLE audience_syncs.jobs;
ALTER TABLE audience_syncs.ledger DROP COLUMN lacks;
ALTER TABLE audience_syncs.plan DROP COLUMN lacks;
ALTER TABLE audience_syncs.sync_runs DROP COLUMN reach;
UPDATE audience_syncs.state_version SET version = 3
"""
BACK_TO_VERSION_2 = f"""
{BACK_TO_VERSION_3};
DROP TABLE audience_syncs.alerts, audience_syncs.alert_messages, audience_syncs.paces;
UPDATE audience_syncs.state_version SET version = 2
"""
BACK_TO_VERSION_1 = f"""
{BACK_TO_VERSION_2};
DROP TABLE audience_syncs.approvals, audience_syncs.forgotten, audience_syncs.forgetting;
ALTER TABLE audience_syncs.plan DROP COLUMN before;
ALTER TABLE audience_syncs.snapshots DROP COLUMN source_as_of, DROP COLUMN partition_key;
CREATE INDEX snapshots_by_audience ON audience_syncs.snapshots (audience, id);
DROP INDEX audience_syncs.membership_by_snapshot;
UPDATE audience_syncs.state_version SET version = 1
"""


def shape(bench: Bench) -> list[tuple[object, ...]]:
    return bench.rows(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'audience_syncs' "
        "AND table_name !~ '^snapshot_[0-9]' ORDER BY 1, 2"
    ) + bench.rows("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'audience_syncs' ORDER BY 1")


@pytest.mark.parametrize(
    "back",
    [BACK_TO_VERSION_1, BACK_TO_VERSION_2, BACK_TO_VERSION_3, BACK_TO_VERSION_4],
    ids=["1", "2", "3", "4"],
)
def test_tables_of_an_older_version_become_those_of_today_with_all_that_is_in_them(bench: Bench, back: str) -> None:
    bench.people(("1", "a@example.com"), ("2", "b@example.com"))
    bench.run()
    wanted, ledger = shape(bench), bench.ledger()
    bench.execute(back)
    assert shape(bench) != wanted
    State(bench.warehouse).prepare()
    assert shape(bench) == wanted
    assert bench.rows("SELECT version FROM audience_syncs.state_version") == [(STATE_VERSION,)]
    assert bench.ledger() == ledger
    bench.people(("2", "b@example.com"), ("3", "c@example.com"))
    mark = len(bench.list.calls)
    report = bench.run()
    assert (report.added, report.removed, bench.operations(mark)) == (1, 1, [("remove", 1), ("add", 1)])
    assert bench.list.emails() == {email_hash("b@example.com"), email_hash("c@example.com")}


def test_several_processes_that_start_together_migrate_once(bench: Bench) -> None:
    bench.people(("1", "a@example.com"))
    bench.run()
    bench.execute(BACK_TO_VERSION_1)
    errors: list[Exception] = []

    def prepare() -> None:
        try:
            with open_warehouse_at(bench.url) as warehouse:
                State(warehouse).prepare()
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert bench.rows("SELECT version FROM audience_syncs.state_version") == [(STATE_VERSION,)]


def test_tables_of_a_newer_version_are_left_alone(bench: Bench) -> None:
    bench.people(("1", "a@example.com"))
    bench.run()
    with bench.warehouse.engine.begin() as connection:
        connection.execute(sa.text("UPDATE audience_syncs.state_version SET version = 99"))
    with pytest.raises(SourceError) as refused:
        bench.run()
    assert "upgrade audience-syncs" in str(refused.value)
