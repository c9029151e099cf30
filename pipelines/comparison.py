"""Two runs side by side: what was set differently, and what their models said of the same test rows."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from components.core.errors import NotComparable
from components.data.folding import fold
from components.evaluation.comparison import MetricPair, Paired, Side, compare_predictions
from components.evaluation.pairing import Pairs, pair, read_scored
from components.evaluation.response_verdict import p_value
from components.reporting.classification_evidence import TITLES
from components.tracking.reading import PREDICTIONS, RecordedRun, find_run, predictions_of
from pipelines.compared import Figure, RunComparison, RunSide, Tested, known_metric
from pipelines.learned import ancestry_of, common_rows, unknown_ancestors
from pipelines.response_comparison import INSTRUCTION, Unlike, answered, answers_sentence, caveats, pair_responses


def compare_runs(first: str, second: str, home: Path, primary: str | None = None) -> RunComparison:
    """Compare two runs by what their models said of the test rows that both have.

    Runs that are not finished or left no predictions are shown beside each other, with a warning and without a test;
    what cannot be compared is said in `refused`. `primary` is the metric that decides: accuracy, or the judge's score,
    unless another one is named; all others are corrected together (`components.evaluation.multiplicity`).

    Raises:
        ConfigError: if there is no metric `primary`.
        TrackingError: if a run cannot be found, or the store cannot be read.
    """
    runs = [find_run(address, home) for address in (first, second)]
    found = RunComparison(
        first=_side(first, runs[0]),
        second=_side(second, runs[1]),
        parameters=_differing(runs[0].params, runs[1].params),
        data=_differing(runs[0].data, runs[1].data),
    )
    found.warnings += [
        f"run {run.run_id[:8]} is {run.status.lower()}, not finished" for run in _each_once(runs) if not run.finished
    ]
    try:
        refuse_other_pipelines(runs[0], runs[1])
        add = _add_responses if runs[0].pipeline == INSTRUCTION else _add_predictions
        add(found, runs, home, primary)
    except Unlike as error:
        found.refused = f"not compared: {error}"
    except NotComparable as error:
        found.refused = f"not compared: {error}; {REMEDY}"
    return found


def refuse_other_pipelines(first: RecordedRun, second: RecordedRun) -> None:
    """Refuse two runs that do different things.

    Raises:
        Unlike: if they are not of the same pipeline.
    """
    if first.pipeline != second.pipeline:
        raise Unlike(
            f"run {first.run_id[:8]} is of the pipeline {first.pipeline} and run {second.run_id[:8]} of "
            f"{second.pipeline}; give two runs of one pipeline"
        )


def _add_predictions(found: RunComparison, runs: list[RecordedRun], home: Path, primary: str | None) -> None:
    pairs = pair_runs(runs[0], runs[1], home)
    if isinstance(pairs, str):
        found.warnings.append(pairs)
        return
    chosen = known_metric(primary or "accuracy", TITLES)
    paired = compare_predictions(pairs.first, pairs.second, is_ordered(runs), primary=chosen)
    found.test = _tested(pairs, paired)
    found.sentence = sentence(paired, pairs, *_named(runs))
    found.warnings += unknown_ancestors(runs, pairs.ancestry)


def _add_responses(found: RunComparison, runs: list[RecordedRun], home: Path, primary: str | None) -> None:
    paired = pair_responses(runs[0], runs[1], home, primary or "score")
    if isinstance(paired, str):
        found.warnings.append(paired)
        return
    found.responses = answered(paired)
    found.sentence = answers_sentence(paired, *_named(runs))
    found.warnings += dict.fromkeys(caveats(runs, paired))


def _named(runs: list[RecordedRun]) -> tuple[str, str]:
    first, second = (f"run {run.run_id[:8]}" for run in runs)
    return first, second


REMEDY = "run both on the same source and split"


def pair_runs(first: RecordedRun, second: RecordedRun, home: Path) -> Pairs | str:
    """Return what two runs' models said of the same rows; a line saying what is missing if one left no predictions.

    Raises:
        NotComparable: if there are no rows to compare them on.
        TrackingError: if the store cannot be read.
    """
    with ExitStack() as stack:
        paths = [stack.enter_context(predictions_of(run, home)) for run in (first, second)]
        lacking = [run.run_id[:8] for run, path in zip((first, second), paths, strict=True) if path is None]
        if lacking:
            return f"run {' and run '.join(dict.fromkeys(lacking))} left no {PREDICTIONS}: there is nothing to test on"
        scored = [read_scored(path, fold) for path in paths if path]
    one, other = (
        replace(each, ancestry=ancestry_of(run, home)) for each, run in zip(scored, (first, second), strict=True)
    )
    return pair(one, other)


def is_ordered(runs: Iterable[RecordedRun]) -> bool:
    """Say whether the labels are steps of a scale for all of the runs."""
    return all("test/mean_absolute_error" in run.metrics for run in runs)


def sentence(paired: Paired, pairs: Pairs, first: str, second: str) -> str:
    """Say in plain words which of two is better on what."""
    names: dict[Side, str] = {"first": first, "second": second}
    said = f"On {_rows(pairs)} {_decided(paired, names)}"
    return "; ".join([said, *_elsewhere(paired, names)]) + "."


def _decided(paired: Paired, names: Mapping[Side, str]) -> str:
    """Say who is better in the metric that decides."""
    deciding = paired.deciding
    if deciding is None:
        return f"{TITLES[paired.primary]} is not defined for both"
    by_accuracy = deciding.name == "accuracy"
    form, test = (".1%", "McNemar p") if by_accuracy else (".4f", "bootstrap p")
    values: dict[Side, str] = {"first": format(deciding.first, form), "second": format(deciding.second, form)}
    evidence = f"{test} {p_value(deciding.p_value)}"
    if winner := deciding.better:
        loser: Side = "first" if winner == "second" else "second"
        better = "right significantly more often" if by_accuracy else f"significantly better in {_title(deciding)}"
        return f"{names[winner]} is {better} than {names[loser]} ({values[winner]} against {values[loser]}, {evidence})"
    figures = f"{values['first']} and {values['second']} {'right' if by_accuracy else _title(deciding)}"
    return f"there is no significant difference between {names['first']} and {names['second']} ({figures}, {evidence})"


def _title(metric: MetricPair) -> str:
    return TITLES[metric.name].partition(" (")[0]


def _elsewhere(paired: Paired, names: Mapping[Side, str]) -> list[str]:
    """Name the other metrics that differ by more than chance, corrected for how many they are."""
    parts = []
    for side, name in names.items():
        titles = [
            _title(each) for each in in_order(paired.metrics) if each.better == side and each.name != paired.primary
        ]
        if titles:
            parts.append(f"{name} is better in {', '.join(titles)}")
    return parts


def _rows(pairs: Pairs) -> str:
    return common_rows(pairs)


def in_order(metrics: list[MetricPair]) -> list[MetricPair]:
    """Return metrics in order of interest."""
    names = list(TITLES)
    return sorted(metrics, key=lambda each: names.index(each.name))


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


def _tested(pairs: Pairs, paired: Paired) -> Tested:
    return Tested(
        rows=paired.rows,
        test_rows=(pairs.in_first, pairs.in_second),
        same_test_set=pairs.same_test_set,
        left_out=pairs.common - pairs.rows,
        left_out_for_ancestors=pairs.by_ancestors,
        training_data_known=pairs.learned_known,
        only_first_right=paired.only_first,
        only_second_right=paired.only_second,
        p_value=paired.p_value,
        primary=paired.primary,
        better=paired.better,
        smallest_difference=paired.smallest_difference,
        figures=[
            Figure(
                name=each.name,
                title=TITLES[each.name],
                first=each.first,
                second=each.second,
                difference=each.difference,
                first_interval=each.first_interval,
                second_interval=each.second_interval,
                difference_interval=each.difference_interval,
                p_value=each.p_value,
                better=each.better,
            )
            for each in in_order(paired.metrics)
        ],
    )


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    keys = [*first, *(key for key in second if key not in first)]
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def _each_once(runs: list[RecordedRun]) -> list[RecordedRun]:
    return list({run.run_id: run for run in runs}.values())
