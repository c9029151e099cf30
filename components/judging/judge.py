"""The judging block: from responses to verdicts."""

import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.errors import JudgeError, JudgeUnreachable
from components.judging.asking import Question, ask_all
from components.judging.cache import Cache
from components.judging.clients import Client, connect
from components.judging.config import JudgeConfig
from components.judging.identity import describe, find_digest, verdict_identity
from components.judging.lexical import Measures, measure
from components.judging.progress import judging_bar
from components.judging.rubric import RUBRIC, shipped_rubric
from components.judging.verdicts import Verdict, scored
from components.records import Facts, fingerprint

Prompt = Callable[[str, str], str]
"""From instruction and input to the task as the judge is shown it."""

VERDICTS = "verdicts.parquet"

OWNERS = {"model": "the model's responses", "start": "the starting model's responses", "reference": "the references"}


@dataclass(frozen=True)
class Judged:
    """A response that gets verdicts: whose (`model`, `start` or `reference`), and what it answers."""

    of: str
    row: int
    instruction: str
    input: str
    reference: str
    response: str


def judge(responses: Mapping[str, Path], config: JudgeConfig, prompt: Prompt | None, cache: Path, out: Path) -> Facts:
    """Judge responses: `verdicts.parquet`, and for a language model the `rubric.yaml` that it was given.

    `responses` gives the `responses.parquet` of `model` and, if there is one, of `start`. The references are judged as
    if they were responses. What else than the model's is judged is `config.also`. The judge sees instruction and input
    as such, or what `prompt` makes of them. Verdicts are kept in the file `cache` as they are made, and what is there
    is not asked for again.

    Returns:
        The facts `judge`, `rubric` (its version, or None), `repeats` and `counts` (scored and unparsed of each).

    Raises:
        JudgeUnreachable: if the server is down, stalls or goes away, and not all verdicts were made before.
        JudgeError: if it refuses; or if more than `config.max_unparsed` of the verdicts on the model's responses, the
            start's or the references are unreadable. Then everything is written, and `out` is the evidence.
    """
    judged = list(_read(responses, config.also))
    pairs = [(each.response, each.reference) for each in judged]
    digest, repeats = None, 1
    unread: list[str] = []
    if config.is_language_model:
        with Cache(cache) as kept:
            measures: list[Measures] = []
            measuring = map(measures.append, measure(pairs, kept))
            digest, verdicts, unread = _ask(judged, config, prompt, kept, meanwhile=measuring)
            deque(measuring, maxlen=0)
        repeats = config.repeats
        shutil.copyfile(RUBRIC, out / RUBRIC.name)
    else:
        measures = list(measure(pairs))
        verdicts = [[scored(found.chrf, found.described)] for found in measures]
    _write(judged, measures, verdicts, out / VERDICTS)
    counts = _count(judged, verdicts)
    try:
        _check_unparsed(counts, config, out)
    except JudgeError:
        # What they said stays in `out`. It may have been the server's fault: the next run asks anew.
        with Cache(cache) as kept:
            kept.forget(unread)
        raise
    return {
        "judge": describe(config, digest),
        "rubric": shipped_rubric().version if config.is_language_model else None,
        "repeats": repeats,
        "counts": counts,
    }


def _read(responses: Mapping[str, Path], also: tuple[str, ...]) -> Iterator[Judged]:
    import pyarrow.parquet as pq

    columns = ["row", "instruction", "input", "output", "model_response"]
    model = pq.read_table(responses["model"], columns=columns).to_pylist()
    tables = {"model": model}
    if "start" in also and "start" in responses:
        tables["start"] = pq.read_table(responses["start"], columns=columns).to_pylist()
    if "reference" in also:
        tables["reference"] = [row | {"model_response": row["output"]} for row in model]
    for of, rows in tables.items():
        for row in rows:
            yield Judged(
                of, row["row"], row["instruction"], row["input"] or "", row["output"], row["model_response"] or ""
            )


