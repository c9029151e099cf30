"""Models in MLflow: packaged, registered, found, promoted."""
