"""Customer.io: people by batches of the Track API, and a manual segment of them.

account   the declaration, and one workspace: who is in a segment, what happens to who leaves
people    what a member is as a person; sent in batches, looked up until they are there
segments  manual segments: found, made, filled and emptied, read
changes   calls about a segment, noted until they are seen to be done
calls     one call: the two APIs, their limits, and what their errors mean
"""

from audience_syncs.destinations.customerio.account import SPEC, CustomerIo, check_mapping

__all__ = ["SPEC", "CustomerIo", "check_mapping"]
