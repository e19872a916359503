"""Records: made, updated and deleted one by one, each with an answer of its own.

Read from the Object Reference and the SOAP API's status codes: a campaign member is one contact or lead in one campaign, once;
deleting a contact, a lead or a campaign deletes its memberships; a converted lead takes no more changes; what is deleted is
"entity is deleted", and an id that never was is an invalid cross reference.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from audience_syncs.simulators.salesforce.errors import BadRecord
from audience_syncs.simulators.salesforce.objects import OBJECTS, Object, check, is_external_id, long_id, record_id
from audience_syncs.simulators.store import Store

STATUSES = ("Sent", "Responded")
_INDEXED = ("Email", "Name", "CampaignId", "ContactId", "LeadId", "Shop_Id__c")


class Records:
    """All records of the org."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS records (number INTEGER PRIMARY KEY AUTOINCREMENT, object TEXT NOT NULL,"
            " id TEXT UNIQUE, fields TEXT NOT NULL, created REAL NOT NULL, deleted INTEGER NOT NULL DEFAULT 0)",
            *(
                f"CREATE INDEX IF NOT EXISTS records_by_{name} ON records "
                f"(object, json_extract(fields, '$.{name}') COLLATE NOCASE)"
                for name in _INDEXED
            ),
        )

    # Reading

    def get(self, db: sqlite3.Connection | None, name: str) -> tuple[str, dict[str, Any], bool] | None:
        """Object, fields, and whether it is deleted."""
        sql = "SELECT object, fields, deleted FROM records WHERE id = ?"
        found = self._store.row(sql, long_id(name)) if db is None else db.execute(sql, (long_id(name),)).fetchone()
        return None if found is None else (found[0], orjson.loads(found[1]), bool(found[2]))

    def where(self, db: sqlite3.Connection, kind: str, name: str, value: str) -> list[str]:
        """Ids of those that have the value, the oldest first."""
        sql = f"SELECT id FROM records WHERE object = ? AND json_extract(fields, '$.{name}') COLLATE NOCASE = ?"
        return [row[0] for row in db.execute(f"{sql} AND deleted = 0 ORDER BY number", (kind, value))]

    # Changing

    def insert(self, db: sqlite3.Connection, kind: Object, fields: Mapping[str, Any], now: float) -> str:
        """The id. Raises BadRecord."""
        check(kind, fields, makes=True)
        self._check_unique(db, kind, fields, "")
        held = {name: value for name, value in fields.items() if value is not None}
        if kind.name == "CampaignMember":
            held = self._membership(db, held)
        if kind.name == "Lead":
            held["IsConverted"] = False
        cursor = db.execute(
            "INSERT INTO records (object, fields, created) VALUES (?, ?, ?)",
            (kind.name, orjson.dumps(held).decode(), now),
        )
        name = record_id(kind.prefix, int(cursor.lastrowid or 0))
        db.execute("UPDATE records SET id = ? WHERE number = ?", (name, cursor.lastrowid))
        if kind.name == "Campaign":
            for place, label in enumerate(STATUSES):
                status = {"CampaignId": name, "Label": label, "IsDefault": not place, "HasResponded": place > 0}
                self.insert(db, OBJECTS["CampaignMemberStatus"], status, now)
        return name

    def update(self, db: sqlite3.Connection, kind: Object, name: str, fields: Mapping[str, Any]) -> str:
        """The id. Raises BadRecord."""
        held = self._there(db, kind, name)
        if held.get("IsConverted"):
            raise BadRecord("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        check(kind, fields, makes=False)
        self._check_unique(db, kind, fields, long_id(name))
        merged = {field: value for field, value in {**held, **fields}.items() if value is not None}
        db.execute("UPDATE records SET fields = ? WHERE id = ?", (orjson.dumps(merged).decode(), long_id(name)))
        return long_id(name)

    def upsert(
        self, db: sqlite3.Connection, kind: Object, by: str, fields: Mapping[str, Any], now: float
    ) -> tuple[str, bool]:
        """The id, and whether it was made. Raises BadRecord."""
        value = fields.get(by)
        if value in (None, ""):
            raise BadRecord("MISSING_ARGUMENT", f"{by} not specified", by)
        found = self.where(db, kind.name, by, str(value))
        if len(found) > 1:
            raise BadRecord("DUPLICATE_EXTERNAL_ID", f"{by}: more than one record found for external id field", by)
        if found:
            return self.update(db, kind, found[0], fields), False
        return self.insert(db, kind, fields, now), True

    def delete(self, db: sqlite3.Connection, kind: Object | None, name: str) -> str:
        """The id. Raises BadRecord."""
        self._there(db, kind, name)
        db.execute("UPDATE records SET deleted = 1 WHERE id = ?", (long_id(name),))
        field = {"003": "ContactId", "00Q": "LeadId", "701": "CampaignId"}.get(name[:3])
        for member in self.where(db, "CampaignMember", field, long_id(name)) if field else ():
            self.delete(db, OBJECTS["CampaignMember"], member)
        return long_id(name)

    def convert(self, lead: str, now: float) -> str:
        """What a salesperson does: the lead becomes a contact, in the same campaigns. The contact's id."""
        with self._store.transaction() as db:
            held = self._there(db, OBJECTS["Lead"], lead)
            fields: dict[str, Any] = {name: held[name] for name in ("Email", "FirstName", "LastName") if name in held}
            contact = self.insert(db, OBJECTS["Contact"], fields, now)
            held |= {"IsConverted": True, "ConvertedContactId": contact}
            db.execute("UPDATE records SET fields = ? WHERE id = ?", (orjson.dumps(held).decode(), lead))
            db.execute(
                "UPDATE records SET fields = json_set(fields, '$.ContactId', ?) WHERE object = 'CampaignMember' "
                "AND deleted = 0 AND json_extract(fields, '$.LeadId') COLLATE NOCASE = ?",
                (contact, lead),
            )
            return contact

    def _there(self, db: sqlite3.Connection, kind: Object | None, name: str) -> dict[str, Any]:
        found = self.get(db, name)
        if found is None or (kind is not None and found[0] != kind.name):
            raise BadRecord("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if found[2]:
            raise BadRecord("ENTITY_IS_DELETED", "entity is deleted")
        return found[1]

    def _membership(self, db: sqlite3.Connection, given: dict[str, Any]) -> dict[str, Any]:
        """Checked, with its ids in 18 characters, and the campaign's status where it has none that the campaign knows."""
        held = {name: long_id(value) if name.endswith("Id") else value for name, value in given.items()}
        campaign = self.get(db, str(held.get("CampaignId", "")))
        if campaign is None or campaign[0] != "Campaign":
            raise BadRecord("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", "CampaignId")
        if campaign[2]:
            raise BadRecord("ENTITY_IS_DELETED", "entity is deleted", "CampaignId")
        side = "ContactId" if held.get("ContactId") else "LeadId"
        person = self.get(db, str(held.get(side, "")))
        if person is None or person[0] != side.removesuffix("Id"):
            raise BadRecord("REQUIRED_FIELD_MISSING", "Required fields are missing: [LeadId, ContactId]", side)
        if person[2]:
            raise BadRecord("ENTITY_IS_DELETED", "entity is deleted", side)
        if person[1].get("IsConverted"):
            raise BadRecord("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", side)
        for member in self.where(db, "CampaignMember", side, held[side]):
            there = self.get(db, member)
            if there is not None and there[1]["CampaignId"] == held["CampaignId"]:
                raise BadRecord("DUPLICATE_VALUE", "Already a campaign member.")
        labels = [
            self.get(db, each) for each in self.where(db, "CampaignMemberStatus", "CampaignId", held["CampaignId"])
        ]
        known = [each[1] for each in labels if each is not None]
        default = next((each["Label"] for each in known if each.get("IsDefault")), "Sent")
        wanted = held.get("Status")
        held["Status"] = wanted if any(each["Label"] == wanted for each in known) else default
        return held

    def _check_unique(self, db: sqlite3.Connection, kind: Object, fields: Mapping[str, Any], mine: str) -> None:
        for name, value in fields.items():
            if value is not None and is_external_id(name):
                others = [each for each in self.where(db, kind.name, name, str(value)) if each != mine]
                if others:
                    text = f"duplicate value found: {name} duplicates value on record with id: {others[0][:15]}"
                    raise BadRecord("DUPLICATE_VALUE", text)

    # For the inspection

    def members(self, campaign: str, after: int, limit: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT m.number, m.fields, p.id, p.fields FROM records m JOIN records p ON p.id = "
            "coalesce(json_extract(m.fields, '$.ContactId'), json_extract(m.fields, '$.LeadId')) "
            "WHERE m.object = 'CampaignMember' AND m.deleted = 0 AND m.number > ?2 "
            "AND json_extract(m.fields, '$.CampaignId') COLLATE NOCASE = ?1 ORDER BY m.number LIMIT ?3",
            campaign,
            after,
            limit,
        )
        return [
            (
                number,
                orjson.dumps(
                    {"id": person, "status": orjson.loads(own).get("Status"), **orjson.loads(fields)}
                ).decode(),
            )
            for number, own, person, fields in found
        ]

    def campaigns(self) -> Iterable[tuple[str, str, int]]:
        return self._store.rows(
            "SELECT c.id, json_extract(c.fields, '$.Name'), (SELECT count(*) FROM records m WHERE "
            "m.object = 'CampaignMember' AND m.deleted = 0 AND json_extract(m.fields, '$.CampaignId') COLLATE NOCASE = c.id) "
            "FROM records c WHERE c.object = 'Campaign' AND c.deleted = 0 ORDER BY c.number"
        )
