"""A table in any SQL database: one row per member, by its key."""
