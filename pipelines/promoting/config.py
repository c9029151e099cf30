"""The section `promotion` of a preset, and the file of rules that it names."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from components.core.config import Config
from components.core.errors import ConfigError
from components.core.yaml_loader import InvalidYAML, read_yaml

Level = Literal["error", "warn"]
DEFAULTS = "rules.yaml"


class Rule(Config):
    """A rule that has nothing to set but its level."""

    level: Level
    """`error`: a model that fails is not promoted; `warn`: it is said."""


class NonInferiority(Rule):
    """Whether the model is shown not to be worse than the champion and earlier ones."""

    margin: float | None = Field(ge=0)
    """How much worse it may be: a share of right ones, or points of a judge's score; null: what its kind has."""


class UnlearnedRows(Rule):
    """Whether test rows were learnt from."""

    max_rows: int = Field(ge=0)
    """How many of them the model, or one that it continues, may have been trained on."""


class UnparsedVerdicts(Rule):
    """Whether the judge's verdicts could be read."""

    max_share: float = Field(ge=0, le=1)
    """The largest share that may not."""


class MinimumMetrics(Rule):
    """Whether figures of the run's own test set are good enough."""

    metrics: dict[str, float]
    """The least value of a metric, by its name; the largest one where less is better."""

    @field_validator("metrics")
    @classmethod
    def _are_known(cls, metrics: dict[str, float]) -> dict[str, float]:
        from components.evaluation.metrics import METRICS

        judged = {name: metric for name, metric in METRICS.items() if metric.better}
        for name, limit in metrics.items():
            if name not in judged:
                raise ValueError(f"there is no metric {name!r}; it is one of {', '.join(judged)}")
            low, high = judged[name].low, judged[name].high
            if not low <= limit <= high:
                raise ValueError(f"{name} is between {low:g} and {high:g}, and never {limit:g}")
        return metrics


class Rules(Config):
    """The rules by which a model becomes champion; what they are by default stands in `rules.yaml`."""

    non_inferiority: NonInferiority
    """Not shown to be worse than the champion, and than earlier ones."""
    better_than_majority: Rule
    """Better than the majority class or, of responses, than the model that training started from."""
    better_than_best_baseline: Rule
    """Better than the baseline that was right most often on the validation split."""
    unlearned_rows: UnlearnedRows
    """No test row that the model, or one that it continues, was trained on."""
    unparsed_verdicts: UnparsedVerdicts
    """The judge's verdicts could be read."""
    judge_tells: Rule
    """The judge can tell a right response from a wrong one."""
    minimum_metrics: MinimumMetrics
    """Figures of the run's own test set are good enough."""
    export_parity: Rule
    """An export of the model says what the model says."""


def load_rules(path: str | None = None) -> Rules:
    """Return the rules that Gradus ships, but for what a YAML file says otherwise.

    Raises:
        ConfigError: if the file cannot be read, naming every key that is wrong.
    """
    with files(__package__).joinpath(DEFAULTS).open("rb") as file:
        tree: dict[str, Any] = read_yaml(file)
    own = _read(Path(path).expanduser()) if path else {}
    for name, rule in own.items():
        shipped = tree.get(name)
        tree[name] = {**shipped, **rule} if isinstance(shipped, dict) and isinstance(rule, dict) else rule
    try:
        return Rules.model_validate(tree)
    except ValidationError as error:
        from pipelines.config import explain

        raise ConfigError("\n".join(explain(error, str(path), Rules))) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            tree = read_yaml(file)
    except OSError as error:
        raise ConfigError(f"the rules {path} cannot be read: {error.strerror or error}; see promotion.rules") from error
    except InvalidYAML as error:
        raise ConfigError(f"the rules {path} are not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"the rules {path} are no mapping; rules are {', '.join(Rules.model_fields)}")
    return tree


class PromotionConfig(Config):
    """How a run's model becomes champion."""

    rules: str | None = None
    """A YAML file with rules of one's own, read where one promotes; none: those that Gradus ships."""
