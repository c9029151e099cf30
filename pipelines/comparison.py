"""Two runs side by side: what was set differently, and how their models did on the same test rows."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from components.core.errors import ConfigError, NotComparable
from components.tracking.reading import RecordedRun, find_run
from components.tracking.runs import flatten, shorten
from pipelines.compared import RunComparison, RunSide
from pipelines.kind import NothingLeft, Runs, Unlike, kind_of_both, pair_runs, unknown_ancestors
from pipelines.kinds import KINDS, config_class, kind_named

REMEDY = "run both on the same source and split"


def compare_runs(first: str, second: str, home: Path, primary: str | None = None) -> RunComparison:
    """Compare two runs by how their models did on the test rows that both have.

    Runs that are not finished or left nothing to test on are shown beside each other, with a warning and without a
    test; what cannot be compared is said in `refused`. `primary` is the metric that decides: that of the runs' kind,
    unless another one is named; all others are corrected together (`components.evaluation.paired.p_values`).

    Raises:
        ConfigError: if there is no metric `primary`.
        TrackingError: if a run cannot be found, or the store cannot be read.
    """
    runs = (find_run(first, home), find_run(second, home))
    found = RunComparison(
        first=_side(first, runs[0]),
        second=_side(second, runs[1]),
        parameters=_differing(runs[0].params, runs[1].params, _defaults(runs)),
        data=_differing(runs[0].data, runs[1].data, {}),
    )
    unfinished = [f"run {run.run_id[:8]} is {run.status.lower()}, not finished" for run in runs if not run.finished]
    found.warnings += dict.fromkeys(unfinished)
    try:
        _compare(found, runs, home, primary)
    except NothingLeft as error:
        found.warnings.append(str(error))
    except Unlike as error:
        found.refused = f"not compared: {error}"
    except NotComparable as error:
        found.refused = f"not compared: {error}; {REMEDY}"
    return found


def _compare(found: RunComparison, runs: Runs, home: Path, primary: str | None) -> None:
    kind = kind_of_both(*runs)
    pairs = pair_runs(runs, kind, home)
    deciding = primary or kind.decides
    if deciding not in (names := [metric.name for metric in kind.metrics if metric.test]):
        raise ConfigError(f"--primary {deciding}: there is no such metric; it is one of {', '.join(names)}")
    paired = kind.compare(runs, pairs, deciding)
    setattr(found, kind.key, kind.shown(pairs, paired))
    first, second = (f"run {run.run_id[:8]}" for run in runs)
    found.sentence = kind.sentence(pairs, paired, (first, second))
    found.warnings += dict.fromkeys(kind.caveats(runs, pairs))
    found.warnings += unknown_ancestors(runs, [each.ancestry for each in pairs.runs])


def _side(address: str, run: RecordedRun) -> RunSide:
    metrics = {name: value for name, value in run.metrics.items() if name.startswith("test/")}
    recorded = {name: getattr(run, name) for name in ("run_id", "name", "status", "cached_from")}
    return RunSide(address=address, metrics=metrics, **recorded)


def _differing(
    first: Mapping[str, str], second: Mapping[str, str], defaults: Mapping[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    """Return what two runs have differently; a key that one of them lacks and the other has by default is the same."""
    pairs = {key: (first.get(key), second.get(key)) for key in {**first, **second}}
    return {key: pair for key, pair in pairs.items() if len({*pair}) > 1 and {*pair} != {None, defaults.get(key)}}


def _defaults(runs: Runs) -> dict[str, str]:
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
