"""Connections, dialect differences, state tables. Knows no platform."""

from audience_syncs.warehouse.connection import Warehouse, open_warehouse, open_warehouse_at

__all__ = ["Warehouse", "open_warehouse", "open_warehouse_at"]
