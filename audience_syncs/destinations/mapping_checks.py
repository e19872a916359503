"""Whether what a sync maps is something its destination's fields take: their names, options, and kinds of values.

A column's kind is what the warehouse told (``columns.json``); one that is not known is nobody's mistake. What is certain to
be left out of every row is a problem, what may be fine for some is not: text can hold a phone number, a date or a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from audience_syncs.destinations.contract import DestinationSpec, Empties, FieldSpec
from audience_syncs.destinations.problems import Problem, choose_from
from audience_syncs.identifiers import RULES, UnusableIdentifier
from audience_syncs.model.config import SyncConfig
from audience_syncs.model.kinds import Kind
from audience_syncs.model.mapping import Cast, MappedField

Kinds = Mapping[str, Kind]
"""All columns of an audience, where they are recorded: ``OTHER`` is a kind that is not known. Empty where they are not."""

_NUMBERS = frozenset({Kind.INTEGER, Kind.NUMBER})
_TIMES = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT})
_TEXT = frozenset({Kind.TEXT})
_ANY = frozenset(Kind)
_TAKES: Mapping[str, frozenset[Kind]] = {
    **dict.fromkeys(("email", "mobile_id", "first_name", "last_name", "city", "state", "gender", "country"), _TEXT),
    "address": _TEXT,
    # Digits without a leading zero or plus sign: worse than text, and right where there are none.
    **dict.fromkeys(("phone", "zip", "external_id"), _TEXT | _NUMBERS),
    "birth_date": _TEXT | _TIMES | {Kind.INTEGER},
    **dict.fromkeys(("birth_year", "birth_month", "birth_day"), _TEXT | _TIMES | _NUMBERS),
}
"""The kinds that a rule can make something of, by the last part of its name; all others take any."""
_CASTS = {
    Cast.TEXT: Kind.TEXT,
    Cast.INTEGER: Kind.INTEGER,
    Cast.NUMBER: Kind.NUMBER,
    Cast.BOOLEAN: Kind.BOOLEAN,
    Cast.DATE: Kind.DATE,
    Cast.DATETIME: Kind.TIMESTAMP,
}


def check_mapping(spec: DestinationSpec, sync: SyncConfig, kinds: Kinds) -> Iterator[Problem]:
    """What is wrong with a sync's mapping."""
    identifiers = [field.name for field in spec.fields if field.identifier]
    found: list[FieldSpec] = []
    for name, mapped in sync.mapping.items():
        field = spec.field(name)
        if field is None:
            known = [field.name for field in spec.fields]
            yield Problem(("mapping", name), f"{spec.title} has no field `{name}`", choose_from(name, known))
            continue
        found.append(field)
        yield from _check_identifier(field, mapped)
        yield from _check_options(field, mapped)
        yield from _check_nulls(spec, field, mapped)
        yield from _check_object(spec, field, mapped)
        yield from _check_kind(field, mapped, kinds)
        yield from _check_fixed_value(field, mapped)
    for name in sorted(spec.required_fields - set(sync.mapping)):
        yield Problem(("mapping",), f"{spec.title} needs the field `{name}`", f"map a column to `{name}`")
    unknown_fields = len(found) < len(sync.mapping)
    if not any(field.identifier for field in found) and not unknown_fields and not spec.required_fields:
        yield Problem(
            ("mapping",),
            f"no identifier is mapped: {spec.title} could find nobody",
            f"map at least one of {', '.join(f'`{name}`' for name in identifiers)}",
        )


def takes(field: FieldSpec) -> frozenset[Kind]:
    """The kinds of values that a field can be made of; an array's elements are looked at one by one."""
    return _TAKES.get(field.rule.rpartition(".")[2], _ANY)


def kind_of(mapped: MappedField, kinds: Kinds) -> Kind | None:
    """The kind of what a field is made of, where that is known."""
    if mapped.split is not None:
        return Kind.ARRAY
    if mapped.cast is not None:
        # A list that is cast stays one.
        is_list = mapped.column is not None and kinds.get(mapped.column) is Kind.ARRAY
        return Kind.ARRAY if is_list else _CASTS[mapped.cast]
    if mapped.template is not None:
        return Kind.TEXT
    return None if mapped.column is None else kinds.get(mapped.column)


def _check_identifier(field: FieldSpec, mapped: MappedField) -> Iterator[Problem]:
    if not field.identifier:
        return
    for option in ("constant", "default"):
        if getattr(mapped, option) is not None:
            yield Problem(
                ("mapping", field.name, *(() if option == "constant" else (option,))),
                f"`{field.name}` identifies a person, and a {option} would make all members the same one",
                "map a column" if option == "constant" else "remove `default`: who has no identifier is left out",
            )
    if mapped.template is not None and not mapped.columns:
        yield Problem(
            ("mapping", field.name, "template"),
            f"`{field.name}` identifies a person, and this template is the same for all members",
            "use a column in it",
        )


