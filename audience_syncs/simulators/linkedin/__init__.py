"""LinkedIn's DMP segments, simulated: ``{url}/linkedin`` stands for https://api.linkedin.com, and for https://www.linkedin.com
where tokens are given.

account   paths, headers, versions, tokens, what tests may look into
segments  segments, and the ids that are streamed into them
answers   LinkedIn's errors
"""

from audience_syncs.simulators.linkedin.account import LinkedIn

__all__ = ["LinkedIn"]
