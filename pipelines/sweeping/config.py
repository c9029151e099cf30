"""What a sweep is: presets of sweeps and files in YAML, and what the command line adds."""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from components.core.config import Config
from components.core.errors import ConfigError, did_you_mean
from components.core.yaml_loader import InvalidYAML, load_yaml
from pipelines.config import apply_override, explain, read_tree, shipped_presets

Values = dict[str, Any]
"""Keys of a preset, with dots, and what they are set to."""
RANGE = re.compile(r"(?P<low>[^.\s][^:]*?)\.\.(?P<high>[^:]+?)(?::(?P<scale>log|int))?")


class RangeConfig(Config):
    """From where to where a key is searched."""

    low: float
    """The least value."""
    high: float
    """The greatest value."""
    scale: Literal["even", "log", "int"] = "even"
    """`even`: every part of the range is as likely; `log`: every factor is; `int`: whole numbers only."""

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"{self.low:g}..{self.high:g} is no range: the first must be less than the second")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"{self.low:g}..{self.high:g}:log has no logarithm: begin above 0")
        return self


class RowConfig(Config):
    """A row of the table: one variation of the preset."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^/\n]+$")
    """What it is called in tables."""
    preset: str | None = None
    """The preset that it is a variation of, if not the sweep's."""
    set: Values = Field(default={})
    """Keys and their values."""
    published: float | None = None
    """What others report of it, shown beside the test figure and as that is: accuracies in per cent."""


class QuestionConfig(Config):
    """A question that some of the rows answer."""

    ask: str
    """The question."""
    rows: list[str] = Field(min_length=2)
    """The names of the rows that answer it; the first is what the others are measured against."""
    remark: str = ""
    """What else a reader has to know."""


class SweepConfig(Config):
    """A sweep: a preset and how it is varied."""

    name: str = Field(default="sweep", pattern=r"^[\w.-]+$")
    """The name of the sweep, by which, with its preset and the keys set for all rows, it is known again."""
    description: str = ""
    """One line for `gradus presets`."""
    preset: str
    """The preset, or the file of one, that is varied."""
    set: Values = Field(default={})
    """Keys that are set for all rows."""
    rows: list[RowConfig] = Field(default=[])
    """Variations by name."""
    grid: dict[str, list[Any]] = Field(default={})
    """Keys and the values that each of them takes: all combinations are rows, or of each of `rows`."""
    ranges: dict[str, RangeConfig] = Field(default={})
    """Keys and the ranges in which Optuna looks for values, where `trials` says how often."""
    trials: int | None = Field(default=None, ge=1)
    """Rows that Optuna proposes, one after the other by what came of those before."""
    seeds: int = Field(default=1, ge=1, le=100)
    """Runs of each row, with the training's seed and those that follow it."""
    metric: str | None = Field(default=None, pattern=r"^validation/\w+$")
    """The figure of the validation split that rows are ranked by, such as `validation/f1`; null: that of the kind."""
    questions: list[QuestionConfig] = Field(default=[])
    """What the rows are to answer."""
    bases: dict[str, Values] = Field(default={})
    """By name, keys that `--base` sets for all rows, above what they set themselves: other weights, for example."""

    @field_validator("ranges", mode="before")
    @classmethod
    def _ranges_may_be_texts(cls, ranges: Any) -> Any:
        if not isinstance(ranges, dict):
            return ranges
        return {key: parse_range(key, text) if isinstance(text, str) else text for key, text in ranges.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.trials and not (self.ranges or self.grid):
            raise ValueError("trials need something to choose: give ranges (--range) or a grid (--grid)")
        if self.trials and self.rows:
            raise ValueError("trials and rows do not go together: Optuna proposes its own rows")
        if self.ranges and not self.trials:
            raise ValueError("ranges are for Optuna: say how many trials (--optuna N)")
        if not (self.rows or self.grid or self.trials):
            raise ValueError("there is nothing to vary: give rows, a grid (--grid) or ranges with trials (--optuna)")
        if empty := [key for key, values in self.grid.items() if not values]:
            raise ValueError(f"grid: {empty[0]} has no values")
        names = [row.name for row in self.rows]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"rows: two are called {twice[0]!r}")
        if unknown := [name for each in self.questions for name in each.rows if name not in names]:
            raise ValueError(f"questions: there is no row {unknown[0]!r}{did_you_mean(unknown[0], names)}")
        return self


