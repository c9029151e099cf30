"""What a logged model runs: load and predict."""
