"""A saved language model that answers instructions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from components.conversations import Entry, Message
from components.core.errors import ConfigError
from components.generation.answers import answer, make_prompts, room_for_prompts
from components.generation.batched import Report
from components.generation.config import GenerationConfig
from components.generation.decoding import as_text, generate
from components.generation.loading import load_language_model
from components.models.devices import pick_precision
from components.models.saved.language_model import LanguageModelCard, LoadedGPT, load_gpt
from components.models.tokenizer import ends_of_text
from components.prompts import AnyTemplate, PromptConfig

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
        histories: Sequence[Sequence[Message]] | None = None,
    ) -> "pd.DataFrame":
        """Return a row for each instruction: `response`, `new_tokens`, and why it `stopped`.

        `stopped` is `end` (the end-of-text token), `marker` (one of the template's stops), `length` (of
        `max_new_tokens`, or the context is full) or `no_room` (the prompt alone fills the context; no response).
        `inputs` are what the instructions apply to, each may be empty; `report` is told of the progress;
        `first` is the number of the first one, on which the draws depend, where there were others before it;
        `histories` are the turns before the instructions, cut from the front by whole turns where there is no room.

        Raises:
            ConfigError: if there are such, and the model's template cannot write them.
        """
        import pandas as pd

        inputs = [""] * len(instructions) if inputs is None else inputs
        histories = [()] * len(instructions) if histories is None else histories
        entries = map(Entry, instructions, inputs, histories)
        answers = answer(self.model, self.encoding, self.card.template, entries, config, report, first)
        return pd.DataFrame(
            {
                "response": pd.Series([each.response for each in answers], dtype="str"),
                "new_tokens": pd.Series([each.new_tokens for each in answers], dtype="int64"),
                "stopped": pd.Series([each.stopped for each in answers], dtype="str"),
            }
        )


@dataclass
class Conversation:
    """A conversation with a saved language model, turn by turn."""

    responder: LoadedGPT
    config: GenerationConfig = DEFAULTS
    system: str | None = None
    """A system message, in place of the one that the model was trained with."""
    turns: list[Message] = field(default_factory=list)
    """What was said."""

    def ask(self, text: str) -> tuple[int, Iterator[str]]:
        """Return how many of the first turns the model no longer sees, and its answer, piece by piece.

        Both are remembered when the last piece has come.

        Raises:
            ConfigError: if the text alone is longer than the context, or the model's template cannot write turns.
        """
        model, encoding, template = self.responder.model, self.responder.encoding, self.responder.card.template
        system = [{"role": "system", "content": self.system}] if self.system is not None else []
        entry, size = Entry(text, history=[*system, *self.turns]), model.transformer.size
        [prompt] = make_prompts(template, encoding, [entry], room_for_prompts(size, self.config))
        if len(prompt.tokens) >= size.context:
            raise ConfigError(
                f"{len(prompt.tokens):,} tokens leave no room in the context of {size.context:,}; say less"
            )
        precision = pick_precision(self.config.precision, model.head.device)
        tokens = generate(model, prompt.tokens, self.config, *ends_of_text(encoding), precision=precision)
        return len(self.turns) + 2 - prompt.turns, self._remembered(text, as_text(encoding, tokens))

    def _remembered(self, text: str, pieces: Iterator[str]) -> Iterator[str]:
        said = ""
        for piece in pieces:
            shown = piece if said else piece.lstrip()
            said += shown
            yield shown
        self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": said.rstrip()}]


def load_responder(folder: Path, device: str = "cpu") -> Responder:
    """Return the language model that `components.models.saved.language_model` wrote into `folder`, ready to answer.

    Raises:
        WeightsError: if the folder holds none, or one that is damaged or of an unknown format.
    """
    loaded = load_gpt(folder, device)
    return Responder(loaded.model, loaded.encoding, loaded.card)


def load_untuned_responder(
    weights: str, cache: Path, mirror: Path | None, device: str = "cpu", otherwise: AnyTemplate | None = None
) -> Responder:
    """Return a pretrained model as it comes, to be asked by its own chat template, or `otherwise` where it has none.

    `weights`, `cache` and `mirror` are those of `components.generation.loading.load_language_model`.

    Raises:
        WeightsError: if it cannot be had.
        ConfigError: if it has no chat template, and there is no other.
    """
    model, encoding = load_language_model(weights, None, "auto", cache, mirror)
    try:
        template = PromptConfig(template="chat").resolved(encoding)
    except ConfigError:
        if otherwise is None:
            raise
        template = otherwise
    card = LanguageModelCard(size=model.transformer.size, tie_embeddings=model.lm_head is None, template=template)
    return Responder(model.to(device), encoding, card)
