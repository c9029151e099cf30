"""Data on its way: download, read, validate, split, balance."""