def _check_options(field: FieldSpec, mapped: MappedField) -> Iterator[Problem]:
    if mapped.hashed is not None and not RULES[field.rule].hashed:
        yield Problem(
            ("mapping", field.name, "hashed"),
            f"`hashed` is for fields that are sent hashed, and `{field.name}` is sent as it is",
            "remove `hashed`",
        )
    if mapped.split is not None and not field.multiple:
        yield Problem(
            ("mapping", field.name, "split"),
            f"`split` makes several values, and `{field.name}` takes one",
            "remove `split`",
        )
    if field.rule.rpartition(".")[2] == "phone":
        return
    for option, value in (("region", mapped.region), ("default_region", mapped.default_region)):
        if value is not None:
            yield Problem(
                ("mapping", field.name, option),
                f"`{option}` is for phone numbers, and `{field.name}` is not one",
                f"remove `{option}`",
            )


def _check_nulls(spec: DestinationSpec, field: FieldSpec, mapped: MappedField) -> Iterator[Problem]:
    path = ("mapping", field.name, "nulls")
    if mapped.nulls is None:
        return
    if not mapped.clears:
        if spec.empties is Empties.ALWAYS:
            message = f"{spec.title} is sent whole rows: a null is written as null, whatever `nulls` says"
            yield Problem(path, message, "remove `nulls`")
        return
    if spec.empties is Empties.NEVER:
        yield Problem(
            path,
            f"{spec.title} has no way to empty a field, so `nulls: clear` would do nothing",
            "remove `nulls`: a null leaves the field as it is",
        )
    elif not spec.can_empty(field):
        yield Problem(
            path, f"`{field.name}` is what people are found or reached by, and is never emptied", "remove `nulls`"
        )


def _check_object(spec: DestinationSpec, field: FieldSpec, mapped: MappedField) -> Iterator[Problem]:
    if mapped.object is not None and not field.nested:
        able = ["its custom fields"] if spec.open_fields is not None and spec.open_fields.nested else []
        able += [f"`{known.name}`" for known in spec.fields if known.nested]
        yield Problem(
            ("mapping", field.name, "object"),
            f"`{field.name}` of {spec.title} takes no object",
            f"those that do: {', '.join(able)}" if able else "map each value to a field of its own",
        )


def _check_kind(field: FieldSpec, mapped: MappedField, kinds: Kinds) -> Iterator[Problem]:
    kind, path = kind_of(mapped, kinds), ("mapping", field.name)
    made_of = f"the column `{mapped.column}` holds" if mapped.column is not None else "the template gives"
    if kind is Kind.ARRAY:
        if not field.multiple and mapped.split is None:
            yield Problem(
                path,
                f"{made_of} several values, and `{field.name}` takes one",
                f"map another column, or write them as one text: `{{template: '{{{{ {mapped.column}|join }}}}'}}`",
            )
        return
    if kind is None or kind is Kind.OTHER or kind in takes(field):
        return
    if mapped.cast is not None:
        made_of = f"`cast: {mapped.cast}` gives"
    yield Problem(
        path,
        f"{made_of} {_NAMES[kind]}, and `{field.name}` takes {_listed(takes(field))}",
        "map another column",
    )


def _check_fixed_value(field: FieldSpec, mapped: MappedField) -> Iterator[Problem]:
    """What is the same for all members is known now: their rule says whether it can be used."""
    value = mapped.constant if mapped.constant is not None else mapped.default
    if value is None or field.identifier or mapped.cast is not None or mapped.split is not None:
        return
    try:
        RULES[field.rule].to_send(value, mapped.default_region, hashed=mapped.hashed)
    except UnusableIdentifier as unusable:
        option = "constant" if mapped.constant is not None else "default"
        yield Problem(
            ("mapping", field.name, option),
            f"this {unusable.reason}, so that it would be left out of every row",
            f"`{field.name}`: {RULES[field.rule].says}",
        )


_NAMES: Mapping[Kind, str] = {
    Kind.TEXT: "text",
    Kind.INTEGER: "whole numbers",
    Kind.NUMBER: "numbers",
    Kind.BOOLEAN: "true or false",
    Kind.DATE: "dates",
    Kind.TIMESTAMP: "times",
    Kind.INSTANT: "times",
    Kind.ARRAY: "lists",
    Kind.OTHER: "values of another kind",
}


def _listed(kinds: frozenset[Kind]) -> str:
    names = list(dict.fromkeys(_NAMES[kind] for kind in Kind if kind in kinds))
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
