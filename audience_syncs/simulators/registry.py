"""Which platforms there are. A new one is a module and a line here."""

from __future__ import annotations

from audience_syncs.simulators.hubspot import HubSpot
from audience_syncs.simulators.json_api import JsonApi
from audience_syncs.simulators.klaviyo import Klaviyo
from audience_syncs.simulators.meta import Meta
from audience_syncs.simulators.pinterest import Pinterest
from audience_syncs.simulators.platform import Platform
from audience_syncs.simulators.snapchat import Snapchat
from audience_syncs.simulators.webhook import Webhook

PLATFORMS: tuple[type[Platform], ...] = (Meta, HubSpot, Klaviyo, Snapchat, Pinterest, Webhook, JsonApi)
