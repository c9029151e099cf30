"""How a language model did beside a champion, or beside the model it started from, by the scores of one judge."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from components.core.errors import JudgeError, NotComparable
from components.evaluation.non_inferiority import FEWEST_ROWS, Floats, score_difference
from components.evaluation.response_pairing import Answers, Judge
from components.evaluation.verdicts import read_verdicts
from components.generation.config import GenerationConfig
from components.judging.cache import verdicts_path
from components.judging.config import JudgeConfig
from components.judging.judge import VERDICTS, judge
from components.learned import LEARNED, NONE
from components.prompts import PromptConfig
from components.serving.language_model import Responder
from components.tracking.judgements import JUDGEMENTS
from components.tracking.reading import RecordedRun, Registered, artifacts_of
from pipelines.learned import common_rows, unknown_ancestors
from pipelines.loading import load_version
from pipelines.measured import Measured
from pipelines.response_comparison import FACTS, RESPONSES, Unlike, answers_sentence, pair_responses, read_run

FIGURE = "test/score"
"""What a run records of it."""
MARGIN = 2.0
"""How much lower a candidate's mean score may be, in points of a hundred, unless somebody says otherwise."""
CONFIG = "config.yaml"


def check_margin(margin: float) -> bool:
    """Say whether a margin is one of scores."""
    return 0 <= margin < 100


def beside_champion(
    champion: Registered,
    other: RecordedRun,
    run: RecordedRun,
    names: tuple[str, str],
    home: Path,
    anew: bool = True,
) -> Measured | None:
    """Compare scores of a candidate's responses with those of a champion's, which answers anew if they share few rows.

    Args:
        champion: the champion, of now or of earlier.
        other: the run that made it.
        run: the candidate's run.
        names: what to call champion and candidate.
        home: the folder of the local store.
        anew: whether the champion may be run, if its run and the candidate's share too few rows; else that is None.

    Raises:
        NotComparable: if there is nothing to compare, or the judge cannot tell a right response from a wrong one.
        TrackingError: if the store cannot be read.
    """
    try:
        found = pair_responses(other, run, home)
    except Unlike:
        raise
    except NotComparable:
        found = None
    if isinstance(found, str):
        raise NotComparable(found)
    if found is None or found.pairs.rows < FEWEST_ROWS:
        return None if not anew else _answered_anew(champion, other, run, names[0], home)
    pairs = found.pairs
    first, second = (each["score"].to_numpy(np.float64) for each in (pairs.first, pairs.second))
    notes = unknown_ancestors([other, run], pairs.ancestry)
    if not all(pairs.learned_known):
        notes.insert(0, "what one of the two was trained on is not known")
    return _measured(second, first, pairs.judge, common_rows(pairs), notes, answers_sentence(found, *names))


def beside_baseline(run: RecordedRun, home: Path) -> tuple[Measured, str]:
    """Compare a candidate with the model that its training started from; also return what to call that.

    Raises:
        NotComparable: if it left no responses, or no judge has scored both models', or the judge cannot tell.
        TrackingError: if the store cannot be read.
    """
    with artifacts_of(run, [RESPONSES, FACTS, JUDGEMENTS, LEARNED], home) as paths:
        answers = _answers(run, paths, home)
    rows = _unseen(answers, run)
    both = [name for name, scores in answers.start.items() if not np.isnan(scores[rows]).all()]
    started = min(both, key=lambda name: answers.judges[name].tells is False, default=None)
    if started is None:
        raise NotComparable(
            "no judge has scored the responses of the model that it started from; judge them with "
            f"`gradus judge {run.run_id[:8]} --set judge.also=[start]`"
        )
    where = f"the {int(rows.sum()):,} test rows"
    notes = unknown_ancestors([run], [answers.ancestry])
    scores = answers.scores[started][rows], answers.start[started][rows]
    return _measured(*scores, answers.judges[started], where, notes), "the model that it started from"


