"""Commands that find things: runs, models, keys, and what a machine has."""
