"""How labelled texts are prepared."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.conversations import Message, as_message
from components.core.errors import ConfigError
from components.core.records import Facts
from components.data.columns import Label
from components.data.formats.dialect import DELIMITED
from components.data.formats.readers import columns_there
from components.data.hosted.ends import Pair
from components.data.sources import InstructionSourceConfig, SourceConfig
from components.data.split.config import BalanceConfig, SplitConfig
from components.data.split.grouping import with_near_duplicates
from components.data.split.labelled import split
from components.data.split.row_index import RowIndex, index_rows
from components.data.turns import recognised
from components.data.validation.labelled import validate
from components.data.validation.rules import ValidationConfig
from pipelines.preparing.form import Form, FormConfig, Row, has_layout

MOST_LABELS = 1000
LONGEST = 10**9
"""Characters: a hosted model's context is its own affair."""
USUAL_LENGTH = 4000
"""Characters of a text that a preset allows by default."""
WARN = {"severity": "warn"}


class WithLabels(FormConfig):
    """How rows with a label each are dealt and written."""

    split: SplitConfig = SplitConfig()
    """How rows are dealt to train, validation and test."""

    labels: list[Label] | None = None
    """Which labels there are, in order: of two, the second is the positive one. Rows with others are left out. By
    default all that there are, sorted."""


class LabelledConfig(WithLabels):
    """How labelled texts are read, dealt and written."""

    source: SourceConfig
    """Where the data is and how it is read."""


class AnsweredConfig(WithLabels):
    """How chats, or prompts and completions, are read whose answers are labels."""

    source: InstructionSourceConfig
    """Where the data is and how it is read."""


class Labelled(Form):
    """Texts with a label each."""

    config_class = LabelledConfig
    columns = ("text", "label", "split")
    answer, same_answer = "label", True
    labels: list[str]

    @classmethod
    def choose_source(cls, path: Path | None, source: dict[str, Any]) -> dict[str, Any]:
        """Let chats, and prompts with completions, be read as such where the columns are not given."""
        if "columns" in source:
            named = {"text": "text", "label": "label"} if source["columns"].keys() <= {"text", "label", "split"} else {}
            return source | {"columns": named | source["columns"]}
        if path is None:
            return source
        if source["format"] in DELIMITED:
            pair = {"text": "prompt", "label": "completion"}
            there = columns_there(path, SourceConfig.model_validate(source))
            return source | ({"columns": pair} if {*pair.values()} <= {*there} else {})
        chats = recognised(path, InstructionSourceConfig.model_validate(source))
        texts = SourceConfig.model_validate(source)
        if not has_layout(chats) or {*texts.read_columns()} <= {*columns_there(path, texts)}:
            return source
        return source | {"columns": dict(chats.columns)}

    @classmethod
    def config_for(cls, source: dict[str, Any]) -> type[FormConfig]:
        """Return the class of a config that reads chats, if these are what is read."""
        chats = source.get("columns", {}).keys() & {"messages", "instruction", "output"}
        return AnsweredConfig if chats else LabelledConfig

    def rewritten(self, facts: Facts) -> Callable[[Row], Row] | None:
        """Return what makes a text and its label of the last turns of a chat."""
        if "text" in facts["reading"]["columns"]:
            return None

        def change(row: Row) -> Row:
            there = row["instruction"] is not None
            text = as_message(row["instruction"], row["input"] or "") if there else None
            return row | {"text": text, "label": row["output"] and row["output"].strip()}

        return change

    def clean(self, table: Path, out: Path) -> Facts:
        """Leave out rows without text or label, copies, and of a text with several labels all but the most frequent."""
        rules = {"labels": self.labels, "text_length": {"max": LONGEST}, "duplicates": {"max_share": 0.0}}
        names = ("label_in_set", "rows", "rows_per_class", "class_ratio")
        facts = validate(table, ValidationConfig.model_validate(rules | dict.fromkeys(names, WARN)), out)
        self.look(out / "table.parquet")
        return facts

    def look(self, table: Path) -> None:
        """Find the labels."""
        self.labels = self.config.labels or _labels_in(table)
        if not 2 <= len(self.labels) <= MOST_LABELS:
            raise ConfigError(
                f"the column of the label has {len(self.labels):,} different ones; 2 to {MOST_LABELS:,} can be told "
                "apart; check --set source.columns.label=NAME"
            )

    def index(self, table: Path) -> RowIndex:
        """Return the index of texts."""
        return with_near_duplicates(index_rows(table, self.labels), False, self.config.split)

    def split(self, table: Path, out: Path) -> Facts:
        """Deal the rows as a run does."""
        return split(table, self.config.split, BalanceConfig(), self.labels, out)

    def as_row(self, row: Row) -> Row:
        """Return text and label."""
        return {"text": row["text"], "label": row["label"]}

    def messages(self, row: Row) -> list[Message]:
        """Return a system message that names the labels, the text, and its label."""
        told = f"Classify the text. Answer with one label and nothing else: {', '.join(self.labels)}."
        turns = (("system", self.config.hosted.system or told), ("user", row["text"]), ("assistant", row["label"]))
        return [{"role": role, "content": content} for role, content in turns]

    def pair(self, row: Row) -> Pair:
        """Return the text and its label."""
        return row["text"], row["label"]

    def preset(self, name: str, source: dict[str, Any], rows: Iterator[Row]) -> dict[str, Any]:
        """Return a preset of a small network."""
        longest = max((len(row["text"] or "") for row in rows), default=0)
        rules: dict[str, Any] = {"labels": self.labels, "rows": WARN, "rows_per_class": WARN}
        return {
            "source": source | {"columns": {"text": "text", "label": "label"}},
            "validation": rules | ({"text_length": {"max": longest}} if longest > USUAL_LENGTH else {}),
            "model": {
                "size": {"layers": 2, "heads": 4, "width": 64, "context": 128},
                "weights": "random",
                "vocabulary": "sample://vocabulary.tiktoken",
            },
            "train": {"trainable": "all", "epochs": 6, "batch_size": 16, "learning_rate": 0.001, "precision": "fp32"},
            "tracking": {"experiment": name, "model_name": name},
        }


def _labels_in(table: Path) -> list[str]:
    found = pq.read_table(table, columns=["label"])["label"].unique().to_pylist()
    return sorted(label for label in found if label)


FORMS = {"classification": Labelled}
