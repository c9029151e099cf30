"""Evaluating responses: what a judge said of them before and after training, beside a baseline, and by task."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.core.records import Facts
from components.evaluation.by_task import metric_names, most_common_responses, tasks_table
from components.evaluation.response_verdict import sentence
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
        verdicts: what the judge said of them, and of the references.
        judge: the facts of the step `judge`.
        out: an empty folder.
        unseen: which test rows no earlier model was trained on that this one continues. The others are in no figure;
            in `responses.parquet` they have `learned_before`.

    Raises:
        ValueError: if a response has no verdict, read or not, or the two models did not answer the same rows.
    """
    whole = pd.read_parquet(responses["model"])
    whole["task"] = _tasks(whole)
    rows = whole[unseen.counted].reset_index(drop=True) if unseen else whole
    said = {of: each for of, each in read_verdicts(verdicts, rows["row"]).items() if of in PREFIXES}
    baseline = most_common_responses(train).matches(rows["task"], rows["output"])
    tasks = tasks_table(rows["task"], said, baseline)
    of_ancestors = unseen.sentences() if unseen else []
    facts: Facts = {
        "rows": len(rows),
        "judge": judge["judge"],
        "rubric": judge.get("rubric"),
        "repeats": judge["repeats"],
        "counts": judge["counts"],
        "metrics": response_metrics(said)
        | {"baseline/test/exact_match": float(baseline.mean())}
        | control_metrics(judge)
        | _by_task(tasks),
        "verdict": " ".join([sentence(said, baseline, judge["judge"], by_task=bool(len(tasks))), *of_ancestors]),
        "warnings": warnings(said, judge) + _too_many(tasks),
        "tasks": _without_nan(tasks.head(MOST_TASKS)),
        **({"ancestors": unseen.facts()} if unseen else {}),
    }
    (out / "metrics.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False))
    tasks.to_parquet(out / "tasks.parquet", index=False)
    (out / "figures").mkdir()
    histograms(said).to_parquet(out / "figures/scores.parquet", index=False)
    if unseen:
        said = read_verdicts(verdicts, whole["row"])
        whole["learned_before"] = ~unseen.unseen
    _responses_table(whole, responses.get("start"), said).to_parquet(out / "responses.parquet", index=False)
    return facts


def response_metrics(said: Mapping[str, Verdicts]) -> dict[str, float]:
    """Return the figures of all whose responses were judged, by flat names: `test/score`, `start/test/score`, ..."""
    return {
        f"{prefix}test/{name}": value
        for of, prefix in PREFIXES.items()
        if of in said
        for name, value in said[of].metrics().items()
    }


def control_metrics(judge: Facts) -> dict[str, float]:
    """Return the mean scores of other rows' references and of the rows' own, where the judge gave both."""
    control = judge.get("control") or {}
    return {f"judge/control_{of}": control[of] for of in ("own", "other") if control.get(of) is not None}


def histograms(said: Mapping[str, Verdicts]) -> pd.DataFrame:
    """Return the histograms of scores below each other: `of`, `low`, `high`, `rows`."""
    return pd.concat([said[of].histogram().assign(of=of) for of in PREFIXES if of in said], ignore_index=True)[
        ["of", "low", "high", "rows"]
    ]


def warnings(said: Mapping[str, Verdicts], judge: Facts) -> list[str]:
    """Return what speaks against the judge, one sentence each."""
    name = judge["judge"]["name"]
    found = _control_warning(name, judge.get("control"))
    if "reference" in said and (score := said["reference"].metrics().get("score")) is not None and score < SANE:
        found.append(
            f"{name} gives the references themselves {score:.1f} on average; a sane judge puts references above "
            f"{SANE:.0f}, so its scores say little"
        )
    whose = {"model": "the model's responses", "start": "the starting model's responses", "reference": "the references"}
    found += [
        f"{said[of].unparsed:,} of {said[of].made:,} verdicts on {name_of} could not be read and are in no mean score"
        for of, name_of in whose.items()
        if of in said and said[of].unparsed
    ]
    found += [f"of the verdicts that could not be read {count:,}: {why}" for why, count in _whys(judge)]
    if cut := judge.get("cut_prompts"):
        found.append(
            f"{name} saw only a part of {cut:,} prompts: its server counted fewer tokens than they have; raise "
            "judge.num_ctx (options.num_ctx), and the context that the server allows (OLLAMA_CONTEXT_LENGTH)"
        )
    return found


def _control_warning(name: str, control: dict[str, Any] | None) -> list[str]:
    if control is None or control["tells"]:
        return []
    if why := control.get("why"):
        return [f"whether {name} can tell good from bad is not known: {why}"]
    return [
        f"{name} cannot tell good from bad: on {control['rows']} rows it gives another row's reference "
        f"{control['other']:.1f} on average and the row's own {control['own']:.1f}, which should be "
        f"{control['apart']:.0f} points more at least; its scores say nothing"
    ]


def _whys(judge: Facts) -> list[tuple[str, int]]:
    whys: dict[str, int] = judge.get("unparsed") or {}
    return sorted(whys.items(), key=lambda why: -why[1])


def _tasks(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the task of every row, None where it has none."""
    tasks = rows["task"] if "task" in rows else pd.Series(None, rows.index)
    return tasks.astype(object).where(tasks.notna(), None)


def _by_task(tasks: pd.DataFrame) -> dict[str, float]:
    """Return the figures of each task that are defined, by flat names."""
    shown = tasks.head(MOST_TASKS)
    columns = {
        "exact_match": "test/exact_match",
        "score": "test/score",
        "exact_match_before": "start/test/exact_match",
        "score_before": "start/test/score",
        "baseline_exact_match": "baseline/test/exact_match",
    }
    return {
        f"{metric}/{name}": float(value)
        for column, metric in columns.items()
        for name, value in zip(metric_names(shown["task"].tolist()), shown[column], strict=True)
        if pd.notna(value)
    }


def _too_many(tasks: pd.DataFrame) -> list[str]:
    if len(tasks) <= MOST_TASKS:
        return []
    return [f"there are {len(tasks):,} tasks, of which the {MOST_TASKS} largest have figures; is it the right column?"]


def _without_nan(tasks: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
        for row in tasks.to_dict("records")
    ]


def _responses_table(rows: pd.DataFrame, start: Path | None, said: Mapping[str, Verdicts]) -> pd.DataFrame:
    """Return the responses with what was said of them, worst score first, and those without a score at the end."""
    judged, before = said["model"].frame, said.get("start")
    table = pd.DataFrame({"row": rows["row"]})
    if rows["task"].notna().any():
        table["task"] = rows["task"].astype("str")
    table = table.assign(
        instruction=rows["instruction"],
        input=rows["input"],
        reference=rows["output"],
        response=rows["model_response"],
        **{name: judged[name] for name in ("score", "reason", "status", *LEXICAL)},
        start_response=pd.Series(None, rows.index, dtype="str"),
        start_score=before.scores if before else np.nan,
        new_tokens=rows["new_tokens"],
        stopped=rows["stopped"],
    )
    if "learned_before" in rows:
        table["learned_before"] = rows["learned_before"]
    if start:
        table["start_response"] = _responses_of(start, rows)
    return table.sort_values(["score", "exact_match", "chrf", "row"], na_position="last", ignore_index=True)


def _responses_of(start: Path, rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the starting model's responses in the order of the trained model's."""
    responses = pd.read_parquet(start, columns=["row", "model_response"]).set_index("row")["model_response"]
    if set(responses.index) != set(rows["row"]):
        raise ValueError("the starting model did not answer the same rows as the trained one")
    return responses.reindex(rows["row"]).reset_index(drop=True)
