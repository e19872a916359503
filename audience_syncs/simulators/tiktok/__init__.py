"""TikTok's API for Business, simulated: ``{url}/tiktok`` stands for https://business-api.tiktok.com.

account    one app's advertisers: paths, tokens, what tests may look into
audiences  audiences, and the identifiers that are mapped to them
answers    the envelope that every answer comes in, and TikTok's codes
"""

from audience_syncs.simulators.tiktok.account import TikTok

__all__ = ["TikTok"]
