"""Snapchat: customer lists of an ad account.

account   the declaration, and one ad account: who is in its segments, how many of them Snapchat recognises
segments  its segments: found, made, looked at
upload    one batch: members as identifiers of one kind each, and Snapchat's answers as one verdict per member
answers   Snap's envelope: what its answers mean
"""

from audience_syncs.destinations.snapchat.account import SPEC, Snapchat

__all__ = ["SPEC", "Snapchat"]
