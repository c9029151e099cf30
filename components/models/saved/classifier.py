"""A classifier as a folder: what is saved after training, and all that serving needs.

    model.safetensors      weights in fp32, in the layout of `transformers`
    model.json             size, labels, pooling, padding
    vocabulary.tiktoken    the vocabulary, and
    tokenizer.json         how to cut text before it is applied

Nothing is pickled, and nothing outside the folder is read. The folder also serves as `model.weights` of a new run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, model_validator

from components.core.config import Config
from components.models.architecture import make_network
from components.models.classifier import Classifier, classify
from components.models.config import Pooling
from components.models.padding import cut
from components.models.pretrained.files import WEIGHTS_FILE
from components.models.saved.base import Base, load_saved_weights
from components.models.saved.card import CARD_FILE, CLASSIFIER, read_card, write_card
from components.models.sizes import AnySize
from components.models.tokenizer import Tokenizer, closing, encode_whole, end_of_text, read_tokenizer, write_tokenizer
from components.models.weights import save_weights

if TYPE_CHECKING:
    import pandas as pd

MODEL_FILE = CARD_FILE


class ClassifierCard(Config):
    """What `model.json` holds: how to build the classifier, and how to feed it."""

    format: Literal["gradus-classifier-1"] = "gradus-classifier-1"
    """The folder's format and its version."""
    size: AnySize
    """Shape of the network."""
    labels: list[str] = Field(min_length=2)
    """Names of the classes; the position is the class id."""
    pooling: Pooling
    """Which position feeds the head."""
    causal: bool = True
    """Whether a position sees only itself and those before it."""
    padding: int | None = Field(default=None, gt=0)
    """Tokens that every text is padded to, or None: no further than its batch."""
    max_length: int = Field(gt=0)
    """Tokens that a text is cut to."""
    bias: bool = True
    """Whether the head has a bias."""
    base: Base | None = None
    """What the weights lie with where the folder holds an adapter alone (`adapter_model.safetensors`)."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if self.max_length > (self.padding or self.size.context):
            raise ValueError(f"max_length {self.max_length} exceeds the padding or the context")
        return self


def save_classifier(
    folder: Path,
    model: Classifier,
    encoding: Tokenizer,
    labels: list[str],
    max_length: int,
    padding: int | None = None,
    base: Base | None = None,
) -> None:
    """Write a classifier into `folder`, which must exist; for `base` see `save_gpt` of language models.

    Raises:
        ValueError: if labels, lengths and model do not agree.
    """
    if len(labels) != model.head.out_features:
        raise ValueError(f"{len(labels)} labels for a head of {model.head.out_features} classes")
    card = ClassifierCard(
        size=model.transformer.size,
        labels=labels,
        pooling=model.pooling,
        causal=model.causal,
        padding=padding,
        max_length=max_length,
        bias=model.head.bias is not None,
        base=base,
    )
    if base is None:
        save_weights(model, folder / WEIGHTS_FILE)
    write_tokenizer(encoding, folder)
    write_card(card, folder)


def load_classifier(folder: Path, device: str = "cpu") -> "LoadedClassifier":
    """Return the classifier that `save_classifier` wrote into `folder`, ready to predict.

    Raises:
        WeightsError: if the folder holds none, or one that is damaged or of an unknown format.
    """
    card = read_card(folder, ClassifierCard, CLASSIFIER)
    encoding = read_tokenizer(folder)
    transformer = make_network(card.size, encoding.n_vocab)
    model = Classifier(transformer, len(card.labels), card.pooling, causal=card.causal, bias=card.bias)
    load_saved_weights(model, folder, card.base)
    return LoadedClassifier(model.eval().to(device), encoding, card)


@dataclass(frozen=True)
class LoadedClassifier:
    """A saved classifier in memory."""

    model: Classifier
    encoding: Tokenizer
    card: ClassifierCard

    def probabilities(self, texts: list[str], batch_size: int = 32) -> torch.Tensor:
        """Return how likely each class is for each of N texts, read as by `predict`: (N, C), fp64 on the CPU."""
        kept = closing(self.encoding)
        rows = [cut(tokens, self.card.max_length, kept) for tokens in encode_whole(self.encoding, texts)]
        logits = classify(self.model, rows, end_of_text(self.encoding), self.card.padding, batch_size)
        return torch.softmax(logits.double(), dim=1)

    def predict(self, texts: list[str], batch_size: int = 32) -> "pd.DataFrame":
        """Return a row for each text: `label`, its `probability`, and `p_<label>` for every class.

        Texts are cut at `max_length` tokens; an empty one is classified as the end-of-text token alone.
        """
        import pandas as pd

        probabilities = self.probabilities(texts, batch_size)
        labels = [self.card.labels[index] for index in probabilities.argmax(dim=1).tolist()]
        columns = {f"p_{label}": probabilities[:, index].numpy() for index, label in enumerate(self.card.labels)}
        likeliest = probabilities.amax(dim=1).numpy()
        return pd.DataFrame({"label": pd.Series(labels, dtype="str"), "probability": likeliest, **columns})
