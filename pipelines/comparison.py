"""Two finished runs beside each other, and the promotion of the better one's model."""

from pathlib import Path

from pydantic import BaseModel

from components.errors import ConfigError, GradusError, TrackingError
from components.evaluation.comparison import METRICS, Comparison, Difference, Said, compare, sentence
from components.tracking.promotion import Promotion, find_champion, make_champion
from components.tracking.reading import FinishedRun, find_registered, find_run, read_predictions


class Parameter(BaseModel):
    """A key that the runs set differently; None where a run does not have it."""

    key: str
    first: str | None
    second: str | None


class RunComparison(BaseModel):
    """What `gradus compare` finds out, and what `--json` prints."""

    first: str
    second: str
    same_test_split: bool
    rows: int
    only_first_right: int
    only_second_right: int
    p_value: float
    significant: bool
    sentence: str
    differences: list[Difference]
    parameters: list[Parameter]


class PromotionResult(BaseModel):
    """What `gradus promote` did."""

    model: str
    version: str
    champion_before: str | None
    changed: bool
    reason: str


def compare_runs(first: str, second: str, home: Path) -> RunComparison:
    """Compare two finished runs by what their models said of the same test rows.

    Raises:
        TrackingError: if a run cannot be found, is not finished, or has no predictions.
        GradusError: if there is nothing to compare them on.
    """
    one, other = find_run(first, home), find_run(second, home)
    found = _on_the_same_rows(one, other, home)
    return RunComparison(
        first=one.run_id,
        second=other.run_id,
        same_test_split=_same_data(one, other),
        rows=found.rows,
        only_first_right=found.only_first,
        only_second_right=found.only_second,
        p_value=found.p_value,
        significant=found.significant,
        sentence=sentence(found, one.title, other.title),
        differences=found.differences,
        parameters=_parameters(one, other),
    )


def promote(
    address: str, home: Path, name: str | None = None, metric: str = "accuracy", reason: str | None = None
) -> PromotionResult:
    """Make a model the champion of its name, if it is not worse than the present one on the same test rows.

    Not worse means: `metric` is at least as high. Whether a difference is more than chance is said in the reason, but
    does not decide: otherwise a small test set would let models decay step by step.

    Args:
        address: a run, or a registered model, as in `components.tracking.reading`.
        home: the folder of the local store.
        name: the registered model, where the run's stands under several names.
        metric: what must not be lower.
        reason: promote whatever the comparison says, for this reason.

    Raises:
        TrackingError: if there is no such model, or its run is not finished.
        GradusError: if it is worse than the champion, or cannot be compared with it.
    """
    if metric not in METRICS:
        raise ConfigError(f"--metric {metric}: it is one of {', '.join(METRICS)}")
    version = find_registered(address, name, home)
    model, number = str(version.name), str(version.version)
    champion = find_champion(model, home)
    before = str(champion.version) if champion else None
    if before == number:
        return _result(model, number, before, False, f"version {number} of {model} is the champion already")
    challenger = find_run(str(version.run_id), home)
    if reason is not None:
        why = reason
    elif champion is None:
        why = f"the first champion of {model}"
    else:
        why = _evidence(find_run(str(champion.run_id), home), challenger, metric, home)
    make_champion(version, Promotion(why, before, forced=reason is not None), home)
    return _result(model, number, before, True, why)


def _result(model: str, version: str, before: str | None, changed: bool, reason: str) -> PromotionResult:
    return PromotionResult(model=model, version=version, champion_before=before, changed=changed, reason=reason)


def _evidence(champion: FinishedRun, challenger: FinishedRun, metric: str, home: Path) -> str:
    """Return the sentence that speaks for a challenger.

    Raises:
        GradusError: if it is worse, or there is nothing to compare on; with what to do.
    """
    force = "promote it all the same with --force --reason TEXT"
    try:
        found = _on_the_same_rows(champion, challenger, home)
    except GradusError as error:
        raise TrackingError(f"not promoted, as it cannot be compared with the champion: {error}; or {force}") from error
    said = sentence(found, f"the champion ({champion.title})", f"the challenger ({challenger.title})")
    measured = found.difference(metric)
    if measured.second < measured.first:
        raise GradusError(
            f"not promoted: {metric} is {measured.second:.4f}, the champion's {measured.first:.4f}. {said} "
            f"Keep the champion, or {force}"
        )
    return f"{metric} {measured.second:.4f}, the champion's {measured.first:.4f}. {said}"


def _on_the_same_rows(one: FinishedRun, other: FinishedRun, home: Path) -> Comparison:
    said = [Said(*read_predictions(run, home)) for run in (one, other)]
    return compare(said[0], said[1], _same_data(one, other))


def _same_data(one: FinishedRun, other: FinishedRun) -> bool:
    return one.test_sha256 is not None and one.test_sha256 == other.test_sha256


def _parameters(one: FinishedRun, other: FinishedRun) -> list[Parameter]:
    keys = sorted(one.params.keys() | other.params.keys())
    return [
        Parameter(key=key, first=one.params.get(key), second=other.params.get(key))
        for key in keys
        if one.params.get(key) != other.params.get(key)
    ]
