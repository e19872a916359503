"""Customer.io's Track and App APIs, simulated: ``{url}/customerio`` stands for both https://track.customer.io and
https://api.customer.io, whose paths differ.

account   the platform: paths, keys, limits, inspection
people    persons, and the operations of a batch
segments  manual segments and who is in them
queue     what the Track API has taken and not yet carried out
errors    the APIs' errors
"""

from audience_syncs.simulators.customerio.account import CustomerIo

__all__ = ["CustomerIo"]
