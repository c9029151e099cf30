"""Judging an existing run's responses with another judge, and how far the two agree."""

import copy
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ValidationError

from components.core.config import Config
from components.core.errors import ConfigError
from components.core.records import Facts
from components.evaluation.instruction import PREFIXES, control_metrics, entries_of, response_metrics, warnings
from components.evaluation.paired.comparison import COEFFICIENTS, agreement
from components.evaluation.verdicts import Verdicts, read_verdicts
from components.judging.cache import verdicts_path
from components.judging.config import JudgeConfig
from components.judging.judge import judge
from components.prompts import PromptConfig
from components.reporting.plots import agreement_figure
from components.tracking.judgements import AGREEMENT, JUDGE, SCATTER, VERDICTS, judgement_name, log_beside
from components.tracking.reading import RecordedRun
from pipelines.comparing.answered import answered_run, judging_folder
from pipelines.config import apply_override, explain, quoted

OF_ONE_KIND = ("model", "url", "api_key_env", "think", "extra")
"""Settings that mean nothing to a judge of another kind."""
TITLES = {"model": "fine-tuned model", "start": "starting model", "reference": "references"}
FIGURES = {name: f"score_{name}" for name in ("low", "high", "median", "spread")} | {
    name: name for name in ("score", "unparsed_share")
}
"""What `Figures` are called among metrics."""


class Figures(BaseModel):
    """What one judge gave one set of responses; None where no verdict could be read, or none was asked for."""

    score: float | None
    low: float | None
    high: float | None
    """95 % interval of the mean score."""
    median: float | None
    spread: float | None
    """Mean standard deviation of a row's repeats, where there are several."""
    unparsed_share: float | None


class Compared(BaseModel):
    """Both judges on one set of responses, over the rows that both have scored."""

    rows: int
    pearson: float | None
    spearman: float | None
    kendall: float | None
    undefined: str | None
    """Why there are no correlations."""
    difference: float | None
    """Mean score of the new judge minus that of the old one."""
    difference_interval: tuple[float, float] | None
    """95 %"""


class JudgementResult(BaseModel):
    """What `gradus judge` found out, and what `--json` prints."""

    run_id: str
    rows: int
    judge: dict[str, Any]
    """The facts of the judging: judge, rubric, repeats, counts."""
    judge_before: dict[str, Any]
    figures: dict[str, Figures]
    """By whose responses: `model`, `start`, `reference`."""
    figures_before: dict[str, Figures]
    agreement: dict[str, Compared]
    """By whose responses: `model`, `start`."""
    artifacts: str
    """Folder of the run's artifacts in which all of it stands."""
    sentence: str
    spent: str = ""
    """What was asked now: requests, tokens, and money if there are prices. Kept verdicts need nothing."""
    warnings: list[str] = []


def judge_run(address: str, overrides: Iterable[str], home: Path) -> JudgementResult:
    """Judge a run's responses with another judge, and log verdicts, figures and agreement to that run.

    Verdicts are kept in `<home>/verdicts.sqlite` as they are made: after an interruption only the rest is asked.

    Args:
        address: a run or a model, as in `components.tracking.reading`.
        overrides: `judge.KEY=VALUE`; what is not set is as it was in the run. Another kind of judge has its own
            model, address and key.
        home: the folder of the local store.

    Raises:
        ConfigError: if an override is wrong.
        JudgeError: if the run has no responses, or the judge fails or says too often what cannot be read.
        TrackingError: if there is no such run, or the store cannot be read or written.
    """
    found = answered_run(address, home)
    run, responses, facts, tree = found.run, found.responses, found.facts, found.config
    config = judge_config(tree["judge"], overrides)
    prompt = PromptConfig.model_validate(tree["prompt"])
    spent: list[str] = []
    with judging_folder(home, run) as folder:
        with tempfile.TemporaryDirectory(prefix="gradus-") as scratch:
            tables = _tables(responses, Path(scratch))
            judged = judge(tables, config, prompt.text, verdicts_path(home), folder, spent.append)
        if "learned_before" in responses and not responses["learned_before"].all():  # in no figure of the run's
            responses = responses[~responses["learned_before"]].reset_index(drop=True)
        verdicts = read_verdicts(folder / VERDICTS, responses["row"])
        result = _result(run, responses, facts, judged, verdicts).model_copy(update={"spent": "".join(spent)})
        _log(result, responses, verdicts["model"], folder, home)
    return result


