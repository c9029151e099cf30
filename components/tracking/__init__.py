"""MLflow: runs, plots, packaging and the registry."""
