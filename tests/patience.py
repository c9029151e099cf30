"""How long a test waits for another process."""

PATIENCE = 1800
"""Seconds: what catches a hang, on the busiest machine; pytest's own limit is the same."""
