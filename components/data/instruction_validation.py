"""Validation of instructions with Great Expectations, as that of texts and labels (`components.data.validation`).

How long an example is depends on how it will be written out and read: on a template, a vocabulary, a model's context.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.records import Facts
from components.data.batches import hashed, schema
from components.data.folding import joined
from components.data.given_splits import SPLIT
from components.data.instruction_report import FailingEntry, InstructionReport
from components.data.instruction_rules import COLUMNS, TASK, ExampleLength, InstructionValidationConfig
from components.data.validation_checks import PACKAGES, Checks
from components.data.validation_engine import empty_inputs_expectation, instruction_expectations
from components.data.validation_findings import Finding, counted
from components.data.validation_report import finish, versions
from components.data.validation_rows import Source, write_rejected
from components.prompts import Template

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import tiktoken

ROWS_NAMED = 10
BARS = 12
AT_A_TIME = 4096
"""Examples whose tokens are in memory at a time."""

TEXTS = ["instruction", "input", "output"]
ROW_CHECKS = {
    "instruction_not_null": ["instruction"],
    "output_not_null": ["output"],
    "instruction_not_blank": ["instruction"],
    "output_not_blank": ["output"],
    "length": TEXTS,
}
"""The expectations about single rows, and the columns that each needs."""


def validate_instructions(
    table: Path,
    rules: InstructionValidationConfig,
    template: Template,
    vocabulary: str,
    mirror: Path | None,
    context: int,
    out: Path,
) -> Facts:
    """Check a Parquet table of instructions and write what may be used to `out/table.parquet`.

    It has `row`, `instruction`, `input`, `output` and, if there are kinds of task, `task`. Beside what may be used
    stand `rejected.parquet` (the same columns and `reason`), `report.json` and `report.html`. Accepted rows keep their
    order, values and further columns. An example is what `template` makes of a row, and one end of text; `context` is
    the most tokens that the model reads. In memory are a batch of rows and 13 bytes a row.

    Raises:
        DataRejected: if an expectation of severity `error` is not met, or no row is left. All files but
            `table.parquet` are written.
        TableError: if `table` is not a Parquet file, or a column has another type than text (`row`: integer).
        WeightsError: if there is no such vocabulary.
        ConfigError: if the shortest example that the rules allow is longer than `context`.
    """
    from components.models.tokenizer import load_tokenizer

    rules = rules.within(context)
    source = Source(table, (*COLUMNS, TASK, SPLIT))
    checks = Checks(source, rules, COLUMNS, ROW_CHECKS, content=TEXTS[:2])
    lengths, rows = _check_values(checks, rules, template, load_tokenizer(vocabulary, mirror))
    findings = [*checks.values(notes={"length": _named(rows, lengths, rules.length)}), checks.duplicates()]
    kept = checks.marks.kept
    findings.append(checks.row_count())
    empty = _empty_inputs(source, kept)
    findings.append(_check_empty_inputs(checks, empty, int(kept.sum()), rules))
    reasons, failing_rows = write_rejected(
        source, checks.marks, _rejected_schema(source), FailingEntry.of, out / "rejected.parquet"
    )
    left = lengths[kept & (lengths > 0)]
    report = InstructionReport(
        rows_in=source.rows,
        rows_out=int(kept.sum()),
        findings=findings,
        failing_rows=failing_rows,
        reasons=reasons,
        versions=versions(PACKAGES),
        empty_inputs=empty / max(1, int(kept.sum())),
        longest=int(left.max(initial=0)),
        mean=float(left.mean()) if len(left) else 0.0,
        lengths=_histogram(left),
        tasks={task: count for task, count in source.counts(TASK, kept).most_common() if task is not None},
    )
    finish(report, {"rules": rules.model_dump(), "evaluations": checks.engine.log}, out)
    source.write(kept, out / "table.parquet")
    return report.facts()


def _check_values(
    checks: Checks, rules: InstructionValidationConfig, template: Template, encoding: "tiktoken.Encoding"
) -> tuple["np.ndarray", list[int]]:
    """Check columns and values batch by batch, and mark the rows that fail.

    Returns the tokens of every example, int32 (rows), 0 for one without instruction or response, and the numbers of the
    first rows whose length fails.
    """
    import numpy as np

    expectations = instruction_expectations(rules)
    lengths = np.zeros(checks.source.rows, np.int32)
    rows: list[int] = []
    for part in checks.source.frames():
        # Not checked, so not handed over.
        frame = part.drop(columns=[TASK, SPLIT], errors="ignore").fillna({"input": ""})
        if "length" in checks.runs:
            found = lengths[frame.index] = _tokens(frame, template, encoding)
            # A row without instruction or response fails for that, and has no length.
            frame["tokens"] = np.where(found > 0, found.astype(float), np.nan)
        outcomes = checks.run(frame, expectations)
        if "length" in outcomes and len(rows) <= ROWS_NAMED:
            failing = sorted(outcomes["length"].failing)[: ROWS_NAMED + 1]
            rows += frame["row"].loc[failing].tolist() if "row" in frame else [place + 1 for place in failing]
        checks.remember(part.fillna({"input": ""}), lambda good: hashed(joined(good["instruction"], good["input"])))
    return lengths, rows


def _tokens(frame: "pd.DataFrame", template: Template, encoding: "tiktoken.Encoding") -> "np.ndarray":
    """Return the tokens of every row's example (rows), 0 where there is no instruction or no response."""
    import numpy as np

    from components.models.tokenizer import encode

    whole = (frame["instruction"].notna() & frame["output"].notna()).to_numpy()
    found = np.zeros(len(frame), np.int32)
    entries = frame.loc[whole, TEXTS].itertuples(index=False, name=None)
    places = np.flatnonzero(whole)
    for start in range(0, len(places), AT_A_TIME):
        part = [next(entries) for _ in places[start : start + AT_A_TIME]]
        prompts = encode(encoding, [template.prompt(instruction, given or "") for instruction, given, _ in part])
        responses = encode(encoding, [template.completion(output) for _, _, output in part])
        found[places[start : start + AT_A_TIME]] = [
            len(prompt) + len(response) + 1 for prompt, response in zip(prompts, responses, strict=True)
        ]
    return found


