"""The judging block: from responses to verdicts."""

import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from components.conversations import HISTORY, as_transcript, read_history
from components.core.errors import JudgeError, JudgeUnreachable
from components.core.progress import progress_bar
from components.core.records import Facts, fingerprint
from components.judging.asking import Form, Limits, Question, ask_all, grading, why_unparsed
from components.judging.cache import Cache
from components.judging.clients import connect
from components.judging.config import JudgeConfig
from components.judging.control import CONTROL, control_facts, draw_control, write_control, write_rows
from components.judging.identity import describe, find_digest, verdict_identity
from components.judging.lexical import Measures, measure
from components.judging.prompt_cuts import count_cut, fewest_tokens
from components.judging.rubric import RUBRIC, shipped_rubric
from components.judging.verdicts import Verdict, scored

Prompt = Callable[..., str]
"""From instruction and input, and the turns before them if there are such, to the task as the judge is shown it."""

VERDICTS = "verdicts.parquet"
REFERENCE = "reference"
OTHER = "other"
"""Whose another row's reference is."""


@dataclass(frozen=True)
class Judged:
    """A response that gets verdicts: whose (`model`, `start`, `reference` or `other`), and what it answers."""

    of: str
    row: int
    instruction: str
    input: str
    reference: str
    response: str
    history: str | None = None
    """The turns before it."""
    other_row: int | None = None
    """Whose reference the response is, where it is another row's."""


Result = tuple[Judged, Measures, list[Verdict]]
"""A response, how alike it is to its reference, and the verdicts on it."""


def judge(responses: Mapping[str, Path], config: JudgeConfig, prompt: Prompt | None, cache: Path, out: Path) -> Facts:
    """Judge responses: `verdicts.parquet`, `control.parquet`, and for a language model its `rubric.yaml`.

    `responses` gives the `responses.parquet` of `model` and, if there is one, of `start`. The references are judged as
    if they were responses, and so are, on some rows, the references of others (see `control`). What else than the
    model's is judged is `config.also`. The judge sees instruction and input as such, or what `prompt` makes of them.
    Verdicts are kept in the file `cache` as they are made, and what is there is not asked for again.

    Returns:
        The facts `judge`, `rubric` (its version, or None), `repeats`, `counts` (scored and unparsed of each),
        `unparsed` (verdicts without a score by why there is none), `cut_prompts` and `control`.

    Raises:
        JudgeUnreachable: if the server is down, stalls or goes away, and not all verdicts were made before.
        JudgeError: if it refuses every prompt; or as soon as more than `config.max_unparsed` of the verdicts on the
            model's responses, the start's or the references are unreadable. Then everything that was made is written,
            and `out` is the evidence.
    """
    judged = list(_read(responses, config.also))
    pairs = [(each.response, each.reference) for each in judged]
    digest, cut_prompts, failure = None, 0, None
    if config.is_language_model:
        with Cache(cache) as kept:
            measures: list[Measures] = []
            measuring = map(measures.append, measure(pairs, kept))
            digest, verdicts, cut_prompts, failure = _ask(judged, config, prompt, kept, meanwhile=measuring)
            deque(measuring, maxlen=0)
        shutil.copyfile(RUBRIC, out / RUBRIC.name)
    else:
        measures = list(measure(pairs))
        verdicts = [[scored(found.chrf, found.described)] for found in measures]
    results = [each for each in zip(judged, measures, verdicts, strict=True) if each[0].of != OTHER]
    _write(results, out / VERDICTS)
    if failure:
        failure.evidence = out
        raise failure
    own = {each.row: made for each, made in zip(judged, verdicts, strict=True) if each.of == REFERENCE}
    found = [
        ({"row": each.row, "other_row": each.other_row, "response": each.response}, own[each.row], made)
        for each, made in zip(judged, verdicts, strict=True)
        if each.of == OTHER
    ]
    write_control(found, out / CONTROL)
    why_none = "judge.also lacks `reference`" if REFERENCE not in config.also else "all references are the same"
    counts = {of: {"scored": 0, "unparsed": 0} for of in dict.fromkeys(each.of for each, _, _ in results)}
    for each, _, made in results:
        for verdict in made:
            counts[each.of][verdict.status] += 1
    unread = why_unparsed(verdict for _, _, made in results for verdict in made)
    return {
        "judge": describe(config, digest),
        "rubric": shipped_rubric().version if config.is_language_model else None,
        "repeats": config.repeats if config.is_language_model else 1,
        "counts": counts,
        "unparsed": dict(sorted(unread.items())),
        "cut_prompts": cut_prompts,
        "control": control_facts(found, why_none if not found else ""),
    }


