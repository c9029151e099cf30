"""What a judging will be, before there are responses: by whom, and what it takes, at least and as is to be expected."""

from pathlib import Path

from components.core.errors import JudgeError, JudgeUnreachable
from components.core.records import Facts
from components.judging.cache import Cache
from components.judging.clients import connect
from components.judging.config import JudgeConfig
from components.judging.control import ROWS
from components.judging.identity import describe, find_digest
from components.judging.questions import Prompt, frame, questions_about, read_references
from components.judging.rubric import shipped_rubric
from components.judging.spending import REPLY_TOKENS, Usage, estimate_tokens, least_usage, refuse_beyond_limits


def look_for_judge(config: JudgeConfig, entries: int) -> Facts:
    """Return who judges so many entries, after asking its server once whether the model is there.

    `name`, `is_language_model`, `server`, how many `verdicts`, and as `problem` why it cannot be asked now, if so.
    """
    is_model, digest, problem = config.is_language_model, None, ""
    control = min(ROWS, entries) if "reference" in config.also else 0
    verdicts = (entries * (1 + len(config.also)) + control) * (config.repeats if is_model else 1)
    try:
        if is_model:
            client = connect(config.model_copy(update={"attempts": 1}))
            digest = client.look_up()
    except JudgeError as error:
        problem = f"{error}; {error.todo or client.start}" if isinstance(error, JudgeUnreachable) else str(error)
    facts = {"name": describe(config, digest)["name"], "is_language_model": is_model}
    return facts | {"server": config.server if is_model else None, "verdicts": verdicts, "problem": problem}


def expected_usage(table: Path, config: JudgeConfig, prompt: Prompt | None) -> Usage:
    """Return what judging responses to a table's entries will take, if they are as long as the references.

    A request for each verdict, none of which is kept from before; tokens are estimated (`spending.BYTES_PER_TOKEN`).
    """
    around = frame(lambda content: estimate_tokens(content.decode()), shipped_rubric())
    tokens, rows = {"reference": 0, "other": 0}, {"reference": 0, "other": 0}
    references = list(read_references(table))
    for each, [first, *_] in zip(references, questions_about(references, config, prompt, None), strict=True):
        tokens[each.of] += around + estimate_tokens(first.text)
        rows[each.of] += 1
    sets, control = 1 + len(config.also), "reference" in config.also
    requests = config.repeats * (rows["reference"] * sets + rows["other"] * control)
    tokens_in = config.repeats * (tokens["reference"] * sets + tokens["other"] * control)
    return Usage(requests, tokens_in, requests * REPLY_TOKENS, estimated=requests)


def refuse_before_training(table: Path, config: JudgeConfig, prompt: Prompt | None, cache: Path) -> None:
    """Refuse a judging of responses to a table's entries that its limits do not allow, whatever these will be.

    That are the references, as far as their verdicts are not kept, and where none at all is kept a verdict a task.

    Raises:
        LimitReached: if they do not allow it.
        JudgeError: if the judge cannot be asked which it is, so that it is not known what is kept.
    """
    if not config.is_language_model or (config.max_requests is None and config.max_tokens_total is None):
        return
    references = list(read_references(table))
    with Cache(cache) as kept:
        there = kept.count()
        digest = find_digest(config, connect(config), kept)[0] if there else None
        asked = questions_about(references, config, prompt, digest)
        known = {question.key: question.text for each in asked for question in each}
        found = kept.find(known)
    tasks = {(each.instruction, each.input, each.history) for each in references}
    new = [text for key, text in known.items() if key not in found] if "reference" in config.also else []
    least = least_usage(new)
    unknown = max(config.repeats * len(tasks) - there - least.requests, 0)
    refuse_beyond_limits(least + least_usage([""] * unknown), config)
