"""What the configuration says of evaluation. It is read by every command, so it needs no large library."""

from pydantic import Field

from components.core.config import Config


class EvaluationConfig(Config):
    """Section `evaluation` of a classification preset."""

    encoder_baseline: str | None = Field(default=None, min_length=1)
    """Weights of a model, named as in `model.weights`, whose embeddings of texts, not fine-tuned, a logistic regression
    learns from: one more baseline. Null for none."""
