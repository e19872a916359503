"""What an optional key could say, and what stands for a required setting until somebody writes the real one.

Used where a default says nothing: every example is accepted as it is, once the comment sign is taken away.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from audience_syncs.model.config import SyncConfig
from audience_syncs.model.templates import SyncTemplateConfig

Example = str | Sequence[str]
"""A value as YAML: text for one line, lines for a block."""

EXAMPLES: Mapping[str, Example] = {
    "AudienceConfig.title": "High-value customers",
    "AudienceConfig.description": "Spent 500 or more in the last 365 days.",
    "AudienceConfig.source": "shop",
    "AudienceConfig.sql": "SELECT id, email FROM customers",
    "AudienceConfig.primary_key": "id",
    "AudienceConfig.model": "customers",
    "AudienceConfig.filter": ["all:", "  - {property: country, in: [DE, AT]}"],
    "AudienceConfig.columns": "[email, phone]",
    "AudienceConfig.timezone": "Europe/Berlin",
    "AudienceConfig.split": [
        "groups:",
        "  - {name: treated, percent: 90}",
        "  - {name: holdout, percent: 10}",
    ],
    "AudienceConfig.personal": "[email, phone]",
    "AudienceConfig.owners": '["team:crm", "maria@example.com"]',
    "AudienceConfig.tags": "{campaign: win_back}",
    "AudienceConfig.partitions": "daily",
    "AudienceConfig.freshness_sql": "SELECT max(loaded_at) FROM events",
    "AudienceConfig.syncs": ["- destination: meta_ads", "  mapping: {EMAIL: email}"],
    "DestinationConfig.credentials": "{}",
    "DestinationConfig.description": "The ad account for campaigns in Europe.",
    "DestinationConfig.exclude": ["- {name: no_consent, column: ads_consent, unless: [true]}"],
    "ModelConfig.table": "public.customers",
    "ModelConfig.sql": "SELECT * FROM customers WHERE NOT is_test",
    "ModelConfig.asset": "dbt/customers",
    "ModelConfig.title": "Customers",
    "ModelConfig.description": "One row per person.",
    "ModelConfig.label": "email",
    "ModelConfig.now_sql": "SELECT max(loaded_at) FROM events",
    "ModelConfig.personal": "[email, phone]",
    "ModelConfig.related": ["orders: {table: public.orders, join: {id: customer_id}, timestamp: ordered_at}"],
    "ModelConfig.events": ["purchase: {table: public.purchases, join: {id: customer_id}, timestamp: purchased_at}"],
    "ModelConfig.traits": ["revenue: {of: orders, take: sum, column: total, within: 365 days}"],
    "SyncTemplateConfig.locked": "[destination, guard, mapping.EMAIL]",
    "SyncConfig.destination": "meta_ads",
    "SyncConfig.templates": "[]",
    "SyncConfig.list": '{name: "Shop: high-value customers"}',
    "SyncConfig.max_age": "30 minutes",
    "SyncConfig.guard": "{max_drop_percent: 30, min_drop: 100}",
    "SyncConfig.name": "second_list",
    "SyncConfig.schedule": "{every: 1 hour}",
    "SyncConfig.mapping": "{EMAIL: email}",
    "SequenceConfig.title": "Every morning",
    "SequenceConfig.schedule": '{cron: "0 6 * * *", timezone: Europe/Berlin}',
    "SequenceConfig.stop": "{failed: true, rejected_percent: 5}",
    "AlertsConfig.channels": ["crm_team: {url: {env: CRM_TEAM_URL}}"],
}
"""``Model.field`` -> an example, as YAML."""

_BY_FIELD: Mapping[str, Example] = {
    "description": "What it is for.",
    "limits": "{rejected_percent: {warning: 1, critical: 10}}",
    "notify": "{remind_every: 1 day}",
    "guard": "{max_drop_percent: 30, min_drop: 100}",
    "title": "A title",
}

SETTINGS: Mapping[str, Example] = {
    "google.consent": "{ad_user_data: unspecified, ad_personalization: unspecified}",
    # Not ours to say, but there is no account without it: the comment above it says what it means.
    "google.accept_customer_match_terms": "true",
    "google.customer_id": '"1234567890"',
    "http_api.base_url": "https://api.example.com/v1",
    "http_api.add": ["path: /lists/${list.id}/members", 'body: {members: "${members}"}'],
    "braze.instance": "US-01",
    "files.url": "file:///srv/audiences",
    "salesforce.my_domain": "https://example.my.salesforce.com",
}
"""``platform.setting`` -> what stands for it until it is filled in; the others are numbers of accounts."""

ALSO_NEEDED: Mapping[str, frozenset[str]] = {"braze": frozenset({"instance"})}
"""Settings that a platform cannot do without unless others stand in for them."""

_ACCOUNT = '"1234567890"'


def example(model: type[BaseModel], name: str) -> Example:
    """An example of an optional field: the table's, or else its default."""
    known = EXAMPLES.get(f"{model.__name__}.{name}") or _BY_FIELD.get(name)
    if known is not None:
        return known
    if model is SyncTemplateConfig and name in SyncConfig.model_fields:
        # A template says what a sync can say.
        return example(SyncConfig, name)
    field = model.model_fields[name]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel) or default is None:
        return _of_type(field.annotation)
    return plain(default)


def setting_example(platform: str, name: str) -> Example:
    """What stands for a required setting until somebody fills it in."""
    return SETTINGS.get(f"{platform}.{name}", _ACCOUNT)


def plain(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(plain(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {plain(item)}' for key, item in value.items())}}}"
    return str(value) if str(value) else '""'


def _of_type(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    origin = get_origin(annotation) or annotation
    if origin in (list, tuple):
        return "[]"
    if origin is dict or (isinstance(origin, type) and issubclass(origin, BaseModel)):
        return "{}"
    return {int: "0", float: "0", bool: "false"}.get(origin, '"..."')
