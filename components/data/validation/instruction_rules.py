"""What a table of instructions has to meet before anything is spent on it."""

from typing import Self

from pydantic import Field, model_validator

from components.core.config import Config
from components.core.errors import ConfigError
from components.data.validation.rules import (
    Columns,
    Duplicates,
    Expectations,
    NotBlank,
    NotNull,
    RowRule,
    Rows,
    Severity,
    in_order,
)

COLUMNS = ("row", "instruction", "input", "output")
"""The columns every table of instructions carries: number of the record in the raw file (from 1), and its texts."""

TASK = "task"
"""The column that such a table may have besides: what kind of task an entry is."""


class ExampleLength(RowRule):
    """Every example (prompt, response and one end of text) has between `min` and `max` tokens."""

    min: int = Field(default=1, ge=1)
    """Fewest tokens."""
    max: int | None = Field(default=None, ge=1)
    """Most tokens; at most, and by default, those of the model's context, since what is longer cannot be read whole."""

    _in_order = model_validator(mode="after")(in_order)


class EmptyInputs(Config):
    """At most a share of the rows has an empty input, counted after rows were left out."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` goes on."""
    max_share: float = Field(default=1.0, ge=0, le=1)
    """Largest share, from 0 to 1. Any share will do by default: an instruction often says everything."""


class InstructionValidationConfig(Config):
    """The expectations of a table of instructions, each with its own severity."""

    columns: Columns = Columns()
    """Which columns there are."""
    instruction_not_null: NotNull = NotNull()
    """Instructions that are missing."""
    output_not_null: NotNull = NotNull()
    """Responses that are missing."""
    instruction_not_blank: NotBlank = NotBlank()
    """Instructions that show nothing."""
    output_not_blank: NotBlank = NotBlank()
    """Responses that show nothing."""
    length: ExampleLength = ExampleLength()
    """How long examples are."""
    duplicates: Duplicates = Duplicates()
    """How many rows repeat an earlier instruction and input."""
    rows: Rows = Rows()
    """How many rows are left to use."""
    empty_inputs: EmptyInputs = EmptyInputs()
    """How many of them have no input."""
    expectations: Expectations = ()
    """Expectations of Great Expectations' own, each with `type`, `column`, `kwargs` and `severity`."""

    def within(self, context: int) -> Self:
        """Return the rules for a model that reads at most `context` tokens.

        Raises:
            ConfigError: if not even the shortest example that they allow could be read.
        """
        if self.length.min > context:
            raise ConfigError(
                f"validation.length.min ({self.length.min:,}) is above the model's context ({context:,} tokens); "
                "lower it, or choose a model with a longer context"
            )
        most = min(self.length.max or context, context)
        return self.model_copy(update={"length": self.length.model_copy(update={"max": most})})
