"""Which platforms there are. A new one is a module and a line here."""

from __future__ import annotations

from audience_syncs.simulators.braze import Braze
from audience_syncs.simulators.customerio import CustomerIo
from audience_syncs.simulators.google import Google
from audience_syncs.simulators.hubspot import HubSpot
from audience_syncs.simulators.iterable import Iterable
from audience_syncs.simulators.json_api import JsonApi
from audience_syncs.simulators.klaviyo import Klaviyo
from audience_syncs.simulators.linkedin import LinkedIn
from audience_syncs.simulators.mailchimp import Mailchimp
from audience_syncs.simulators.meta import Meta
from audience_syncs.simulators.microsoft import Microsoft
from audience_syncs.simulators.pinterest import Pinterest
from audience_syncs.simulators.platform import Platform
from audience_syncs.simulators.salesforce import Salesforce
from audience_syncs.simulators.snapchat import Snapchat
from audience_syncs.simulators.tiktok import TikTok
from audience_syncs.simulators.webhook import Webhook

PLATFORMS: tuple[type[Platform], ...] = (
    Meta,
    HubSpot,
    Klaviyo,
    Google,
    Salesforce,
    Webhook,
    JsonApi,
    Microsoft,
    Braze,
    Iterable,
    Mailchimp,
    CustomerIo,
    TikTok,
    LinkedIn,
    Snapchat,
    Pinterest,
)
