"""A webhook of the user's own, signed as Standard Webhooks says."""
