"""Preparing data: from a file of examples to splits, to files for hosted fine-tuning, and to a preset; and back."""
