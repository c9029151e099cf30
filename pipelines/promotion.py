"""Who becomes champion: a model that is not worse than the present one on the same test rows."""

from pathlib import Path

from pydantic import BaseModel

from components.errors import ConfigError, NotComparable, PromotionRefused, TrackingError
from components.evaluation.comparison import compare_predictions
from components.evaluation.pairing import Pairs
from components.evaluation.response_pairing import AnswerPairs
from components.tracking.promotion import Promotion, find_champion, has_files, make_champion
from components.tracking.reading import RecordedRun, Registered, find_registered, find_run
from pipelines.comparison import REMEDY, is_ordered, pair_runs, refuse_other_pipelines, sentence
from pipelines.response_comparison import INSTRUCTION, answers_sentence, pair_responses

FEWEST_ROWS = 100
"""Rows on which two models of different test sets must be compared at least, for it to be evidence."""
FORCE = "--force --reason TEXT promotes it all the same"


class PromotionResult(BaseModel):
    """What `gradus promote` did, and what `--json` prints."""

    model: str
    version: str
    run_id: str
    champion_before: str | None
    changed: bool
    forced: bool = False
    sentence: str


def promote(
    address: str, home: Path, name: str | None = None, force: bool = False, reason: str | None = None
) -> PromotionResult:
    """Make a model the champion of its name, if it is not worse than the present one on the same test rows.

    Worse means: the champion is right on significantly more rows (McNemar's exact test, p < 0.05), or, of instruction
    runs, its responses score significantly higher by the same judge (permutation test, p < 0.05). Without a significant
    difference it is promoted, and the sentence says that there is none.

    Args:
        address: a run or a model, as in `components.tracking.reading`.
        home: the folder of the local store.
        name: the registered model, where the run's stands under several names.
        force: promote whatever the comparison says; needs a reason.
        reason: why, in a person's words; kept with or without `force`.

    Raises:
        ConfigError: if `force` comes without a reason.
        PromotionRefused: if it is worse than the champion, cannot be compared with it, or its run is not finished.
        TrackingError: if there is no such model, or the store cannot be read or written.
    """
    reason = (reason or "").strip() or None
    if force and reason is None:
        raise ConfigError("--force needs --reason TEXT: whoever reads the model's page wants to know why")
    version = find_registered(address, name, home)
    model, number = version.name, version.number
    champion = find_champion(model, home)
    before = champion.number if champion else None
    run = _finished_run(address, version, home)
    if before == number:
        said = f"version {number} of {model} is the champion already"
        return _result(version, run, before, said, changed=False)
    evidence = _evidence(champion, version, run, force, home)
    make_champion(version, Promotion(evidence, before, reason, force), home, run.run_id)
    instead = f" in place of version {before}" if before else ""
    said = f"version {number} of {model} is now the champion{instead}: {reason if force else evidence}"
    return _result(version, run, before, said, changed=True, forced=force)


def _result(
    version: Registered, run: RecordedRun, before: str | None, said: str, changed: bool, forced: bool = False
) -> PromotionResult:
    return PromotionResult(
        model=version.name,
        version=version.number,
        run_id=run.run_id,
        champion_before=before,
        changed=changed,
        forced=forced,
        sentence=said,
    )


def _finished_run(address: str, version: Registered, home: Path) -> RecordedRun:
    """Return the run whose figures speak for a version: the one that was named, else the one that made it.

    Raises:
        PromotionRefused: if it, or the one that made the model, did not come to its end, or the files are gone.
    """
    named = find_run(address, home)
    for run in (named, find_run(version.run_id, home)):
        if not run.finished:
            raise PromotionRefused(
                f"not promoted: run {run.run_id[:8]} is {run.status.lower()}, not finished; promote a run that came "
                "to its end"
            )
    if not has_files(version, home):
        raise PromotionRefused(
            f"not promoted: the files of version {version.number} of {version.name} are gone or damaged"
        )
    return named


def _evidence(champion: Registered | None, version: Registered, run: RecordedRun, force: bool, home: Path) -> str:
    """Return what speaks for a version, or against it if it is forced.

    Raises:
        PromotionRefused: if it is worse than the champion or cannot be compared with it, unless it is forced.
    """
    if champion is None:
        return f"the first champion of {version.name}"
    try:
        worse, said = _against(champion, version, run, home)
    except NotComparable as error:
        worse, said = True, f"it cannot be compared with the champion, version {champion.number}: {error}"
    if worse and not force:
        raise PromotionRefused(f"not promoted: {said.rstrip('.')}; {FORCE}")
    return said


def _against(champion: Registered, version: Registered, run: RecordedRun, home: Path) -> tuple[bool, str]:
    """Return whether a version is worse than the champion, and what the comparison says."""
    other = _run_of(champion, home)
    refuse_other_pipelines(other, run)
    names = f"the champion (version {champion.number})", f"the new model (version {version.number})"
    if run.pipeline == INSTRUCTION:
        responses = pair_responses(other, run, home)
        if isinstance(responses, str):
            raise NotComparable(responses)
        _refuse_few_rows(responses.pairs)
        scores = responses.compared.scores
        if scores is None:
            raise NotComparable(f"no row has a score of both by {responses.pairs.judge.name}")
        return scores.better == "first", answers_sentence(responses, *names)
    pairs = pair_runs(other, run, home)
    if isinstance(pairs, str):
        raise NotComparable(pairs)
    _refuse_few_rows(pairs)
    paired = compare_predictions(pairs.first, pairs.second, is_ordered([other, run]))
    return paired.better == "first", sentence(paired, pairs, *names)


def _refuse_few_rows(pairs: Pairs | AnswerPairs) -> None:
    """Refuse what is no evidence.

    Raises:
        NotComparable: if the two test sets differ and share few rows.
    """
    if not pairs.same_test_set and pairs.rows < FEWEST_ROWS:
        raise NotComparable(
            f"their test sets differ, and the {pairs.rows:,} rows that both have are too few (at least {FEWEST_ROWS}); "
            f"{REMEDY}"
        )


def _run_of(champion: Registered, home: Path) -> RecordedRun:
    """Return the run that made the champion.

    Raises:
        NotComparable: if there is none: it was registered by hand, or its run was deleted for good.
    """
    if not champion.run_id:
        raise NotComparable("no run made that version, so there are no predictions of it")
    try:
        return find_run(champion.run_id, home)
    except TrackingError as error:
        raise NotComparable(f"the run that made it, {champion.run_id[:8]}, cannot be found") from error
