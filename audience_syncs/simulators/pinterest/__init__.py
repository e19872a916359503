"""Pinterest's API v5, simulated: ``{url}/pinterest`` stands for https://api.pinterest.com.

account    paths and operations, tokens, limits, what tests may look into
lists      customer lists and who is in them
audiences  audiences made of customer lists
errors     Pinterest's errors
"""

from audience_syncs.simulators.pinterest.account import Pinterest

__all__ = ["Pinterest"]
