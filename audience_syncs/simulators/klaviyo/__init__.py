"""Klaviyo's profiles, lists and bulk imports, simulated: ``{url}/klaviyo`` stands for https://a.klaviyo.com.

account   the platform: paths, keys, limits, inspection
profiles  people: found by email, phone number and external id, written, checked
lists     lists and who is in them
imports   bulk import jobs, which run a little later
errors    Klaviyo's error envelope
"""

from audience_syncs.simulators.klaviyo.account import Klaviyo

__all__ = ["Klaviyo"]
