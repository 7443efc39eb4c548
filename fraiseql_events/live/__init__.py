"""The dashboard: what happens now, as numbers and a rolling chart."""
