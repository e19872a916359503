"""Destinations that are ours to define (a table, files, a webhook, an HTTP API) know a member by one key.

One key, not several identifiers: whoever reads what is sent finds the member by it, a removal names nothing else, and a
changed key is one who left and one who came. Everything else goes along with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from audience_syncs.destinations.contract import FieldSpec
from audience_syncs.model.errors import DestinationError
from audience_syncs.model.values import FieldValue

KEY = "id"
KEY_DESCRIPTION = (
    "The field by which a member is known; any name. `email` and `phone` are normalised. Default: `id`, your own id of "
    "the person, as it is."
)
OTHERS = FieldSpec(
    "", "generic.text", nested=True, description="Any other field, under the name you give it; as written."
)
_EMAIL = FieldSpec("email", "generic.email", description="Email address: trimmed, lower case.")
_PHONE = FieldSpec("phone", "generic.phone", description="Phone number in E.164.")


def fields(key: str) -> tuple[FieldSpec, ...]:
    """The fields of a destination whose members are known by ``key``; all others are ``OTHERS``."""
    rules = {_EMAIL.name: _EMAIL.rule, _PHONE.name: _PHONE.rule}
    known_by = FieldSpec(
        key, rules.get(key, "generic.external_id"), identifier=True, description="By which a member is known."
    )
    return (known_by, *(field for field in (_EMAIL, _PHONE) if field.name != key))


def keys_of(member: Mapping[str, FieldValue], key: str, where: str) -> list[str]:
    """The member's keys: one, or two where it is not known whether the old one is still there.

    Raises DestinationError where the member was sent with another key than that of the settings.
    """
    value = member.get(key)
    if value is None:
        raise DestinationError(
            f"members of this list are known by {', '.join(f'`{name}`' for name in sorted(member))}, and the setting `key` "
            f"now says `{key}`",
            where=where,
            code="KEY_CHANGED",
            remedy="set `key` back; to fill a list by another key, give the sync another `name` and its `list`, too",
        )
    return [value] if isinstance(value, str) else list(value)
