"""The contract of a destination, the one HTTP client, one module per platform. Knows no warehouse.

contract   what a destination declares and does
registry   platforms by name; opening one; refusing what one cannot do
http       the client: retries, pacing, redaction           pacing     one budget per account
meta, hubspot                                               the platforms
"""
