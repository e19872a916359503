"""Iterable's users and static lists, simulated: ``{url}/iterable`` stands for https://api.iterable.com.

account   the project: paths, keys, limits, inspection
lists     lists and who is in them
bulk      many users in one request: who fails, and why
users     users: what names them, their fields and the fields' types
answers   Iterable's answers
"""

from audience_syncs.simulators.iterable.account import Iterable

__all__ = ["Iterable"]
