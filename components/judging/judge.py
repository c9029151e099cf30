"""The judging block: from responses to verdicts."""

import logging
import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from components.core.errors import JudgeError, JudgeUnreachable
from components.core.progress import progress_bar
from components.core.records import Facts
from components.judging.asking import Form, Limits, Question, ask_all, why_unparsed
from components.judging.cache import Cache
from components.judging.clients import connect
from components.judging.config import JudgeConfig
from components.judging.control import CONTROL, control_facts, write_control, write_rows
from components.judging.identity import describe, find_digest
from components.judging.lexical import Measures, measure
from components.judging.prompt_cuts import count_cut, fewest_tokens
from components.judging.questions import OTHER, REFERENCE, Judged, Prompt, frame, questions_about, read_judged
from components.judging.rubric import RUBRIC, shipped_rubric
from components.judging.spending import Spending, Usage, least_usage, refuse_beyond_limits
from components.judging.verdicts import Verdict, read_verdict, scored

VERDICTS = "verdicts.parquet"

Result = tuple[Judged, Measures, list[Verdict]]
"""A response, how alike it is to its reference, and the verdicts on it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What came of asking a judge."""

    digest: str | None
    """The judge's."""
    verdicts: list[list[Verdict]]
    """On each response those that were made, one a repeat."""
    cut_prompts: int
    """How many prompts the server has cut."""
    usage: Usage
    """What all these verdicts took, whenever they were made."""
    failure: JudgeError | None
    """Why nothing more was asked, if so."""


def judge(
    responses: Mapping[str, Path],
    config: JudgeConfig,
    prompt: Prompt | None,
    cache: Path,
    out: Path,
    say: Callable[[str], None] = logger.info,
) -> Facts:
    """Judge responses: `verdicts.parquet`, `control.parquet`, and for a language model its `rubric.yaml`.

    `responses` gives the `responses.parquet` of `model` and, if there is one, of `start`. The references are judged as
    if they were responses, and so are, on some rows, the references of others (see `control`). What else than the
    model's is judged is `config.also`. The judge sees instruction and input as such, or what `prompt` makes of them.
    Verdicts are kept in the file `cache` as they are made, and what is there is not asked for again. In the end `say`
    is told what was spent.

    Returns:
        The facts `judge`, `rubric` (its version, or None), `repeats`, `counts` (scored and unparsed of each),
        `unparsed` (verdicts without a score by why there is none), `cut_prompts`, `control`,
        and of a language model the `usage` of all these verdicts, whenever they were made.

    Raises:
        JudgeUnreachable: if the server is down, stalls or goes away, and not all verdicts were made before.
        LimitReached: if it would spend more than `config.max_requests` or `config.max_tokens_total`, before anything is
            asked where that is sure; what was judged is kept.
        JudgeError: if the judge refuses every prompt; or
            as soon as more than `config.max_unparsed` of the verdicts on the model's responses, the start's or the
            references are unreadable. Then everything that was made is written, and `out` is the evidence.
    """
    judged = list(read_judged(responses, config.also))
    asked, measures = _asked(judged, config, prompt, cache, say)
    if config.is_language_model:
        shutil.copyfile(RUBRIC, out / RUBRIC.name)
    every = list(zip(judged, measures, asked.verdicts, strict=True))
    results = [each for each in every if each[0].of != OTHER]
    _write(results, out / VERDICTS)
    if asked.failure:
        asked.failure.evidence = out
        raise asked.failure
    counts = {of: {"scored": 0, "unparsed": 0} for of in dict.fromkeys(each.of for each, _, _ in results)}
    for each, _, made in results:
        for verdict in made:
            counts[each.of][verdict.status] += 1
    unread = why_unparsed(verdict for _, _, made in results for verdict in made)
    return {
        "judge": describe(config, asked.digest),
        "rubric": shipped_rubric().version if config.is_language_model else None,
        "repeats": config.repeats if config.is_language_model else 1,
        "counts": counts,
        "unparsed": dict(sorted(unread.items())),
        "cut_prompts": asked.cut_prompts,
        "control": _control(every, REFERENCE in config.also, out),
        **({"usage": asdict(asked.usage)} if config.is_language_model else {}),
    }


def _asked(
    judged: list[Judged], config: JudgeConfig, prompt: Prompt | None, cache: Path, say: Callable[[str], None]
) -> tuple[Asked, list[Measures]]:
    """Return what a judge says of responses, and how alike they are to their references, measured while it works."""
    pairs = [(each.response, each.reference) for each in judged]
    if not config.is_language_model:
        measures = list(measure(pairs))
        return Asked(None, [[scored(found.chrf, found.described)] for found in measures], 0, Usage(), None), measures

    def questions(digest: str | None) -> list[list[Question]]:
        return questions_about(judged, config, prompt, digest)

    form = Form(shipped_rubric(), read_verdict)
    with Cache(cache) as kept:
        measures = []
        measuring = map(measures.append, measure(pairs, kept))
        asked = ask_judge([each.of for each in judged], questions, config, kept, say, measuring, form)
        deque(measuring, maxlen=0)
    return asked, measures


