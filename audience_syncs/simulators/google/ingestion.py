"""Uploads: checked as a whole and answered with a request id, carried out a little later, told as counts by reason.

Published: ``IngestionService`` and its messages; 10,000 members, 10 identifiers each, 10 destinations; one bad record fails the whole
request; the Customer Match terms must be accepted; hashes as hex or base 64; an address has four parts; an upload that was only
validated has no id; statuses are kept for some 50 days.

Not published, and ours: uploads are carried out in the order in which they came. A record that is to fail (``partial``) fails for its
format, unless the same one was carried out before: a format that was good is not bad today, so that is an internal error.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.google.errors import Refused, error, invalid, unreadable, violation
from audience_syncs.simulators.google.lists import Lists
from audience_syncs.simulators.google.people import ADDRESS, EMAIL, PHONE, Identifiers, People
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_MEMBERS, MAX_IDENTIFIERS, MAX_DESTINATIONS = 10_000, 10, 10
TAKES_S, SLOW_S = 0.02, 60.0
KEPT_S = 50 * 86_400.0
CONSENT = {"CONSENT_GRANTED", "CONSENT_DENIED", "CONSENT_STATUS_UNSPECIFIED"}
ACCOUNT_TYPES = {"GOOGLE_ADS", "DISPLAY_VIDEO_PARTNER", "DISPLAY_VIDEO_ADVERTISER", "DATA_PARTNER"}
FIELDS = {
    "ingest": {
        "destinations",
        "audienceMembers",
        "consent",
        "validateOnly",
        "encoding",
        "encryptionInfo",
        "termsOfService",
    },
    "remove": {"destinations", "audienceMembers", "validateOnly", "encoding", "encryptionInfo"},
    "removeAll": {"destinations", "removeAsOfTime", "validateOnly"},
}
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_REGION = re.compile(r"[A-Z]{2}")
_POSTAL = re.compile(r"[0-9A-Za-z][0-9A-Za-z -]{0,20}")
_US_POSTAL = re.compile(r"\d{5}(-?\d{4})?")


class Ingestion:
    """The uploads of all accounts."""

    def __init__(self, store: Store, people: People, lists: Lists) -> None:
        self._store = store
        self._people = people
        self._lists = lists
        store.create(
            "CREATE TABLE IF NOT EXISTS requests (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, kind TEXT,"
            " list INTEGER, destination TEXT, asked TEXT, status TEXT NOT NULL DEFAULT 'PROCESSING', failures TEXT,"
            " records INTEGER, identifiers INTEGER, created REAL, due REAL)",
            "CREATE INDEX IF NOT EXISTS requests_to_do ON requests (status, due)",
            "CREATE TABLE IF NOT EXISTS carried_out (record TEXT PRIMARY KEY) WITHOUT ROWID",
        )

    def take(self, kind: str, body: object, rejected: frozenset[int], now: float, *, slow: bool) -> Answer:
        if not isinstance(body, dict):
            raise Refused(unreadable("Root element must be a message."))
        for key in body:
            if key not in FIELDS[kind]:
                raise Refused(unreadable(f'Unknown name "{key}": Cannot find field.'))
        numbers = self._destinations(body.get("destinations"))
        rows = self._records(kind, body, numbers) if kind != "removeAll" else []
        if body.get("validateOnly") is True:
            return Answer(200, {})
        request_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        consent = body.get("consent") or {}
        asked = {
            "rows": rows,
            "rejected": sorted(rejected),
            "denied": "CONSENT_DENIED" in consent.values(),
            "before": body.get("removeAsOfTime"),
        }
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO requests (id, kind, list, destination, asked, records, identifiers, created, due)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    request_id,
                    kind,
                    numbers[0],
                    orjson.dumps(body["destinations"][0]).decode(),
                    orjson.dumps(asked).decode(),
                    len(rows),
                    sum(len(row) for row in rows),
                    now,
                    now + (SLOW_S if slow else TAKES_S),
                ),
            )
        return Answer(200, {"requestId": request_id})

    def carry_out(self, now: float) -> None:
        """Everything that is due, in the order in which it came."""
        due = self._store.rows(
            "SELECT number, kind, list, asked FROM requests WHERE status = 'PROCESSING' AND due <= ? ORDER BY number",
            now,
        )
        for number, kind, list_number, asked in due:
            with self._store.transaction() as db:
                self._carry_out(db, number, kind, list_number, orjson.loads(asked), now)
        for list_number, _, _, seconds in self._lists.all():
            if self._store.row("SELECT 1 FROM members WHERE list = ? AND at < ?", list_number, now - seconds):
                with self._store.transaction() as db:
                    self._people.clear(db, list_number, now - seconds)
                    self._lists.note_size(db, list_number, now)

    def _carry_out(
        self, db: Any, number: int, kind: str, list_number: int, asked: Mapping[str, Any], now: float
    ) -> None:
        rows: list[Identifiers] = [[(str(name), str(value)) for name, value in row] for row in asked["rows"]]
        failures: dict[str, int] = {}
        good = []
        for place, row in enumerate(rows):
            reason = self._failure(db, kind, place, row, asked)
            if reason:
                failures[reason] = failures.get(reason, 0) + 1
            else:
                good.append(row)
        if not self._lists.is_open(list_number) and kind == "ingest":
            failures, good = {"INTERNAL_ERROR": len(rows)}, []
        if kind == "ingest":
            self._people.add(db, list_number, good, now)
        elif kind == "remove":
            self._people.remove(db, list_number, good)
        else:
            self._people.clear(db, list_number)
        db.executemany("INSERT OR IGNORE INTO carried_out VALUES (?)", [(_text(kind, row),) for row in good])
        self._lists.note_size(db, list_number, now)
        status = "SUCCESS" if not failures else "PARTIAL_SUCCESS" if good else "FAILED"
        db.execute(
            "UPDATE requests SET status = ?, failures = ?, asked = '' WHERE number = ?",
            (status, orjson.dumps(failures).decode(), number),
        )

    def _failure(self, db: Any, kind: str, place: int, row: Identifiers, asked: Mapping[str, Any]) -> str:
        if asked["denied"]:
            return "DENIED_CONSENT"
        if place not in asked["rejected"]:
            return ""
        known = db.execute("SELECT 1 FROM carried_out WHERE record = ?", (_text(kind, row),)).fetchone()
        return "INTERNAL_ERROR" if known else "INVALID_FORMAT"

    def status(self, request_id: str, now: float) -> Answer:
        found = self._store.row(
            "SELECT kind, destination, status, failures, records, identifiers, created FROM requests WHERE id = ?",
            request_id,
        )
        if found is None:
            text = "The request ID used to retrieve the status of a request is not valid."
            raise Refused(error(400, "INVALID_REQUEST_ID", text, violation("request_id", "INVALID_REQUEST_ID", text)))
        kind, destination, status, failures, records, identifiers, created = found
        if now - created > KEPT_S:
            raise Refused(error(400, "REQUEST_TOO_OLD", "Request status is only available for approximately 50 days."))
        told: dict[str, Any] = {"destination": orjson.loads(destination), "requestStatus": status}
        counts = {"recordCount": str(records), "userIdentifierCount": str(identifiers)}
        if kind == "ingest":
            if status != "PROCESSING":
                counts["uploadMatchRateRange"] = "MATCH_RATE_RANGE_71_TO_80"
            told["audienceMembersIngestionStatus"] = {"userDataIngestionStatus": counts}
        elif kind == "remove":
            told["audienceMembersRemovalStatus"] = {"userDataRemovalStatus": counts}
        else:
            told["removeAllAudienceMembersStatus"] = {}
        if failures and failures != "{}":
            counted = [
                {"recordCount": str(count), "reason": f"PROCESSING_ERROR_REASON_{reason}"}
                for reason, count in orjson.loads(failures).items()
            ]
            told["errorInfo"] = {"errorCounts": counted}
        return Answer(200, {"requestStatusPerDestination": [told]})

    # Checks

    def _destinations(self, given: object) -> list[int]:
        """The lists' numbers."""
        if not isinstance(given, list) or not given:
            raise Refused(invalid(violation("destinations", "REQUIRED_FIELD_MISSING", "Required field is missing.")))
        if len(given) > MAX_DESTINATIONS:
            raise Refused(invalid(violation("destinations", "TOO_MANY_DESTINATIONS")))
        return [self._destination(each, f"destinations[{place}]") for place, each in enumerate(given)]

    def _destination(self, given: object, field: str) -> int:
        known = {"reference", "operatingAccount", "loginAccount", "linkedAccount", "productDestinationId"}
        if not isinstance(given, dict) or not set(given) <= known:
            raise Refused(unreadable("Unknown name in destination: Cannot find field.", field))
        for name, snake in (
            ("operatingAccount", "operating_account"),
            ("loginAccount", "login_account"),
            ("linkedAccount", "linked_account"),
        ):
            account = given.get(name)
            if account is None and name != "operatingAccount":
                continue
            good = isinstance(account, dict) and account.get("accountType") in ACCOUNT_TYPES
            if not good or not str(account.get("accountId", "")).isdigit():  # type: ignore[union-attr]
                raise Refused(invalid(violation(f"{field}.{snake}.account_id", "INVALID_DESTINATION")))
        if "linkedAccount" in given and given.get("loginAccount", {}).get("accountType") != "DATA_PARTNER":
            reason = "LINKED_ACCOUNT_ONLY_ALLOWED_WITH_DATA_PARTNER_LOGIN_ACCOUNT"
            raise Refused(invalid(violation(f"{field}.linked_account", reason)))
        operating = given["operatingAccount"]
        account = f"{operating['accountType']}/{operating['accountId']}"
        try:
            return self._lists.number(account, str(given.get("productDestinationId", "")))
        except Refused:
            text = "User list is not valid."
            raise Refused(invalid(violation(f"{field}.product_destination_id", "INVALID_USER_LIST_ID", text))) from None

    def _records(self, kind: str, body: Mapping[str, Any], numbers: Sequence[int]) -> list[Identifiers]:
        members = body.get("audienceMembers")
        if not isinstance(members, list) or not members:
            raise Refused(
                invalid(violation("audience_members", "REQUIRED_FIELD_MISSING", "Required field is missing."))
            )
        if len(members) > MAX_MEMBERS:
            text = "Maximum number of audience members allowed per request is 10,000."
            raise Refused(invalid(violation("audience_members", "TOO_MANY_AUDIENCE_MEMBERS", text)))
        if any("CONTACT_ID" not in self._lists.kinds(number) for number in numbers):
            text = "Type of the user list is not applicable for this request."
            raise Refused(invalid(violation("audience_members[0]", "INVALID_USER_LIST_TYPE", text)))
        if body.get("encoding") not in ("HEX", "BASE64"):
            raise Refused(invalid(violation("encoding", "REQUIRED_FIELD_MISSING", "Required field is missing.")))
        terms = body.get("termsOfService") or {}
        if kind == "ingest" and terms.get("customerMatchTermsOfServiceStatus") != "ACCEPTED":
            text = "Required terms and conditions are not accepted."
            raise Refused(invalid(violation("terms_of_service", "TERMS_AND_CONDITIONS_NOT_SIGNED", text)))
        if not set((body.get("consent") or {}).values()) <= CONSENT:
            raise Refused(unreadable("Invalid value at 'consent'", "consent"))
        rows, problems = [], []
        for place, member in enumerate(members):
            row, problem = _record(member, f"audience_members[{place}]", str(body["encoding"]))
            rows.append(row)
            problems += [problem] if problem else []
        if problems:
            raise Refused(invalid(*problems[:100]))
        return rows


