"""Microsoft Advertising's customer lists, simulated: ``{url}/microsoft`` stands for https://campaign.api.bingads.microsoft.com
and for https://login.microsoftonline.com.

account   the platform: paths, headers, tokens, inspection
lists     customer lists and their items
errors    Microsoft's errors and faults
"""

from audience_syncs.simulators.microsoft.account import Microsoft

__all__ = ["Microsoft"]