def _read(responses: Mapping[str, Path], also: tuple[str, ...]) -> Iterator[Judged]:
    import pyarrow.parquet as pq

    columns = ["row", "instruction", "input", "output", "model_response"]
    tables = {
        of: pq.read_table(path, columns=[*columns, *({HISTORY} & {*pq.read_schema(path).names})]).to_pylist()
        for of, path in responses.items()
        if of == "model" or of in also
    }
    model = tables["model"]
    if REFERENCE in also:
        tables[REFERENCE] = [row | {"model_response": row["output"]} for row in model]
        tables[OTHER] = [
            model[place] | {"model_response": model[other]["output"], "other_row": model[other]["row"]}
            for place, other in draw_control([row["output"] for row in model])
        ]
    for of, rows in tables.items():
        for row in rows:
            asked = (row["row"], row["instruction"], row["input"] or "", row["output"], row["model_response"] or "")
            yield Judged(of, *asked, row.get(HISTORY), row.get("other_row"))


def _ask(
    judged: list[Judged], config: JudgeConfig, prompt: Prompt | None, cache: Cache, meanwhile: Iterator[object]
) -> tuple[str | None, list[list[Verdict]], int, JudgeError | None]:
    """Ask a judge for scores; what it returns is that of `ask_judge`."""
    return ask_judge(
        [each.of for each in judged],
        lambda digest: _questions(judged, config, prompt, digest),
        config,
        cache,
        meanwhile,
        grading(),
    )


def ask_judge(
    owners: Sequence[str],
    questions: Callable[[str | None], list[list[Question]]],
    config: JudgeConfig,
    cache: Cache,
    meanwhile: Iterator[object],
    form: Form,
) -> tuple[str | None, list[list[Verdict]], int, JudgeError | None]:
    """Ask a judge; while the server works, take steps of `meanwhile`.

    Args:
        owners: whose responses what is judged is of: keys of `OWNERS`, or others, whose verdicts have no limit.
        questions: returns what is asked about each, given the judge's digest.
        config: the judge.
        cache: the verdicts that are kept.
        meanwhile: work that the judge need not wait for.
        form: what the judge is told.

    Returns:
        The judge's digest; on each response the verdicts that were made, one a repeat; how many prompts the server has
        cut; and why nothing more was asked, if so.
    """
    stop = threading.Event()
    client = connect(config, stop, form.rubric)
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
        update(advance=1, unread=unread)
        limits.add(key, verdict)
        return limits.exceeded is None

    try:
        if todo and down:
            raise down
        if todo and not limits.exceeded:
            client.prepare(
                _frame(form, len, again=True) + max(len(question.text.encode()) for question in unique.values())
            )
            shown, fields = ("judge  {task.fields[name]}", "unreadable {task.fields[unread]}"), {"name": config.model}
            with progress_bar(shown[0], len(unique), shown[1], len(verdicts), **fields, unread=0) as update:
                verdicts |= ask_all(todo, client, cache, config.concurrency, stop, report, meanwhile, form)
    except JudgeError as error:
        made = sum(question.key in verdicts for each in asked for question in each)
        reached = f"{made:,} of {sum(map(len, asked)):,} verdicts are made and kept"
        if isinstance(error, JudgeUnreachable):
            what = f"{error}; {error.todo or client.start}; {reached}, and the next run goes on from there"
            raise JudgeUnreachable(what) from error
        raise JudgeError(f"{error}; {reached}") from error
    failure = limits.failure(verdicts.values(), VERDICTS)
    if failure:
        # It may have been the server's fault: the next run asks anew.
        cache.forget([key for key, verdict in verdicts.items() if verdict.score is None])
    found = [[verdicts[question.key] for question in each if question.key in verdicts] for each in asked]
    return digest, found, _cut_prompts(unique.values(), verdicts, form), failure


def _frame(form: Form, measure: Callable[[bytes], int], again: bool = False) -> int:
    """Return how much of something the messages around a question have."""
    return sum(measure(message["content"].encode()) for message in form.rubric.messages("", again))


def _cut_prompts(questions: Iterable[Question], verdicts: Mapping[str, Verdict], form: Form) -> int:
    """Return how many prompts the server has cut; of one that was asked several times the highest count is taken."""
    counted: Counter[str] = Counter()
    for question in questions:
        verdict = verdicts.get(question.key)
        counted[question.text] = max(counted[question.text], (verdict and verdict.prompt_tokens) or 0)
    frame = _frame(form, lambda content: fewest_tokens(content.decode()))
    return count_cut((frame + fewest_tokens(text), tokens) for text, tokens in counted.items() if tokens)


def _questions(
    judged: list[Judged], config: JudgeConfig, prompt: Prompt | None, digest: str | None
) -> list[list[Question]]:
    """Return what is asked about each response, once a repeat. The same words about the same task are one question."""
    judge = fingerprint(verdict_identity(config, digest))
    asked = []
    for each in judged:
        before = read_history(each.history)
        task = {"instruction": each.instruction, "input": each.input}
        task |= {"history": as_transcript(before)} if before else {}
        task = {"task": prompt(each.instruction, each.input, *([before] if before else []))} if prompt else task
        text = shipped_rubric().question(task | {"reference": each.reference, "response": each.response})
        keys = (fingerprint([judge, text, repeat]) for repeat in range(config.repeats))
        asked.append([Question(key, text, config.seed + repeat) for repeat, key in enumerate(keys)])
    return asked


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
