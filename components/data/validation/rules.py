"""What a table has to meet before anything is spent on it: rules of labelled texts, and of instructions.

A section is a rule's severity and bounds. What a rule counts, and its words, stand where the table is checked
(`labelled`, `instructions`), one row a rule.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, JsonValue, field_validator, model_validator

from components.core.config import Config
from components.core.errors import ConfigError
from components.data.columns import Label

Severity = Literal["error", "warn"]

COLUMNS = ("row", "text", "label")
"""The columns every table of texts carries: number of the record in the raw file (from 1), text, label."""
INSTRUCTION_COLUMNS = ("row", "instruction", "input", "output")
"""The columns every table of instructions carries: number of the record in the raw file (from 1), and its texts."""
TASK = "task"
"""The column that such a table may have besides: what kind of task an entry is."""


class RowRule(Config):
    """A rule about single rows."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the failing rows out."""


class Columns(Config):
    """The table has the columns of its kind (`row`, and its texts); further ones are kept."""

    severity: Severity = "error"
    """`error` stops the flow; `warn` goes on, and what needs a missing column is not evaluated."""


class NotNull(RowRule):
    """Every row has this field."""


class NotBlank(RowRule):
    """This field shows something in every row: white space, zero-width characters and byte order marks do not count."""


def in_order(rule: Any) -> Any:
    """Refuse a section whose `min` is above its `max`."""
    if rule.max is not None and rule.min > rule.max:
        raise ValueError(f"min ({rule.min}) must not be above max ({rule.max})")
    return rule


class Duplicates(Config):
    """At most a share of the rows repeats an earlier one exactly, counted on the rows that meet the rules above.

    What is compared is the text, or the instruction with its input.
    """

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the later copies out, the first stays."""
    max_share: float = Field(default=0.2, ge=0, le=1)
    """Largest share, from 0 to 1. Copies below it stay in the table; the split keeps them together."""


class Rows(Config):
    """The table has between `min` and `max` rows, counted after rows were left out."""

    severity: Severity = "error"
    """`error` stops the flow; `warn` goes on. A table without a row always stops it."""
    min: int = Field(default=20, ge=1)
    """Fewest rows."""
    max: int | None = Field(default=None, ge=1)
    """Most rows; no limit by default."""

    _in_order = model_validator(mode="after")(in_order)


class Expectation(Config):
    """One of Great Expectations' own expectations (https://greatexpectations.io/expectations)."""

    type: str
    """Its name, such as `expect_column_values_to_match_regex`."""
    column: str | None = None
    """The column of the table that it is about; of expectations about several, these stand in `kwargs`."""
    kwargs: dict[str, JsonValue] = {}  # noqa: RUF012 - pydantic copies it
    """Its other arguments, as Great Expectations calls them, such as `regex` or `mostly`."""
    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the failing rows out, or goes on where it is about a whole column."""

    @property
    def arguments(self) -> dict[str, JsonValue]:
        """All arguments, with the column among them."""
        return ({"column": self.column} if self.column is not None else {}) | self.kwargs

    @model_validator(mode="after")
    def _known(self) -> Self:
        # Here, so that a wrong one is found before anything is downloaded; Great Expectations takes seconds to load,
        # but only where a preset names an expectation.
        from components.data.validation.engine import check_arguments

        if self.column is not None and "column" in self.kwargs:
            raise ValueError(f"{self.type}: the column stands twice, in column and in kwargs; leave one of them out")
        check_arguments(self.type, self.arguments)
        return self


Expectations = Annotated[tuple[Expectation, ...], Field(max_length=50)]


class LabelInSet(RowRule):
    """Every row has a label, and it is one of `labels`."""

    severity: Severity = "error"
    """`error` stops the flow; `warn` leaves the failing rows out."""


class TextLength(RowRule):
    """Every text has between `min` and `max` characters (Unicode code points)."""

    min: int = Field(default=1, ge=0)
    """Fewest characters."""
    max: int = Field(default=4000, ge=1)
    """Most characters; 4,000 is about GPT-2's 1,024 tokens of English, so what is longer could not be read whole."""

    _in_order = model_validator(mode="after")(in_order)


