"""Instruction fine-tuning: what is its own, and in no other kind."""

DECIDES = "score"
