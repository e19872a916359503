"""The demo: an online shop that is made up, but behaves like one (``shop``), data of one's own (``load``), a PostgreSQL to
keep them in (``postgres``)."""
