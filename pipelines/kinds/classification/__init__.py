"""Text classification: what is its own, and in no other kind."""

DECIDES = "accuracy"
