"""What every part stands on, and what knows none of them: errors, records, the store, steps, the home."""
