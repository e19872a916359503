"""Klaviyo: profiles by bulk import, and a list of them.

account   the declaration, and one account: its lists, who is in them, what happens to who leaves
imports   bulk imports: sent, waited for, read member by member; those that an earlier run left behind
profiles  what a member is as a profile; profiles found by email or id
calls     one call: Klaviyo's limits, and what its errors mean
"""

from audience_syncs.destinations.klaviyo.account import SPEC, Klaviyo

__all__ = ["SPEC", "Klaviyo"]
