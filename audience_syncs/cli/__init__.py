"""`audience-syncs ...`: the same verbs as in Dagster, in a terminal."""
