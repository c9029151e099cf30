"""Two runs' responses to the same instructions, judged in pairs: which of the two a judge prefers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from components.conversations import HISTORY
from components.core.errors import ConfigError, JudgeError, NotComparable
from components.core.records import Facts
from components.evaluation.paired.matching import match_rows
from components.evaluation.paired.non_inferiority import FEWEST_ROWS
from components.evaluation.paired.p_values import SIGNIFICANT, shown
from components.evaluation.paired.win_rate import WinRate, win_rate
from components.evaluation.ratings import PeopleAgreement
from components.judging.cache import verdicts_path
from components.judging.pairwise import ORDERS, PREFERENCES, Contest, judge_pairs
from components.prompts import PromptConfig
from components.tracking.judgements import judgement_name, log_beside
from components.tracking.ratings import read_ratings
from pipelines.comparing.answered import AnsweredRun, answered_run, judging_folder
from pipelines.comparing.people import mean_ratings, preferred
from pipelines.judging import judge_config
from pipelines.kind import kind_of_both, rows_of

Floats = NDArray[np.float64]
RESULT = "pairwise.json"
ASKED = ("row", "instruction", "input", "reference")


class PairwiseResult(BaseModel):
    """What `gradus judge RUN --against OTHER` found out, and what `--json` prints."""

    run_id: str
    against: str
    same: int
    """Rows on which both responses are the same: ties, which the judge was not asked about."""
    judge: dict[str, Any]
    """The facts of the judging: judge, rubric, repeats, why verdicts could not be read."""
    outcome: WinRate
    """Of the run."""
    people: PeopleAgreement | None
    """How far the judge and people's ratings prefer the same responses; None where people have not rated both."""
    artifacts: str
    """Folder of the run's artifacts in which all of it stands."""
    sentence: str
    warnings: list[str] = []


def judge_against(address: str, against: str, overrides: Iterable[str], home: Path) -> PairwiseResult:
    """Ask a judge which of two runs' responses it prefers, on the test rows that both have; log it to the first.

    Each pair is shown in both orders. Verdicts are kept in `<home>/verdicts.sqlite` as they are made: after an
    interruption only the rest is asked. Rows that either model has learned from are left out, as `gradus compare` does.

    Args:
        address: the run whose win rate is wanted.
        against: the run that it is compared with.
        overrides: `judge.KEY=VALUE`; what is not set is as it was in the first run.
        home: the folder of the local store.

    Raises:
        ConfigError: if an override is wrong, or the judge compares texts and has no preferences.
        JudgeError: if a run has no responses, or the judge fails or says too often what cannot be read.
        NotComparable: if the two have no test row in common.
        TrackingError: if there is no such run, or the store cannot be read or written.
    """
    both = answered_run(address, home), answered_run(against, home)
    config = judge_config(both[0].config["judge"], overrides)
    if not config.is_language_model:
        raise ConfigError("judge.kind=lexical has no preferences: name a language model, as in --set judge.kind=ollama")
    pairs, learned_known = _pairs(both, home)
    same = (pairs["response"].str.strip() == pairs["other"].str.strip()).to_numpy()
    prompt = PromptConfig.model_validate(both[0].config["prompt"])
    with judging_folder(home, both[0].run) as folder:
        facts = judge_pairs(_contests(pairs[~same]), config, prompt.text, verdicts_path(home), folder)
        preferences = _preferences(pd.read_parquet(folder / PREFERENCES), pairs["row"])
        lengths = np.stack([np.asarray(pairs[name].str.len(), np.float64) for name in ("response", "other")], axis=1)
        try:
            outcome = win_rate(preferences, lengths, same)
        except ValueError as error:
            raise JudgeError(f"{facts['judge']['name']}: {error}") from error
        result = _result(both, facts, outcome, _people(both, pairs, preferences, same, home), int(same.sum()))
        if not all(learned_known):
            result.warnings.append("what one of the two was trained on is not known: some rows may be among it")
        (folder / RESULT).write_text(result.model_dump_json(indent=1), encoding="utf-8")
        name = result.artifacts.removeprefix("pairwise/")
        log_beside(both[0].run.run_id, folder, result.artifacts, _metrics(name, outcome), home)
    return result


