"""Microsoft Advertising: customer lists (customer match) of its Campaign Management service, version 13, over REST.

declaration  the fields, and the settings with their types
account      one ad account: who signs in, what is done with a list
lists        customer lists: found, made, looked at
members      one batch of members as items of a list, and the answers back as a verdict each
calls        one call: what Microsoft's errors mean
"""

from audience_syncs.destinations.microsoft.account import Microsoft
from audience_syncs.destinations.microsoft.declaration import SPEC

__all__ = ["SPEC", "Microsoft"]
