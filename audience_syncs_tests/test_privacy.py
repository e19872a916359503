"""DESIGN.md 4.13: no personal data in logs, errors, Dagster's store or our run records; secrets nowhere.

A demo of its own is put through everything that could make data leak: rejected rows, refused batches, answers that quote
what was sent, a revoked token, failing queries, duplicate keys that are emails. Then everything that was written is searched
for every email, phone and token there is, plain and hashed. Only the state itself (ledger, plan, snapshots) may know people.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import phonenumbers
import pytest
import requests
import sqlalchemy as sa

from audience_syncs.demo.postgres import EmbeddedPostgres
from audience_syncs_tests.local_demo import COMMAND, LocalDemo

STATE_ITSELF = {
    "ledger": {"identifiers", "member_key", "remote_id"},
    "plan": {"identifiers", "inherited", "before", "payload", "member_key", "remote_id"},
    "rejections": {"member_key"},
    "membership": {"member_key"},
    "snapshots": {"sql"},
}
"""Columns that are the state: who is in a list, by identifiers as sent, and by the key the user chose, which may be an
email. ``snapshots.sql`` is the user's own text."""

BAD_AUDIENCES = {
    "cast": ("SELECT user_id, email, email::bigint AS number FROM shop.users WHERE email IS NOT NULL", "user_id"),
    "duplicates": (
        "SELECT email AS id, email FROM shop.users JOIN generate_series(1, 2) ON true WHERE email IS NOT NULL",
        "id",
    ),
    "keyed_by_email": ("SELECT DISTINCT email AS id, email FROM shop.users WHERE email IS NOT NULL LIMIT 50", "id"),
}
EMAIL_LIKE = re.compile(r"[\w.+\-]+@[\w.\-]+")
DIGITS = re.compile(r"\+?\d[\d \-().]{7,}\d")
HEX = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b")


@dataclass
class Secrets:
    """Everything that must not be found, in the forms it could be found in."""

    emails: set[str] = field(default_factory=set)
    phones: set[str] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)

    def add_email(self, email: str) -> None:
        self.emails |= {email.strip(), email.strip().lower()}
        self._hash(email.strip(), email.strip().lower())

    def add_phone(self, phone: str, region: str | None) -> None:
        forms = {re.sub(r"\D", "", phone)}
        try:
            number = phonenumbers.parse(phone, region)
            forms |= {f"{number.country_code}{number.national_number}"}
        except phonenumbers.NumberParseException:
            pass
        # Fewer digits may be anything: a count, a date, a process number.
        self.phones |= {form for form in forms if len(form) >= 10}
        self._hash(*forms, *(f"+{form}" for form in forms))

    def _hash(self, *texts: str) -> None:
        for text in texts:
            self.hashes |= {hashlib.sha256(text.encode()).hexdigest(), hashlib.md5(text.encode()).hexdigest()}

    def found_in(self, text: str) -> set[str]:
        """What of it stands in the text, also where it was escaped or encoded."""
        found: set[str] = set()
        for form in {text, text.replace("\\\\", "\\"), unquote(text)}:
            if "\\u" in form:
                form = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), form)
            found |= {match.strip(".") for match in EMAIL_LIKE.findall(form)} & self.emails
            found |= {re.sub(r"\D", "", match) for match in DIGITS.findall(form)} & self.phones
            found |= set(HEX.findall(form.lower())) & self.hashes
            found |= {word for word in self.words if word in form}
        return found


@dataclass
class Written:
    """Everything that was written, with where."""

    texts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, text: str) -> None:
        if text:
            self.texts.append((where, text))

    @property
    def size(self) -> int:
        return sum(len(text) for _, text in self.texts)

    def leaks(self, secrets: Secrets) -> list[str]:
        return [f"{where}: {sorted(found)[:3]}" for where, text in self.texts if (found := secrets.found_in(text))]