def _answered_anew(champion: Registered, other: RecordedRun, run: RecordedRun, name: str, home: Path) -> Measured:
    """Let a champion answer the candidate's test rows, less what either has learned from, and the judge score that."""
    with artifacts_of(other, [RESPONSES, FACTS, JUDGEMENTS, LEARNED], home) as paths:
        champions = _answers(other, paths, home)
    with artifacts_of(run, [RESPONSES, FACTS, JUDGEMENTS, LEARNED, CONFIG], home) as paths:
        answers = _answers(run, paths, home)
        table = pd.read_parquet(paths[RESPONSES])
        tree: dict[str, Any] = yaml.safe_load(paths[CONFIG].read_text(encoding="utf-8")) if CONFIG in paths else {}
    if "judge" not in tree:
        raise NotComparable(f"run {run.run_id[:8]} left no {CONFIG}, so how to judge {name} is not known")
    unseen = _unseen(answers, run)
    learned = NONE if champions.learned is None else champions.learned
    unseen &= ~np.isin(answers.folded, np.concatenate([learned, champions.ancestry.rows]))
    if unseen.sum() < FEWEST_ROWS:  # not worth asking a judge
        raise NotComparable(
            f"{int(unseen.sum()):,} of the {len(answers):,} test rows of the new model are left that none of the two "
            f"was trained on, and fewer than {FEWEST_ROWS} are no evidence; test on more rows"
        )
    model = load_version(champion, home)
    if not isinstance(model, Responder):
        raise NotComparable(f"{name} is no language model")
    rows = table[unseen].reset_index(drop=True)
    own = next(iter(answers.judges.values()))
    scores = _judged(model, rows, tree, own, name, home)
    where = f"{len(rows):,} of the {len(answers):,} test rows of the new model, which {name} was run on,"
    notes = unknown_ancestors([other, run], [champions.ancestry, answers.ancestry])
    if champions.learned is None or answers.learned is None:
        notes.insert(0, "what one of the two was trained on is not known")
    return replace(_measured(answers.scores[own.identity][unseen], scores, own, where, notes), anew=True)


def _judged(model: Responder, rows: pd.DataFrame, tree: dict[str, Any], wanted: Judge, name: str, home: Path) -> Floats:
    """Return the scores (N) that the candidate's judge gives a model's responses to N rows.

    Raises:
        NotComparable: if it cannot be asked, or is another one now.
    """
    generation = GenerationConfig.model_validate(tree.get("generation", {}))
    answered = model.respond(rows["instruction"].tolist(), rows["input"].fillna("").tolist(), generation)
    entries = rows.rename(columns={"reference": "output"})[["row", "instruction", "input", "output"]]
    config = JudgeConfig.model_validate({**tree["judge"], "also": []})
    prompt = PromptConfig.model_validate(tree.get("prompt", {})).resolved.prompt
    with tempfile.TemporaryDirectory(prefix="gradus-") as folder:
        path, out = Path(folder) / RESPONSES, Path(folder) / "judged"
        out.mkdir()
        entries.assign(model_response=answered["response"]).to_parquet(path, index=False)
        try:
            facts = judge({"model": path}, config, prompt, verdicts_path(home), out)
        except JudgeError as error:
            raise NotComparable(f"{name} cannot be judged on the new model's test rows: {error}") from error
        if Judge.of(facts).identity != wanted.identity:
            raise NotComparable(
                f"{name} would be judged by {Judge.of(facts).name}, and the new model was by {wanted.name}; judge the "
                "new model again"
            )
        return read_verdicts(out / VERDICTS, rows["row"])["model"].scores


def _answers(run: RecordedRun, paths: dict[str, Path], home: Path) -> Answers:
    if lacking := [name for name in (RESPONSES, FACTS) if name not in paths]:
        raise NotComparable(f"run {run.run_id[:8]} left no {' and no '.join(lacking)}: there is nothing to test on")
    return read_run(run, paths, home)[0]


def _unseen(answers: Answers, run: RecordedRun) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return which test rows (N) neither the model nor one before it was trained on."""
    learned = NONE if answers.learned is None else answers.learned
    unseen = ~np.isin(answers.folded, np.concatenate([learned, answers.ancestry.rows]))
    if not unseen.any():
        raise NotComparable(
            f"run {run.run_id[:8]}, or a model that it continues, has learned from all of its test rows"
        )
    return unseen


def _measured(
    candidate: Floats, reference: Floats, by: Judge, rows: str, notes: list[str], detail: str = ""
) -> Measured:
    """Compare scores on the rows on which both have one.

    Raises:
        NotComparable: if there are none, or the judge cannot tell a right response from a wrong one.
    """
    if by.tells is False:
        raise NotComparable(
            f"{by.name} cannot tell a right response from a wrong one: it gives other rows' references about as much "
            "as a row's own, or too few of them a score; have both judged by another, as with `gradus judge RUN "
            "--set judge.model=MODEL`"
        )
    both = ~np.isnan(candidate) & ~np.isnan(reference)
    if not both.any():
        raise NotComparable(f"no row has a score of both by {by.name}")
    if not both.all():
        rows = f"{int(both.sum()):,} of {rows}, which both have a score of,"
    if by.is_language_model and by.tells is None:
        notes = [*notes, f"whether {by.name} can tell a right response from a wrong one was not checked"]
    return Measured(score_difference(candidate[both], reference[both]), rows, by.name, tuple(notes), detail=detail)
