"""Pinterest: customer lists of an ad account, and the audiences made of them.

account  the declaration, and one ad account: who is in its lists, how many of them Pinterest knows
lists    its customer lists and audiences: found, made, looked at
answers  one call: Pinterest's limits, and what its errors mean
"""

from audience_syncs.destinations.pinterest.account import SPEC, Pinterest

__all__ = ["SPEC", "Pinterest"]
