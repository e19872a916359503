"""Google's Data Manager API, simulated: ``{url}/google`` stands for https://datamanager.googleapis.com, and its ``/token`` for
https://oauth2.googleapis.com/token.

account    the platform: paths, tokens, quotas, inspection
lists      user lists: made, found with a filter, closed
ingestion  uploads: checked as a whole, carried out a little later, told as counts
people     accounts that identifiers find, and who is in which list
errors     ``google.rpc.Status``
enums      enums by name or number
"""

from audience_syncs.simulators.google.account import Google

__all__ = ["Google"]
