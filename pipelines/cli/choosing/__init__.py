"""Commands that help choose between models."""
