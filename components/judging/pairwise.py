"""Which of two responses to the same task a judge prefers, asked in both orders."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from components.core.records import Facts, fingerprint
from components.judging.asking import Form, Question, why_unparsed
from components.judging.cache import Cache
from components.judging.config import JudgeConfig
from components.judging.control import write_rows
from components.judging.identity import describe, verdict_identity
from components.judging.judge import ask_judge
from components.judging.questions import Prompt, repeated, task_of
from components.judging.rubric import PAIRWISE, shipped_rubric
from components.judging.verdicts import Verdict, read_object, scored

logger = logging.getLogger(__name__)

PREFERENCES = "preferences.parquet"
HIGHEST = 100.0
CHOICES = {"first": HIGHEST, "tie": HIGHEST / 2, "second": 0.0}
"""How much a judge prefers the response that it was shown first, in the place of a score."""
COLUMNS = {
    "row": "int64", "order": "string", "repeat": "int64", "preference": "double", "reason": "string",
    "status": "string", "reply": "string",
}  # fmt: skip
ORDERS = ("first", "second")
"""Where the first response is shown."""


@dataclass(frozen=True)
class Contest:
    """Two different responses to one task."""

    row: int
    instruction: str
    input: str
    first: str
    second: str
    history: str | None = None
    """The turns before it."""


def judge_pairs(
    contests: Sequence[Contest],
    config: JudgeConfig,
    prompt: Prompt | None,
    cache: Path,
    out: Path,
    say: Callable[[str], None] = logger.info,
) -> Facts:
    """Ask a judge which of two responses is better, showing each of them first once: `preferences.parquet`, the rubric.

    A line a verdict: `row`, `order` (where the first response was shown), `repeat`, `preference` (how much the *first
    response* is preferred: 1, 0.5 for a tie, 0; nan where the verdict could not be read), `reason`, `status` and
    `reply`. Verdicts are kept in the file `cache` as they are made, and what is there is not asked for again.
    In the end `say` is told what was spent.

    Returns:
        The facts `judge`, `rubric` (its version), `repeats`, `unparsed` (verdicts that could not be read by why),
        `cut_prompts` and `usage`.

    Raises:
        JudgeUnreachable: if the server is down, stalls or goes away, and not all verdicts were made before.
        JudgeError: if it refuses every prompt; or as soon as more than `config.max_unparsed` of the verdicts are
            unreadable. Then everything that was made is written, and `out` is the evidence.
    """
    form = Form(shipped_rubric(PAIRWISE), read_preference)
    asked = [(contest, order) for contest in contests for order in ORDERS]

    def questions(digest: str | None) -> list[list[Question]]:
        judge = fingerprint(verdict_identity(config, digest, form.rubric))
        return [_questions(contest, order, config, prompt, judge) for contest, order in asked]

    with Cache(cache) as kept:
        found = ask_judge(["pair"] * len(asked), questions, config, kept, say, iter(()), form)
    shutil.copyfile(PAIRWISE, out / PAIRWISE.name)
    write_rows(_rows(asked, found.verdicts), COLUMNS, out / PREFERENCES)
    if found.failure:
        found.failure.evidence = out
        raise found.failure
    unread = why_unparsed(verdict for made in found.verdicts for verdict in made)
    return {
        "judge": describe(config, found.digest),
        "rubric": form.rubric.version,
        "repeats": config.repeats,
        "unparsed": dict(sorted(unread.items())),
        "cut_prompts": found.cut_prompts,
        "usage": asdict(found.usage),
    }


def read_preference(reply: str) -> Verdict | None:
    """Return what a reply prefers, as a score (`CHOICES`), or None if it is no such verdict."""
    found = read_object(reply)
    if found is None or not isinstance(reason := found.get("reason"), str | None):
        return None
    choice = found.get("better")
    score = CHOICES.get(choice.strip().lower()) if isinstance(choice, str) else None
    return None if score is None else scored(score, reason or "")


def _questions(contest: Contest, order: str, config: JudgeConfig, prompt: Prompt | None, judge: str) -> list[Question]:
    task = task_of(contest.instruction, contest.input, contest.history, prompt)
    both = (contest.first, contest.second) if order == "first" else (contest.second, contest.first)
    return repeated(shipped_rubric(PAIRWISE).question(task | dict(zip(ORDERS, both, strict=True))), config, judge)


def _rows(asked: Sequence[tuple[Contest, str]], verdicts: Sequence[Sequence[Verdict]]) -> Iterator[dict[str, object]]:
    for (contest, order), made in zip(asked, verdicts, strict=True):
        for repeat, verdict in enumerate(made):
            share = None if verdict.score is None else verdict.score / HIGHEST
            preference = share if share is None or order == "first" else 1 - share
            names = {"reason": verdict.reason, "status": verdict.status, "reply": verdict.reply}
            yield {"row": contest.row, "order": order, "repeat": repeat, "preference": preference, **names}
