"""Runs side by side: what was set differently, and how their models did on the same test rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pydantic import BaseModel

from components.core.errors import ConfigError, NotComparable
from components.evaluation.paired.comparison import Paired, corrected
from components.evaluation.paired.matching import Pairs
from components.evaluation.paired.p_values import holm_adjusted, shown
from components.tracking.config import OF_A_SWEEP
from components.tracking.reading import RecordedRun, find_run
from components.tracking.run import flatten, shorten
from pipelines.compared import Comparisons, RunComparison, RunSide
from pipelines.comparing.details import details_of
from pipelines.comparing.people import people_of
from pipelines.kind import Kind, NothingLeft, Runs, Unlike, kind_of_both, left_by, pair_runs, unknown_ancestors
from pipelines.kinds import KINDS, config_class, kind_named

REMEDY = "run both on the same source and split"


def compare_all(
    addresses: Sequence[str], home: Path, primary: str | None = None, baseline: str | None = None
) -> Comparisons:
    """Compare runs with a baseline by how their models did on the test rows that both have.

    Runs that are not finished or left nothing to test on are shown beside each other, with a warning and without a
    test; what cannot be compared is said in `refused`. `primary` is the metric that decides: that of the runs' kind,
    unless another one is named. Its tests in all comparisons are corrected together (Holm), and so are all others
    (`components.evaluation.paired.p_values`).

    Args:
        addresses: runs or models, as in `components.tracking.reading`.
        home: the folder of the local store.
        primary: the name of a metric.
        baseline: the run that the others are compared with, which may be among them; by default the first.

    Raises:
        ConfigError: if there is no metric `primary`, there are fewer than two runs, or one of more stands there twice.
        TrackingError: if a run cannot be found, or the store cannot be read.
    """
    addresses, runs = _given(addresses, baseline, home)
    sides = [_side(address, run) for address, run in zip(addresses, runs, strict=True)]
    found = [_beside(sides[0], side, (runs[0], run)) for side, run in zip(sides[1:], runs[1:], strict=True)]
    left = _Left(home)
    both = [_matched(each, (runs[0], run), left, primary) for each, run in zip(found, runs[1:], strict=True)]
    matched = [each for each in both if each]
    for each, paired in zip(matched, corrected([each.paired for each in matched]), strict=True):
        _fill(each._replace(paired=paired), left)
    _adjust(matched)
    return Comparisons(
        runs=sides,
        parameters=_differing([run.params for run in runs], _defaults(runs)),
        data=_differing([run.data for run in runs], {}),
        comparisons=found,
    )


def _given(addresses: Sequence[str], baseline: str | None, home: Path) -> tuple[Sequence[str], list[RecordedRun]]:
    """Return the runs with how they were named, the baseline first."""
    runs = [find_run(address, home) for address in addresses]
    if baseline:
        first = find_run(baseline, home)
        others = [pair for pair in zip(addresses, runs, strict=True) if pair[1].run_id != first.run_id]
        addresses, runs = [baseline, *(address for address, _ in others)], [first, *(run for _, run in others)]
    if len(runs) < 2:
        raise ConfigError("give two runs or more, or one and --baseline RUN")
    ids = [run.run_id for run in runs]
    if len(ids) > 2 and (twice := [run_id for run_id in ids if ids.count(run_id) > 1]):
        raise ConfigError(f"run {twice[0][:8]} is given twice; give each run once")
    return addresses, runs


class _Matched(NamedTuple):
    """Two runs that can be compared."""

    found: RunComparison
    runs: Runs
    kind: Kind[Any, Any]
    pairs: Pairs[Any]
    paired: Paired


class _Left:
    """What runs left of their test rows, each read once."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._found: dict[str, tuple[Any, pd.DataFrame | None]] = {}

    def read(self, run: RecordedRun, kind: Kind[Any, Any]) -> tuple[Any, pd.DataFrame | None]:
        """Return a run's rows, and what they are to be shown as; None where its kind shows none."""
        if run.run_id not in self._found:
            with left_by(run, kind, self.home) as paths:
                rows = kind.read(run, paths, self.home)
                self._found[run.run_id] = rows, kind.texts(paths) if hasattr(kind, "texts") else None
        return self._found[run.run_id]