def _control(results: Iterable[Result], references: bool, out: Path) -> Facts:
    """Write what the judge said of other rows' references, and return the fact `control`."""
    own: dict[int, list[Verdict]] = {}
    found = []
    for each, _, made in results:
        if each.of == REFERENCE:
            own[each.row] = made
        elif each.of == OTHER:
            row = {"row": each.row, "other_row": each.other_row, "response": each.response}
            found.append((row, own[each.row], made))
    write_control(found, out / CONTROL)
    why_none = "all references are the same" if references else "judge.also lacks `reference`"
    return control_facts(found, "" if found else why_none)


def ask_judge(
    owners: Sequence[str],
    questions: Callable[[str | None], list[list[Question]]],
    config: JudgeConfig,
    cache: Cache,
    say: Callable[[str], None],
    meanwhile: Iterator[object],
    form: Form,
) -> Asked:
    """Ask a judge; while the server works, take steps of `meanwhile`.

    Args:
        owners: whose responses what is judged is of: keys of `OWNERS`, or others, whose verdicts have no limit.
        questions: returns what is asked about each, given the judge's digest.
        config: the judge.
        cache: the verdicts that are kept.
        say: is told what was spent.
        meanwhile: work that the judge need not wait for.
        form: what the judge is told.
    """
    stop = threading.Event()
    client, spending = connect(config, stop, form.rubric), Spending(config, stop)
    digest, down = find_digest(config, client, cache)
    asked = questions(digest)
    unique = {question.key: question for each in asked for question in each}
    verdicts = cache.find(unique)
    todo = [question for key, question in unique.items() if key not in verdicts]
    limits = Limits(config, zip(owners, asked, strict=True))
    for key, verdict in verdicts.items():
        limits.add(key, verdict)
    unread = 0

    def report(key: str, verdict: Verdict) -> bool:
        nonlocal unread
        verdicts[key] = verdict
        unread += verdict.score is None
        update(advance=1, unread=unread, spent=spending.total.described(config))
        limits.add(key, verdict)
        return limits.exceeded is None

    try:
        if todo and down:
            raise down
        if todo and not limits.exceeded:
            refuse_beyond_limits(least_usage(question.text for question in todo), config)
            longest = max(len(question.text.encode()) for question in unique.values())
            client.prepare(frame(len, form.rubric, again=True) + longest)
            what, more = "judge  {task.fields[name]}", "unreadable {task.fields[unread]}  {task.fields[spent]}"
            fields = {"name": config.model, "unread": 0, "spent": ""}
            with progress_bar(what, len(unique), more, len(verdicts), **fields) as update:
                verdicts |= ask_all(todo, client, spending, cache, config.concurrency, stop, report, meanwhile, form)
            say(f"judge: spent {spending.total.described(config)} ({spending.total.counted()})")
    except JudgeError as error:
        raise _with_progress(error, asked, verdicts, client.start) from error
    if failure := limits.failure(verdicts.values(), VERDICTS):
        # It may have been the server's fault: the next run asks anew.
        cache.forget([key for key, verdict in verdicts.items() if verdict.score is None])
    found = [[verdicts[question.key] for question in each if question.key in verdicts] for each in asked]
    usage = sum((verdict.usage for verdict in verdicts.values()), Usage())
    return Asked(digest, found, _cut_prompts(unique.values(), verdicts, form), usage, failure)


def _with_progress(
    error: JudgeError, asked: Iterable[list[Question]], verdicts: Container[str], start: str
) -> JudgeError:
    """Return an error that also says how far the judge came, and `start` where its server does not say what to do."""
    made = [question.key in verdicts for each in asked for question in each]
    what = f"{sum(made):,} of {len(made):,} verdicts are made and kept"
    if isinstance(error, JudgeUnreachable):
        what = f"{error.todo or start}; {what}, and the next run goes on from there"
    return type(error)(f"{error}; {what}")


def _cut_prompts(questions: Iterable[Question], verdicts: Mapping[str, Verdict], form: Form) -> int:
    """Return how many prompts the server has cut; of one that was asked several times the highest count is taken."""
    counted: Counter[str] = Counter()
    for question in questions:
        verdict = verdicts.get(question.key)
        counted[question.text] = max(counted[question.text], (verdict and verdict.prompt_tokens) or 0)
    around = frame(lambda content: fewest_tokens(content.decode()), form.rubric)
    return count_cut((around + fewest_tokens(text), tokens) for text, tokens in counted.items() if tokens)


def _write(results: Iterable[Result], path: Path) -> None:
    columns = {
        "of": "string", "row": "int64", "repeat": "int64", "score": "double", "reason": "string", "status": "string",
        "reply": "string", "thinking": "string", "finish_reason": "string", "refusal": "string",
        "prompt_tokens": "int64", "exact_match": "double", "token_f1": "double", "chrf": "double",
    }  # fmt: skip
    rows = (
        {"of": each.of, "row": each.row, "repeat": repeat, "status": verdict.status}
        | asdict(verdict)
        | measured._asdict()
        for each, measured, verdicts in results
        for repeat, verdict in enumerate(verdicts)
    )
    write_rows(rows, columns, path)
