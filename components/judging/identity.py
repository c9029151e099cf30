"""Which judge it is: what a verdict, and a step that is cached, depend on."""

from pathlib import Path
from typing import Any

from components.core.errors import JudgeUnreachable
from components.core.records import fingerprint
from components.judging.cache import Cache, verdicts_path
from components.judging.clients import Client, connect
from components.judging.config import SERVERS, JudgeConfig
from components.judging.rubric import Rubric, shipped_rubric


def judge_identity(config: JudgeConfig, cache: Path | None = None) -> dict[str, Any]:
    """Return what a judging's verdicts depend on besides the responses: JSON, for a step's cache key.

    The judge's server is asked which model it has now. If it is down, the model that it had last is taken, from the
    file of verdicts `cache`, so that a finished judging can be found.

    Raises:
        JudgeUnreachable: if the server is down and never was asked.
        JudgeError: if it has not got the model.
    """
    if not config.is_language_model:
        return {"kind": config.kind, "also": list(config.also)}
    with Cache(cache or verdicts_path()) as kept:
        digest, _ = find_digest(config, connect(config), kept)
    settings = {"also": list(config.also), "repeats": config.repeats, "max_unparsed": config.max_unparsed}
    return verdict_identity(config, digest) | settings


def verdict_identity(config: JudgeConfig, digest: str | None, rubric: Rubric | None = None) -> dict[str, Any]:
    """Return what a verdict depends on besides the question: the model, its options, the rubric.

    Not whether replies come in pieces, and not a longer context than `num_ctx` asks for, which is chosen so that all
    of the prompt fits: they change nothing in it. A model without a digest is known by its server as well.
    """
    return {
        **config.model_dump(include={"kind", "model", "seed", "num_ctx", "max_tokens", "think", "extra"}),
        "digest": digest,
        "server": config.server if digest is None else None,
        "temperature": config.sampling_temperature,
        "rubric": (rubric or shipped_rubric()).digest,
    }


def find_digest(config: JudgeConfig, client: Client, cache: Cache) -> tuple[str | None, JudgeUnreachable | None]:
    """Return the digest of the judge's model, and why it is only remembered, if the server cannot be asked.

    Raises:
        JudgeUnreachable: if the server is down, and no digest is remembered.
        JudgeError: if it has not got the model, or does not speak the protocol.
    """
    judge = fingerprint([config.kind, config.model, config.server])
    try:
        digest = client.look_up()
    except JudgeUnreachable as error:
        remembered = cache.remembered(judge)
        if not remembered:
            raise JudgeUnreachable(f"{error}; {error.todo or client.start}") from error
        return remembered[0], error
    cache.remember(judge, digest)
    return digest, None


def describe(config: JudgeConfig, digest: str | None) -> dict[str, Any]:
    """Return what a report says of a judge: kind, model, digest, a name for people, whether it is a language model.

    And `settings`, those which make other verdicts of the same model, if any is not the default.
    """
    facts: dict[str, Any] = {"kind": config.kind, "model": None, "digest": None}
    if not config.is_language_model:
        name = "chrF against the reference (lexical: no language model)"
        return facts | {"name": name, "is_language_model": False}
    known = f", {digest.removeprefix('sha256:')[:12]}" if digest else ""
    settings = config.model_dump(mode="json", include={"think", "extra"}, exclude_defaults=True)
    thinks = f", think={settings['think']}" if "think" in settings else ""
    name = f"{config.model} ({SERVERS[config.kind].name}{known}{thinks})"
    facts |= {"model": config.model, "digest": digest, "name": name, "is_language_model": True}
    return facts | ({"settings": settings} if settings else {})
