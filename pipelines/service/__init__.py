"""What machines start: flows that a server hands to workers, and what tells it of them."""
