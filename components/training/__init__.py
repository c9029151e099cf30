"""Batches, objectives and the training loop."""
