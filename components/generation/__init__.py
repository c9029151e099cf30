"""Decoding: from a language model and a prompt to a text."""