def judge_config(base: dict[str, Any], overrides: Iterable[str]) -> JudgeConfig:
    """Return the config of a judge: that of a run, with `judge.KEY=VALUE` overrides applied.

    Raises:
        ConfigError: naming every key that is wrong.
    """
    changes: dict[str, Any] = {"judge": {}}
    tree = {"judge": copy.deepcopy(base)}
    for override in (overrides := list(overrides)):
        if not override.startswith("judge.") or "=" not in override:
            raise ConfigError(f"--set {quoted(override)} is not judge.KEY=VALUE, as in --set judge.model=phi3")
        apply_override(changes, override)
    if changes["judge"].get("kind", base.get("kind")) != base.get("kind"):
        tree = {"judge": {key: value for key, value in tree["judge"].items() if key not in OF_ONE_KIND}}
    for override in overrides:
        apply_override(tree, override)
    try:
        config = _Section.model_validate(tree).judge
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, "--set", _Section))) from error
    if not config.is_language_model and "model" in changes["judge"]:
        raise ConfigError(
            "judge.model says nothing to the lexical judge, which is what judge.kind is; add --set judge.kind=ollama"
        )
    return config


class _Section(Config):
    judge: JudgeConfig


def _tables(responses: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Write responses as a judge reads them."""
    named = entries_of(responses)
    tables = {}
    for of, column in (("model", "response"), ("start", "start_response")):
        if responses[column].notna().all():
            tables[of] = folder / f"{of}.parquet"
            named.assign(model_response=responses[column]).to_parquet(tables[of], index=False)
    return tables


def _result(
    run: RecordedRun, responses: pd.DataFrame, facts: dict[str, Facts], judged: Facts, verdicts: dict[str, Verdicts]
) -> JudgementResult:
    before = {"model": responses["score"], "start": responses["start_score"]}
    result = JudgementResult(
        run_id=run.run_id,
        rows=len(responses),
        judge=judged,
        judge_before=facts["judge"],
        figures=_figures(response_metrics(verdicts)),
        figures_before=_figures(facts["evaluate"]["metrics"]),
        agreement={
            of: _compared(scores.to_numpy(float), verdicts[of])
            for of, scores in before.items()
            if of in verdicts and scores.notna().any()
        },
        artifacts=f"judgements/{judgement_name(judged['judge'])}",
        sentence="",
        warnings=warnings(verdicts, judged),
    )
    return result.model_copy(update={"sentence": _sentence(result)})


def _figures(metrics: dict[str, float]) -> dict[str, Figures]:
    """Return the figures of all whose responses have one, from flat metrics."""
    return {
        of: Figures(**{field: metrics.get(f"{prefix}test/{name}") for field, name in FIGURES.items()})
        for of, prefix in PREFIXES.items()
        if f"{prefix}test/unparsed_share" in metrics
    }


def _compared(before: Any, verdicts: Verdicts) -> Compared:
    found = agreement(before, verdicts.scores)
    differences = {name: getattr(found.scores, name, None) for name in ("difference", "difference_interval")}
    coefficients = {name: found.coefficients.get(name) for name in COEFFICIENTS}
    return Compared(rows=found.rows, undefined=found.undefined, **coefficients, **differences)


def _sentence(result: JudgementResult) -> str:
    """Say in plain words what the new judge gives, and how far it agrees."""
    given = []
    for by_whom, facts in ((result.figures, result.judge), (result.figures_before, result.judge_before)):
        score = by_whom["model"].score if "model" in by_whom else None
        given.append(f"{'no score' if score is None else f'{score:.1f}'} by {facts['judge']['name']}")
    scores = f"Over {result.rows:,} test rows the fine-tuned model has {' and '.join(given)}"
    found = result.agreement.get("model")
    if found is None:
        return f"{scores}."
    if found.undefined:
        return f"{scores}; correlations are undefined, as {found.undefined}."
    figures = f"Pearson {found.pearson:.2f}, Spearman {found.spearman:.2f}, Kendall {found.kendall:.2f}"
    return f"{scores}; on the {found.rows:,} rows that both scored: {figures}."


def _log(result: JudgementResult, responses: pd.DataFrame, of_model: Verdicts, folder: Path, home: Path) -> None:
    found = {JUDGE: result.judge, **result.model_dump(mode="json", exclude={"judge"})}
    (folder / AGREEMENT).write_text(json.dumps(found, indent=1))
    names = (str(result.judge_before["judge"]["name"]), str(result.judge["judge"]["name"]))
    figure = agreement_figure(responses["score"].tolist(), of_model.scores.tolist(), names)
    figure.savefig(folder / SCATTER, dpi=144)
    name = judgement_name(result.judge["judge"])
    metrics = {f"judgement/{name}/{metric}": value for metric, value in _metrics(result).items()}
    log_beside(result.run_id, folder, result.artifacts, metrics, home)


def _metrics(result: JudgementResult) -> dict[str, float]:
    """Return the figures to log: of the model by their bare names, of the others with theirs before it."""
    values: dict[str, float | None] = {
        f"{'' if of == 'model' else f'{of}_'}{name}": getattr(figures, field)
        for of, figures in result.figures.items()
        for field, name in FIGURES.items()
    }
    if found := result.agreement.get("model"):
        values |= {name: getattr(found, name) for name in COEFFICIENTS} | {"rows_of_both": float(found.rows)}
    values |= {name.rpartition("/")[2]: value for name, value in control_metrics(result.judge).items()}
    return {name: value for name, value in values.items() if value is not None}
