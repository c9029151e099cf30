"""Rules that a table has to meet, checked by Great Expectations."""
