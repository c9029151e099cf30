"""A saved language model that answers instructions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.generation.answers import answer
from components.generation.batched import Report
from components.generation.config import GenerationConfig
from components.generation.loading import load_language_model
from components.models.saved.language_model import LanguageModelCard, LoadedGPT, load_gpt
from components.prompts import PromptConfig

if TYPE_CHECKING:
    import pandas as pd

DEFAULTS = GenerationConfig(max_new_tokens=256)
"""How a served model generates unless it is told otherwise."""


@dataclass(frozen=True)
class Responder(LoadedGPT):
    """A saved language model in memory, to be asked in the words of the template that it was trained with."""

    def respond(
        self,
        instructions: Sequence[str],
        inputs: Sequence[str] | None = None,
        config: GenerationConfig = DEFAULTS,
        report: Report | None = None,
        first: int = 0,
    ) -> "pd.DataFrame":
        """Return a row for each instruction: `response`, `new_tokens`, and why it `stopped`.

        `stopped` is `end` (the end-of-text token), `marker` (one of the template's stops), `length` (of
        `max_new_tokens`, or the context is full) or `no_room` (the prompt alone fills the context; no response).
        `inputs` are what the instructions apply to, each may be empty; `report` is told of the progress;
        `first` is the number of the first one, on which the draws depend, where there were others before it.
        """
        import pandas as pd

        inputs = [""] * len(instructions) if inputs is None else inputs
        answers = answer(self.model, self.encoding, self.card.template, instructions, inputs, config, report, first)
        return pd.DataFrame(
            {
                "response": pd.Series([each.response for each in answers], dtype="str"),
                "new_tokens": pd.Series([each.new_tokens for each in answers], dtype="int64"),
                "stopped": pd.Series([each.stopped for each in answers], dtype="str"),
            }
        )


def load_responder(folder: Path, device: str = "cpu") -> Responder:
    """Return the language model that `components.models.saved.language_model` wrote into `folder`, ready to answer.

    Raises:
        WeightsError: if the folder holds none, or one that is damaged or of an unknown format.
    """
    loaded = load_gpt(folder, device)
    return Responder(loaded.model, loaded.encoding, loaded.card)


def load_untuned_responder(weights: str, cache: Path, mirror: Path | None, device: str = "cpu") -> Responder:
    """Return a pretrained chat model as it comes, to be asked by its own template.

    `weights`, `cache` and `mirror` are those of `components.generation.loading.load_language_model`.

    Raises:
        WeightsError: if it cannot be had.
        ConfigError: if it has no chat template.
    """
    model, encoding = load_language_model(weights, None, "auto", cache, mirror)
    template = PromptConfig(template="chat").resolved(encoding)
    card = LanguageModelCard(size=model.transformer.size, tie_embeddings=model.lm_head is None, template=template)
    return Responder(model.to(device), encoding, card)
