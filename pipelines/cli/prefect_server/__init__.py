"""The temporary Prefect server of a run on a machine that has none."""