def parse_range(key: str, text: str) -> RangeConfig:
    """Return the range that `LOW..HIGH`, `LOW..HIGH:log` or `LOW..HIGH:int` stands for.

    Raises:
        ValueError: if it is none of them.
    """
    match = RANGE.fullmatch(text.strip())
    try:
        low, high = (float(match[end]) for end in ("low", "high")) if match else (1.0, 0.0)
    except ValueError:
        match = None
    if not match:
        raise ValueError(f"{key}: {text!r} is no range; write it as in 1e-5..1e-3:log, 0..0.5 or 1..8:int")
    return RangeConfig(low=low, high=high, scale=match["scale"] or "even")


def parse_set(text: str) -> tuple[str, Any]:
    """Return the key and the value of `KEY=VALUE`, as `--set` reads it.

    Raises:
        ConfigError: if that is not what it is.
    """
    tree: Any = {}
    apply_override(tree, text)
    key = text.partition("=")[0]
    for part in key.split("."):
        tree = tree[part]
    return key, tree


def parse_grid(text: str) -> tuple[str, list[Any]]:
    """Return the key and the values of `KEY=VALUE,VALUE`; one with commas stands in brackets, quotes or braces.

    Raises:
        ConfigError: if that is not what it is.
    """
    key, equals, values = text.partition("=")
    if not equals or not all(key.split(".")) or not values.strip():
        raise ConfigError(f"--grid {text!r} is not KEY=VALUE,VALUE, as in --grid train.epochs=1,2,3")
    try:
        found: list[Any] = load_yaml(f"[{values}]")
    except InvalidYAML as error:
        raise ConfigError(f"--grid {key}: {values!r} is no list of values: {error}") from error
    return key, found


def shipped_sweeps() -> dict[str, Traversable]:
    """Return the presets of sweeps that Gradus ships, by name."""
    there = [entry for entry in (files("pipelines.sweeping") / "presets").iterdir() if entry.name.endswith(".yaml")]
    return dict(sorted((entry.name.removesuffix(".yaml"), entry) for entry in there))


def load_sweep(name: str, changes: dict[str, Any] | None = None) -> SweepConfig:
    """Return a sweep: a shipped one, one in a YAML file, or the variations of a preset that `changes` name.

    Args:
        name: a preset of a sweep, the file of one, or a preset (or the file of one) that `gradus run` takes.
        changes: what is set in place of what the file says, unless it is empty; a `set` and a `grid` are added to its
            own.

    Raises:
        ConfigError: naming every key that is wrong.
    """
    tree = _read(name)
    for key, value in (changes or {}).items():
        if value:
            tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    try:
        return SweepConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, name, SweepConfig))) from error


def _read(name: str) -> Values:
    shipped = shipped_sweeps()
    source: Traversable | Path = shipped[name] if name in shipped else Path(name)
    if name not in shipped and not name.endswith((".yaml", ".yml")):
        if name not in (known := [*shipped, *shipped_presets()]):
            raise ConfigError(f"there is no sweep or preset {name!r}{did_you_mean(name, known)}; see `gradus presets`")
        return {"name": f"{name}-sweep", "preset": name}
    tree = read_tree(source, name, "a sweep is a mapping of keys such as preset, rows, seeds")
    if "source" in tree:  # a preset of runs
        return {"name": f"{source.name.rpartition('.')[0]}-sweep", "preset": name}
    tree.setdefault("name", source.name.rpartition(".")[0])
    if isinstance(source, Path):
        _follow(tree, source.parent)
    return tree


def _follow(tree: Values, folder: Path) -> None:
    """Take the files of presets that a file of a sweep names from the folder that it lies in."""
    rows = tree.get("rows")
    for each in (tree, *(rows if isinstance(rows, list) else ())):
        preset = each.get("preset") if isinstance(each, dict) else None
        if isinstance(preset, str) and preset.endswith((".yaml", ".yml")):
            each["preset"] = str(folder / Path(preset).expanduser())
