"""Evaluating responses: verdicts on them before and after training, beside a baseline, and by task."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.conversations import HISTORY
from components.core.records import Facts
from components.evaluation.by_task import most_common_responses, task_metrics, tasks_table
from components.evaluation.paired.comparison import compare_scores
from components.evaluation.paired.p_values import SIGNIFICANT, mcnemar, shown
from components.evaluation.verdicts import LEXICAL, Verdicts, read_verdicts
from components.learned import TestedRows

PREFIXES = {"model": "", "start": "start/", "reference": "reference/"}
"""Whose figures there are, and how their names begin; the trained model's come first."""
SANE = 95.0
"""Mean score of the references below which a judge is not to be trusted: it should find the right answers right."""
MOST_TASKS = 100
"""Tasks with figures of their own at most, the largest ones: more are probably no kinds of task."""


def evaluate_responses(
    train: Path,
    responses: dict[str, Path],
    verdicts: Path,
    judge: Facts,
    out: Path,
    unseen: TestedRows | None = None,
) -> Facts:
    """Write metrics, responses and what figures are drawn from; return metrics, counts and a plain sentence.

    Files: `metrics.json` (the facts), `responses.parquet` (worst score first; rows without a score stand at its end),
    `tasks.parquet` (largest task first) and `figures/scores.parquet` (`of`, `low`, `high`, `rows`: a histogram in steps
    of 10, in which the line without `low` and `high` counts the rows without a score).

    Verdicts that could not be read are in no mean score, and in all counts: see `Verdicts.metrics`. Exact match, token
    F1 and chrF are over all rows. A test row's baseline is the most common response of its task in the training split
    (of all tasks where there is no task, or none like it); of responses that are equally common the first counts.

    Args:
        train: the training split (instruction table).
        responses: tables of responses to the test split, by whose they are: `model`, and `start` if the starting model
            was asked as well.
        verdicts: the judge's verdicts on them, and on the references.
        judge: the facts of the step `judge`.
        out: an empty folder.
        unseen: which test rows no earlier model was trained on that this one continues. The others are in no figure;
            in `responses.parquet` they have `learned_before`.

    Raises:
        ValueError: if a response has no verdict, read or not, or the two models did not answer the same rows.
    """
    whole = _read_responses(responses["model"])
    rows = whole[unseen.counted].reset_index(drop=True) if unseen else whole
    judged = {of: each for of, each in read_verdicts(verdicts, rows["row"]).items() if of in PREFIXES}
    baseline = most_common_responses(train).matches(rows["task"], rows["output"])
    tasks = tasks_table(rows["task"], judged, baseline)
    largest = tasks.head(MOST_TASKS)
    sentences = [sentence(judged, baseline, judge["judge"], by_task=bool(len(tasks)))]
    facts: Facts = {
        "rows": len(rows),
        **{name: judge.get(name) for name in ("judge", "rubric", "repeats", "counts")},
        "metrics": response_metrics(judged)
        | {"baseline/test/exact_match": float(baseline.mean())}
        | control_metrics(judge)
        | task_metrics(largest),
        "verdict": " ".join(sentences + (unseen.sentences() if unseen else [])),
        "warnings": warnings(judged, judge, len(tasks)),
        "tasks": largest.astype(object).where(largest.notna(), None).to_dict("records"),
        **({"ancestors": unseen.facts()} if unseen else {}),
    }
    (out / "metrics.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False))
    tasks.to_parquet(out / "tasks.parquet", index=False)
    _write_scores(judged, out / "figures")
    if unseen:
        judged = read_verdicts(verdicts, whole["row"])
        whole["learned_before"] = ~unseen.unseen
    _responses_table(whole, responses.get("start"), judged).to_parquet(out / "responses.parquet", index=False)
    return facts


def _read_responses(path: Path) -> pd.DataFrame:
    """Return a table of responses, with the task of each in `task`, None where there is none."""
    found: pd.DataFrame = pd.read_parquet(path)
    tasks = found["task"] if "task" in found else pd.Series(None, found.index)
    return found.assign(task=tasks.astype(object).where(tasks.notna(), None))


def _write_scores(verdicts: Mapping[str, Verdicts], folder: Path) -> None:
    folder.mkdir()
    found = pd.concat([verdicts[of].histogram().assign(of=of) for of in PREFIXES if of in verdicts], ignore_index=True)
    found[["of", "low", "high", "rows"]].to_parquet(folder / "scores.parquet", index=False)


def response_metrics(verdicts: Mapping[str, Verdicts]) -> dict[str, float]:
    """Return the figures of all whose responses were judged, by flat names: `test/score`, `start/test/score`, ..."""
    return {
        f"{prefix}test/{name}": value
        for of, prefix in PREFIXES.items()
        if of in verdicts
        for name, value in verdicts[of].metrics().items()
    }


def control_metrics(judge: Facts) -> dict[str, float]:
    """Return the mean scores of other rows' references and of the rows' own, where the judge gave both."""
    control = judge.get("control") or {}
    return {f"judge/control_{of}": control[of] for of in ("own", "other") if control.get(of) is not None}


def warnings(verdicts: Mapping[str, Verdicts], judge: Facts, tasks: int = 0) -> list[str]:
    """Return what speaks against the judge, and against so many tasks, one sentence each."""
    name, control, found = judge["judge"]["name"], judge.get("control") or {"tells": True}, []
    if not control["tells"] and (why := control.get("why")):
        found.append(f"whether {name} can tell good from bad is not known: {why}")
    elif not control["tells"]:
        found.append(
            f"{name} cannot tell good from bad: on {control['rows']} rows it gives another row's reference "
            f"{control['other']:.1f} on average and the row's own {control['own']:.1f}, which should be "
            f"{control['apart']:.0f} points more at least; its scores say nothing"
        )
    if "reference" in verdicts and (score := verdicts["reference"].metrics().get("score")) is not None and score < SANE:
        found.append(
            f"{name} gives the references themselves {score:.1f} on average; a sane judge puts references above "
            f"{SANE:.0f}, so its scores say little"
        )
    whose = {"model": "the model's responses", "start": "the starting model's responses", "reference": "the references"}
    found += [
        f"{each.unparsed:,} of {each.made:,} verdicts on {name_of} could not be read and are in no mean score"
        for of, name_of in whose.items()
        if (each := verdicts.get(of)) and each.unparsed
    ]
    whys = sorted((judge.get("unparsed") or {}).items(), key=lambda each: -each[1])
    found += [f"of the verdicts that could not be read {count:,}: {why}" for why, count in whys]
    if cut := judge.get("cut_prompts"):
        found.append(
            f"{name} saw only a part of {cut:,} prompts: its server counted fewer tokens than they have; raise "
            "judge.num_ctx (options.num_ctx), and the context that the server allows (OLLAMA_CONTEXT_LENGTH)"
        )
    if tasks > MOST_TASKS:
        found.append(
            f"there are {tasks:,} tasks, of which the {MOST_TASKS} largest have figures; is it the right column?"
        )
    return found


def entries_of(responses: pd.DataFrame) -> pd.DataFrame:
    """Return the entries of `responses.parquet`, as they stood in the test split."""
    named = responses.rename(columns={"reference": "output"})
    return named[[name for name in ("row", "instruction", "input", "output", HISTORY) if name in named]]


def _responses_table(rows: pd.DataFrame, start: Path | None, verdicts: Mapping[str, Verdicts]) -> pd.DataFrame:
    """Return the responses with the verdicts on them, worst score first, and those without a score at the end."""
    judged, before = verdicts["model"].frame, verdicts.get("start")
    table = pd.DataFrame({"row": rows["row"]})
    if rows["task"].notna().any():
        table["task"] = rows["task"].astype("str")
    started = pd.Series(None, rows.index, dtype="str")
    if start:
        answers = pd.read_parquet(start, columns=["row", "model_response"]).set_index("row")["model_response"]
        if set(answers.index) != set(rows["row"]):
            raise ValueError("the starting model did not answer the same rows as the trained one")
        started = answers.reindex(rows["row"]).reset_index(drop=True)
    table = table.assign(
        **({HISTORY: rows[HISTORY]} if HISTORY in rows else {}),
        instruction=rows["instruction"],
        input=rows["input"],
        reference=rows["output"],
        response=rows["model_response"],
        **{name: judged[name] for name in ("score", "reason", "status", *LEXICAL)},
        start_response=started,
        start_score=before.scores if before else np.nan,
        **{name: rows[name] for name in ("new_tokens", "stopped", "learned_before") if name in rows},
    )
    return table.sort_values(["score", "exact_match", "chrf", "row"], na_position="last", ignore_index=True)


def sentence(
    verdicts: Mapping[str, Verdicts], baseline: NDArray[np.bool_], judge: Mapping[str, Any], by_task: bool
) -> str:
    """Say whether the trained model's responses are better than the starting model's, and than a baseline.

    Scores are compared on the rows on which both have one (permutation test), exact matches on all rows (McNemar's).

    Args:
        verdicts: those on `model`, and on `start` if there is one.
        baseline: whether each task's most common training response is right, for every row (N).
        judge: `name` and `is_language_model` of the judge.
        by_task: whether there are tasks, so that the baseline has a response for each.
    """
    model, start = verdicts["model"], verdicts.get("start")
    opening = f"On {len(model.frame):,} test rows the fine-tuned model"
    found = model.metrics()
    scores = "has no score: no verdict could be read"
    if "score" in found:
        scores = f"scores {found['score']:.1f} (95 % {found['score_low']:.1f} to {found['score_high']:.1f})"
    compared = f", against {_against(model, start)}" if start else ""
    share, low, high = (found[f"exact_match{end}"] for end in ("", "_low", "_high"))
    exact = f"{share:.1%} of its responses are the reference word for word (95 % {low:.1%} to {high:.1%})"
    title = "each task's most common training response" if by_task else "the most common training response"
    others = {"of the starting model's": start.exact} if start else {}
    parts = [_exactly(model.exact, other, name) for name, other in {**others, f"with {title}": baseline}.items()]
    return f"{opening} {scores} by {judged_by(judge)}{compared}. {exact}: {' and '.join(parts)}."


def judged_by(judge: Mapping[str, Any]) -> str:
    """Return the judge's name, in which stands that it is no language model where it is none."""
    name = str(judge["name"])
    return name if judge["is_language_model"] or "lexical" in name else f"{name} (lexical: no language model)"


def _against(model: Verdicts, start: Verdicts) -> str:
    both = ~np.isnan(model.scores) & ~np.isnan(start.scores)
    if not both.any():
        return "the starting model on no row, as none has a score of both"
    found = compare_scores(start.scores[both], model.scores[both])
    low, high = found.difference_interval
    where = "" if both.all() else f" on the {found.rows:,} rows that both have a score of"
    significant = found.p_value < SIGNIFICANT
    return (
        f"{start.metrics()['score']:.1f} for the starting model (difference {found.difference:+.1f}{where}, "
        f"{low:.1f} to {high:.1f}; {'' if significant else 'not significant, '}permutation p {shown(found.p_value)})"
    )


def _exactly(model: NDArray[np.bool_], other: NDArray[np.bool_], name: str) -> str:
    p = mcnemar(model, other)
    if p >= SIGNIFICANT:
        relation = "not significantly more or fewer than"
    else:
        relation = f"significantly {'more' if model.mean() > other.mean() else 'fewer'} than"
    return f"{relation} {name} ({other.mean():.1%}, McNemar p {shown(p)})"
