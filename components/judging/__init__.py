"""Judging: from responses to verdicts, by a language model or by comparing texts."""
