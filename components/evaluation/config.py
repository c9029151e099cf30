"""What the configuration says of evaluation. It is read by every command, so it needs no large library."""

from pydantic import Field

from components.core.config import Config
from components.models.config import ModelConfig


class EvaluationConfig(Config):
    """Section `evaluation` of a classification preset."""

    encoder_baseline: str | None = Field(default=None, min_length=1)
    """Weights of a model, named as in `model.weights`, whose embeddings of texts, not fine-tuned, a logistic regression
    learns from: one more baseline. Null for none."""

    miss_cost: float = Field(default=1.0, gt=0)
    """Of two labels: what it costs to miss the second, where a false alarm costs 1. The report shows the threshold that
    is cheapest on the validation split, and what it would cost on the test split."""

    @property
    def encoder(self) -> ModelConfig | None:
        """The model whose weights `encoder_baseline` names."""
        named = self.encoder_baseline
        return ModelConfig(weights=named, size="auto", vocabulary="auto") if named else None
