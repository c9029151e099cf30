"""Who is to judge, and whether it can be asked now."""

from pydantic import BaseModel

from components.core.errors import JudgeError, JudgeUnreachable
from components.judging.clients import connect
from components.judging.config import JudgeConfig
from components.judging.control import ROWS
from components.judging.identity import describe


class Judge(BaseModel):
    """Who judges, what will be asked of it, and why it cannot be asked now, if so."""

    name: str
    is_language_model: bool
    server: str | None
    verdicts: int
    problem: str = ""


def look_for_judge(config: JudgeConfig, entries: int) -> Judge:
    """Return who judges so many entries, after asking its server once whether the model is there."""
    control = min(ROWS, entries) if "reference" in config.also else 0
    repeats = config.repeats if config.is_language_model else 1
    judge = Judge(
        name=describe(config, None)["name"],
        is_language_model=config.is_language_model,
        server=config.server if config.is_language_model else None,
        verdicts=(entries * (1 + len(config.also)) + control) * repeats,
    )
    if not config.is_language_model:
        return judge
    try:
        client = connect(config.model_copy(update={"attempts": 1}))
        try:
            digest = client.look_up()
        except JudgeUnreachable as error:
            return judge.model_copy(update={"problem": f"{error}; {error.todo or client.start}"})
    except JudgeError as error:
        return judge.model_copy(update={"problem": str(error)})
    return judge.model_copy(update={"name": describe(config, digest)["name"]})
