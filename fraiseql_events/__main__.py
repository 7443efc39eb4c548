"""``python -m fraiseql_events``: the command line, where its script is not on the path."""

from fraiseql_events.cli import main

main()
