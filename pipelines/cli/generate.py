"""`gradus generate`: let a language model go on with a text."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from components.errors import ConfigError
from pipelines.cli.console import Debug, errors_as_lines, say

if TYPE_CHECKING:
    import tiktoken

    from components.generation.config import GenerationConfig
    from components.model.config import GPTSize, SizeName
    from components.model.gpt import GPT

EXAMPLES = """
[bold]Examples[/bold]\n
gradus generate openai-community/gpt2 "Every effort moves you"\n
gradus generate openai-community/gpt2-medium "The weather is" --temperature 0.8 --top-k 40 --seed 7\n
gradus generate weights/my-gpt2 "Dear customer," --max-new-tokens 20\n
gradus generate random "Hello" --size "{layers: 2, heads: 2, width: 32, context: 64}" \
--vocabulary sample://vocabulary.tiktoken
"""

SIZE_EXAMPLE = "{layers: 2, heads: 2, width: 32, context: 64}"
SIZE_HELP = "124M, 355M, 774M, 1558M, or {layers: ..., heads: ..., width: ..., context: ...}; else as config.json says."


def generate(
    model: Annotated[str, typer.Argument(help="A hub id, a folder with GPT-2 weights, or random.")],
    prompt: Annotated[str, typer.Argument(help="The text to go on with; an empty one starts from nothing.")],
    max_new_tokens: Annotated[int, typer.Option(help="Stop after so many tokens, or at the end of the text.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, above 0 tokens are drawn.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the fewest tokens of this probability.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws, and of random weights.")] = 123,
    size: Annotated[str | None, typer.Option(help=SIZE_HELP)] = None,
    vocabulary: Annotated[str, typer.Option(help="gpt2, a .tiktoken file, or sample://NAME.tiktoken.")] = "gpt2",
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute.")] = "auto",
    debug: Debug = False,
) -> None:
    """Continue a prompt with a pretrained language model, to see what its weights know.

    Prints the prompt and what follows it. A classifier is asked with `gradus predict` instead.
    """
    with errors_as_lines(debug):
        config = _config(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        shape = _size(size)
        from components.generation.loading import load_language_model
        from components.home import home, mirror

        where = _device(device)
        gpt, encoding = load_language_model(model, shape, vocabulary, home() / "hub", mirror(), seed)
        _show(prompt, _continuation(gpt.to(where), encoding, prompt, config))


def _continuation(gpt: "GPT", encoding: "tiktoken.Encoding", prompt: str, config: "GenerationConfig") -> Iterator[str]:
    """Yield the text after the prompt, piece by piece."""
    import torch

    from components.generation.decoding import as_text, generate, uncached
    from components.model.tokenizer import encode, end_of_text

    stop, context = end_of_text(encoding), gpt.transformer.size.context
    [tokens] = encode(encoding, [prompt])
    if len(tokens) > context:
        say(f"gradus: the prompt has {len(tokens)} tokens, the model sees the last {context}", style="yellow")
    ids = torch.tensor([tokens or [stop]], device=gpt.transformer.wte.weight.device)
    chosen = (int(token) for token in generate(uncached(gpt), ids, config, stop))
    yield from as_text(encoding, (token for token in chosen if token != stop))


def _show(prompt: str, pieces: Iterator[str]) -> None:
    """Print prompt and pieces as they come; to a terminal without control characters, which it would obey."""
    shown = _harmless if sys.stdout.isatty() else str
    typer.echo(shown(prompt), nl=False)
    for piece in pieces:
        typer.echo(shown(piece), nl=False)
    typer.echo()


def _harmless(text: str) -> str:
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def _config(**options: Any) -> "GenerationConfig":
    from pydantic import ValidationError

    from components.generation.config import GenerationConfig

    try:
        return GenerationConfig(**options)
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error))) from error


def _size(text: str | None) -> "SizeName | GPTSize | None":
    if text is None:
        return None
    import yaml
    from pydantic import ValidationError

    from components.model.config import ModelConfig

    try:
        return ModelConfig(size=yaml.safe_load(text), weights="random").size
    except ValidationError as error:
        raise ConfigError(f"--size {text}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--size {text} is not valid YAML; write it as in {SIZE_EXAMPLE}") from error


def _device(name: str) -> Any:
    from components.training.devices import pick_device

    try:
        return pick_device(name)
    except ConfigError:
        raise ConfigError(f"--device {name}: this machine has no such device; leave it out, or give auto") from None


def _lines(error: Any) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        option = "".join(f"--{str(part).replace('_', '-')}: " for part in detail["loc"])
        yield f"{option}{detail['msg'].removeprefix('Value error, ')}"
