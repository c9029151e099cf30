"""How long a test waits for another process, or lets a block of ours wait."""

PATIENCE = 1800
"""Seconds: what catches a hang, on the busiest machine; pytest's own limit is the same."""
LOCKED = PATIENCE
"""Seconds that a database is waited for while another thread or process writes to it."""
