"""`gradus data labels`: rows of a run's data whose label is probably wrong."""

EXAMPLES = ""


def labels() -> None:
    """Name rows whose label is probably wrong."""