def _pairs(both: tuple[AnsweredRun, AnsweredRun], home: Path) -> tuple[pd.DataFrame, tuple[bool, bool]]:
    """Return the first run's rows that count, with the second's `other` and `other_row`; and whose past is known."""
    kind = kind_of_both(both[0].run, both[1].run)
    rows = [rows_of(each.run, kind, home) for each in both]
    try:
        found = match_rows(rows[0], rows[1], lambda _run, places: places)
    except NotComparable as error:
        raise NotComparable(f"not compared: {error}; run both on the same source and split") from error
    one, other = (each.responses.iloc[at] for each, at in zip(both, (found.first, found.second), strict=True))
    pairs = one[[name for name in (*ASKED, HISTORY) if name in one]].reset_index(drop=True)
    return pairs.assign(
        response=one["response"].fillna("").to_numpy(),
        other=other["response"].fillna("").to_numpy(),
        other_row=other["row"].to_numpy(),
    ), found.learned_known


def _contests(pairs: pd.DataFrame) -> list[Contest]:
    return [
        Contest(row["row"], row["instruction"], row["input"] or "", row["response"], row["other"], row.get(HISTORY))
        for row in pairs.astype(object).where(pairs.notna(), None).to_dict("records")
    ]


def _preferences(verdicts: pd.DataFrame, rows: "pd.Series[int]") -> Floats:
    """Return how much the first run's response is preferred in either order (N, 2), as the mean of the repeats."""
    means = verdicts.groupby(["row", "order"])["preference"].mean().unstack("order")
    return means.reindex(index=rows, columns=list(ORDERS)).to_numpy(np.float64)


def _people(
    both: tuple[AnsweredRun, AnsweredRun], pairs: pd.DataFrame, preferences: Floats, same: NDArray[np.bool_], home: Path
) -> PeopleAgreement | None:
    rows = pairs["row"], pairs["other_row"]
    rated = [mean_ratings(read_ratings(each.run.run_id, home), at) for each, at in zip(both, rows, strict=True)]
    for_first = np.where(same, 0.5, preferences.mean(axis=1))
    return preferred(rated, [for_first, 1 - for_first], [pairs["response"], pairs["other"]])


def _result(
    both: tuple[AnsweredRun, AnsweredRun], facts: Facts, outcome: WinRate, people: PeopleAgreement | None, same: int
) -> PairwiseResult:
    names = [f"run {each.run.run_id[:8]}" for each in both]
    warnings = []
    if outcome.rows < FEWEST_ROWS:
        warnings.append(
            f"{outcome.rows:,} rows are few: the interval is wide, and fewer than {FEWEST_ROWS} promote nothing"
        )
    if outcome.unread:
        warnings.append(f"{outcome.unread:,} rows are left out, as a verdict on them could not be read")
    if facts["cut_prompts"]:
        warnings.append(f"{facts['judge']['name']} has cut {facts['cut_prompts']:,} prompts: raise judge.num_ctx")
    return PairwiseResult(
        run_id=both[0].run.run_id,
        against=both[1].run.run_id,
        same=same,
        judge=facts,
        outcome=outcome,
        people=people,
        artifacts=f"pairwise/{judgement_name(facts['judge'])}-against-{both[1].run.run_id[:8]}",
        sentence=_sentence(names, facts["judge"]["name"], outcome),
        warnings=warnings,
    )


def _sentence(names: list[str], judge: str, found: WinRate) -> str:
    """Say in plain words whom the judge prefers."""
    low, high = found.interval
    rate = f"{found.win_rate:.1%}, 95 % {low:.1%} to {high:.1%}, p {shown(found.p_value)}"
    if found.p_value < SIGNIFICANT:
        winner, loser = names if found.win_rate > 0.5 else reversed(names)
        whom = f"prefers {winner} to {loser}"
    else:
        whom = f"has no significant preference between {names[0]} and {names[1]}"
    parts = [
        f"On {found.rows:,} test rows {judge} {whom}: {names[0]} wins {found.wins:,}, ties {found.ties:,} and loses "
        f"{found.losses:,} (win rate {rate})"
    ]
    if found.controlled:
        low, high = found.controlled.interval
        parts.append(f"controlled for length its win rate is {found.controlled.win_rate:.1%} ({low:.1%} to {high:.1%})")
    if found.flip_share is not None:
        parts.append(f"{found.flip_share:.1%} of the verdicts flip with the order")
    return "; ".join(parts) + "."


def _metrics(name: str, found: WinRate) -> dict[str, float]:
    values = {"win_rate": found.win_rate, "win_rate_low": found.interval[0], "win_rate_high": found.interval[1]}
    values |= {"flip_share": found.flip_share} if found.flip_share is not None else {}
    values |= {"win_rate_controlled": found.controlled.win_rate} if found.controlled else {}
    return {f"pairwise/{name}/{metric}": value for metric, value in values.items()}