@pytest.fixture(scope="module")
def demo() -> Iterator[LocalDemo]:
    folder = Path(tempfile.mkdtemp(prefix="as_priv_"))
    demo = LocalDemo(folder / "state")
    yield demo
    demo.stop()
    for process in demo.processes:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def test_13_nothing_personal_and_no_secret_is_in_anything_that_was_written(demo: LocalDemo) -> None:
    written = Written()
    demo.start("--users", "3000")
    _make_trouble(demo, written)
    demo.stop()
    with EmbeddedPostgres(demo.home / "postgres") as postgres:
        secrets = _secrets(demo, postgres)
        _read_database(postgres, "dagster", "public", written, {})
        _read_database(postgres, "warehouse", "audience_syncs", written, STATE_ITSELF)
    _read_files(demo, written)
    places = {where.split(":")[0].split("/")[0] for where, _ in written.texts}
    assert {
        "command",
        "file",
        "dagster.event_logs",
        "dagster.runs",
        "warehouse.sync_runs",
        "warehouse.rejections",
    } <= places
    assert len(secrets.emails) > 2_000
    assert len(secrets.phones) > 1_000
    assert written.size > 1_000_000, "too little was written to prove anything"
    sys.stdout.write(
        f"searched {written.size / 1e6:.1f} MB in {len(written.texts):,} texts for {len(secrets.emails):,} emails, "
        f"{len(secrets.phones):,} phones, {len(secrets.hashes):,} hashes, {len(secrets.words)} tokens\n"
    )
    leaks = written.leaks(secrets)
    assert not leaks, "\n".join(leaks[:20])
    _prove_that_it_would_be_found(secrets)


def _prove_that_it_would_be_found(secrets: Secrets) -> None:
    """The search itself: one of each kind, hidden as logs and JSON hide it."""
    email = "josé.müller@exämple.com"
    secrets.add_email(email)
    plain = next(email for email in sorted(secrets.emails) if email.isascii())
    phone = sorted(secrets.phones)[0]
    for text in (
        f"DETAIL: Key (email)=({plain}) already exists.",
        json.dumps({"reason": f"bad value {email}"}),
        json.dumps(json.dumps({"reason": f"bad value {email}"})),
        f"GET /contacts/{requests.utils.quote(plain)}?idProperty=email",
        f"phone {phone[:4]} {phone[4:7]}-{phone[7:]} refused",
        f"row ['{hashlib.sha256(plain.encode()).hexdigest()}']",
        f"Authorization: Bearer {sorted(secrets.words)[0]}",
    ):
        assert secrets.found_in(text), text


def _make_trouble(demo: LocalDemo, written: Written) -> None:
    """Every kind of it, through Dagster and through the commands."""

    def command(*arguments: str, **variables: str) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=demo.environment | variables,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        written.add(f"command: {' '.join(arguments)[:60]}", done.stdout + done.stderr)
        return done.stdout

    def fault(platform: str, kind: str, **more: object) -> None:
        asked = {"platform": platform, "kind": kind, "retry_after_s": 0} | more
        assert requests.post(f"{demo.simulators}/_simulator/faults", json=asked, timeout=30).ok

    def heal() -> None:
        requests.delete(f"{demo.simulators}/_simulator/faults", timeout=30)

    def materialise(audience: str, sync: str) -> str:
        return demo.materialise(f"sync__{audience}__{sync}", ["syncs", audience, sync])

    command("demo", "tick", "--hours", "72")
    for platform, sync in (("meta", "meta_ads"), ("hubspot", "hubspot_crm")):
        fault(platform, "partial", share=0.3, count=2)
        fault(platform, "reject_batch", count=3)
        fault(platform, "malformed", count=1)
        fault(platform, "reset_after", count=1)
        materialise("cart_abandoners", sync)
        heal()
        fault(platform, "forbidden", count=3)
        materialise("high_value_customers", sync)
        heal()
        command("plan", f"cart_abandoners/{sync}")
        command("resync", f"cart_abandoners/{sync}")
        command("audit", f"cart_abandoners/{sync}")
        runs = json.loads(command("runs", f"cart_abandoners/{sync}", "--json"))
        command("undo", f"cart_abandoners/{sync}", "--run", runs[0]["run_id"])
        command("run", f"lapsed_customers/{sync}", "--json")
        command("retry", f"cart_abandoners/{sync}", "--json")
    for platform, sync, name in (
        ("meta", "meta_ads", "META_ACCESS_TOKEN"),
        ("hubspot", "hubspot_crm", "HUBSPOT_ACCESS_TOKEN"),
    ):
        token = _variables(demo)[name]
        requests.post(f"{demo.simulators}/_simulator/{platform}/tokens/revoke", json={"token": token}, timeout=30)
        assert materialise("lapsed_customers", sync) == "FAILURE"
        requests.post(f"{demo.simulators}/_simulator/{platform}/tokens/restore", json={"token": token}, timeout=30)
    command("forget", "--source", "shop", "--key", "17")
    command("list", "--json")
    command("status", "--json")
    _run_bad_audiences(demo, written)


