"""The rows of a sweep, each with a run a seed, and why some of them cannot be run here."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from components.core.errors import ConfigError, GradusError, WeightsError, did_you_mean
from components.core.records import fingerprint
from components.core.redaction import redact_prose
from components.tracking.run import flatten, shorten
from pipelines.config import PipelineConfig, load_config, override
from pipelines.sweeping.config import RowConfig, SweepConfig, Values

MARK = "tracking."
NO_PART = (MARK, "store.", "promotion.", "description")
"""Parameters that change no result: by these a run is not known again."""
"""How the keys begin that say how a run is recorded: they are no part of what it is."""
SIZE = "model.size"
PLAIN = re.compile(r"[^\w.=+ -]+")
"""What is left out of the names of runs."""


@dataclass(frozen=True)
class Row:
    """A variation of a preset."""

    name: str
    preset: str
    values: Values
    """Keys that it alone sets, with dots."""
    common: Values = field(default_factory=dict)
    """Keys that all rows set, which come first."""
    published: float | None = None
    skipped: str = ""
    """Why it cannot be run, if it cannot."""

    def overrides(self) -> list[str]:
        """Return what `--set` would have to say, with the keys of all rows."""
        return [override(key, value) for key, value in {**self.common, **self.values}.items()]

    def config(self, *more: str) -> PipelineConfig:
        """Return the config of its runs, with overrides for the one that is meant.

        Raises:
            ConfigError: if its keys are wrong.
        """
        try:
            return load_config(self.preset, [*self.overrides(), *more])
        except ConfigError as error:
            raise ConfigError(f"row {self.name}: {error}") from error


@dataclass(frozen=True)
class Child:
    """A run of a row with one seed."""

    row: Row
    seed: int
    overrides: list[str]
    """All that `--set` says."""
    config: PipelineConfig
    identity: str
    """By which a run of it is known again."""

    @property
    def title(self) -> str:
        """What to call it where it is reported."""
        return f"{self.row.name}, seed {self.seed}"


def rows_of(sweep: SweepConfig, base: str | None = None) -> list[Row]:
    """Return the rows of a sweep, but for those that Optuna proposes.

    With a `base`, a row is skipped that would have another size than its weights, or is the same as one before it.

    Raises:
        ConfigError: if a row's keys are wrong, or there is no such base.
    """
    over = _base(sweep, base)
    alone = sweep.rows or [RowConfig.model_construct(name="", preset=None, set={}, published=None)]
    rows = []
    for row, chosen in product(alone, product(*sweep.grid.values())):
        values = dict(zip(sweep.grid, chosen, strict=True))
        own = {**row.set, **values}
        name = ", ".join(filter(None, [row.name, named(values, sweep.grid)]))
        why = f"the base {base} has one size" if SIZE in over and SIZE in own else ""
        rows.append(Row(name, row.preset or sweep.preset, {**own, **over}, sweep.set, row.published, why))
    return list(_without_twins(rows) if over else rows)


def _base(sweep: SweepConfig, base: str | None) -> Values:
    if base is None:
        return {}
    if base not in sweep.bases:
        hint = did_you_mean(base, sweep.bases) if sweep.bases else f": {sweep.name} has none"
        raise ConfigError(f"--base {base}: there is no such base{hint}")
    return sweep.bases[base]


def named(values: Values, keys: Iterable[str]) -> str:
    """Return what was set as the name of a row: each key by its last word, unless two end in the same."""
    last = [key.rpartition(".")[2] for key in keys]
    short = {key: key.rpartition(".")[2] if last.count(key.rpartition(".")[2]) == 1 else key for key in keys}
    return ", ".join(f"{short[key]}={_written(value)}" for key, value in values.items())


def _written(value: Any) -> str:
    if not isinstance(value, float):
        return shorten(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)  # rows that differ must not be called the same


def _without_twins(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows, those that are skipped with the reason that another is the same."""
    seen: dict[str, str] = {}
    for row in rows:
        if row.skipped:
            yield row
            continue
        identity = fingerprint([row.preset, row.values])
        twin = seen.setdefault(identity, row.name)
        yield row if twin == row.name else replace(row, skipped=f"on this base it is the same as {twin}")


def children_of(row: Row, seeds: int, parent: str, experiment: str) -> list[Child]:
    """Return the runs of a row, under an MLflow run.

    They keep no model, which takes half a gigabyte a run of a small one: `gradus run` with a row's keys makes it again.

    Raises:
        ConfigError: if its keys are wrong.
    """
    plain = row.config()
    found = []
    for seed in range(plain.train.seed, plain.train.seed + seeds):
        title = PLAIN.sub("", f"{plain.name} {row.name} seed={seed}")
        recording = {"experiment": experiment, "parent": parent, "run_name": title[:250], "keep_model": False}
        tracking = {f"{MARK}{key}": value for key, value in recording.items()}
        overrides = [*row.overrides(), override("train.seed", seed)]
        overrides += [override(key, value) for key, value in tracking.items()]
        config = load_config(row.preset, overrides)
        found.append(Child(row, seed, overrides, config, identity_of(recorded_params(config))))
    return found


def recorded_params(config: PipelineConfig) -> dict[str, str]:
    """Return the parameters that a run of a config has in MLflow."""
    params = {key: shorten(value) for key, value in flatten(config.recorded()).items()}
    found: dict[str, str] = redact_prose(params)  # as they are recorded
    return found


def identity_of(params: Mapping[str, str]) -> str:
    """Return what a run is known again by: a hash of its parameters, but for those that change no result."""
    return fingerprint({key: value for key, value in params.items() if not key.startswith(NO_PART)})[:32]


def with_reasons(rows: Iterable[Row], here: bool) -> list[Row]:
    """Return rows, those that cannot be run with the reason: no room for the model, or no weights.

    Weights are fetched for it, once each, and all runs take them from the store.

    Args:
        rows: of a sweep.
        here: whether they run on this machine; of others nothing is known.

    Raises:
        ConfigError: if the keys of a row are wrong.
    """
    known: dict[str, str] = {}
    found = []
    for row in rows:
        config = row.config()
        if here and not row.skipped:
            identity = fingerprint([config.model.model_dump(mode="json"), config.train.trainable])
            if identity not in known:
                known[identity] = _reason(config)
            row = replace(row, skipped=known[identity])  # noqa: PLW2901
        found.append(row)
    return found


def _reason(config: PipelineConfig) -> str:
    from components.tasks import fetch_weights
    from pipelines.refusals import refuse_early

    try:
        refuse_early(config)
        fetch_weights.without_prefect(config.model)
    except (ConfigError, WeightsError) as error:
        return str(error)
    except GradusError:  # whatever it is, the run says it
        return ""
    return ""
