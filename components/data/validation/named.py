"""Expectations of Great Expectations' own that a preset names (`validation.expectations`), as rules of a table."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from components.core.errors import ConfigError, did_you_mean, shortened
from components.data.validation.engine import columns_of, expect, is_by_row
from components.data.validation.report import Rule
from components.data.validation.rows import Source, frame_of
from components.data.validation.rules import Expectation

KEY = "validation.expectations"
WHOLE_COLUMN_BYTES = 1 << 28
"""The most that an expectation about a whole column is handed over, which has to be in memory at once: 256 MiB."""


def named_rules(expectations: Iterable[Expectation]) -> list[Rule]:
    """Return a rule for each expectation, named after it and its columns, and a number if it repeats."""
    times: Counter[str] = Counter()
    rules = []
    for each in expectations:
        columns = columns_of(each.arguments)
        name = ".".join([each.type, *columns])
        times[name] += 1
        name += f".{times[name]}" if times[name] > 1 else ""
        check = expect(name, each.type.removeprefix("expect_"), key=KEY, **each.arguments)
        words = each.type.removeprefix("expect_").replace("_", " ")
        arguments = ", ".join(f"{key}={in_short(value)}" for key, value in each.arguments.items())
        expected = f"{words} ({shortened(arguments, 200)})" if arguments else words
        rest = "leave such rows out" if is_by_row(check) else "go on all the same"
        remedy = f"Correct the data, or set the severity of {each.type} in {KEY} to warn to {rest}"
        rules.append(Rule(name, each.severity, expected, columns, (check,), is_by_row(check), remedy))
    return rules


def in_short(value: Any) -> str:
    """Return a value as JSON on one short line; nothing for None."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else shortened(json.dumps(value, ensure_ascii=False, default=str), 120)


def check_columns(rules: Iterable[Rule], there: Sequence[str], required: Sequence[str]) -> None:
    """Check that the columns that named rules are about are those of the table; a `required` one has its own rule.

    Raises:
        ConfigError: naming the rule, the column, and the one that was probably meant.
    """
    for rule, name in ((each, name) for each in rules for name in each.needs):
        if name not in there and name not in required:
            hint = did_you_mean(name, there, f"it has {', '.join(there)}")
            raise ConfigError(f"{KEY}: {rule.name}: the table has no column {name!r}{hint}")


def values_at_once(rule: Rule, source: Source, kept: np.ndarray) -> pd.DataFrame:
    """Return the columns that a named rule is about, all if it is about the table, in the rows that are `kept` (rows).

    Raises:
        ConfigError: if they are larger than `WHOLE_COLUMN_BYTES`.
    """
    frames, size, names = [], 0, list(rule.needs or source.schema.names)
    for positions, batch in source.batches(names):
        size += batch.nbytes
        if size > WHOLE_COLUMN_BYTES:
            columns, most = " and ".join(rule.needs) or "the table", f"{WHOLE_COLUMN_BYTES >> 20} MiB"
            raise ConfigError(
                f"{KEY}: {rule.name} has to see all values at once, and those of {columns} are more than {most}: take "
                "it out, or name one about single values"
            )
        frames.append(frame_of(batch, names, positions)[kept[positions]])
    return pd.concat(frames)
