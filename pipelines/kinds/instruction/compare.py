"""How instruction runs are compared and promoted: by the scores that one judge gave responses to the same entries."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from components.conversations import HISTORY, read_history
from components.core.errors import JudgeError, NotComparable
from components.data.split.folding import fold_tasks
from components.evaluation.instruction import entries_of, judged_by
from components.evaluation.metrics import RESPONSES as METRICS
from components.evaluation.paired.comparison import Paired, compare_responses
from components.evaluation.paired.non_inferiority import FEWEST_ROWS, Floats, score_difference
from components.evaluation.paired.p_values import shown
from components.evaluation.paired.response_pairing import (
    AnswerPairs,
    Answers,
    Judge,
    OtherJudge,
    pair_answers,
    read_answers,
)
from components.evaluation.verdicts import read_verdicts
from components.generation.config import GenerationConfig
from components.judging.cache import verdicts_path
from components.judging.config import JudgeConfig
from components.judging.judge import VERDICTS, judge
from components.learned import LEARNED, read_learned
from components.prompts import PromptConfig
from components.tracking.judgements import JUDGEMENTS, logged_judgements
from components.tracking.reading import CONFIG, FACTS, RESPONSES, RecordedRun, Registered
from pipelines.compared import Answered, decided, of_every_kind
from pipelines.kind import Candidate, Kind, Measured, Runs, Sides, Unlike, ancestry_of, common_rows, load_version
from pipelines.kinds.instruction import DECIDES

if TYPE_CHECKING:
    from components.serving.language_model import Responder


class Instruction:
    """The kind of runs that train a language model on instructions."""

    key = "responses"
    metrics = METRICS
    decides = DECIDES
    selects: str | None = "validation/loss"
    margin = 2.0
    needs: tuple[str, ...] = (RESPONSES, FACTS)
    reads: tuple[str, ...] = (JUDGEMENTS, LEARNED, CONFIG)
    group = "task"

    def texts(self, paths: Mapping[str, Path]) -> pd.DataFrame:
        """Return the test entries with their references, and what a run answered."""
        table = pd.read_parquet(paths[RESPONSES])
        asked = table["instruction"] + ("\n" + table["input"].fillna("")).where(table["input"].fillna("") != "", "")
        columns = {"text": asked, "expected": table["reference"], "said": table["response"].fillna("")}
        group = table.get("task")
        return pd.DataFrame({**columns, "group": group, "row": table["row"]}).astype({"group": object})

    def read(self, run: RecordedRun, paths: Mapping[str, Path], home: Path) -> Answers:
        """Return what a run answered, and the scores that judges gave it."""
        facts: dict[str, Any] = json.loads(paths[FACTS].read_text(encoding="utf-8"))
        if "judge" not in facts:
            raise NotComparable(f"{FACTS} of run {run.run_id[:8]} says nothing of a judge")
        others = logged_judgements(paths[JUDGEMENTS]) if JUDGEMENTS in paths else {}
        learned = read_learned(paths[LEARNED]) if LEARNED in paths else None
        ancestry = ancestry_of(run, home)
        answers = read_answers(paths[RESPONSES], facts["judge"], others, fold_tasks, learned, ancestry)
        return replace(answers, overlap=facts.get("split", {}).get("overlap", {}).get("test", {}).get("folded"))

    def pair(self, runs: Runs, rows: tuple[Answers, Answers]) -> AnswerPairs:
        """Return two runs' responses to the same entries, with the scores of one judge; or say how to get them."""
        try:
            return pair_answers(*rows)
        except OtherJudge as error:
            raise Unlike(f"{error}; {_remedy(runs[1], *rows)}") from error

    def compare(self, runs: Runs, pairs: AnswerPairs, primary: str) -> Paired:  # noqa: ARG002 - other kinds read them
        """Compare two runs; a lexical judge's measure is the score."""
        measure = pairs.judge.measure
        chosen = "score" if primary == measure else primary
        return compare_responses(pairs.first, pairs.second, measure, primary=chosen)

    def shown(self, pairs: AnswerPairs, paired: Paired) -> Answered:
        """Return what `--json` prints under `responses`."""
        score = paired.metric("score")
        return Answered(
            **of_every_kind(pairs, paired),
            judge=judged_by({"name": pairs.judge.name, "is_language_model": pairs.judge.is_language_model}),
            unscored=pairs.unscored,
            learned=pairs.overlap,
            p_value=score.p_value if score else None,
            only_first_exact=paired.only_first,
            only_second_exact=paired.only_second,
            exact_p_value=paired.p_value,
        )

    def sentence(self, pairs: AnswerPairs, paired: Paired, names: tuple[str, str]) -> str:
        """Say whose score is higher, and who gives the reference more often."""
        score, exact = paired.metric("score"), paired.metric("exact_match")
        if exact is None:
            raise ValueError("every response is the reference or is not")
        if score is None:
            outcome = f"no row has a score of both by {pairs.judge.name}"
        else:
            low, high = score.difference_interval
            difference = f"difference {score.difference:+.1f}, 95 % {low:+.1f} to {high:+.1f}"
            evidence = f" by {pairs.judge.name}, {difference}, permutation p {shown(score.p_value)}"
            outcome = decided(score, names, "scores significantly higher", "scores {} and {}", ".1f", evidence)
        who = {"first": names[0], "second": names[1], None: "neither"}[exact.better]
        parts = [
            f"On {common_rows(pairs)} {outcome}",
            f"{who} gives the reference word for word significantly more often ({exact.first:.1%} and "
            f"{exact.second:.1%}, McNemar p {shown(paired.p_value)})",
        ]
        for name, learned, known in zip(names, pairs.overlap, pairs.learned_known, strict=True):
            if learned and not known:  # else they are left out
                parts.append(f"{name} was trained on {learned:,} of its test rows")
        return "; ".join(parts) + "."

    def caveats(self, runs: Runs, pairs: AnswerPairs) -> Iterator[str]:
        """Yield what training data may be among the rows, and how many rows have no score."""
        found = (pairs.overlap, pairs.learned_known, pairs.unscored)
        for run, learned, known, unscored in zip(runs, *found, strict=True):
            name = f"run {run.run_id[:8]}"
            if learned is None and not known:
                yield f"whether {name} was trained on some of its test rows is not known"
            elif learned and not known:
                yield f"{learned:,} test rows of {name} stand in its training data too, but for case, digits or blanks"
            if unscored:
                yield f"{unscored:,} of {pairs.rows:,} rows have no score of {name}: the verdicts cannot be read"

    def sides(self, pairs: AnswerPairs) -> Sides:
        """Return the scores of the second beside those of the first."""
        first, second = (each["score"].to_numpy(np.float64) for each in (pairs.first, pairs.second))
        return Sides(second, first, pairs.judge)

    def baseline(self, candidate: Candidate[Answers]) -> tuple[Sides, str]:
        """Return a candidate beside the model that its training started from, if a judge has scored both."""
        answers, rows = candidate.rows, candidate.counted
        both = [name for name, scores in answers.start.items() if not np.isnan(scores[rows]).all()]
        started = min(both, key=lambda name: answers.judges[name].tells is False, default=None)
        if started is None:
            raise NotComparable(
                "no judge has scored the responses of the model that it started from; judge them with "
                f"`gradus judge {candidate.run.run_id[:8]} --set judge.also=[start]`"
            )
        sides = Sides(answers.scores[started][rows], answers.start[started][rows], answers.judges[started])
        return sides, "the model that it started from"

    def best_baseline(self, candidate: Candidate[Answers]) -> tuple[Sides, str]:  # noqa: ARG002 - other kinds read it
        """Refuse: no judge scores the responses of a baseline."""
        raise NotComparable("no judge has scored a baseline's responses")

    def run_anew(self, champion: Registered, name: str, candidate: Candidate[Answers], home: Path) -> Sides:
        """Let a champion answer a candidate's test rows, and the candidate's judge score that."""
        from components.serving.language_model import Responder

        path = candidate.paths.get(CONFIG)
        tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}
        if "judge" not in tree:
            raise NotComparable(f"run {candidate.run.run_id[:8]} left no {CONFIG}, so how to judge {name} is not known")
        rows, answers = int(candidate.counted.sum()), candidate.rows
        if rows < FEWEST_ROWS:  # not worth asking a judge
            raise NotComparable(
                f"{rows:,} of the {len(answers):,} test rows of the new model are left that none of the two was "
                f"trained on, and fewer than {FEWEST_ROWS} are no evidence; test on more rows"
            )
        model = load_version(champion, home)
        if not isinstance(model, Responder):
            raise NotComparable(f"{name} is no language model")
        own = answers.own_judge
        table = pd.read_parquet(candidate.paths[RESPONSES])[candidate.counted].reset_index(drop=True)
        return Sides(answers.scores[own.identity][candidate.counted], _judged(model, table, tree, own, name, home), own)

    def measure(self, sides: Sides, where: str, notes: list[str]) -> Measured:
        """Return the difference of mean scores, over the rows on which both have one."""
        by: Judge = sides.by
        both = ~np.isnan(sides.candidate) & ~np.isnan(sides.reference)
        if not both.any():
            raise NotComparable(f"no row has a score of both by {by.name}")
        if not both.all():
            where = f"{int(both.sum()):,} of {where}, which both have a score of,"
        if by.is_language_model and by.tells is None:
            notes = [*notes, f"whether {by.name} can tell a right response from a wrong one was not checked"]
        unscored = float(np.isnan(sides.candidate).mean())
        difference = score_difference(sides.candidate[both], sides.reference[both])
        return Measured(difference, where, by.name, by.tells, unscored, tuple(notes))


