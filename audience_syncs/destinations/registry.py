"""Whether what the YAML asks of a platform is something it can do, and opening accounts.

``platforms`` says which platforms there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from audience_syncs.destinations.contract import Account, Destination, DestinationSpec
from audience_syncs.destinations.mapping_checks import Kinds, check_mapping
from audience_syncs.destinations.platforms import PLATFORMS, Platform
from audience_syncs.destinations.problems import Problem, choose_from, listed
from audience_syncs.destinations.settings import settings_problems
from audience_syncs.model.config import DestinationConfig, Mode, Removal, SyncConfig
from audience_syncs.model.errors import DefinitionError, MissingSecret

NEVER_REMOVING = frozenset({Mode.ADD, Mode.UPSERT, Mode.UPDATE, Mode.INSERT, Mode.REMOVE})
"""Modes that leave those who left the audience where they are."""
ADOPTING = frozenset({Mode.MIRROR, Mode.ADD})
"""Modes whose members are in a list, which can therefore be taken over."""


def spec_of(platform: str) -> DestinationSpec:
    """The declaration of a platform. Raises DefinitionError naming the known ones and the nearest."""
    return _load(platform).spec


def spec_for(config: DestinationConfig) -> DestinationSpec:
    """The declaration of an account: its platform's, as far as its settings do not say otherwise."""
    platform = _load(config.platform, f"destination {config.name}")
    if platform.declare is None or any(_check_settings(platform.spec, config.settings)):
        return platform.spec
    return platform.declare(config.settings)


def pace_of(config: DestinationConfig) -> float | None:
    """How many requests a second the account may be sent, by its settings or its platform; None where nothing says so."""
    spec = spec_for(config)
    model = spec.settings_model
    default = model.model_fields.get("requests_per_s") if model is not None else None
    given = config.settings.get("requests_per_s", spec.requests_per_s if default is None else default.default)
    try:
        return None if given is None else float(given)
    except (TypeError, ValueError):
        return None


def open_destination(config: DestinationConfig, environ: Mapping[str, str]) -> Destination:
    """The account, with its secrets read from ``environ``. Sends nothing yet.

    Raises DefinitionError where the definition is wrong (``check_destination`` lists it all) and MissingSecret where a
    variable that it names is not set, or empty.
    """
    where = f"destination {config.name}"
    platform = _load(config.platform, where)
    for problem in check_destination(config):
        raise DefinitionError(problem.message, where=where, remedy=problem.remedy)
    spec = spec_for(config)
    secrets: dict[str, str] = {}
    for name, secret in config.credentials.items():
        # Secrets that come from files end in a newline more often than not.
        value = environ.get(secret.env, "").strip()
        if not value:
            state = "is empty" if secret.env in environ else "is not set"
            raise MissingSecret(
                f"the environment variable {secret.env} {state}; it holds the `{name}` of {spec.title}",
                where=where,
                remedy=f"set {secret.env} where Dagster runs (its .env file or its deployment's secrets), and try again",
            )
        secrets[name] = value
    return platform.open(Account(config.name, secrets, dict(config.settings)), environ)


def check_destination(config: DestinationConfig) -> list[Problem]:
    """What is wrong with a destination: an unknown platform, secrets and settings it does not know, or needs."""
    try:
        spec = spec_for(config)
    except DefinitionError as error:
        return [Problem(("platform",), error.message, error.remedy)]
    return [
        *_unknown("credentials", config.credentials, (*spec.credentials, *spec.optional_credentials), spec),
        *_check_settings(spec, config.settings),
        *(
            Problem(
                ("credentials", name),
                f"{spec.title} needs the secret `{name}`",
                f"add `{name}: {{env: NAME_OF_VARIABLE}}` under `credentials`",
            )
            for name in spec.credentials
            if name not in config.credentials
        ),
    ]


def check_sync(config: DestinationConfig, sync: SyncConfig, kinds: Kinds | None = None) -> list[Problem]:
    """What a sync asks of its destination that the platform cannot do. ``kinds``: of the audience's columns, as far as known."""
    try:
        spec = spec_for(config)
    except DefinitionError as error:
        return [Problem(("destination",), error.message, error.remedy)]
    return [
        *_check_mode(spec, sync),
        *_check_removal(spec, sync),
        *_check_adopt(spec, sync),
        *check_mapping(spec, sync, kinds or {}),
        *_check_settings_of(config, sync),
    ]


