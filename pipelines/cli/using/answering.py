"""What the commands that ask a model share: its options, how it is loaded, and what is notable of the rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from components.core.errors import ConfigError
from pipelines.cli.console import say, set_defaults

if TYPE_CHECKING:
    from components.data.asked import Rows
    from components.data.partial import Answers
    from components.generation.config import GenerationConfig
    from pipelines.asking import Answer, Asked

Model = Annotated[str, typer.Argument(help="A run id, a models:/ or runs:/ URI, a folder, or package:NAME/FILE.")]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token, above 0 tokens are drawn.")]
TopK = Annotated[int | None, typer.Option(help="Draw from the k likeliest tokens.")]
TopP = Annotated[float | None, typer.Option(help="Draw from the fewest tokens of this probability.")]
Precision = Annotated[Literal["auto", "fp32", "bf16"], typer.Option(help="Numbers to compute with.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute.")]


def load(model: str, device: str = "cpu", place: Path | None = None) -> tuple[Any, dict[str, Any] | None]:
    """Return a model of any kind by its address, and how the file that it learnt from was read, if that is known.

    Addresses are looked up in the home `place`, by default that of the environment.
    """
    set_defaults()
    from components.core.home import home, mirror
    from components.models.pretrained.files import is_pretrained
    from components.serving.load import load_with_reading
    from components.tracking.registry.finding import resolve_model
    from components.tracking.stores import tracking_uri

    place = place or home()
    if is_pretrained(model):
        from components.serving.language_model import load_untuned_responder

        return load_untuned_responder(model, place / "hub", mirror(), device), None
    return load_with_reading(resolve_model(model, place), tracking_uri(place), device)


def identity_of(model: Any, *settings: Any) -> str:
    """Return what the answers of a loaded model depend on besides what it is asked: its weights, and settings."""
    from importlib.metadata import version

    from components.core.records import fingerprint
    from components.models.weights import hash_of_weights

    return fingerprint([hash_of_weights(model.model), model.card.model_dump(mode="json"), version("gradus"), *settings])


def answered(
    asked: "Asked",
    learnt: Mapping[str, Any] | None,
    answer: "Answer",
    kinds: Mapping[str, Any],
    lack: str,
    identity: str | None,
    at_once: int,
) -> "Iterator[tuple[Rows, Answers]]":
    """Yield rows with their answers, and say at the end what was notable; `lack` is what empty rows lack.

    `identity` and `at_once` are those of `Asked.answers`.
    """
    rows = empty = 0
    for read, answers in asked.answers(learnt, answer, kinds, identity, at_once):
        rows, empty = rows + len(read), empty + answers[next(iter(kinds))].count(None)
        yield read, answers
    if asked.partial and asked.partial.rows:
        say(f"gradus: an earlier call had answered {asked.partial.rows:,} of the rows; this one went on after them")
    for note in asked.seen.notes:
        say(f"gradus: {note}", style="yellow")
    if empty:
        say(f"gradus: {empty:,} of {rows:,} have {lack}")
    if asked.output:
        say(f"gradus: {rows:,} rows in {asked.output}")


def generation_config(**options: Any) -> "GenerationConfig":
    """Return the config of a command's options, or say which option is wrong."""
    from pydantic import ValidationError

    from components.generation.config import GenerationConfig

    try:
        return GenerationConfig(**options)
    except ValidationError as error:
        lines = [(each["loc"], each["msg"].removeprefix("Value error, ")) for each in error.errors()]
        named = ("".join(f"--{str(part).replace('_', '-')}: " for part in loc) + message for loc, message in lines)
        raise ConfigError("\n".join(named)) from error


def pick(name: str) -> Any:
    """Return the device that a command computes on."""
    from components.models.devices import pick_device

    try:
        return pick_device(name)
    except ConfigError:
        raise ConfigError(f"--device {name}: this machine has no such device; leave it out, or give auto") from None
