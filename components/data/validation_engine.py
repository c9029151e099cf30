"""Great Expectations in memory, a frame at a time, and the expectations of ours in its terms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.core.errors import GradusError
from components.data.instruction_rules import InstructionValidationConfig
from components.data.rules import Rows, ValidationConfig

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("element_count", "missing_count", "unexpected_count")

# Spelled out, because pandas may hand a pattern to RE2, in which \s means ASCII white space only.
VISIBLE = "[^\\s\x0b\x1c-\x1f\x85\xa0\u1680\u180e\u2000-\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]"


def _great_expectations() -> Any:
    # Loaded on use: importing it takes seconds.
    import great_expectations.expectations

    return great_expectations


@dataclass
class Outcome:
    """What Great Expectations says of one of our expectations, which may take several of theirs."""

    success: bool = True
    failing: set[Any] = field(default_factory=set)
    """Index values of the failing rows."""
    observed: Any = None
    """The observed value, of expectations that have one."""


class Engine:
    """Great Expectations in memory: no project folder, no progress bar, nothing sent anywhere.

    It hashes every frame that it is given, twice: hand over the columns that are needed. A table may be handed over in
    parts, one after the other: `log` adds their figures up.
    """

    def __init__(self) -> None:
        context = _great_expectations().get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
        self._batches = asset.add_batch_definition_whole_dataframe("whole")
        self._log: dict[tuple[str, str], dict[str, Any]] = {}

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every evaluation: its kind, arguments, success and figures."""
        return list(self._log.values())

    def run(self, frame: "pd.DataFrame", expectations: list[Any]) -> dict[str, Outcome]:
        """Evaluate expectations on a frame, and gather the results by the name in their `meta`.

        Raises:
            GradusError: if an expectation could not be evaluated.
        """
        suite = _great_expectations().ExpectationSuite(name="expectations", expectations=expectations)
        evaluated = self._batches.get_batch({"dataframe": frame}).validate(
            suite, result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False}
        )
        outcomes: dict[str, Outcome] = {}
        # They come in no particular order.
        for result in sorted(evaluated.to_json_dict()["results"], key=_place):
            self._gather(result, outcomes)
        return outcomes

    def _gather(self, result: dict[str, Any], outcomes: dict[str, Outcome]) -> None:
        name = result["expectation_config"]["meta"]["name"]
        if trouble := _exception(result["exception_info"]):
            raise GradusError(f"Great Expectations could not evaluate {name}: {trouble}")
        outcome = outcomes.setdefault(name, Outcome())
        outcome.success &= result["success"]
        outcome.failing.update(result["result"].get("unexpected_index_list") or ())
        outcome.observed = result["result"].get("observed_value", outcome.observed)
        record = _record(name, result)
        place = _place(result)
        self._log[place] = _sum(self._log[place], record) if place in self._log else record


def _place(result: dict[str, Any]) -> tuple[str, str]:
    config = result["expectation_config"]
    return config["meta"]["name"], config["type"]


def _exception(info: dict[str, Any]) -> str | None:
    # Either the information itself, or one a metric that failed.
    for entry in [info, *(value for value in info.values() if isinstance(value, dict))]:
        if entry.get("raised_exception"):
            return " ".join(str(entry["exception_message"]).split())
    return None


def _record(name: str, result: dict[str, Any]) -> dict[str, Any]:
    # Lists of failing values stay out: they stand in rejected.parquet, and here they would fill the report.
    config = result["expectation_config"]
    figures = ("element_count", "missing_count", "unexpected_count", "unexpected_percent", "observed_value", "details")
    return {
        "name": name,
        "expectation": config["type"],
        "arguments": {key: value for key, value in config["kwargs"].items() if key != "batch_id"},
        "success": result["success"],
        "result": {key: _finite(result["result"][key]) for key in figures if key in result["result"]},
    }


