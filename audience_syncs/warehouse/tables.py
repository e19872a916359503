"""The state tables: what we remember, in a schema of ours in the user's warehouse.

Names and columns are a public, documented, stable contract (``docs/state-tables.md``): people query them. ``sync`` is
always ``audience/sync``. Times are with time zone. ``ledger`` and ``plan`` are partitioned by sync where the warehouse
can, so that one sync's statistics, scans and maintenance are its own.
"""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa

STATE_VERSION = 5
"""Version of these tables; raised with every change of their shape, together with a step in ``migrations``."""

Identifiers = sa.ARRAY(sa.Text)
"""Identifiers as sent, each ``FIELD:value``."""

Fingerprint = sa.Uuid(as_uuid=False)
"""A 128-bit digest."""


_LACKS = "fields that came to nothing, FIELD:CODE, one a line; null: none did"


class StateTables:
    """The tables of one state schema."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.metadata = sa.MetaData(schema=schema)
        instant = sa.DateTime(timezone=True)

        self.state_version = sa.Table("state_version", self.metadata, sa.Column("version", sa.Integer, nullable=False))

        self.snapshots = sa.Table(
            "snapshots",
            self.metadata,
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("audience", sa.Text, nullable=False),
            sa.Column("evaluated_at", instant, nullable=False),
            sa.Column("members", sa.BigInteger, nullable=False),
            sa.Column("entered", sa.BigInteger, nullable=False),
            sa.Column("exited", sa.BigInteger, nullable=False),
            sa.Column("primary_key", sa.Text, nullable=False),
            sa.Column("columns", sa.JSON, nullable=False, comment="name, type, personal of each column"),
            sa.Column("sql", sa.Text, nullable=False),
            sa.Column("table_name", sa.Text, comment="its rows, in this schema; null once they were dropped"),
            sa.Column("run_id", sa.Text, nullable=False),
            sa.Column("duration_s", sa.Float, nullable=False),
            sa.Column("partition_key", sa.Text, comment="the day it is of, where the audience is partitioned"),
            sa.Column("source_as_of", instant, comment="the newest data behind it, by the audience's freshness_sql"),
            sa.Column("split", sa.JSON, comment="salt, stratify and groups, where the audience has a split"),
            sa.Index("snapshots_by_audience", "audience", "partition_key", "id"),
        )

        self.membership = sa.Table(
            "membership",
            self.metadata,
            sa.Column("audience", sa.Text, nullable=False),
            sa.Column("member_key", sa.Text(collation="C"), nullable=False),
            sa.Column("event", sa.Text, nullable=False, comment="enter or exit; of a split also move"),
            sa.Column("at", instant, nullable=False),
            sa.Column("snapshot_id", sa.BigInteger, nullable=False),
            sa.Column("split_group", sa.Text, comment="the group entered, moved to or left, where there is a split"),
            sa.Index("membership_by_member", "audience", "member_key"),
            sa.Index("membership_by_snapshot", "snapshot_id"),
        )

        self.split_positions = sa.Table(
            "split_positions",
            self.metadata,
            sa.Column("audience", sa.Text, primary_key=True),
            sa.Column("salt", sa.Text, primary_key=True),
            sa.Column("member_key", sa.Text(collation="C"), primary_key=True),
            sa.Column("stratum", sa.Text, nullable=False, comment="values of the columns of `stratify` at that time"),
            sa.Column("number", sa.BigInteger, nullable=False, comment="from 0 within the stratum"),
            sa.Column("position", sa.Double, nullable=False, comment="from 0 to 1; the group follows from it"),
            sa.Column("assigned_at", instant, nullable=False),
            comment="places in a stratified split, kept for ever, so that nobody changes group",
        )

        self.lists = sa.Table(
            "lists",
            self.metadata,
            sa.Column("sync", sa.Text, primary_key=True),
            sa.Column("list_id", sa.Text, nullable=False),
            sa.Column("wanted", sa.Text, nullable=False, comment="the id or name the definitions gave"),
            sa.Column("name", sa.Text, nullable=False),
            sa.Column("url", sa.Text),
            sa.Column("created_by_us", sa.Boolean, nullable=False),
            sa.Column("first_used_at", instant, nullable=False),
        )

        self.ledger = sa.Table(
            "ledger",
            self.metadata,
            sa.Column("sync", sa.Text, primary_key=True),
            sa.Column("member_key", sa.Text(collation="C"), primary_key=True),
            sa.Column("state", sa.Text, nullable=False, comment="accepted, unknown or rejected"),
            sa.Column("fingerprint", Fingerprint, comment="of the row as last settled; null: must be sent again"),
            sa.Column("payload_digest", Fingerprint, comment="of what the destination accepted"),
            sa.Column(
                "identifiers",
                Identifiers,
                nullable=False,
                comment="as sent; are or may be at the destination",
            ),
            sa.Column("remote_id", sa.Text, comment="the platform's own id of the person"),
            sa.Column("lacks", sa.Text, comment=_LACKS),
            sa.Column("delivered_at", instant),
            sa.Column("accepted_at", instant),
            sa.Column("run_id", sa.Text, nullable=False),
            postgresql_partition_by="LIST (sync)",
        )

        self.plans = sa.Table(
            "plans",
            self.metadata,
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("sync", sa.Text, nullable=False),
            sa.Column("run_id", sa.Text, nullable=False),
            sa.Column("snapshot_id", sa.BigInteger, nullable=False),
            sa.Column("status", sa.Text, nullable=False, comment="sealed, settled or blocked"),
            sa.Column("digest", sa.Text, nullable=False),
            sa.Column("sealed_at", instant, nullable=False),
            sa.Column("settled_at", instant),
            sa.Column("added", sa.BigInteger, nullable=False),
            sa.Column("updated", sa.BigInteger, nullable=False),
            sa.Column("removed", sa.BigInteger, nullable=False),
            sa.Column("unusable", sa.BigInteger, nullable=False),
            sa.Index("plans_by_sync", "sync", "id"),
        )

        self.plan = sa.Table(
            "plan",
            self.metadata,
            sa.Column("sync", sa.Text, nullable=False),
            sa.Column("plan_id", sa.BigInteger, nullable=False),
            sa.Column("seq", sa.BigInteger, nullable=False),
            sa.Column(
                "phase",
                sa.SmallInteger,
                nullable=False,
                comment="0 not sent, 1 removals, 2 additions, 3 retractions, 4 additions before removals",
            ),
            sa.Column("batch", sa.Integer, nullable=False, comment="from 1 within the phase"),
            sa.Column("kind", sa.Text, nullable=False),
            sa.Column("member_key", sa.Text(collation="C"), nullable=False),
            sa.Column("fingerprint", Fingerprint),
            sa.Column("payload_digest", Fingerprint),
            sa.Column("identifiers", Identifiers, nullable=False, comment="to be added, or to be removed"),
            sa.Column("inherited", Identifiers, comment="identifiers another member hands over by leaving"),
            sa.Column(
                "before", Identifiers, comment="the ledger's identifiers when this was planned; null: was not in it"
            ),
            sa.Column("remote_id", sa.Text),
            sa.Column("lacks", sa.Text, comment=_LACKS),
            sa.Column("payload", sa.Text, comment="JSON of the fields to send"),
            sa.Column("reason_code", sa.Text),
            sa.Column("reason", sa.Text),
            sa.Index("plan_by_batch", "plan_id", "phase", "batch"),
            postgresql_partition_by="LIST (sync)",
        )

        self.batches = sa.Table(
            "batches",
            self.metadata,
            sa.Column("plan_id", sa.BigInteger, primary_key=True),
            sa.Column("phase", sa.SmallInteger, primary_key=True),
            sa.Column("batch", sa.Integer, primary_key=True),
            sa.Column("sent_at", instant, nullable=False),
            sa.Column("booked_at", instant, comment="null: sent, no answer booked"),
        )

        self.jobs = sa.Table(
            "jobs",
            self.metadata,
            sa.Column("sync", sa.Text, primary_key=True),
            sa.Column("job_id", sa.Text, primary_key=True, comment="the platform's id of what it queued"),
            sa.Column("noted_at", instant, nullable=False, server_default=sa.func.now()),
            comment="work that a platform has queued and not finished, as far as we know",
        )

        self.verdicts = sa.Table(
            "verdicts",
            self.metadata,
            sa.Column("plan_id", sa.BigInteger, primary_key=True),
            sa.Column("seq", sa.BigInteger, primary_key=True),
            sa.Column("verdict", sa.Text, nullable=False),
            sa.Column("reason_code", sa.Text),
            sa.Column("reason", sa.Text),
            sa.Column("remote_id", sa.Text),
            comment="exceptions and learned ids only: a member of a booked batch without a row here was accepted",
        )

        self.rejections = sa.Table(
            "rejections",
            self.metadata,
            sa.Column("sync", sa.Text, primary_key=True),
            sa.Column("member_key", sa.Text(collation="C"), primary_key=True),
            sa.Column("change", sa.Text, nullable=False, comment="add or remove: what was refused"),
            sa.Column("reason_code", sa.Text, nullable=False),
            sa.Column("reason", sa.Text, nullable=False),
            sa.Column("first_at", instant, nullable=False),
            sa.Column("last_at", instant, nullable=False),
            sa.Column("attempts", sa.Integer, nullable=False),
        )

        self.approvals = sa.Table(
            "approvals",
            self.metadata,
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("sync", sa.Text, nullable=False),
            sa.Column("digest", sa.Text, nullable=False, comment="of the one plan that may be sent"),
            sa.Column("approved_by", sa.Text, nullable=False),
            sa.Column("approved_at", instant, nullable=False),
            sa.Column("expires_at", instant, nullable=False),
            sa.Column("used_at", instant, comment="when a run first sent the plan because of it"),
            sa.Column("run_id", sa.Text, comment="that run"),
            sa.Index("approvals_by_sync", "sync", "digest"),
        )

        self.forgotten = sa.Table(
            "forgotten",
            self.metadata,
            sa.Column("primary_key", sa.Text, primary_key=True, comment="the audiences' column that holds the key"),
            sa.Column("key_digest", sa.Text, primary_key=True, comment="SHA-256 of the key, in hexadecimal"),
            sa.Column("requested_at", instant, nullable=False),
            sa.Column("requested_by", sa.Text, nullable=False),
        )

        self.forgetting = sa.Table(
            "forgetting",
            self.metadata,
            sa.Column("sync", sa.Text, primary_key=True),
            sa.Column("key_digest", sa.Text, primary_key=True),
            sa.Column("destination", sa.Text, nullable=False),
            sa.Column("status", sa.Text, nullable=False, comment="pending, removed or not_held"),
            sa.Column("requested_at", instant, nullable=False),
            sa.Column("done_at", instant, comment="when the destination had acknowledged the removal"),
            comment="evidence, per destination, that a forgotten person was removed; without identifiers",
        )

        self.sync_runs = sa.Table(
            "sync_runs",
            self.metadata,
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("sync", sa.Text, nullable=False),
            sa.Column("run_id", sa.Text, nullable=False),
            sa.Column("status", sa.Text, nullable=False),
            sa.Column("started_at", instant, nullable=False),
            sa.Column("finished_at", instant),
            sa.Column("snapshot_id", sa.BigInteger),
            sa.Column("plan_id", sa.BigInteger),
            sa.Column("plan_digest", sa.Text),
            *(
                sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
                for name in (
                    "in_audience",
                    "delivered",
                    "accepted",
                    "added",
                    "updated",
                    "removed",
                    "rejected",
                    "retryable",
                    "unknown",
                    "recovered",
                    "requests",
                )
            ),
            sa.Column("list_id", sa.Text),
            sa.Column("list_name", sa.Text),
            sa.Column("list_url", sa.Text),
            sa.Column("error", sa.Text, nullable=False, server_default=""),
            sa.Column("reach", sa.JSON, comment="how many of the audience can be found, by field and reason"),
            sa.Column("withheld", sa.JSON, comment="members of the audience who are not sent, by reason"),
            sa.Index("sync_runs_by_sync", "sync", "id"),
        )

        self.matched_users = sa.Table(
            "matched_users",
            self.metadata,
            sa.Column("sync", sa.Text, primary_key=True),
            sa.Column("as_of", instant, primary_key=True),
            sa.Column("lower", sa.BigInteger),
            sa.Column("upper", sa.BigInteger),
            sa.Column("exact", sa.Boolean, nullable=False),
            sa.Column("accepted", sa.BigInteger, nullable=False),
            sa.Column("note", sa.Text, nullable=False, server_default=""),
        )

        self.paces = sa.Table(
            "paces",
            self.metadata,
            sa.Column("account", sa.Text, primary_key=True, comment="digest of the platform and its account"),
            sa.Column("free_at", sa.Double, nullable=False, comment="when its next request may go; seconds since 1970"),
            sa.Column("not_before", sa.Double, nullable=False, comment="until when it wants to be left alone"),
        )

        self.alerts = sa.Table(
            "alerts",
            self.metadata,
            sa.Column("sync", sa.Text, primary_key=True),
            sa.Column("severity", sa.Text, nullable=False, comment="ok, warning or critical"),
            sa.Column("since", instant, comment="when it was last all right; null while it is"),
            sa.Column("reasons", sa.JSON, nullable=False, comment="rule, severity, text of each"),
            sa.Column("told", sa.Text, nullable=False, comment="the severity people were last told"),
            sa.Column("told_rules", sa.JSON, nullable=False),
            sa.Column("told_at", instant),
            sa.Column("muted_until", instant),
            sa.Column("muted_by", sa.Text, nullable=False, server_default="", comment="who, and why"),
        )

        self.alert_messages = sa.Table(
            "alert_messages",
            self.metadata,
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("sync", sa.Text, nullable=False),
            sa.Column("channel", sa.Text, nullable=False),
            sa.Column("kind", sa.Text, nullable=False, comment="raised, eased, also, recovered or reminder"),
            sa.Column("severity", sa.Text, nullable=False),
            sa.Column("title", sa.Text, nullable=False),
            sa.Column("body", sa.Text, nullable=False),
            sa.Column("created_at", instant, nullable=False),
            sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
            sa.Column("next_attempt_at", instant, comment="null once it was sent or given up"),
            sa.Column("sent_at", instant),
            sa.Column("error", sa.Text, nullable=False, server_default="", comment="of the last attempt"),
            sa.Index("alert_messages_due", "next_attempt_at"),
        )


@cache
def state_tables(schema: str) -> StateTables:
    """The tables of that schema; one object per schema, so that SQLAlchemy's statement cache works."""
    return StateTables(schema)


def snapshot_table(schema: str, name: str, columns: tuple[str, ...]) -> sa.TableClause:
    """A snapshot's rows: ``_member_key`` (text) and the audience's own columns."""
    return sa.table(name, sa.column("_member_key"), *(sa.column(column) for column in columns), schema=schema)
