"""Two models on the same rows: differences, their intervals and tests."""