def _ask(
    judged: list[Judged],
    config: JudgeConfig,
    prompt: Prompt | None,
    cache: Cache,
    meanwhile: Iterator[object],
) -> tuple[str | None, list[list[Verdict]], list[str]]:
    """Return the judge's digest, the verdicts on each response, one a repeat, and the keys of those without a score.

    While the server works, steps of `meanwhile` are taken.
    """
    stop = threading.Event()
    client = connect(config, stop)
    digest, failure = find_digest(config, client, cache)
    asked = _questions(judged, config, prompt, digest)
    unique = {question.key: question for each in asked for question in each}
    verdicts = cache.find(unique)
    todo = [question for key, question in unique.items() if key not in verdicts]

    def report(key: str, verdict: Verdict) -> None:
        verdicts[key] = verdict
        shown(verdict)

    try:
        if todo and failure:
            raise failure
        if todo:
            client.prepare(_longest(unique.values()))
            with judging_bar(config.model, len(unique), len(verdicts)) as shown:
                ask_all(todo, client, cache, config.concurrency, stop, report, meanwhile)
    except JudgeError as error:
        raise _told(error, client, asked, verdicts) from error
    unread = [key for key, verdict in verdicts.items() if verdict.score is None]
    return digest, [[verdicts[question.key] for question in each] for each in asked], unread


def _questions(
    judged: list[Judged], config: JudgeConfig, prompt: Prompt | None, digest: str | None
) -> list[list[Question]]:
    """Return what is asked about each response, once a repeat. The same words about the same task are one question."""
    rubric, judge = shipped_rubric(), fingerprint(verdict_identity(config, digest))
    asked = []
    for each in judged:
        if prompt:
            task = {"task": prompt(each.instruction, each.input)}
        else:
            task = {"instruction": each.instruction, "input": each.input}
        text = rubric.question(task | {"reference": each.reference, "response": each.response})
        asked.append(
            [
                Question(fingerprint([judge, text, repeat]), text, config.seed + repeat)
                for repeat in range(config.repeats)
            ]
        )
    return asked


def _longest(questions: Iterable[Question]) -> int:
    """Return the bytes of the longest messages that a judge may be sent."""
    frame = shipped_rubric().messages("", again=True)
    return sum(len(message["content"].encode()) for message in frame) + max(
        len(question.text.encode()) for question in questions
    )


def _told(
    error: JudgeError, client: Client, asked: list[list[Question]], verdicts: Mapping[str, Verdict]
) -> JudgeError:
    """Return the error with what has been reached, and how it goes on."""
    total = sum(map(len, asked))
    made = sum(question.key in verdicts for each in asked for question in each)
    reached = f"{made:,} of {total:,} verdicts are made and kept"
    if isinstance(error, JudgeUnreachable):
        return JudgeUnreachable(
            f"{error}; {error.todo or client.start}; {reached}, and the next run goes on from there"
        )
    return JudgeError(f"{error}; {reached}")


def _write(judged: list[Judged], measures: list[Measures], verdicts: list[list[Verdict]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("of", pa.string()), ("row", pa.int64()), ("repeat", pa.int64()), ("score", pa.float64()),
            ("reason", pa.string()), ("status", pa.string()), ("reply", pa.string()),
            ("exact_match", pa.float64()), ("token_f1", pa.float64()), ("chrf", pa.float64()),
        ]
    )  # fmt: skip
    rows = [
        {
            "of": each.of,
            "row": each.row,
            "repeat": repeat,
            "score": verdict.score,
            "reason": verdict.reason,
            "status": verdict.status,
            "reply": verdict.reply,
            **measured._asdict(),
        }
        for each, measured, said in zip(judged, measures, verdicts, strict=True)
        for repeat, verdict in enumerate(said)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def _count(judged: list[Judged], verdicts: list[list[Verdict]]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for each, said in zip(judged, verdicts, strict=True):
        counts.setdefault(each.of, Counter()).update(verdict.status for verdict in said)
    return {of: {status: count[status] for status in ("scored", "unparsed")} for of, count in counts.items()}


def _check_unparsed(counts: dict[str, dict[str, int]], config: JudgeConfig, out: Path) -> None:
    """Raise JudgeError for the first whose unparsed share is too large: each, since each has a mean of its own."""
    for of, count in counts.items():
        total = sum(count.values())
        if count["unparsed"] > config.max_unparsed * total:
            raise JudgeError(
                f"{config.model} as a judge: {count['unparsed']:,} of {total:,} verdicts on {OWNERS[of]} could not be "
                f"read, more than judge.max_unparsed={config.max_unparsed:g} allows; see the replies in {VERDICTS}, "
                "then run again, which asks for these anew, set another judge.model, or raise judge.max_unparsed",
                evidence=out,
            )
