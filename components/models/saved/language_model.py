"""A fine-tuned language model as a folder: what is saved after training, and all that answering needs.

    model.safetensors      weights in fp32, in the layout of `transformers`
    model.json             size, whether the head is the embedding, the prompt's template
    vocabulary.tiktoken    the vocabulary, and
    tokenizer.json         how to cut text before it is applied

Nothing is pickled, and nothing outside the folder is read. The folder also serves as `model.weights` of a new run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.core.config import Config
from components.models.architecture import make_network
from components.models.language_model import LanguageModel
from components.models.pretrained.files import WEIGHTS_FILE
from components.models.saved.base import Base, load_saved_weights
from components.models.saved.card import LANGUAGE_MODEL, kind_of, read_card, write_card
from components.models.sizes import AnySize
from components.models.tokenizer import Tokenizer, read_tokenizer, write_tokenizer
from components.models.weights import save_weights
from components.prompts import AnyTemplate


class LanguageModelCard(Config):
    """What `model.json` holds: how to build the language model, and how to ask it."""

    format: Literal["gradus-language-model-1"] = "gradus-language-model-1"
    """The folder's format and its version."""
    size: AnySize
    """Shape of the network."""
    tie_embeddings: bool
    """Whether the head is the token embedding itself."""
    template: AnyTemplate
    """How an entry is written out, as in training."""
    base: Base | None = None
    """What the weights lie with where the folder holds an adapter alone (`adapter_model.safetensors`)."""


@dataclass(frozen=True)
class LoadedGPT:
    """A saved language model in memory."""

    model: LanguageModel
    encoding: Tokenizer
    card: LanguageModelCard


def save_gpt(
    folder: Path, model: LanguageModel, encoding: Tokenizer, template: AnyTemplate, base: Base | None = None
) -> None:
    """Write a language model into `folder`, which must exist.

    Adapters have been merged into it; or, with a `base`, they stand in the folder, and no weights are written.

    Raises:
        ValueError: if model and vocabulary do not agree.
    """
    known = model.transformer.vocab_size
    if encoding.n_vocab != known:
        raise ValueError(f"a vocabulary of {encoding.n_vocab} tokens for a model that knows {known}")
    tied = model.lm_head is None
    card = LanguageModelCard(size=model.transformer.size, tie_embeddings=tied, template=template, base=base)
    if base is None:
        save_weights(model, folder / WEIGHTS_FILE)
    write_tokenizer(encoding, folder)
    write_card(card, folder)


def saved_template(folder: Path) -> AnyTemplate | None:
    """Return the template of the language model in `folder`, None if it is of another kind or from elsewhere."""
    if kind_of(folder) != LANGUAGE_MODEL:
        return None
    return read_card(folder, LanguageModelCard, LANGUAGE_MODEL).template


def load_gpt(folder: Path, device: str = "cpu") -> LoadedGPT:
    """Return the language model that `save_gpt` wrote into `folder`, ready to generate.

    Raises:
        WeightsError: if the folder holds none, or one that is damaged or of an unknown format.
    """
    card = read_card(folder, LanguageModelCard, LANGUAGE_MODEL)
    encoding = read_tokenizer(folder)
    model = LanguageModel(make_network(card.size, encoding.n_vocab), card.tie_embeddings)
    load_saved_weights(model, folder, card.base)
    return LoadedGPT(model.eval().to(device), encoding, card)
