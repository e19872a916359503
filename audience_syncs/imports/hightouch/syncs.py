"""Their syncs, as ours: which list, mode, who leaves, mapping, schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from audience_syncs.destinations.contract import DestinationSpec
from audience_syncs.imports.hightouch.export import Resource
from audience_syncs.imports.hightouch.mappings import mapping_of
from audience_syncs.imports.hightouch.platforms import LIST_IDS, LIST_NAMES, SETTINGS, bare
from audience_syncs.imports.hightouch.schedules import schedule_of
from audience_syncs.model.config import Mode, Removal

_MODES = {
    "mirror": Mode.MIRROR,
    "all": Mode.MIRROR,
    "segment": Mode.MIRROR,
    "add": Mode.ADD,
    "append": Mode.ADD,
    "upsert": Mode.UPSERT,
    "update": Mode.UPDATE,
    "insert": Mode.INSERT,
    "create": Mode.INSERT,
    "remove": Mode.REMOVE,
    "delete": Mode.REMOVE,
}
_NEAREST = {
    # Where a platform has only lists: to add never takes anybody out who was left in before.
    Mode.UPSERT: Mode.ADD,
    Mode.INSERT: Mode.ADD,
    Mode.UPDATE: Mode.ADD,
    Mode.ADD: Mode.UPSERT,
}
_REMOVALS = {
    "nothing": Removal.KEEP,
    "none": Removal.KEEP,
    "keep": Removal.KEEP,
    "ignore": Removal.KEEP,
    "clear": Removal.CLEAR_FIELDS,
    "clearfields": Removal.CLEAR_FIELDS,
    "null": Removal.CLEAR_FIELDS,
    "delete": Removal.DELETE_RECORD,
    "deleterecord": Removal.DELETE_RECORD,
    "remove": Removal.REMOVE,
}
_REMOVAL_KEYS = (
    "removal",
    "deleteAction",
    "deleteMode",
    "removeAction",
    "deletedRows",
    "removedRows",
    "onRemove",
    "onDelete",
)
_OBJECTS = {"hubspot": {"contact": "contacts", "contacts": "contacts", "0-1": "contacts"}, "salesforce": {}}
_PEOPLE = {
    *("object", "record", "audience", "segment", "list", "cohort", "customaudience", "customermatchuserlist"),
    *("contact", "contacts", "user", "users", "profile", "profiles", "person", "people", "customer", "customers"),
}
_NOT_PEOPLE = {"event", "events", "trackevent", "conversion", "conversions", "offlineconversions", "order", "purchase"}


@dataclass
class Delivery:
    """One of their syncs, taken apart."""

    resource: Resource
    attributes: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    """What its ``config`` says about the account."""
    objection: str | None = None
    """Why it is not imported."""


def config_key(sync: Resource) -> str:
    """The key of what depends on the destination."""
    return "configuration" if isinstance(sync.get("configuration"), dict) and sync.get("config") is None else "config"


def delivery_of(sync: Resource, spec: DestinationSpec) -> Delivery:
    """The sync, as far as it can be said here; ``destination`` is left to whoever names them."""
    config = config_key(sync)
    found = Delivery(sync, {})
    kind = sync.text((config, "type"))
    if kind is not None and bare(kind) in _NOT_PEOPLE:
        found.objection = f"it sends {kind.lower().rstrip('s')}s, not people"
        return found
    if kind is not None and bare(kind) not in _PEOPLE:
        sync.note(f"the type `{kind}` is not known here; taken as one of people", config, "type")
    settings, objection = _account(sync, spec, config)
    found.settings, found.objection = settings, objection
    if objection is not None:
        return found
    mode = _mode(sync, spec, config)
    removal = _removal(sync, spec, config, mode)
    mapping = mapping_of(sync, spec, config)
    found.objection = _unmapped(mapping, spec)
    attributes: dict[str, Any] = {}
    name, description = sync.text("name"), sync.text("description")
    wanted = _list(sync, config) if mode.family.has_list else {}
    if wanted:
        attributes["list"] = wanted
    if mode is not Mode.MIRROR:
        attributes["mode"] = mode.value
    if removal is not None:
        attributes["removal"] = removal.value
    attributes["mapping"] = mapping
    schedule = schedule_of(sync)
    if schedule != "manual":
        attributes["schedule"] = schedule
    if _is_paused(sync) and schedule != "manual":
        attributes["paused"] = True
    if name or description:
        attributes["description"] = "\n".join(text for text in (name, description) if text)
    found.attributes = attributes
    return found


def _account(sync: Resource, spec: DestinationSpec, config: str) -> tuple[dict[str, Any], str | None]:
    """Settings of the destination that a sync tells, or why it is about no people of ours."""
    settings: dict[str, Any] = {}
    for key, setting in SETTINGS.get(spec.platform, {}).items():
        value = sync.text((config, key))
        if value is not None:
            settings[setting] = value
    if spec.platform == "google":
        consent = {
            ours: (sync.text((config, theirs)) or "unspecified").lower()
            for ours, theirs in (
                ("ad_user_data", "adUserDataConsent"),
                ("ad_personalization", "adPersonalizationConsent"),
            )
        }
        settings["consent"] = {key: value if value == "granted" else "unspecified" for key, value in consent.items()}
    what = sync.get(config, "object")
    if spec.platform == "salesforce" and isinstance(what, str):
        if what.lower() not in ("contact", "lead"):
            return {}, f"records of `{what}` are no contacts or leads"
        settings["object"] = what.capitalize()
        sync.take(config, "object")
    elif spec.platform in _OBJECTS and isinstance(what, str):
        if what.lower() not in _OBJECTS[spec.platform]:
            return {}, f"records of `{what}` are no contacts"
        sync.take(config, "object")
    return settings, None


def _mode(sync: Resource, spec: DestinationSpec, config: str) -> Mode:
    path = (config, "mode") if sync.get(config, "mode") is not None else ("mode",)
    written = sync.get(*path)
    fallback = Mode.MIRROR if Mode.MIRROR in spec.modes else Mode.ADD
    if written is None:
        sync.note(f"no mode is told; written as `{fallback.value}`", config, whole=False)
        return fallback
    mode = _MODES.get(str(written).lower())
    if mode in spec.modes and mode is not None:
        sync.take(*path)
        return mode
    nearest = _NEAREST.get(mode, fallback) if mode is not None else fallback
    nearest = nearest if nearest in spec.modes else fallback
    reason = "not known here" if mode is None else f"not possible at {spec.title} here"
    sync.note(f"mode `{written}` is {reason}; written as `{nearest.value}`", *path)
    return nearest


def _removal(sync: Resource, spec: DestinationSpec, config: str, mode: Mode) -> Removal | None:
    """What happens to who leaves; None for what happens anyhow."""
    for key in _REMOVAL_KEYS:
        written = sync.get(config, key)
        if not isinstance(written, str):
            continue
        removal = _REMOVALS.get("".join(c for c in written.lower() if c.isalpha()))
        if mode is not Mode.MIRROR:
            if removal is Removal.KEEP:
                sync.take(config, key)
                return None
            sync.note(f"mode `{mode.value}` removes nobody here; `mode: mirror` does", config, key)
            return None
        if removal is None or removal not in spec.removals:
            sync.note(f"`{written}` is not possible here; written as `remove`", config, key)
            return None
        sync.take(config, key)
        return None if removal is Removal.REMOVE else removal
    return None


def _list(sync: Resource, config: str) -> dict[str, str]:
    name = sync.text(*((config, key) for key in LIST_NAMES))
    number = sync.text(*((config, key) for key in LIST_IDS if (config, key) not in sync.used))
    if number is not None:
        if name is not None:
            sync.note(
                "the list is told by its id", config, next(k for k in LIST_NAMES if sync.get(config, k) is not None)
            )
        return {"id": number}
    title = name or sync.get("name") or sync.slug.rpartition("/")[2]
    return {"name": str(title)[:200]}


def _unmapped(mapping: dict[str, Any], spec: DestinationSpec) -> str | None:
    """Why a mapping would find nobody."""
    missing = sorted(name for name in spec.required_fields if name not in mapping)
    if missing:
        return f"{spec.title} finds people by {', '.join(f'`{name}`' for name in missing)}, which is not mapped"
    if not any(field.identifier and field.name in mapping for field in spec.fields):
        return f"nothing is mapped by which {spec.title} finds people"
    return None


def _is_paused(sync: Resource) -> bool:
    paused = False
    for key, means_paused in (
        *(("schedulePaused", True), ("disabled", True), ("paused", True)),
        *(("enabled", False), ("scheduleEnabled", False)),
    ):
        if isinstance(sync.get(key), bool):
            paused |= sync.take(key) is means_paused
    return paused
