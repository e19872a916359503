"""Any JSON API, described in YAML: a request for each operation, and where its answer tells of each member."""
