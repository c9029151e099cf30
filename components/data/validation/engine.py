"""Great Expectations in memory, a frame at a time; no other module imports it.

https://docs.greatexpectations.io/docs/core/define_expectations/
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.core.errors import ConfigError, GradusError, did_you_mean, shortened

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("element_count", "missing_count", "unexpected_count")
FIGURES = (*COUNTS, "unexpected_percent", "observed_value", "details")
MOST_VALUES = 100
"""How many values of a list the log keeps."""

OURS = {
    "batch_id", "catch_exceptions", "description", "id", "meta", "notes", "rendered_content", "result_format",
    "severity", "windows",
}  # fmt: skip
"""What expectations take besides their arguments: where they run and how they are described, which we decide."""

COMPARING = {
    "expect_column_value_z_scores_to_be_less_than",
    "expect_column_values_to_be_decreasing",
    "expect_column_values_to_be_increasing",
    "expect_column_values_to_be_unique",
    "expect_column_values_to_not_be_outliers",
    "expect_compound_columns_to_be_unique",
}
"""Those about rows that compare a row with others, so that they have to see the whole column."""

# Spelled out, because pandas may hand a pattern to RE2, in which \s means ASCII white space only.
VISIBLE = "[^\\s\x0b\x1c-\x1f\x85\xa0\u1680\u180e\u2000-\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]"


def _great_expectations() -> Any:
    # Loaded on use: importing it takes seconds.
    import great_expectations.expectations

    return great_expectations


def expect(name: str, kind: str, /, key: str = "", **arguments: Any) -> Any:
    """Return one of Great Expectations' expectations (`kind`, without `expect_`) for the rule `name`.

    `key` is the key of a config that names the expectation, if one does: what goes wrong with it is the config's fault.
    """
    return _class_of(f"expect_{kind}")(**arguments, meta={"name": name, "key": key})


def _class_of(kind: str) -> Any:
    _great_expectations()
    from great_expectations.expectations.registry import get_expectation_impl

    return get_expectation_impl(kind)


def check_arguments(kind: str, arguments: Mapping[str, Any]) -> None:
    """Check that Great Expectations has an expectation `kind`, and that it takes these arguments.

    Raises:
        ValueError: saying what is wrong, and what was probably meant.
    """
    gx = _great_expectations()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    known = [name for name in list_registered_expectation_implementations() if name.startswith("expect_")]
    if kind not in known:
        see = "see https://greatexpectations.io/expectations"
        raise ValueError(f"Great Expectations has no {kind!r}{did_you_mean(kind, known, see)}")
    taken = [name for name in _class_of(kind).__fields__ if name not in OURS]
    if unknown := [name for name in arguments if name not in taken]:
        takes = f"it takes {', '.join(taken)}"
        raise ValueError(f"{kind} takes no {unknown[0]!r}{did_you_mean(unknown[0], taken, takes)}")
    try:
        expect("", kind.removeprefix("expect_"), **arguments)
    except (ValueError, TypeError, gx.exceptions.GreatExpectationsError) as error:
        raise ValueError(f"{kind}: {_first_fault(error)}; it takes {', '.join(taken)}") from error


def _first_fault(error: Exception) -> str:
    """Return what Great Expectations, or pydantic, says of wrong arguments, on one line."""
    faults: list[dict[str, Any]] = getattr(error, "errors", list)()
    if faults:
        place = ".".join(str(part) for part in faults[0]["loc"] if part != "__root__")
        return f"{place}: {faults[0]['msg']}" if place else str(faults[0]["msg"])
    return " ".join(str(error).split())


def is_by_row(expectation: Any) -> bool:
    """Return whether an expectation is about rows, and so says which fail."""
    from great_expectations.expectations import expectation as kinds

    about_rows = (kinds.ColumnMapExpectation, kinds.ColumnPairMapExpectation, kinds.MulticolumnMapExpectation)
    return isinstance(expectation, about_rows)


def is_in_parts(expectation: Any) -> bool:
    """Return whether an expectation can be evaluated on a table part by part."""
    return is_by_row(expectation) and expectation.expectation_type not in COMPARING


def columns_of(arguments: Mapping[str, Any]) -> list[str]:
    """Return the columns that the arguments of an expectation name."""
    single = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
    return list(dict.fromkeys([*single, *arguments.get("column_list", ())]))


@dataclass
class Outcome:
    """What Great Expectations says of one of our rules, which may take several of its expectations."""

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

    def success(self, name: str) -> bool:
        """Return whether all parts together meet the rule `name`."""
        return all(record["success"] for record in self.log if record["name"] == name)

    def run(self, frame: "pd.DataFrame", expectations: Sequence[Any]) -> dict[str, Outcome]:
        """Evaluate expectations on a frame, and gather the results by the name in their `meta`.

        Raises:
            GradusError: if an expectation could not be evaluated; ConfigError, if a config names it.
        """
        suite = _great_expectations().ExpectationSuite(name="expectations", expectations=list(expectations))
        batch = self._batches.get_batch({"dataframe": frame})
        complete = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
        try:
            evaluated = batch.validate(suite, result_format=complete)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # It catches what an expectation raises, but not what it lacks to evaluate some.
            suspects = [each for each in expectations if each.meta.get("key")] or expectations
            raise _failed(suspects[-1].meta, f"{type(error).__name__}: {error}") from error
        outcomes: dict[str, Outcome] = {}
        # They come in no particular order.
        for result in sorted(evaluated.to_json_dict()["results"], key=_place):
            self._gather(result, outcomes)
        return outcomes

    def _gather(self, result: dict[str, Any], outcomes: dict[str, Outcome]) -> None:
        name, kind = place = _place(result)
        # Either the information itself, or one a metric that failed.
        for entry in [result["exception_info"], *result["exception_info"].values()]:
            if isinstance(entry, dict) and entry.get("raised_exception"):
                raise _failed(result["expectation_config"]["meta"], str(entry["exception_message"]))
        success = bool(result["success"])  # some expectations say it in numpy's own
        outcome = outcomes.setdefault(name, Outcome())
        outcome.success &= success
        outcome.failing.update(result["result"].get("unexpected_index_list") or ())
        outcome.observed = result["result"].get("observed_value", outcome.observed)
        record = {
            "name": name,
            "expectation": kind,
            "arguments": {k: v for k, v in result["expectation_config"]["kwargs"].items() if k != "batch_id"},
            "success": success,
            # Lists of failing values stay out: they stand in rejected.parquet, and here they would fill the report.
            "result": {key: _short(result["result"][key]) for key in FIGURES if key in result["result"]},
        }
        self._log[place] = _sum(self._log[place], record) if place in self._log else record


def _failed(meta: Mapping[str, Any], trouble: str) -> GradusError:
    """Return the error that says that a rule could not be evaluated: the config's fault, if that names it."""
    message = f"Great Expectations could not evaluate {meta['name']}: {shortened(' '.join(trouble.split()), 400)}"
    key = meta.get("key")
    return ConfigError(f"{key}: {message}; correct it, or take it out") if key else GradusError(message)


def _place(result: dict[str, Any]) -> tuple[str, str]:
    config = result["expectation_config"]
    return config["meta"]["name"], config["type"]


def _sum(before: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of two parts of a table as that of the whole."""
    figures = dict(record["result"])
    success = record["success"] and before["success"]
    if figures.get("unexpected_count") is not None:
        figures |= {name: figures[name] + before["result"][name] for name in COUNTS if name in figures}
        unexpected, there = figures["unexpected_count"], figures["element_count"] - figures.get("missing_count", 0)
        figures["unexpected_percent"] = 100 * unexpected / there if there else None
        # Whether most rows pass is decided by all of them.
        success = not there or (there - unexpected) / there >= record["arguments"].get("mostly", 1)
    return {**record, "success": success, "result": figures}


def _short(value: Any) -> Any:
    """Return a value as the log keeps it: JSON has no numpy, and no infinity, the ratio to a class without rows."""
    if hasattr(value, "tolist"):
        return _short(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return [_short(each) for each in value[:MOST_VALUES]] if isinstance(value, list) else value
