"""What the tests of the classification flow share: a tiny recipe for the sample data."""

from pipelines.config import load_config
from pipelines.kinds.classification.flow import classification
from pipelines.run import RunSummary

TINY = [
    "model.size={layers: 1, heads: 1, width: 16, context: 128}",
    "train.max_steps=4",
    "train.eval_every=2",
    "train.eval_batches=2",
    "tracking.system_metrics=false",
]


def run(*overrides: str) -> RunSummary:
    """Run the flow in this process."""
    return classification(load_config("spam-demo", [*TINY, *overrides]))
