"""What a table of instructions has to meet before anything is spent on it."""

from typing import Self

from pydantic import Field, model_validator

from components.core.config import Config
from components.core.errors import ConfigError
from components.data.rules import Rows, Severity

COLUMNS = ("row", "instruction", "input", "output")
"""The columns every table of instructions carries: number of the record in the raw file (from 1), and its texts."""

TASK = "task"
"""The column that such a table may have besides: what kind of task an entry is."""


class InstructionColumns(Config):
    """The table has the columns `row`, `instruction`, `input` and `output`; further ones are kept."""

    severity: Severity = "error"
    """`error` stops the flow; `warn` goes on, and what needs a missing column is not evaluated."""


class NotNull(Config):
    """Every row has this field."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the failing rows out."""


class NotBlank(Config):
    """This field shows something in every row: white space, zero-width characters and byte order marks do not count."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the failing rows out."""


class ExampleLength(Config):
    """Every example (prompt, response and one end of text) has between `min` and `max` tokens."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the failing rows out."""

    min: int = Field(default=1, ge=1)
    """Fewest tokens."""

    max: int | None = Field(default=None, ge=1)
    """Most tokens; at most, and by default, those of the model's context, since what is longer cannot be read whole."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) must not be above max ({self.max})")
        return self


class RepeatedEntries(Config):
    """At most a share of the rows repeats an earlier instruction with the same input, of those that meet the rules."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the later copies out, the first stays."""

    max_share: float = Field(default=0.2, ge=0, le=1)
    """Largest share, from 0 to 1. Copies below it stay in the table; the split keeps them together."""


class EmptyInputs(Config):
    """At most a share of the rows has an empty input, counted after rows were left out."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` goes on."""

    max_share: float = Field(default=1.0, ge=0, le=1)
    """Largest share, from 0 to 1. Any share will do by default: an instruction often says everything."""


class InstructionValidationConfig(Config):
    """The expectations of a table of instructions, each with its own severity."""

    columns: InstructionColumns = InstructionColumns()
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

    duplicates: RepeatedEntries = RepeatedEntries()
    """How many rows repeat an earlier instruction and input."""

    rows: Rows = Rows()
    """How many rows are left to use."""

    empty_inputs: EmptyInputs = EmptyInputs()
    """How many of them have no input."""

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

    def severity(self, name: str) -> Severity:
        """Return the severity of the expectation `name`."""
        severity: Severity = getattr(self, name).severity
        return severity

    def expected(self) -> dict[str, str]:
        """Return what is expected in words, by expectation, in the order in which reports show them."""
        tokens = f"{self.length.min:,}" + (" or more" if self.length.max is None else f" to {self.length.max:,}")
        most = "" if self.rows.max is None else f", at most {self.rows.max:,}"
        repeats, empty = 100 * self.duplicates.max_share, 100 * self.empty_inputs.max_share
        return {
            "columns": f"the table has the columns {', '.join(COLUMNS)}",
            "instruction_not_null": "instruction is there",
            "output_not_null": "output is there",
            "instruction_not_blank": "instruction holds more than white space",
            "output_not_blank": "output holds more than white space",
            "length": f"prompt, response and end of text have {tokens} tokens",
            "duplicates": f"at most {repeats:.4g} % of the rows repeat an earlier instruction and input",
            "rows": f"at least {self.rows.min:,} rows{most}",
            "empty_inputs": f"at most {empty:.4g} % of the rows have an empty input",
        }