def _run_bad_audiences(demo: LocalDemo, written: Written) -> None:
    """Queries whose errors would quote rows, as runs of Dagster on the demo's own instance."""
    defs = demo.home / "bad"
    shutil.copytree(Path(__file__).parent.parent / "audience_syncs" / "defs", defs)
    shutil.rmtree(defs / "audiences")
    for name, (sql, key) in BAD_AUDIENCES.items():
        folder = defs / "audiences" / name
        folder.mkdir(parents=True)
        sync = {"destination": "meta_ads", "list": {"name": name}, "mapping": {"EMAIL": "email"}}
        attributes = {"name": name, "source": "shop", "sql": sql, "primary_key": key, "syncs": [sync]}
        document = {"type": "audience_syncs.components.Audience", "attributes": attributes}
        (folder / "defs.yaml").write_text(json.dumps(document))
    variables = demo.environment | _variables(demo) | {"AUDIENCE_SYNCS_DEFS": str(defs)}
    variables["DAGSTER_HOME"] = str(next(demo.home.rglob("dagster.yaml")).parent)
    for name in BAD_AUDIENCES:
        for select in (f"key:audiences/{name}", f"key:syncs/{name}/meta_ads"):
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "dagster",
                    "asset",
                    "materialize",
                    "--select",
                    select,
                    "-m",
                    "audience_syncs.definitions",
                ],
                env=variables,
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
            written.add(f"command: {select}", done.stdout + done.stderr)


def _variables(demo: LocalDemo) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (demo.home / "local.env").read_text().splitlines())


def _secrets(demo: LocalDemo, postgres: EmbeddedPostgres) -> Secrets:
    secrets = Secrets()
    engine = sa.create_engine(postgres.url("warehouse"))
    with engine.connect() as connection:
        for email, phone, country in connection.execute(sa.text("SELECT email, phone, country FROM shop.users")):
            if email and "@" in email:
                secrets.add_email(email)
            if phone:
                secrets.add_phone(phone, country)
    engine.dispose()
    secrets.words = {value for name, value in _variables(demo).items() if name.endswith("TOKEN")}
    assert secrets.words
    return secrets


def _read_database(
    postgres: EmbeddedPostgres, database: str, schema: str, written: Written, exempt: dict[str, set[str]]
) -> None:
    """Every column of every table of the schema, as text."""
    engine = sa.create_engine(postgres.url(database))
    with engine.connect() as connection:
        columns = connection.execute(
            sa.text(
                "SELECT table_name, column_name FROM information_schema.columns c JOIN information_schema.tables t "
                "USING (table_schema, table_name) WHERE table_schema = :schema AND t.table_type = 'BASE TABLE'"
            ),
            {"schema": schema},
        ).all()
        for table, column in columns:
            base = next((name for name in exempt if table == name or table.startswith(f"{name}_")), table)
            if column in exempt.get(base, set()) or re.fullmatch(r"snapshot_\d+", table):
                continue
            found = connection.execute(
                sa.text(f'SELECT "{column}"::text FROM {schema}."{table}" WHERE "{column}" IS NOT NULL')
            )
            written.add(f"{database}.{base}: {column}", "\n".join(str(row[0]) for row in found))
    engine.dispose()


def _read_files(demo: LocalDemo, written: Written) -> None:
    """Everything under the demo's folder but the database's own files, the platforms' and the environment's."""
    for path in demo.home.rglob("*"):
        relative = path.relative_to(demo.home)
        if not path.is_file() or relative.parts[0] in ("simulators", "bad") or path.name == "local.env":
            continue
        if relative.parts[0] == "postgres" and path.suffix != ".log" and "log" not in relative.parts:
            continue
        written.add(f"file: {relative}", path.read_bytes().decode(errors="replace"))
