"""What a store shares with those of other machines."""