def _beside(first: RunSide, second: RunSide, runs: Runs) -> RunComparison:
    found = RunComparison(
        first=first,
        second=second,
        parameters={key: (a, b) for key, (a, b) in _differing([run.params for run in runs], _defaults(runs)).items()},
        data={key: (a, b) for key, (a, b) in _differing([run.data for run in runs], {}).items()},
    )
    unfinished = [f"run {run.run_id[:8]} is {run.status.lower()}, not finished" for run in runs if not run.finished]
    found.warnings += dict.fromkeys(unfinished)
    return found


def _matched(found: RunComparison, runs: Runs, left: _Left, primary: str | None) -> _Matched | None:
    """Return two runs on the same rows, or say in `found` why not."""
    try:
        kind = kind_of_both(*runs)
        pairs = pair_runs(runs, kind, left.home, lambda run: left.read(run, kind)[0])
    except NothingLeft as error:
        found.warnings.append(str(error))
        return None
    except Unlike as error:
        found.refused = f"not compared: {error}"
        return None
    except NotComparable as error:
        found.refused = f"not compared: {error}; {REMEDY}"
        return None
    deciding = primary or kind.decides
    if deciding not in (names := [metric.name for metric in kind.metrics if metric.test]):
        raise ConfigError(f"--primary {deciding}: there is no such metric; it is one of {', '.join(names)}")
    return _Matched(found, runs, kind, pairs, kind.compare(runs, pairs, deciding))


def _fill(matched: _Matched, left: _Left) -> None:
    """Say how two runs on the same rows compare."""
    found, runs, kind, pairs, paired = matched
    setattr(found, kind.key, kind.shown(pairs, paired))
    first, second = (f"run {run.run_id[:8]}" for run in runs)
    found.sentence = kind.sentence(pairs, paired, (first, second))
    found.warnings += dict.fromkeys(kind.caveats(runs, pairs))
    found.warnings += unknown_ancestors(runs, [each.ancestry for each in pairs.runs])
    one, other = (left.read(run, kind)[1] for run in runs)
    if one is not None and other is not None:
        found.details = details_of(kind, pairs, (one, other))
        found.people = people_of(runs, kind, pairs, (one, other), left.home)


def _adjust(matched: Sequence[_Matched]) -> None:
    """Say of several comparisons what Holm's correction makes of the p values of the metric that decides."""
    if len(matched) < 2:
        return
    p_values = {place: each.paired.deciding.p_value for place, each in enumerate(matched) if each.paired.deciding}
    for place, p_value in holm_adjusted(p_values).items():
        found = matched[place].found
        found.adjusted_p_value = p_value
        found.sentence += f" Corrected for {len(p_values)} comparisons (Holm): p {shown(p_value)}."


def _side(address: str, run: RecordedRun) -> RunSide:
    metrics = {name: value for name, value in run.metrics.items() if name.startswith("test/")}
    recorded = {name: getattr(run, name) for name in ("run_id", "name", "status", "cached_from")}
    return RunSide(address=address, metrics=metrics, **recorded)


def _differing(given: Sequence[Mapping[str, str]], defaults: Mapping[str, str]) -> dict[str, list[str | None]]:
    """Return what runs have differently; a key that one of them lacks and another has by default is the same."""
    keys = dict.fromkeys(key for each in given for key in each if key.removeprefix("tracking.") not in OF_A_SWEEP)
    every = {key: [each.get(key) for each in given] for key in keys}
    return {key: row for key, row in every.items() if len({*row}) > 1 and {*row} != {None, defaults.get(key)}}


def _defaults(runs: Sequence[RecordedRun]) -> dict[str, str]:
    """Return the parameters that runs of a kind have by default, as they are recorded; none if they are not of one."""
    names = {kind_named(run.pipeline) for run in runs}
    if len(names) > 1 or not names <= KINDS.keys():
        return {}
    tree = _unset(config_class(names.pop())).model_dump(mode="json", warnings=False)
    return {key: shorten(value) for key, value in flatten(tree).items()}


def _unset(config: type[BaseModel]) -> BaseModel:
    """Return a config in which nothing is set but what has a default, in the sections that have to be given too."""
    given = {name: field.annotation for name, field in config.model_fields.items() if field.is_required()}
    sections = {name: kind for name, kind in given.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    return config.model_construct(None, **{name: _unset(kind) for name, kind in sections.items()})