def _record(member: object, field: str, encoding: str) -> tuple[Identifiers, dict[str, str] | None]:
    """A member's identifiers, or what is wrong with one."""
    known = {"destinationReferences", "userData", "compositeData", "consent"}
    if not isinstance(member, dict) or not set(member) <= known:
        raise Refused(unreadable("Unknown name in audience member: Cannot find field.", field))
    data = member.get("userData") or (member.get("compositeData") or {}).get("userData")
    given = data.get("userIdentifiers") if isinstance(data, dict) else None
    if not isinstance(given, list) or not given:
        return [], violation(
            f"{field}.user_data.user_identifiers", "REQUIRED_FIELD_MISSING", "Required field is missing."
        )
    if len(given) > MAX_IDENTIFIERS:
        return [], violation(f"{field}.user_data.user_identifiers", "TOO_MANY_USER_IDENTIFIERS")
    row = []
    for place, identifier in enumerate(given):
        below = f"{field}.user_data.user_identifiers[{place}]"
        if not isinstance(identifier, dict) or len(identifier) != 1:
            return [], violation(below, "INVALID_FORMAT")
        ((name, value),) = identifier.items()
        if name in ("emailAddress", "phoneNumber"):
            reason = _wrong_hash(value, encoding)
            if reason:
                return [], violation(f"{below}.{'email_address' if name == 'emailAddress' else 'phone_number'}", reason)
            row.append((EMAIL if name == "emailAddress" else PHONE, _hex(str(value), encoding)))
        elif name == "address" and isinstance(value, dict):
            problem = _wrong_address(value, below, encoding)
            if problem:
                return [], problem
            names = [_hex(value[part], encoding) for part in ("givenName", "familyName")]
            row.append((ADDRESS, " ".join([*names, value["regionCode"], value["postalCode"]])))
        else:
            raise Refused(unreadable(f'Unknown name "{name}": Cannot find field.', below))
    return row, None