def _sum(before: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of two parts of a table as that of the whole."""
    figures = dict(record["result"])
    for name in COUNTS:
        if name in figures:
            figures[name] += before["result"][name]
    if figures.get("unexpected_percent", before["result"].get("unexpected_percent")) is not None:
        there = figures["element_count"] - figures.get("missing_count", 0)
        figures["unexpected_percent"] = 100 * figures["unexpected_count"] / there
    return {**record, "success": record["success"] and before["success"], "result": figures}


def _finite(value: Any) -> Any:
    # JSON has no infinity, which is the ratio to a class without rows.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def columns_expectation(columns: Sequence[str]) -> Any:
    """Return what says that the columns are there."""
    gxe = _great_expectations().expectations
    return gxe.ExpectTableColumnsToMatchSet(column_set=list(columns), exact_match=False, meta={"name": "columns"})


def value_expectations(rules: ValidationConfig) -> list[Any]:
    """Return what says that single rows of texts and labels are as they should be."""
    gxe = _great_expectations().expectations
    length = rules.text_length
    return [
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(rules.labels), meta={"name": "label_in_set"}),
        # Nulls pass a set, so a missing label needs an expectation of its own.
        gxe.ExpectColumnValuesToNotBeNull(column="label", meta={"name": "label_in_set"}),
        gxe.ExpectColumnValuesToNotBeNull(column="text", meta={"name": "text_not_null"}),
        gxe.ExpectColumnValuesToMatchRegex(column="text", regex=VISIBLE, meta={"name": "text_not_blank"}),
        gxe.ExpectColumnValueLengthsToBeBetween(
            column="text", min_value=length.min, max_value=length.max, meta={"name": "text_length"}
        ),
    ]


def instruction_expectations(rules: InstructionValidationConfig) -> list[Any]:
    """Return what says that single instructions are as they should be, for a table with their length in `tokens`."""
    gxe = _great_expectations().expectations
    length = rules.length
    return [
        *(
            expectation
            for column in ("instruction", "output")
            for expectation in (
                gxe.ExpectColumnValuesToNotBeNull(column=column, meta={"name": f"{column}_not_null"}),
                gxe.ExpectColumnValuesToMatchRegex(column=column, regex=VISIBLE, meta={"name": f"{column}_not_blank"}),
            )
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="tokens", min_value=length.min, max_value=length.max, meta={"name": "length"}
        ),
    ]


def duplicates_expectation(column: str, max_share: float) -> Any:
    """Return what says how many values of a column may be copies."""
    # Rounded, so that a share of exactly max_share passes: 1 - 0.7 is a little more than 3 / 10.
    return _great_expectations().expectations.ExpectColumnProportionOfUniqueValuesToBeBetween(
        column=column, min_value=round(1 - max_share, 12), meta={"name": "duplicates"}
    )


def conflicts_expectation() -> Any:
    """Return what says that no text has several labels, for a table with the number of labels of each text."""
    return _great_expectations().expectations.ExpectColumnMaxToBeBetween(
        column="labels", max_value=1, meta={"name": "conflicts"}
    )


def rows_expectation(rows: Rows) -> Any:
    """Return what says how many rows there are to be."""
    return _great_expectations().expectations.ExpectTableRowCountToBeBetween(
        min_value=rows.min, max_value=rows.max, meta={"name": "rows"}
    )


def empty_inputs_expectation(max_share: float) -> Any:
    """Return what says how many inputs may be empty, for a table of one line with their share."""
    return _great_expectations().expectations.ExpectColumnMaxToBeBetween(
        column="share", max_value=max_share, meta={"name": "empty_inputs"}
    )


def class_expectations(rules: ValidationConfig) -> list[Any]:
    """Return what says how many rows the classes have, for a table with a class a line: `rows`, `ratio`."""
    gxe = _great_expectations().expectations
    fewest, most = rules.rows_per_class.min, rules.class_ratio.max
    return [
        gxe.ExpectColumnValuesToBeBetween(column="rows", min_value=fewest, meta={"name": "rows_per_class"}),
        gxe.ExpectColumnMaxToBeBetween(column="ratio", max_value=most, meta={"name": "class_ratio"}),
    ]