def _load(platform: str, where: str = "") -> Platform:
    load = PLATFORMS.get(platform)
    if load is None:
        raise DefinitionError(
            f"there is no platform `{platform}`", where=where, remedy=choose_from(platform, PLATFORMS)
        )
    return load()


def _unknown(group: str, given: Iterable[str], known: Collection[str], spec: DestinationSpec) -> Iterator[Problem]:
    for name in given:
        if name not in known:
            yield Problem((group, name), f"{spec.title} has no `{name}` among its {group}", choose_from(name, known))


def _check_settings(spec: DestinationSpec, settings: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _unknown("settings", settings, tuple(spec.settings), spec)
    for name in sorted(spec.required_settings):
        if settings.get(name) in (None, ""):
            yield Problem(
                ("settings", name),
                f"{spec.title} needs the setting `{name}`",
                f"add `{name}` under `settings`: {spec.settings.get(name, '')}",
            )
    if spec.settings_model is not None:
        known = {name: value for name, value in settings.items() if name in spec.settings}
        yield from settings_problems(spec.settings_model, known, spec.required_settings)
        return
    for name, value in settings.items():
        if isinstance(value, (dict, list)) and name in spec.settings:
            message = f"`{name}` must be text, a number, true or false"
            yield Problem(("settings", name), message, f"write a single value: {spec.settings[name]}")


def _check_mode(spec: DestinationSpec, sync: SyncConfig) -> Iterator[Problem]:
    if sync.mode not in spec.modes:
        yield Problem(("mode",), f"{spec.title} cannot do mode `{sync.mode}`", f"it can: {listed(spec.modes)}")


def _check_removal(spec: DestinationSpec, sync: SyncConfig) -> Iterator[Problem]:
    if sync.mode in NEVER_REMOVING:
        # The default is for the other modes: only what somebody wrote can be a mistake here.
        if "removal" in sync.model_fields_set and sync.removal is not Removal.KEEP:
            does = "takes members of the audience out, not those who leave it"
            yield Problem(
                ("removal",),
                f"mode `{sync.mode}` {does if sync.mode is Mode.REMOVE else 'never removes anybody'}, so "
                f"`removal: {sync.removal}` would do nothing",
                "use `mode: mirror` to remove those who leave the audience, or write `removal: keep`",
            )
    elif sync.removal not in spec.removals:
        yield Problem(
            ("removal",), f"{spec.title} cannot do removal `{sync.removal}`", f"it can: {listed(spec.removals)}"
        )
    elif sync.removal is Removal.CLEAR_FIELDS:
        identifiers = {field.name for field in spec.fields if field.identifier}
        if identifiers.issuperset(sync.mapping):
            yield Problem(
                ("removal",),
                f"`removal: {sync.removal}` would clear nothing: only identifiers are mapped, which stay",
                "map the fields that are to be cleared, or write `removal: remove`",
            )


def _check_adopt(spec: DestinationSpec, sync: SyncConfig) -> Iterator[Problem]:
    if not sync.adopt:
        return
    if not spec.reads_members:
        able = (name for name in PLATFORMS if spec_of(name).reads_members)
        yield Problem(
            ("adopt",),
            f"{spec.title} lets nobody read who is in a list, so none can be adopted",
            f"remove `adopt`: the first run sends everybody, which changes nothing for those who are there. "
            f"Platforms that can: {listed(able)}",
        )
    elif sync.mode not in ADOPTING:
        yield Problem(
            ("adopt",),
            f"mode `{sync.mode}` fills no list, so there is none to adopt",
            f"remove `adopt`, or use one of the modes {listed(ADOPTING)}",
        )


def _check_settings_of(config: DestinationConfig, sync: SyncConfig) -> Iterator[Problem]:
    platform = _load(config.platform)
    if platform.check_mapping is not None and not any(_check_settings(platform.spec, config.settings)):
        yield from platform.check_mapping(config.settings, sync.mapping)