def _wrong_address(value: Mapping[str, Any], below: str, encoding: str) -> dict[str, str] | None:
    for name, snake in (
        ("givenName", "given_name"),
        ("familyName", "family_name"),
        ("regionCode", "region_code"),
        ("postalCode", "postal_code"),
    ):
        field, found = f"{below}.address.{snake}", value.get(name)
        if not isinstance(found, str) or not found:
            return violation(field, "REQUIRED_FIELD_MISSING", "Required field is missing.")
        if name.endswith("Name"):
            reason = _wrong_hash(found, encoding)
        elif name == "regionCode":
            reason = "" if _REGION.fullmatch(found) else "INVALID_REGION_CODE"
        else:
            pattern = _US_POSTAL if value.get("regionCode") == "US" else _POSTAL
            reason = "" if pattern.fullmatch(found) else "INVALID_POSTAL_CODE"
        if reason:
            return violation(field, reason)
    return None


def _wrong_hash(value: object, encoding: str) -> str:
    if not isinstance(value, str):
        return "INVALID_FORMAT"
    if encoding == "HEX":
        if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", value) is None:
            return "INVALID_HEX_ENCODING"
        return "" if _HEX.fullmatch(value) else "INVALID_SHA256_FORMAT"
    try:
        return "" if len(base64.b64decode(value, validate=True)) == 32 else "INVALID_SHA256_FORMAT"
    except (binascii.Error, ValueError):
        return "INVALID_BASE64_ENCODING"


def _hex(value: str, encoding: str) -> str:
    return value.lower() if encoding == "HEX" else base64.b64decode(value).hex()


def _text(kind: str, row: Identifiers) -> str:
    return orjson.dumps([kind, *row]).decode()
