"""Iterable: users, and static lists of them.

declaration  what Iterable can do, and its settings: what users are known by decides its fields
account      one account: its lists, who is in them, users outside of any list
bulk         many users in one request, and what became of each
calls        one call: Iterable's limits, and what its errors mean
"""
