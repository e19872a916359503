"""`python -m audience_syncs` is `audience-syncs`."""

from audience_syncs.cli.main import main

main()
