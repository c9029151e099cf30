"""What a classification table has to meet before anything is spent on it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from components.core.config import Config
from components.data.labels import Label

Severity = Literal["error", "warn"]

COLUMNS = ("row", "text", "label")
"""The columns every table carries: number of the record in the raw file (from 1), text, label."""


class Columns(Config):
    """The table has the columns `row`, `text` and `label`; further ones are kept."""

    severity: Severity = "error"
    """`error` stops the flow; `warn` goes on, and what needs a missing column is not evaluated."""


class LabelInSet(Config):
    """Every row has a label, and it is one of `labels`."""

    severity: Severity = "error"
    """`error` stops the flow; `warn` leaves the failing rows out."""


class TextNotNull(Config):
    """Every row has a text."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the failing rows out."""


class TextNotBlank(Config):
    """Every text shows something: white space, zero-width characters and byte order marks do not count."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the failing rows out."""


class TextLength(Config):
    """Every text has between `min` and `max` characters (Unicode code points)."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the failing rows out."""
    min: int = Field(default=1, ge=0)
    """Fewest characters."""
    max: int = Field(default=4000, ge=1)
    """Most characters; 4,000 is about GPT-2's 1,024 tokens of English, so what is longer could not be read whole."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not be above max ({self.max})")
        return self


class Rows(Config):
    """The table has between `min` and `max` rows, counted after rows were left out."""

    severity: Severity = "error"
    """`error` stops the flow; `warn` goes on. A table without a row always stops it."""
    min: int = Field(default=20, ge=1)
    """Fewest rows."""
    max: int | None = Field(default=None, ge=1)
    """Most rows; no limit by default."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) must not be above max ({self.max})")
        return self


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


class Duplicates(Config):
    """At most a share of the rows repeats an earlier text exactly, counted on the rows that meet the rules above."""

    severity: Severity = "warn"
    """`error` stops the flow; `warn` leaves the later copies out, the first stays."""
    max_share: float = Field(default=0.2, ge=0, le=1)
    """Largest share, from 0 to 1. Copies below it stay in the table; the split keeps them together."""


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
    text_not_null: TextNotNull = TextNotNull()
    """Texts that are missing."""
    text_not_blank: TextNotBlank = TextNotBlank()
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

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str]) -> list[str]:
        if repeated := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"labels must be distinct; given twice: {', '.join(repeated)}")
        return labels

    def severity(self, name: str) -> Severity:
        """Return the severity of the expectation `name`."""
        severity: Severity = getattr(self, name).severity
        return severity

    def expected(self) -> dict[str, str]:
        """Return what is expected in words, by expectation, in the order in which reports show them."""
        most = "" if self.rows.max is None else f", at most {self.rows.max:,}"
        return {
            "columns": f"the table has the columns {', '.join(COLUMNS)}",
            "label_in_set": f"label is one of {', '.join(self.labels)}",
            "text_not_null": "text is there",
            "text_not_blank": "text holds more than white space",
            "text_length": f"text has {self.text_length.min:,} to {self.text_length.max:,} characters",
            "conflicts": "no text has different labels",
            "duplicates": f"at most {100 * self.duplicates.max_share:.4g} % of the rows repeat an earlier text",
            "rows": f"at least {self.rows.min:,} rows{most}",
            "rows_per_class": f"at least {self.rows_per_class.min:,} rows of each class",
            "class_ratio": f"largest class at most {self.class_ratio.max:.4g} times the smallest",
        }
