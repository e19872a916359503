"""Braze: a custom attribute of the user for each audience, true for who is in it.

declaration  what Braze can do, and its settings: what users are known by decides its fields
account      one account: its audiences, who comes, who leaves, users outside of any audience
people       users: what they are known by, and looking them up
track        sends changes of users, and reads what became of each
calls        one call: Braze's limits, and what its errors mean
"""
