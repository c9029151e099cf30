"""Two instruction runs by their responses to the same test rows, and the scores that one judge gave both."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.errors import NotComparable
from components.data.folding import fold_tasks
from components.evaluation.comparison import MetricPair, Side
from components.evaluation.paired_scores import PairedScores
from components.evaluation.response_comparison import ComparedResponses, compare_responses
from components.evaluation.response_pairing import AnswerPairs, Answers, Judge, OtherJudge, pair_answers, read_answers
from components.evaluation.response_verdict import judged_by, p_value
from components.learned import LEARNED, read_learned
from components.tracking.judgements import JUDGEMENTS, logged_judgements
from components.tracking.reading import RecordedRun, artifacts_of
from pipelines.compared import Answered, Figure, known_metric
from pipelines.learned import ancestry_of, common_rows, unknown_ancestors

INSTRUCTION = "instruction"
"""What the parameter `pipeline` of an instruction run says."""
RESPONSES, FACTS = "responses.parquet", "facts.json"
TITLES = {
    "score": "score (0 to 100)",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "chrf": "chrF (0 to 100)",
}


class Unlike(NotComparable):
    """Two runs that no common test rows make comparable; the message says what would."""


@dataclass(frozen=True)
class PairedRuns:
    """Two instruction runs on the test rows that both have."""

    pairs: AnswerPairs
    compared: ComparedResponses
    learned: tuple[int | None, int | None]
    """Of each, how many of its own test rows stand in its own training data as well, but for case, digits or blanks."""


def pair_responses(first: RecordedRun, second: RecordedRun, home: Path, primary: str = "score") -> PairedRuns | str:
    """Return two runs' responses to the same rows; a line saying what is missing if one left none.

    Raises:
        ConfigError: if there is no measure `primary`, which decides.
        Unlike: if no judge has scored both.
        NotComparable: if no test row is the same.
        TrackingError: if the store cannot be read.
    """
    found = []
    for run in (first, second):
        with artifacts_of(run, [RESPONSES, FACTS, JUDGEMENTS, LEARNED], home) as paths:
            if lacking := [name for name in (RESPONSES, FACTS) if name not in paths]:
                return f"run {run.run_id[:8]} left no {' and no '.join(lacking)}: there is nothing to test on"
            found.append(read_run(run, paths, home))
    (one, learned_one), (other, learned_other) = found
    try:
        pairs = pair_answers(one, other)
    except OtherJudge as error:
        raise Unlike(f"{error}; {_judge_again(second, one, other)}") from error
    chosen = "score" if primary == pairs.judge.measure else known_metric(primary, TITLES)
    return PairedRuns(pairs, compare_responses(pairs, primary=chosen), (learned_one, learned_other))


def answered(paired: PairedRuns) -> Answered:
    """Return what `--json` prints of a comparison."""
    pairs, compared = paired.pairs, paired.compared
    return Answered(
        judge=judged_by({"name": pairs.judge.name, "is_language_model": pairs.judge.is_language_model}),
        rows=compared.rows,
        test_rows=(pairs.in_first, pairs.in_second),
        same_test_set=pairs.same_test_set,
        left_out=pairs.common - pairs.rows,
        left_out_for_ancestors=pairs.by_ancestors,
        unscored=compared.unscored,
        learned=paired.learned,
        p_value=compared.scores.p_value if compared.scores else None,
        primary=compared.primary,
        better=compared.better,
        only_first_exact=compared.only_first,
        only_second_exact=compared.only_second,
        exact_p_value=compared.p_value,
        figures=list(_figures(compared, pairs.judge)),
    )


def answers_sentence(paired: PairedRuns, first: str, second: str) -> str:
    """Say in plain words whose responses are better."""
    names: dict[Side, str] = {"first": first, "second": second}
    compared = paired.compared
    parts = [
        f"On {_rows(paired.pairs)} {_by_score(compared, names, paired.pairs.judge)}",
        _by_exact_match(compared, names),
        *_learned(paired, names),
    ]
    return "; ".join(parts) + "."


def caveats(runs: Sequence[RecordedRun], paired: PairedRuns) -> Iterator[str]:
    """Yield what speaks against a comparison, one line each."""
    found = (paired.learned, paired.pairs.learned_known, paired.compared.unscored)
    for run, learned, known, unscored in zip(runs, *found, strict=True):
        name = f"run {run.run_id[:8]}"
        if learned is None and not known:
            yield f"whether {name} was trained on some of its test rows is not known"
        elif learned and not known:
            yield f"{learned:,} test rows of {name} stand in its training data too, but for case, digits or blanks"
        if unscored:
            yield f"{unscored:,} of {paired.compared.rows:,} rows have no score of {name}: the verdicts cannot be read"
    yield from unknown_ancestors(runs, paired.pairs.ancestry)


def read_run(run: RecordedRun, paths: dict[str, Path], home: Path) -> tuple[Answers, int | None]:
    """Return what a run answered, and how many test rows it was trained on, if that is known.

    Raises:
        NotComparable: if a file is not what it should be.
        TrackingError: if the store cannot be read.
    """
    facts: dict[str, Any] = json.loads(paths[FACTS].read_text(encoding="utf-8"))
    if "judge" not in facts:
        raise NotComparable(f"{FACTS} of run {run.run_id[:8]} says nothing of a judge")
    others = logged_judgements(paths[JUDGEMENTS]) if JUDGEMENTS in paths else {}
    learned = read_learned(paths[LEARNED]) if LEARNED in paths else None
    answers = read_answers(paths[RESPONSES], facts["judge"], others, fold_tasks, learned, ancestry_of(run, home))
    overlap = facts.get("split", {}).get("overlap", {}).get("test", {})
    return answers, overlap.get("folded")


def _judge_again(second: RecordedRun, one: Answers, other: Answers) -> str:
    """Return what to type so that one judge has scored both."""
    wanted, has = next(iter(one.judges.values())), next(iter(other.judges.values()))
    settings = f"--set judge.kind={wanted.kind}"
    if wanted.model:
        settings += f" --set judge.model={wanted.model}"
    if (wanted.kind, wanted.model) == (has.kind, has.model):
        # Another version of the model or of the rubric: the old one is gone.
        return f"judge both again with `gradus judge RUN {settings}`"
    return f"judge one of them again, as with `gradus judge {second.run_id[:8]} {settings}`"


def _figures(compared: ComparedResponses, judge: Judge) -> Iterator[Figure]:
    if compared.scores:
        yield _figure("score", compared.scores, compared.higher)
    for each in compared.measures:
        if each.name == judge.measure:
            continue  # it is the score
        yield _figure(each.name, each, each.better)


def _figure(name: str, pair: PairedScores | MetricPair, better: Side | None) -> Figure:
    return Figure(
        name=name,
        title=TITLES[name],
        first=pair.first,
        second=pair.second,
        difference=pair.difference,
        first_interval=pair.first_interval,
        second_interval=pair.second_interval,
        difference_interval=pair.difference_interval,
        p_value=pair.p_value,
        better=better,
    )


def _rows(pairs: AnswerPairs) -> str:
    if not pairs.same_test_set and pairs.rows == pairs.common and not all(pairs.learned_known):
        return f"the {pairs.rows:,} test rows that both have"
    return common_rows(pairs)


def _by_score(compared: ComparedResponses, names: dict[Side, str], judge: Judge) -> str:
    scores = compared.scores
    if scores is None:
        return f"no row has a score of both by {judge.name}"
    means: dict[Side, float] = {"first": scores.first, "second": scores.second}
    low, high = scores.difference_interval
    evidence = f"difference {scores.difference:+.1f}, 95 % {low:+.1f} to {high:+.1f}, permutation p"
    evidence += f" {p_value(scores.p_value)}"
    if winner := compared.higher:
        loser: Side = "first" if winner == "second" else "second"
        said = f"{names[winner]} scores significantly higher than {names[loser]}"
        return f"{said} ({means[winner]:.1f} against {means[loser]:.1f} by {judge.name}, {evidence})"
    said = f"there is no significant difference between {names['first']} and {names['second']}"
    return f"{said} (scores {scores.first:.1f} and {scores.second:.1f} by {judge.name}, {evidence})"


def _by_exact_match(compared: ComparedResponses, names: dict[Side, str]) -> str:
    exact = next(each for each in compared.measures if each.name == "exact_match")
    who = names[compared.more_exact] if compared.more_exact else "neither"
    return (
        f"{who} gives the reference word for word significantly more often ({exact.first:.1%} and {exact.second:.1%}, "
        f"McNemar p {p_value(compared.p_value)})"
    )


def _learned(paired: PairedRuns, names: dict[Side, str]) -> Iterator[str]:
    for name, learned, known in zip(names.values(), paired.learned, paired.pairs.learned_known, strict=True):
        if learned and not known:  # else they are left out
            yield f"{name} was trained on {learned:,} of its test rows"
