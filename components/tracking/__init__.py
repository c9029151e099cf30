"""MLflow and nothing else: runs, packaging, the registry and promotion."""
