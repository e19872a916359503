"""Files as a destination: whoever starts from the manifest sees whole versions of the list, after any crash; on local disk,
in a real S3 server, over a real SFTP server."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.files.account import Files, folder_of
from audience_syncs.destinations.registry import check_destination, open_destination
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SyncConfig
from audience_syncs.model.errors import (
    AccessRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, SyncReport
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs_tests.sftp_server import PASSWORD, USER, SftpServer

S3_SECRET = "s3-secret-of-the-test"


def config(url: str, credentials: dict[str, Any] | None = None, **settings: Any) -> DestinationConfig:
    return DestinationConfig.model_validate(
        {
            "name": "drop",
            "platform": "files",
            "credentials": {name: {"env": name.upper()} for name in credentials or {}},
            "settings": {"url": url} | settings,
        }
    )


def files_at(url: str, credentials: dict[str, Any] | None = None, **settings: Any) -> Files:
    environ = {name.upper(): value for name, value in (credentials or {}).items()}
    opened = open_destination(config(url, credentials, **settings), environ)
    assert isinstance(opened, Files)
    return opened


class Reader:
    """Somebody who reads the list as its documentation says: from the manifest."""

    def __init__(self, files: Files, folder: str) -> None:
        self._storage = files._storage
        self._folder = folder

    @property
    def manifest(self) -> Any:
        content = self._storage.read(f"{self._folder}/manifest.json")
        return None if content is None else orjson.loads(content)

    def rows(self, file: Any) -> list[dict[str, str]]:
        content = self._storage.read(f"{self._folder}/{file['path']}")
        assert content is not None, f"{file['path']} is listed and not there"
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
        if file["path"].endswith(".parquet"):
            found = pq.read_table(io.BytesIO(content)).to_pylist()
            rows = [{name: value or "" for name, value in row.items()} for row in found]
        else:
            text = (gzip.decompress(content) if file["path"].endswith(".gz") else content).decode()
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert len(rows) == file["rows"]
        return rows

    def members(self) -> dict[str, dict[str, str]]:
        rows = [row for file in self.manifest["members"]["files"] for row in self.rows(file)]
        found = {row["id"]: row for row in rows}
        assert len(found) == len(rows) == self.manifest["members"]["rows"], "somebody is there twice"
        return found

    def replayed(self) -> dict[str, dict[str, str]]:
        """The list, made from its changes alone."""
        found: dict[str, dict[str, str]] = {}
        for version in self.manifest["versions"]:
            for change in version["changes"]:
                for row in self.rows(change):
                    if change["change"] == "put":
                        found[row["id"]] = row
                    else:
                        found.pop(row["id"], None)
        return found


class Shop:
    """An audience in a real warehouse, synced to files."""

    def __init__(self, warehouse: Warehouse, url: str, **settings: Any) -> None:
        self.warehouse = warehouse
        self.url = url
        self.settings = settings
        self.mapping = {"id": "id", "name": "name"}
        self.removal = "remove"
        self.execute("CREATE TABLE people (id text, name text)")

    def execute(self, *statements: str) -> None:
        with self.warehouse.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def open(self, batch_size: int = 2) -> Files:
        files = files_at(self.url, **self.settings)
        files.spec = dataclasses.replace(files.spec, batch_size=batch_size)
        return files

    def run(self, files: Files | None = None) -> SyncReport:
        sync = SyncConfig.model_validate(
            {
                "destination": "drop",
                "list": {"name": "VIPs / EU"},
                "mapping": self.mapping,
                "removal": self.removal,
                "guard": {"allow_empty": True, "max_drop_percent": 100},
            }
        )
        audience = AudienceConfig(
            name="vips", source="shop", primary_key="id", sql="SELECT id, name FROM people", syncs=[sync]
        )
        evaluate_audience(audience, self.warehouse, run_id="run")
        return run_sync(audience, sync, files or self.open(), self.warehouse, run_id="run")

    @property
    def reader(self) -> Reader:
        return Reader(self.open(), "VIPs %2F EU")


@pytest.fixture
def warehouse(fresh_postgres_url: str) -> Iterator[Warehouse]:
    with open_warehouse_at(fresh_postgres_url) as warehouse:
        yield warehouse


@pytest.fixture(params=["csv", "csv.gz", "parquet"])
def shop(request: pytest.FixtureRequest, warehouse: Warehouse, tmp_path: Path) -> Shop:
    form, _, compressed = request.param.partition(".")
    return Shop(warehouse, str(tmp_path), format=form, compression="gzip" if compressed else "none", rows_per_file=3)


def test_every_run_publishes_everybody_and_what_changed(shop: Shop) -> None:
    hostile = "O''Brien, \"Zoë\"\n=cmd|x 🛒"
    shop.execute(f"INSERT INTO people VALUES ('1', '{hostile}'), ('2', 'Bob'), ('3', NULL), ('4', 'Dan'), ('5', 'Eve')")
    report = shop.run()
    assert (report.accepted, report.matched.upper if report.matched else None) == (5, 5)
    assert {key: row["name"] for key, row in shop.reader.members().items()} == {
        "1": hostile.replace("''", "'"),
        "2": "Bob",
        "3": "",
        "4": "Dan",
        "5": "Eve",
    }
    assert len(shop.reader.manifest["members"]["files"]) == 2
    shop.execute("DELETE FROM people WHERE id = '2'", "UPDATE people SET name = 'Ed' WHERE id = '5'")
    shop.run()
    (version,) = shop.reader.manifest["versions"][1:]
    changes = [(change["change"], shop.reader.rows(change)) for change in version["changes"]]
    assert changes == [("removed", [{"id": "2"}]), ("put", [{"id": "5", "name": "Ed"}])]
    assert set(shop.reader.members()) == {"1", "3", "4", "5"}
    assert shop.reader.replayed() == shop.reader.members()
    shop.execute("DELETE FROM people")
    shop.run()
    assert shop.reader.members() == {}


def test_a_run_without_changes_writes_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    shop = Shop(warehouse, str(tmp_path))
    shop.execute("INSERT INTO people VALUES ('1', 'Anna')")
    shop.run()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    shop.run()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_new_column_is_published_though_no_member_changed(warehouse: Warehouse, tmp_path: Path) -> None:
    shop = Shop(warehouse, str(tmp_path))
    shop.mapping = {"id": "id"}
    shop.run()
    assert shop.reader.manifest["columns"] == ["id"]
    shop.mapping = {"id": "id", "name": "name"}
    shop.run()
    assert shop.reader.manifest["columns"] == ["id", "name"]


@pytest.mark.parametrize("dies_at", range(1, 16))
def test_whoever_reads_sees_the_old_version_or_the_new_one_wherever_a_run_dies(
    dies_at: int, warehouse: Warehouse, tmp_path: Path
) -> None:
    """The run dies in the middle of its n-th file, or with the file half renamed; the next one brings everything in order."""
    shop = Shop(warehouse, str(tmp_path), rows_per_file=2)
    shop.execute("INSERT INTO people VALUES ('1', 'Anna'), ('2', 'Bob'), ('3', 'Cid'), ('4', 'Dan'), ('5', 'Eve')")
    shop.run()
    old = shop.reader.members()
    shop.execute("DELETE FROM people WHERE id IN ('1', '2')", "INSERT INTO people VALUES ('6', 'Fay'), ('7', 'Gus')")
    shop.execute("UPDATE people SET name = 'Ed' WHERE id = '5'")
    files = shop.open()
    left = iter(range(dies_at, -1, -1))
    system: Any = files._storage._system()

    class Dead(BaseException):
        pass

    def dying(act: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(left, 0) <= 1:
                if act is move and dies_at % 2:
                    act(*arguments, **named)
                raise Dead
            return act(*arguments, **named)

        return call

    move = system.mv
    system.mv, system.open, system.rm = dying(move), dying(system.open), dying(system.rm)
    try:
        shop.run(files)
        died = False
    except Dead:
        died = True
    new = {"3": "Cid", "4": "Dan", "5": "Ed", "6": "Fay", "7": "Gus"}
    seen = {key: row["name"] for key, row in shop.reader.members().items()}
    assert seen in ({key: row["name"] for key, row in old.items()}, new)
    assert shop.reader.replayed() == shop.reader.members()
    shop.execute("DELETE FROM people WHERE id = '7'")
    shop.run()
    assert {key: row["name"] for key, row in shop.reader.members().items()} == {
        k: v for k, v in new.items() if k != "7"
    }
    assert shop.reader.replayed() == shop.reader.members(), "the changes do not lead to the members"
    assert died or dies_at > 12


def test_what_was_delivered_is_published_by_the_next_run_where_the_manifest_could_not_be_written(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    shop = Shop(warehouse, str(tmp_path))
    shop.execute("INSERT INTO people VALUES ('1', 'Anna')")
    files = shop.open()
    put = files._storage.put

    def refusing(path: str, fill: Any) -> Any:
        if path.endswith("manifest.json"):
            raise NotApplied("the storage is full")
        return put(path, fill)

    files._storage.put = refusing  # type: ignore[method-assign]
    with pytest.raises(NotApplied):
        shop.run(files)
    assert shop.reader.manifest is None
    # Nothing is left to deliver; the list is published all the same.
    assert shop.run().added == 0
    assert set(shop.reader.members()) == {"1"} == set(shop.reader.replayed())


def test_who_is_kept_after_leaving_stays_in_the_file_by_their_key(warehouse: Warehouse, tmp_path: Path) -> None:
    shop = Shop(warehouse, str(tmp_path))
    shop.removal = "keep"
    shop.execute("INSERT INTO people VALUES ('1', 'Anna'), ('2', 'Bob')")
    shop.run()
    shop.execute("DELETE FROM people WHERE id = '1'", "INSERT INTO people VALUES ('3', 'Cid')")
    shop.run()
    assert {key: row["name"] for key, row in shop.reader.members().items()} == {"1": "", "2": "Bob", "3": "Cid"}


def test_old_files_go_and_those_of_the_version_before_stay(warehouse: Warehouse, tmp_path: Path) -> None:
    shop = Shop(warehouse, str(tmp_path), keep=3)
    seen = []
    for number in range(6):
        shop.execute(f"INSERT INTO people VALUES ('{number}', 'x')")
        shop.run()
        seen.append(shop.reader.manifest)
    folder = tmp_path / "VIPs %2F EU"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    listed = {change["path"] for version in seen[-1]["versions"] for change in version["changes"]}
    members = {file["path"] for shown in seen[-2:] for file in shown["members"]["files"]}
    assert there == {"list.json", "manifest.json"} | listed | members
    assert len(listed) == 3


def test_only_changes_are_written_where_members_are_not_wanted(warehouse: Warehouse, tmp_path: Path) -> None:
    shop = Shop(warehouse, str(tmp_path), members=False)
    shop.execute("INSERT INTO people VALUES ('1', 'Anna')")
    shop.run()
    assert shop.reader.manifest["members"] is None
    assert set(shop.reader.replayed()) == {"1"}


@pytest.mark.parametrize("name", ["../../etc", "..", ".hidden", "a/b", "a\\b", "a\0b", "C:x", "%2F", "Käufer 🛒"])
def test_a_lists_name_never_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "in" / "side"
    files = files_at(f"file://{inside}")
    made = files.ensure_list(ListRequest(name))
    assert [path.parent for path in tmp_path.rglob("list.json")] == [inside / made.id]
    assert files.ensure_list(ListRequest("other", id=made.id)).name == name
    names = ["a/b", "a%2Fb", "%2F", "/", ".x", "%2Ex"]
    assert len({folder_of(other, "") for other in names}) == len(names)


def test_a_list_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    files = files_at(str(tmp_path))
    made = files.ensure_list(ListRequest("people"))
    (tmp_path / made.id / "list.json").unlink()
    for call in (files.add, files.remove):
        with pytest.raises(ListMissing):
            call(made.id, Batch([Outgoing({"id": "1"})]))
    with pytest.raises(ListMissing):
        files.ensure_list(ListRequest("people", id=made.id))
    with pytest.raises(ListMissing):
        files.publish(made.id, ("id",), iter([]))


def test_a_manifest_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    files = files_at(str(tmp_path))
    made = files.ensure_list(ListRequest("people"))
    for content in (b"[]", b"{", b'{"manifest": 2}', b"\xff"):
        (tmp_path / made.id / "manifest.json").write_bytes(content)
        with pytest.raises(DestinationError, match="not one that we wrote"):
            files_at(str(tmp_path)).publish(made.id, ("id",), iter([]))


def test_members_are_written_page_by_page(tmp_path: Path) -> None:
    """A million members: memory stays at a few pages."""
    import tracemalloc

    files = files_at(str(tmp_path), compression="gzip")
    made = files.ensure_list(ListRequest("people"))
    files.add(made.id, Batch([Outgoing({"id": "x"})]))

    def pages() -> Iterator[list[Outgoing]]:
        for page in range(100):
            yield [Outgoing({"id": f"{page:03d}{n:04d}", "name": "x" * 50}) for n in range(2_000)]

    tracemalloc.start()
    files.publish(made.id, ("id", "name"), pages())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert files.matched_users(made.id).upper == 200_000
    assert peak < 30e6, f"{peak / 1e6:.0f} MB"


# S3


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    import boto3

    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="k", aws_secret_access_key=S3_SECRET, region_name="us-east-1"
    )
    client.create_bucket(Bucket="audiences")
    yield address
    server.shutdown()


def test_a_list_is_kept_in_s3(s3: str, warehouse: Warehouse) -> None:
    shop = Shop(warehouse, "s3://audiences/prod", storage_options={"endpoint_url": s3}, format="parquet")
    shop.settings["credentials"] = {"key": "k", "secret": S3_SECRET}
    shop.execute("INSERT INTO people VALUES ('1', 'Anna'), ('2', 'Bob'), ('3', 'Zoë')")
    shop.run()
    shop.execute("DELETE FROM people WHERE id = '2'")
    shop.run()
    assert {key: row["name"] for key, row in shop.reader.members().items()} == {"1": "Anna", "3": "Zoë"}
    assert set(shop.reader.replayed()) == {"1", "3"}
    nowhere = files_at("s3://no-such-bucket/x", shop.settings["credentials"], storage_options={"endpoint_url": s3})
    with pytest.raises(DestinationError, match="not there"):
        nowhere.ensure_list(ListRequest("people"))


def test_an_s3_that_does_not_answer_applies_nothing_or_nobody_knows() -> None:
    closed = {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}}
    assert check_destination(config("s3://b/x", storage_options=closed))[0].path == (
        "settings",
        "storage_options",
        "config_kwargs",
    )
    files = files_at(
        "s3://b/x", {"key": "k", "secret": S3_SECRET}, storage_options={"endpoint_url": closed["endpoint_url"]}
    )
    files._storage._system().config_kwargs = closed["config_kwargs"]
    with pytest.raises((NotApplied, NoAnswer)) as refused:
        files.ensure_list(ListRequest("people"))
    assert S3_SECRET not in str(refused.value)


# SFTP


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    root = tmp_path_factory.mktemp("sftp")
    (root / "drop").mkdir()
    server = SftpServer(root)
    yield server
    server.stop()


def test_a_list_is_kept_over_sftp(sftp: SftpServer, warehouse: Warehouse) -> None:
    shop = Shop(warehouse, f"sftp://127.0.0.1:{sftp.port}/drop", host_key=sftp.fingerprint)
    shop.settings["credentials"] = {"username": USER, "password": PASSWORD}
    shop.execute("INSERT INTO people VALUES ('1', 'Anna'), ('2', 'Bob'), ('3', 'Zoë')")
    shop.run()
    shop.execute("DELETE FROM people WHERE id = '2'")
    shop.run()
    assert {key: row["name"] for key, row in shop.reader.members().items()} == {"1": "Anna", "3": "Zoë"}
    assert not list(sftp.root.rglob("*.part"))


def test_a_server_with_another_key_is_never_sent_the_password(sftp: SftpServer) -> None:
    sftp.passwords_seen.clear()
    other = "SHA256:" + "A" * 43
    files = files_at(f"sftp://127.0.0.1:{sftp.port}/drop", {"username": USER, "password": PASSWORD}, host_key=other)
    with pytest.raises(AccessRefused, match="key is not the one"):
        files.ensure_list(ListRequest("people"))
    assert sftp.passwords_seen == []


def test_a_wrong_password_and_a_closed_port_are_told_apart_and_never_shown(sftp: SftpServer) -> None:
    wrong = {"username": USER, "password": "wrong-pass-word"}
    files = files_at(f"sftp://127.0.0.1:{sftp.port}/drop", wrong, host_key=sftp.fingerprint)
    with pytest.raises(AccessRefused) as refused:
        files.ensure_list(ListRequest("people"))
    assert "wrong-pass-word" not in str(refused.value)
    with pytest.raises(NotApplied):
        files_at("sftp://127.0.0.1:9/drop", wrong, host_key=sftp.fingerprint).ensure_list(ListRequest("people"))
    key = {"username": USER, "private_key": "no key"}
    with pytest.raises(DefinitionError, match="private key"):
        files_at(f"sftp://127.0.0.1:{sftp.port}/drop", key, host_key=sftp.fingerprint).ensure_list(ListRequest("x"))


def test_what_the_yaml_asks_is_checked() -> None:
    def said(url: str, **settings: Any) -> str:
        return " ".join(problem.message for problem in check_destination(config(url, **settings)))

    assert said("/srv/x") == ""
    assert "relative" in said("srv/x")
    assert "under `credentials`" in " ".join(p.remedy for p in check_destination(config("sftp://me:pw@host/x")))
    assert "pretend" in said("sftp://host/x")
    assert "secret" in said("s3://b", storage_options={"secret": "x"})
    assert "compressed inside" in said("/x", format="parquet", compression="gzip")
    assert "format" in said("/x", format="xlsx")
    with pytest.raises(DefinitionError, match="nothing here that reaches"):
        files_at("nosuch://x/y").ensure_list(ListRequest("people"))
