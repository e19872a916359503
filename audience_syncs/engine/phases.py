"""The phases of a plan: what is sent before what. Their numbers are kept in the state tables and never change."""

from __future__ import annotations

NOT_SENT = 0
"""Booked only."""
REMOVALS = 1
"""Members who leave."""
ADDITIONS = 2
"""Members who enter, change, or must be sent again."""
RETRACTIONS = 3
"""Identifiers that staying members no longer have; among the removals where those are nothing but removals, too."""
EARLY_ADDITIONS = 4
"""Full resync only: additions ahead of the removals, so that the list is never empty in between."""

DELIVERY_ORDER = (EARLY_ADDITIONS, RETRACTIONS, REMOVALS, ADDITIONS)
"""Removals before additions: a platform that recognises one person by the old and by the new email would otherwise
drop whom it has just added."""

SENDING = frozenset({ADDITIONS, EARLY_ADDITIONS})
"""Phases whose rows carry what is sent; the others carry identifiers to be taken out."""
