"""Snapchat's Marketing API, simulated: ``{url}/snapchat`` stands for https://adsapi.snapchat.com and https://accounts.snapchat.com.

account   paths and operations, tokens, what tests may look into
segments  customer lists and who is in them
errors    Snap's envelope: requests and the parts of requests, good and bad
"""

from audience_syncs.simulators.snapchat.account import Snapchat

__all__ = ["Snapchat"]
