"""Validation of instructions with Great Expectations, as that of texts and labels (`validation.labelled`).

How long an example is depends on how it will be written out and read: on a template, a vocabulary, a model's context.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from components.conversations import HISTORY, Entry, find_fault, read_history
from components.core.records import Facts
from components.data.split.given_splits import SPLIT
from components.data.validation.checks import NOT_BLANK, NOT_NULL, Checks
from components.data.validation.report import Cell, Content, Rule, counted
from components.data.validation.rules import INSTRUCTION_COLUMNS, TASK, InstructionValidationConfig
from components.prompts import AnyTemplate

if TYPE_CHECKING:
    from components.models.tokenizer import Tokenizer

TASKS_SHOWN = 30
BARS = 12
FAULTS_SHOWN = 3
"""Conversations of which a message says what is wrong with them."""
AT_A_TIME = 4096
"""Examples whose tokens are in memory at a time."""

TEXTS = ["instruction", "input", "output"]


def validate_instructions(
    table: Path,
    rules: InstructionValidationConfig,
    template: AnyTemplate,
    vocabulary: str,
    mirror: Path | None,
    context: int,
    out: Path,
) -> Facts:
    """Check a Parquet table of instructions and write what may be used to `out/table.parquet`.

    It has `row`, `instruction`, `input`, `output` and, if there are kinds of task, `task`. Beside what may be used
    stand `rejected.parquet` (the same columns and `reason`), `report.json` and `report.html`. Accepted rows keep their
    order, values and further columns. An example is what `template` makes of a row, and one end of text; `context` is
    the most tokens that the model reads.

    Raises:
        DataRejected: if an expectation of severity `error` is not met, or no row is left. All files but
            `table.parquet` are written.
        TableError: if `table` is not a Parquet file, or a column has another type than text (`row`: integer).
        WeightsError: if there is no such vocabulary.
        ConfigError: if the shortest example that the rules allow is longer than `context`, or `rules.expectations` do
            not fit the table.
    """
    from components.models.tokenizer import load_tokenizer

    rules = rules.within(context)
    return Instructions(table, rules, template, load_tokenizer(vocabulary, mirror)).run(out)


class Instructions(Checks):
    """The checks of a table of instructions, of which every row is written out by `template`."""

    config: InstructionValidationConfig
    required = INSTRUCTION_COLUMNS
    optional = (TASK, SPLIT, HISTORY)

    def __init__(
        self, table: Path, config: InstructionValidationConfig, template: AnyTemplate, encoding: "Tokenizer"
    ) -> None:
        super().__init__(table, config)
        self._template, self._encoding = template, encoding
        self._faults: dict[int, str] = {}
        """What is wrong with conversations, by position."""
        self._lengths = np.zeros(self.source.rows, np.int32)
        """Tokens of every example, 0 for one without instruction or response."""
        self._turns, self._was_cut = np.zeros((2, self.source.rows), np.int32)
        """How many turns every example has, and whether it lacks its first ones."""

    @property
    def _has_turns(self) -> bool:
        return HISTORY in self.source.columns

    @property
    def content(self) -> tuple[str, ...]:
        """What is asked, with what was said before."""
        return ("instruction", "input", *([HISTORY] if self._has_turns else []))

    @property
    def shown(self) -> tuple[Cell, ...]:
        """The texts of an entry, and the turns before it."""
        history = [Cell(HISTORY, None, 80, 400)] if self._has_turns else []
        return (*(Cell(name, None, 40, 120) for name in TEXTS), *history)

    def row_rules(self) -> list[Rule]:
        """Return the rules about instructions, responses and the examples that they make."""
        length, fields = self.config.length, ("instruction", "output")
        fits = {"column": "tokens", "min_value": length.min, "max_value": length.max}
        tokens = f"{length.min:,}" + (" or more" if length.max is None else f" to {length.max:,}")
        expected = f"prompt, response and end of text have {tokens} tokens"
        visible = "holds more than white space"
        return [
            *(self.column_rule(f"{field}_not_null", field, "is there", NOT_NULL) for field in fields),
            *(self.column_rule(f"{field}_not_blank", field, visible, NOT_BLANK) for field in fields),
            *([self._conversation()] if self._has_turns else []),
            self.rule("length", expected, {"column_values_to_be_between": fits}, needs=TEXTS, by_row=True),
        ]

    def _conversation(self) -> Rule:
        expected = (
            "roles alternate from the user's to the assistant's, after a system message or none; no turn is empty"
        )
        return self.rule(
            "conversation", expected, {"column_values_to_be_null": {"column": "fault"}}, needs=[HISTORY], by_row=True
        )

    def table_rules(self) -> list[Rule]:
        """Return the rules about copies and numbers of rows; the last is about a table of one line, with the share."""
        most = self.config.empty_inputs.max_share
        few = {"column_max_to_be_between": {"column": "share", "max_value": most}}
        expected = f"at most {100 * most:.4g} % of the rows have an empty input"
        return [*super().table_rules(), self.rule("empty_inputs", expected, few, needs=["input"])]

    def derive(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return a part of the table with the length of every example, in `tokens`, and a conversation's `fault`."""
        if self._has_turns:
            part = self._with_faults(part)
        if self.rules["length"] not in self.in_parts:
            return part
        found = self._lengths[part.index] = self._tokens(part.fillna({"input": "", HISTORY: ""}))
        # A row without instruction or response fails for that, and has no length.
        return part.assign(tokens=np.where(found > 0, found, np.nan))

    def _with_faults(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return a part with what is wrong with its conversations, of which no other rule has to say it again."""
        no_entry = part["instruction"].isna() & part[HISTORY].notna()
        found = ((place, find_fault(read_history(text))) for place, text in part.loc[no_entry, HISTORY].items())
        faults: dict[Any, str] = {place: fault for place, fault in found if fault}
        self._faults |= faults
        fault = pd.Series(faults, part.index, dtype="str")
        said = {name: part[name].mask(fault.notna(), "-") for name in ("instruction", "output")}
        return part.assign(fault=fault, **said)

    def _tokens(self, part: pd.DataFrame) -> np.ndarray:
        """Return the tokens of every row's example (rows), 0 where there is no instruction or no response."""
        from components.models.pretrained.turns import encode_fitting
        from components.models.tokenizer import encode_answers

        whole = (part["instruction"].notna() & part["output"].notna()).to_numpy()
        found = np.zeros(len(part), np.int32)
        columns = [name for name in (*TEXTS, HISTORY) if name in part]
        most = self.config.length.max if self.config.length.too_long == "cut" else None
        if "fault" in part:
            whole = whole & part["fault"].isna().to_numpy()
        for places in np.array_split(np.flatnonzero(whole), max(1, -(-int(whole.sum()) // AT_A_TIME))):
            rows: list[Any] = part.iloc[places][columns].to_dict("records")
            responses = encode_answers(self._encoding, self._template, [row["output"] for row in rows])
            rooms = [most - len(response) - 1 if most else None for response in responses]
            entries = map(Entry.of, rows)
            prompts = encode_fitting(self._encoding, self._template, entries, rooms)
            for place, prompt, response in zip(places, prompts, responses, strict=True):
                found[place] = len(prompt.tokens) + len(response) + 1
                self._turns[part.index[place]] = prompt.turns
                self._was_cut[part.index[place]] = prompt.cut
        return found

    def note(self, name: str) -> str:
        """Return which rows have a wrong length or turn, as far as there is room, and what is wrong with them."""
        if name == "conversation":
            some = list(self._faults.items())[:FAULTS_SHOWN]
            rest = "; ..." if len(self._faults) > len(some) else ""
            numbers = [cells["row"] for cells in self.source.cells(place for place, _ in some)]
            return "; ".join(f"row {row:,}: {fault}" for row, (_, fault) in zip(numbers, some, strict=True)) + rest
        if name != "length":
            return ""
        places = self.marks.mask(name).nonzero()[0]
        wrong, shown = self._lengths[places], self.source.row_numbers(places)
        last = counted(int(wrong.max()), "token")
        return f"row {shown}: {last}" if len(places) == 1 else f"rows {shown}: {wrong.min():,} to {last}"

    @cached_property
    def _empty(self) -> int:
        counts = self.source.counts("input", self.marks.kept)
        return counts[""] + counts[None]

    def count_rows(self) -> None:
        """Evaluate the rules about numbers of rows, and of those without an input."""
        super().count_rows()
        rule, left = self.rules["empty_inputs"], int(self.marks.kept.sum())
        if not self.can_run(rule, left):
            return
        # Great Expectations has nothing that counts empty texts among others, so it is given a table with their share.
        self.evaluate(rule.name, pd.DataFrame({"share": [round(self._empty / left, 12)]}))
        rule.observed = f"{100 * self._empty / left:.2f} %"
        rule.detail = f"{self._empty:,} of {counted(left, 'row')}"

    def describe(self) -> Content:
        """Return the share of empty inputs (0 to 1), the rows of each task, and the tokens of an example."""
        kept = self.marks.kept
        lengths = self._lengths[kept & (self._lengths > 0)]
        longest, mean = int(lengths.max(initial=0)), float(lengths.mean()) if len(lengths) else 0.0
        tasks = {task: count for task, count in self.source.counts(TASK, kept).most_common() if task is not None}
        empty = self._empty / max(1, int(kept.sum()))
        facts: Facts = {"empty_inputs": empty, "tasks": tasks, "tokens": {"longest": longest, "mean": mean}}
        if self._has_turns:
            turns = self._turns[kept]
            several, cut = int((turns > 2).sum()), int(self._was_cut[kept].sum())
            counts = {"several_turns": several, "most_turns": int(turns.max(initial=0)), "cut": cut}
            facts["conversations"] = counts | {"mean_turns": float(turns.mean()) if len(turns) else 0.0}
        tiles = {"Mean tokens": f"{mean:,.1f}", "Most tokens": f"{longest:,}", "Empty inputs": f"{100 * empty:.1f} %"}
        bars = {"Tasks": _largest(tasks), "Tokens an example": _histogram(lengths)}
        return Content(facts, tiles, {title: counts for title, counts in bars.items() if counts})


def _largest(tasks: dict[str, int]) -> dict[str, int]:
    shown = dict(list(tasks.items())[:TASKS_SHOWN])
    if others := len(tasks) - len(shown):
        shown[f"{others:,} others"] = sum(tasks.values()) - sum(shown.values())
    return shown


def _histogram(lengths: np.ndarray) -> dict[str, int]:
    """Return how many examples have how many tokens, in at most `BARS` steps of a round width, from the shortest."""
    if not len(lengths):
        return {}
    longest = int(lengths.max())
    rounds = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    width = next(each for each in rounds if each * BARS >= longest)
    steps = (lengths - 1) // width
    first, counts = int(steps.min()), np.bincount(steps)
    places = range(first, len(counts))
    return {f"{width * place + 1:,} to {width * (place + 1):,}": int(counts[place]) for place in places}
