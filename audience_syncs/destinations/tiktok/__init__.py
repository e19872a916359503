"""TikTok: an audience that hashed identifiers are mapped to, one by one.

account   the declaration, and one advertiser: its audiences, and how many people TikTok recognises
mappings  members as rows of identifiers, and what becomes of them
calls     one call: what TikTok's codes mean
"""

from audience_syncs.destinations.tiktok.account import SPEC, TikTok

__all__ = ["SPEC", "TikTok"]
