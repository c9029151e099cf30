"""Two runs side by side: what was set differently, and what their models said of the same test rows."""

from collections.abc import Mapping
from pathlib import Path

from components.core.errors import NotComparable
from components.tracking.reading import RecordedRun, find_run
from pipelines.compared import RunComparison, RunSide, known_metric
from pipelines.kind import NothingLeft, Runs, Unlike, kind_of_both, pair_runs
from pipelines.learned import unknown_ancestors

REMEDY = "run both on the same source and split"


def compare_runs(first: str, second: str, home: Path, primary: str | None = None) -> RunComparison:
    """Compare two runs by what their models said of the test rows that both have.

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
        parameters=_differing(runs[0].params, runs[1].params),
        data=_differing(runs[0].data, runs[1].data),
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
    paired = kind.compare(runs, pairs, known_metric(primary or kind.decides, kind.metrics))
    setattr(found, kind.key, kind.shown(pairs, paired))
    first, second = (f"run {run.run_id[:8]}" for run in runs)
    found.sentence = kind.sentence(pairs, paired, (first, second))
    found.warnings += dict.fromkeys(kind.caveats(runs, pairs))
    found.warnings += unknown_ancestors(runs, [each.ancestry for each in pairs.runs])


def _side(address: str, run: RecordedRun) -> RunSide:
    metrics = {name: value for name, value in run.metrics.items() if name.startswith("test/")}
    return RunSide(
        address=address,
        run_id=run.run_id,
        name=run.name,
        status=run.status,
        cached_from=run.cached_from,
        metrics=metrics,
    )


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    keys = [*first, *(key for key in second if key not in first)]
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}
