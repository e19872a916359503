"""The commands for a sync that needs a hand, as a person types them, on a demo of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from audience_syncs.demo.postgres import EmbeddedPostgres
from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.local_demo import LocalDemo

META, HUBSPOT = "lapsed_customers/meta_ads", "lapsed_customers/hubspot_crm"


@pytest.fixture(scope="module")
def demo() -> Iterator[LocalDemo]:
    """A demo that was run once, with its database and its platforms kept up, so that commands are quick."""
    folder = Path(tempfile.mkdtemp(prefix="as_hand_"))
    demo = LocalDemo(folder / "state")
    demo.run("demo", "--once", "--users", "3000")
    port = int(demo.simulators.rpartition(":")[2])
    with EmbeddedPostgres(demo.home / "postgres"), SimulatorServer(demo.home / "simulators", port=port):
        yield demo
    shutil.rmtree(folder, ignore_errors=True)


def size(demo: LocalDemo, platform: str, sync: str) -> int:
    wanted = {row["sync"]: row["list_name"] for row in demo.answer("status")}[sync]
    lists = requests.get(f"{demo.simulators}/_simulator/{platform}/lists", timeout=30).json()
    return next(found["size"] for found in lists if found["name"] == wanted)


def test_a_run_is_undone_by_its_id_after_a_look_at_what_that_does(demo: LocalDemo) -> None:
    before = size(demo, "meta", META)
    demo.run("demo", "tick", "--hours", "24")
    report = demo.answer("run", META)
    runs = demo.answer("runs", META)
    assert [run["status"] for run in runs] == ["succeeded", "succeeded"]
    assert runs[0]["run_id"] == report["run_id"]
    shown = demo.run("undo", META, "--run", report["run_id"][:8], "--dry-run").stdout
    assert f"{report['removed']:,} to add" in shown
    assert f"{report['added']:,} to remove" in shown
    assert demo.answer("undo", META, "--run", report["run_id"][:8])["removed"] == report["added"]
    assert size(demo, "meta", META) == before
    refused = demo.run("undo", META, "--run", "no-such-run", code=1)
    assert "has no run 'no-such-run'" in refused.stderr
    assert demo.answer("run", META)["added"] == report["added"]


def test_a_full_resync_and_an_audit_from_the_terminal(demo: LocalDemo) -> None:
    report = demo.answer("resync", META)
    assert report["resent"] == report["accepted"] > 0
    assert "No difference." in demo.run("audit", HUBSPOT).stdout
    found = demo.answer("audit", META)
    assert (found["exact"], found["passed"]) == (False, True)
    lists = requests.get(f"{demo.simulators}/_simulator/hubspot/lists", timeout=30).json()
    name = {row["sync"]: row["list_name"] for row in demo.answer("status")}[HUBSPOT]
    list_id = next(one["id"] for one in lists if one["name"] == name)
    page = requests.get(f"{demo.simulators}/_simulator/hubspot/lists/{list_id}/members?limit=1", timeout=30).json()
    put_out = requests.put(
        f"{demo.simulators}/hubspot/crm/lists/2026-09/{list_id}/memberships/remove",
        json=[str(page["members"][0]["id"])],
        headers={"Authorization": "Bearer demo-hubspot-token"},
        timeout=30,
    )
    assert put_out.ok, put_out.text
    done = demo.run("audit", HUBSPOT, code=1)
    assert "1 of" in done.stdout
    assert "audience-syncs resync" in done.stdout
    demo.answer("resync", HUBSPOT)
    assert demo.answer("audit", HUBSPOT)["missing"] == 0


def test_a_blocked_plan_is_approved_by_its_digest_and_by_no_other(demo: LocalDemo) -> None:
    defs = demo.home / "strict"
    shutil.copytree(Path(__file__).parent.parent / "audience_syncs" / "defs", defs, dirs_exist_ok=True)
    path = defs / "audiences" / "lapsed_customers" / "defs.yaml"
    text = path.read_text()
    path.write_text(
        text.replace("    - destination: meta_ads\n", "    - destination: meta_ads\n      guard: {max_removals: 0}\n")
    )
    demo.environment["AUDIENCE_SYNCS_DEFS"] = str(defs)
    try:
        demo.run("demo", "tick", "--hours", "48")
        blocked = demo.run("run", META, code=1)
        assert "nothing was sent" in blocked.stderr
        plan = demo.answer("plan", META)
        assert f"audience-syncs approve {META} {plan['digest']}" in blocked.stderr
        wrong = demo.run("approve", META, "0123456789abcdef", code=1)
        assert f"the plan is now {plan['digest']}, not 0123456789abcdef" in wrong.stderr
        assert demo.run("approve", META, plan["digest"], "--expires", "soon", code=1).stderr.startswith("[DEFINITION]")
        report = demo.answer("approve", META, plan["digest"], code=0)
        assert report["removed"] == plan["counts"]["removed"] > 0
    finally:
        del demo.environment["AUDIENCE_SYNCS_DEFS"]


def test_rejected_members_are_tried_again_on_request(demo: LocalDemo) -> None:
    report = demo.answer("retry", HUBSPOT)
    assert report["rejected"] == sum(reason["members"] for reason in report["rejections"]) > 0


def test_a_person_is_forgotten_everywhere_with_evidence(demo: LocalDemo) -> None:
    with_him = size(demo, "meta", META)
    engine_rows = demo.answer("list")
    assert engine_rows
    key = _somebody(demo)
    records = demo.answer("forget", "--source", "shop", "--key", key)
    assert {record["status"] for record in records if record["sync"] == META} == {"removed"}
    assert size(demo, "meta", META) == with_him - 1
    demo.answer("run", META)
    assert size(demo, "meta", META) == with_him - 1
    refused = demo.run("forget", "--source", "shpo", "--key", key, code=1)
    assert "there is no source 'shpo'" in refused.stderr


def _somebody(demo: LocalDemo) -> str:
    import sqlalchemy as sa

    variables = dict(line.split("=", 1) for line in (demo.home / "local.env").read_text().splitlines())
    engine = sa.create_engine(variables["AUDIENCE_SYNCS_SHOP_URL"])
    with engine.connect() as connection:
        found = connection.scalar(
            sa.text("SELECT min(member_key) FROM audience_syncs.ledger WHERE sync = :sync AND state = 'accepted'"),
            {"sync": META},
        )
    engine.dispose()
    return str(found)
