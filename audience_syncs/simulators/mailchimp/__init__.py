"""Mailchimp's audiences, contacts and static segments, simulated: ``{url}/mailchimp`` stands for the address of version 3.0.

account   the platform: paths, keys, limits, inspection
contacts  people in an audience: subscribed in batches, written, archived, tagged
segments  static segments, which are tags, and who is in them
errors    problem documents, in Mailchimp's words
"""

from audience_syncs.simulators.mailchimp.account import Mailchimp

__all__ = ["Mailchimp"]
