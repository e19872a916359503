"""Google Ads: Customer Match lists, kept through the Data Manager API.

declaration  what it can do, and an account's settings; loads without HTTP
account      one account: its lists, and how many Google counts in them
access       signing in: an OAuth refresh token, or a service account's key
identities   a member as Google's identifiers; what Google would refuse is refused here
delivery     one call of ``add`` or ``remove``, from members to verdicts
requests     requests that Google takes at once and carries out later: sent, noted, waited for
answers      what Google's answers mean, and which of them stop the run

Facts: the messages of ``google.ads.datamanager.v1`` (googleapis of 2026-08, ``google-ads-datamanager`` 0.9.4), the Data Manager
API's guides (read 2026-11). Each module says what it takes from them, and marks ``[unsure]`` what is not written there.
"""

from audience_syncs.destinations.google.account import Google
from audience_syncs.destinations.google.declaration import SPEC, declare

__all__ = ["SPEC", "Google", "declare"]
