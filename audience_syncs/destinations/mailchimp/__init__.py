"""Mailchimp: contacts of an audience, and a tag (a static segment) that they bear.

account   the declaration, and one account: its tags, who bears them, what happens to who leaves
contacts  people as contacts of the audience: brought in, written, looked up, archived
segments  static segments: found, made, filled and emptied, read
calls     one call: Mailchimp's limits, and what its errors mean
"""

from audience_syncs.destinations.mailchimp.account import SPEC, Mailchimp

__all__ = ["SPEC", "Mailchimp"]
