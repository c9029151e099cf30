"""What a run has for MLflow: on disk first, then sent."""