class RowsPerClass(Config):
    """Every one of `labels` has at least `min` rows, counted after rows were left out."""

    severity: Severity = "error"
    """`error` stops the flow; `warn` goes on."""
    min: int = Field(default=10, ge=1)
    """Fewest rows of a class; with less a split into three parts leaves next to nothing to measure on."""


class Conflicts(Config):
    """No text stands there with different labels, counted on the rows that meet the rules above.

    `conflicts: drop` is short for `conflicts: {use: drop}`. Of a given split, only rows of train are looked at.
    """

    severity: Severity = "warn"
    """`error` stops the flow; `warn` does what `use` says."""
    use: Literal["majority", "drop", "keep"] = "majority"
    """What is used of such a text: `majority` the rows with the label that most of its rows have, none where two labels
    are equally frequent; `drop` none; `keep` all."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, values: Any) -> Any:
        return {"use": values} if isinstance(values, str) else values


class ClassRatio(Config):
    """The largest class has at most `max` times the rows of the smallest."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` goes on."""
    max: float = Field(default=20, ge=1, allow_inf_nan=False)
    """Largest ratio."""


class ValidationConfig(Config):
    """The expectations of a table of labelled texts, each with its own severity."""

    labels: list[Annotated[Label, Field(min_length=1)]] = Field(min_length=2)
    """The declared labels in order; a class's id is its position, and of two the second is the positive one."""
    ordered: bool = False
    """Whether the labels are declared from least to most, as 1 to 5 stars: then how far off a model is counts too."""
    columns: Columns = Columns()
    """Which columns there are."""
    label_in_set: LabelInSet = LabelInSet()
    """Which labels there are."""
    text_not_null: NotNull = NotNull()
    """Texts that are missing."""
    text_not_blank: NotBlank = NotBlank()
    """Texts that show nothing."""
    text_length: TextLength = TextLength()
    """How long texts are."""
    conflicts: Conflicts = Conflicts()
    """Texts that are labelled differently."""
    duplicates: Duplicates = Duplicates()
    """How many rows repeat an earlier text."""
    rows: Rows = Rows()
    """How many rows are left to use."""
    rows_per_class: RowsPerClass = RowsPerClass()
    """How many rows of each class are left to use."""
    class_ratio: ClassRatio = ClassRatio()
    """How uneven the classes are."""
    expectations: Expectations = ()
    """Expectations of Great Expectations' own, each with `type`, `column`, `kwargs` and `severity`."""

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str]) -> list[str]:
        if repeated := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"labels must be distinct; given twice: {', '.join(repeated)}")
        return labels


Rules = TypeVar("Rules", bound=Config)


def of_a_trial(rules: Rules) -> Rules:
    """Return the rules for some rows of a file (`source.limit`): that these are too few warns, and does not stop."""
    numbers = [name for name in ("rows", "rows_per_class") if name in type(rules).model_fields]
    return rules.model_copy(
        update={name: getattr(rules, name).model_copy(update={"severity": "warn"}) for name in numbers}
    )


class ExampleLength(RowRule):
    """Every example (prompt, response and one end of text) has between `min` and `max` tokens."""

    min: int = Field(default=1, ge=1)
    """Fewest tokens."""
    max: int | None = Field(default=None, ge=1)
    """Most tokens; at most, and by default, those of the model's context, since what is longer cannot be read whole."""
    too_long: Literal["cut", "leave_out"] = "cut"
    """What becomes of a conversation that is longer: `cut` takes whole turns from its front, in training and generation
    too, and counts what is left; `leave_out` counts all of it."""

    _in_order = model_validator(mode="after")(in_order)


class Conversation(RowRule):
    """Roles of a conversation are known and alternate, a system message only comes first, no turn is empty, and the
    last one is the assistant's."""


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
    conversation: Conversation = Conversation()
    """Which turns conversations have."""
    length: ExampleLength = ExampleLength()
    """How long examples are."""
    duplicates: Duplicates = Duplicates()
    """How many rows repeat an earlier instruction and input, and in conversations what was said before."""
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
