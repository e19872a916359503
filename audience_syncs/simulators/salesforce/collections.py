"""sObject Collections and single records: the wire of what ``Records`` does.

Read from the REST API Developer Guide: at most 200 records, all of one object where they are upserted; results in order;
``allOrNone``; DELETE takes ``ids`` in the address; a request with a field that is not there is refused as a whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.salesforce.errors import BadRecord, Refused, error, not_found
from audience_syncs.simulators.salesforce.objects import OBJECTS, is_external_id, object_named, written
from audience_syncs.simulators.salesforce.records import Records
from audience_syncs.simulators.store import Store

MOST = 200
QUEUE = "00GSim000000001AAA"
"""To whom the assignment rules of the org give every lead."""
PREFIXES = {each.prefix: each for each in OBJECTS.values()}
_ROLLED_BACK = BadRecord("ALL_OR_NONE_OPERATION_ROLLED_BACK", "Record rolled back because not all records were valid")
Step = Callable[[sqlite3.Connection], dict[str, Any]]


class Collections:
    """Many records a call, or one."""

    def __init__(self, store: Store, records: Records) -> None:
        self._store = store
        self._records = records

    def write(
        self,
        method: str,
        target: Mapping[str, str],
        body: object,
        rejected: frozenset[int],
        now: float,
        *,
        assigns: bool = False,
    ) -> Answer:
        """POST and PATCH of many. ``assigns``: leads are given to whom the org's assignment rules name."""
        given = body.get("records") if isinstance(body, dict) else None
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            raise Refused(
                error(
                    400, "JSON_PARSER_ERROR", "The HTTP entity body is required, but this request has no entity body."
                )
            )
        self._check_size(len(given))
        if assigns:
            given = [{**each, "OwnerId": QUEUE} if _is_lead(each) else each for each in given]
        steps = [self._step(method, target, each, now) for each in given]
        return self._carried_out(steps, rejected, bool(isinstance(body, dict) and body.get("allOrNone")))

    def delete(self, query: Mapping[str, str], rejected: frozenset[int]) -> Answer:
        ids = [each for each in query.get("ids", "").split(",") if each]
        self._check_size(len(ids))

        def step(name: str) -> Step:
            return lambda db: {"id": self._records.delete(db, PREFIXES.get(name[:3]), name)}

        return self._carried_out([step(name) for name in ids], rejected, query.get("allOrNone") == "true")

    def one(self, method: str, target: Mapping[str, str], body: object, rejected: frozenset[int], now: float) -> Answer:
        """One record by its own address. Its error is the request's."""
        kind = object_named(target["object"])
        name = target.get("id", "")
        try:
            with self._store.transaction() as db:
                if rejected:
                    raise _not_wanted()
                if method == "GET":
                    found = self._records.get(db, name)
                    if found is None or found[0] != kind.name or found[2]:
                        raise Refused(not_found())
                    return Answer(200, {"attributes": {"type": kind.name}, "Id": name, **found[1]})
                if method == "DELETE":
                    self._records.delete(db, kind, name)
                    return Answer(204)
                if not isinstance(body, dict):
                    raise Refused(error(400, "JSON_PARSER_ERROR", "The HTTP entity body is required"))
                fields = written(kind, body)
                if method == "PATCH":
                    self._records.update(db, kind, name, fields)
                    return Answer(204)
                made = self._records.insert(db, kind, fields, now)
                return Answer(201, {"id": made, "success": True, "errors": []})
        except BadRecord as bad:
            gone = bad.code in ("ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY") and bool(name)
            told = {"message": bad.message, "errorCode": bad.code, "fields": bad.fields}
            return Answer(404 if gone else 400, [told])

    def _step(self, method: str, target: Mapping[str, str], given: Mapping[str, Any], now: float) -> Step:
        named = (given.get("attributes") or {}).get("type")
        if not isinstance(named, str):
            raise Refused(error(400, "INVALID_INPUT", "attributes.type is required"))
        kind, fields = object_named(named), written(object_named(named), given)
        name = str(given.get("Id") or given.get("id") or "")
        if "object" in target:
            by = target["by"]
            if kind.name != object_named(target["object"]).name:
                raise Refused(error(400, "INVALID_INPUT", "records must be of the object in the address"))
            if not is_external_id(by):
                text = f"Provided external ID field does not exist or is not accessible: {by}"
                raise Refused(not_found(text))

            def upsert(db: sqlite3.Connection) -> dict[str, Any]:
                if name:
                    raise BadRecord("INVALID_FIELD", "The Id field should not be specified in the sobject data.", "Id")
                record, made = self._records.upsert(db, kind, by, fields, now)
                return {"id": record, "created": made}

            return upsert
        if method == "POST":
            if name:
                raise Refused(error(400, "INVALID_FIELD", "cannot specify Id in an insert call"))
            return lambda db: {"id": self._records.insert(db, kind, fields, now)}

        def update(db: sqlite3.Connection) -> dict[str, Any]:
            if not name:
                raise BadRecord("MISSING_ARGUMENT", "Id not specified in an update call")
            return {"id": self._records.update(db, kind, name, fields)}

        return update

    def _carried_out(self, steps: Sequence[Step], rejected: frozenset[int], all_or_none: bool) -> Answer:
        told: list[dict[str, Any]] = []
        with self._store.transaction() as db:
            db.execute("SAVEPOINT everything")
            for place, step in enumerate(steps):
                try:
                    if place in rejected:
                        raise _not_wanted()
                    told.append({**step(db), "success": True, "errors": []})
                except BadRecord as bad:
                    told.append({"success": False, "errors": [bad.as_json()]})
            if all_or_none and not all(each["success"] for each in told):
                db.execute("ROLLBACK TO everything")
                told = [
                    {"success": False, "errors": [_ROLLED_BACK.as_json()]} if each["success"] else each for each in told
                ]
            db.execute("RELEASE everything")
        return Answer(200, told)

    def _check_size(self, rows: int) -> None:
        if rows > MOST:
            text = f"record limit reached. cannot submit more than {MOST} records in this call"
            raise Refused(error(400, "EXCEEDED_ID_LIMIT", text))


def _is_lead(record: Mapping[str, Any]) -> bool:
    return (record.get("attributes") or {}).get("type") == "Lead"


def _not_wanted() -> BadRecord:
    return BadRecord("FIELD_CUSTOM_VALIDATION_EXCEPTION", "This record is not wanted")