KIND: Kind[Answers, AnswerPairs] = Instruction()


def _remedy(second: RecordedRun, one: Answers, other: Answers) -> str:
    """Return what to type so that one judge has scored both."""
    wanted, has = one.own_judge, other.own_judge
    settings = f"--set judge.kind={wanted.kind}"
    if wanted.model:
        settings += f" --set judge.model={wanted.model}"
    if (wanted.kind, wanted.model) == (has.kind, has.model):
        # Another version of the model or of the rubric: the old one is gone.
        return f"judge both again with `gradus judge RUN {settings}`"
    return f"judge one of them again, as with `gradus judge {second.run_id[:8]} {settings}`"


def _judged(
    model: "Responder", rows: pd.DataFrame, tree: dict[str, Any], wanted: Judge, name: str, home: Path
) -> Floats:
    """Return the scores (N) that the candidate's judge gives a model's responses to N rows.

    Raises:
        NotComparable: if it cannot be asked, or is another one now.
    """
    generation = GenerationConfig.model_validate(tree.get("generation", {}))
    entries = entries_of(rows)
    histories = [read_history(text) for text in entries[HISTORY].fillna("")] if HISTORY in entries else None
    asked = (rows["instruction"].tolist(), rows["input"].fillna("").tolist())
    answered = model.respond(*asked, generation, histories=histories)
    config = JudgeConfig.model_validate({**tree["judge"], "also": []})
    prompt = PromptConfig.model_validate(tree.get("prompt", {})).text
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
