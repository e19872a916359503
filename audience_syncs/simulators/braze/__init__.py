"""Braze's users, custom attributes and segments, simulated: ``{url}/braze`` stands for https://rest.iad-01.braze.com.

account   the platform: paths, keys, limits, inspection
track     POST /users/track: what is refused, and what is done some moments later
users     users: found by what names them, written, exported, deleted; who has an attribute
answers   Braze's answers
"""

from audience_syncs.simulators.braze.account import Braze

__all__ = ["Braze"]
