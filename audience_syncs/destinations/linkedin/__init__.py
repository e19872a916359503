"""LinkedIn Matched Audiences: a DMP segment that people are streamed into, and out of again.

account   the declaration, and one ad account: people in and out, and how large LinkedIn finds a segment
segments  an ad account's segments: found, made, read
members   members as elements of a batch, and one verdict for each from the answers by position
calls     one call: versions, limits, and what LinkedIn's errors mean
"""

from audience_syncs.destinations.linkedin.account import SPEC, LinkedIn

__all__ = ["SPEC", "LinkedIn"]
