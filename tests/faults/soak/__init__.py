"""The soak: a steady stream, readers of every kind, a fault every few seconds, and an audit of all of it at the end."""
