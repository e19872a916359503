"""Which column goes to which field of a destination, by their names: a mapping to begin with, for people to look over.

A name is compared without case, spaces and punctuation: ``E-Mail`` is ``email``. A field is given the first column whose name is the
field's own, or else one of the words for what the field holds, in their order. What a field holds is told by its rule and its
name. A column whose kind the field cannot take is passed over; a column is suggested once. Nothing is guessed beyond that: no
likeness of names, and no look at values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from audience_syncs.destinations.contract import DestinationSpec, FieldSpec
from audience_syncs.destinations.mapping_checks import takes
from audience_syncs.model.kinds import Kind
from audience_syncs.model.mapping import MappedField

_WORDS: Mapping[str, tuple[str, ...]] = {
    "email": ("email", "emailaddress", "mail", "mailaddress", "customeremail", "useremail"),
    "phone": ("phone", "phonenumber", "mobile", "mobilephone", "msisdn", "cell", "cellphone", "telephone", "tel"),
    "first_name": ("firstname", "fname", "givenname", "forename", "vorname"),
    "last_name": ("lastname", "lname", "surname", "familyname", "nachname"),
    "zip": ("zip", "zipcode", "postalcode", "postcode", "plz"),
    "city": ("city", "town", "locality", "ort", "stadt"),
    "state": ("state", "region", "province", "statecode"),
    "country": ("country", "countrycode", "countryiso", "land"),
    "street": ("street", "address1", "addressline1", "streetaddress", "strasse"),
    "gender": ("gender", "sex"),
    "birth_date": ("birthdate", "dateofbirth", "dob", "birthday", "geburtsdatum"),
    "birth_year": ("birthyear", "yearofbirth"),
    "birth_month": ("birthmonth", "monthofbirth"),
    "birth_day": ("dayofbirth",),
    "mobile_id": ("mobileid", "maid", "madid", "idfa", "gaid", "aaid", "mobileadvertiserid", "advertisingid"),
    "external_id": ("externalid", "customerid", "userid", "personid", "contactid", "memberid", "id"),
    "company": ("company", "companyname", "organization", "organisation"),
    "language": ("language", "locale", "lang"),
    "time_zone": ("timezone", "tz"),
}
"""What a field may hold -> the names that columns with it go by, the commonest first."""
_SHORT_NAMES: Mapping[str, str] = {
    "fn": "first_name",
    "ln": "last_name",
    "ct": "city",
    "st": "state",
    "gen": "gender",
    "homecity": "city",
    "mailingstreet": "street",
    "mailingcity": "city",
    "mailingstate": "state",
    "mailingcountry": "country",
    "mailingpostalcode": "zip",
    "dobd": "birth_day",
    "dobm": "birth_month",
    "doby": "birth_year",
}
"""Names of fields that are no words for what they hold."""


def suggest_mapping(
    spec: DestinationSpec, columns: Mapping[str, Kind | None], primary_key: str | None = None
) -> dict[str, MappedField]:
    """Field -> the column for it, in the order of the destination's fields; those without one are left out.

    ``columns``: of the audience, with their kinds as far as they are known. The ``primary_key`` goes to a field that holds
    your own id where no column is called like one. A phone number gets the column with the country as its region.
    """
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(normalised(column), column)
    found: dict[str, MappedField] = {}
    used: set[str] = set()
    for field in sorted(spec.fields, key=lambda field: not field.identifier):
        chosen = _column_for(field, columns, by_name, used, primary_key)
        if chosen is not None:
            used.add(chosen)
            found[field.name] = MappedField(column=chosen, region=_region(field, columns, by_name))
    return {each.name: found[each.name] for each in spec.fields if each.name in found}


def as_yaml(mapping: Mapping[str, MappedField]) -> dict[str, Any]:
    """The mapping as people write it: a column's name alone, where there is nothing else to say."""
    written = {name: mapped.model_dump(mode="json", exclude_none=True) for name, mapped in mapping.items()}
    return {name: each["column"] if list(each) == ["column"] else each for name, each in written.items()}


def normalised(name: str) -> str:
    """A name as it is compared."""
    return "".join(character for character in name.casefold() if character.isalnum())


def holds(field: FieldSpec) -> str | None:
    """What a field holds, as one of the words of the table; None where that is not known."""
    rule = field.rule.rpartition(".")[2]
    if rule in _WORDS:
        return rule
    name = normalised(field.name)
    return _SHORT_NAMES.get(name) or next((word for word, names in _WORDS.items() if name in names), None)


def _column_for(
    field: FieldSpec,
    columns: Mapping[str, Kind | None],
    by_name: Mapping[str, str],
    used: Iterable[str],
    primary_key: str | None,
) -> str | None:
    known = holds(field)
    names = [normalised(field.name), *(_WORDS[known] if known is not None else ())]
    wanted = [by_name[name] for name in names if name in by_name]
    if known == "external_id" and primary_key in columns and primary_key is not None:
        # It is their own id, whatever it is called; a column of the field's own name comes first.
        place = 1 if wanted and normalised(wanted[0]) == names[0] else 0
        wanted.insert(place, primary_key)
    return next((column for column in wanted if column not in used and _fits(field, columns[column])), None)


def _fits(field: FieldSpec, kind: Kind | None) -> bool:
    if kind is Kind.ARRAY:
        return field.multiple
    return kind is None or kind is Kind.OTHER or kind in takes(field)


def _region(field: FieldSpec, columns: Mapping[str, Kind | None], by_name: Mapping[str, str]) -> str | None:
    if field.rule.rpartition(".")[2] != "phone":
        return None
    found = (by_name[name] for name in _WORDS["country"] if name in by_name)
    return next((column for column in found if columns[column] in (None, Kind.TEXT, Kind.OTHER)), None)