def _named(rows: Sequence[int], lengths: "np.ndarray", length: ExampleLength) -> str:
    """Return which rows have a wrong length, as far as there is room, and which lengths these are."""
    if not rows:
        return ""
    most = lengths.max() if length.max is None else length.max
    wrong = lengths[(lengths > 0) & ((lengths < length.min) | (lengths > most))]
    span = f"{wrong.min():,} to {counted(int(wrong.max()), 'token')}" if len(rows) > 1 else counted(wrong[0], "token")
    shown = ", ".join(f"{row:,}" for row in rows[:ROWS_NAMED]) + (", ..." if len(rows) > ROWS_NAMED else "")
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}: {span}"


def _empty_inputs(source: Source, kept: "np.ndarray") -> int:
    counts = source.counts("input", kept)
    return counts[""] + counts[None]  # type: ignore[index]


def _check_empty_inputs(checks: Checks, empty: int, left: int, rules: InstructionValidationConfig) -> Finding:
    import pandas as pd

    if not left or "input" not in checks.source.columns:
        return checks.not_run("empty_inputs", ["input"])
    # Great Expectations has nothing that counts empty texts among others, so it is given a table with their share.
    shares = pd.DataFrame({"share": [round(empty / left, 12)]})
    outcome = checks.engine.run(shares, [empty_inputs_expectation(rules.empty_inputs.max_share)])["empty_inputs"]
    return checks.finding(
        "empty_inputs", outcome, f"{100 * empty / left:.2f} %", detail=f"{empty:,} of {counted(left, 'row')}"
    )


def _rejected_schema(source: Source) -> "pa.Schema":
    """Return the columns that every table has, then those that this one has besides."""
    declared = schema(TEXTS)
    for field in source.schema:
        if field.name not in (*declared.names, "reason"):
            declared = declared.append(field)
    return declared


def _histogram(lengths: "np.ndarray") -> dict[str, int]:
    """Return how many examples have how many tokens, in at most `BARS` steps of a round width, from the shortest."""
    import numpy as np

    if not len(lengths):
        return {}
    longest = int(lengths.max())
    rounds = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    width = next(each for each in rounds if each * BARS >= longest)
    steps = (lengths - 1) // width
    first, counts = int(steps.min()), np.bincount(steps)
    places = range(first, len(counts))
    return {f"{width * place + 1:,} to {width * (place + 1):,}": int(counts[place]) for place in places}
