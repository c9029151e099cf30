"""How a language model in use is watched: by how its responses end, their length, and what they lack of references."""

import tempfile
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from components.conversations import HISTORY, read_history
from components.data.asked import PromptSource
from components.data.formats.dialect import READING
from components.evaluation.drift import OF_RESPONSES
from components.generation.batched import Stopped
from components.generation.responses import generation_bar, respond
from components.judging.lexical import measure
from components.models.devices import pick_device
from components.serving.language_model import Responder
from components.tasks.instruction import validate
from components.tasks.shared import download
from components.tracking.reading import RESPONSES
from pipelines.asking import Asked
from pipelines.kinds.instruction.config import InstructionConfig

FULL = 100.0
"""What chrF is of a response that is its reference."""


class WatchedLanguageModel:
    """A language model."""

    artifact = RESPONSES
    measures = OF_RESPONSES
    axes = ("how a response ended", "tokens of a response")
    most: int | None = 200
    """Rows that it answers: on a processor that takes minutes."""
    retrained = False

    def __init__(self, model: Responder) -> None:
        """Take the model."""
        self.model = model
        self.classes: list[str] = list(get_args(Stopped))

    def tested(self, path: Path) -> tuple[pd.DataFrame, set[str]]:
        """Return what it answered to its test split; which words it learnt is not known."""
        rows = pd.read_parquet(path)
        if "new_tokens" not in rows:
            return pd.DataFrame(columns=["text", "class", "value", "wrong"]), set()
        return _rows(rows, rows).assign(wrong=1 - rows["chrf"] / FULL), set()

    def labelled(self, config: InstructionConfig) -> pd.DataFrame:
        """Return what it answers to the entries of a source, which are validated before."""
        checked = validate(download(config.source), config.validation, config.prompt, config.model)
        with tempfile.TemporaryDirectory(prefix="gradus-") as folder:
            model, device = self.model, pick_device(config.train.device)
            table = checked.path("table.parquet")
            respond(table, model.model, model.encoding, model.card.template, config.generation, device, Path(folder))
            rows = pd.read_parquet(Path(folder) / "responses.parquet")
        measured = measure(list(zip(rows["model_response"], rows["output"], strict=True)))
        return _rows(rows, rows).assign(wrong=[1 - each.chrf / FULL for each in measured])

    def unlabelled(self, config: InstructionConfig, file: Path, most: int) -> pd.DataFrame:
        """Return what it answers to the first rows of a file in any format; those without an instruction are left out.

        Raises:
            ConfigError: if the file cannot be read.
        """
        import pyarrow as pa

        def answer(some: Any, first: int) -> Any:
            histories = [read_history(text) for text in some[HISTORY]] if HISTORY in some else None
            with generation_bar(len(some["instruction"])) as report:
                said = self.model.respond(
                    some["instruction"], some.get("input"), config.generation, report, first, histories
                )
            return said[[*kinds]].to_dict("list")

        kinds = {"new_tokens": pa.int64(), "stopped": pa.string()}
        learnt = config.source.model_dump(mode="json", include=set(READING))
        found = [pd.DataFrame(columns=["text", "class", "value"])]
        for read, said in Asked(PromptSource, file, {}, [], None).answers(learnt, answer, kinds, most=most):
            answers = pd.DataFrame(said)
            found.append(_rows(pd.DataFrame(read.texts), answers)[answers["stopped"].notna()])
        return pd.concat(found[1:] or found, ignore_index=True)


def _rows(entries: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Return prompts with how their responses ended, and how long these are."""
    inputs = entries["input"].fillna("") if "input" in entries else ""
    texts = (entries["instruction"].fillna("") + "\n" + inputs).str.strip()
    return pd.DataFrame({"text": texts, "class": answers["stopped"], "value": answers["new_tokens"]})


WATCHED = WatchedLanguageModel
