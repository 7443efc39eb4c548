"""What the package can do, measured beside what the machine can do and beside what else there is.

One program a question; each contender runs in a process of its own, in turns with the others. `make bench` runs all
of them and writes docs/benchmarks.md.
"""

from fraiseql_events.own_process import choose_allocator

choose_allocator()  # as `serve` and `ingest` do; for all contenders alike
