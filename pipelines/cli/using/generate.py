"""`gradus generate`: let a language model go on with a text."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.core.errors import ConfigError
from pipelines.cli.console import Debug, errors_as_lines, say
from pipelines.cli.using import answering

if TYPE_CHECKING:
    from components.generation.config import GenerationConfig
    from components.models.language_model import LanguageModel
    from components.models.sizes import AnySize
    from components.models.tokenizer import Tokenizer

EXAMPLES = """
[bold]Examples[/bold]\n
gradus generate openai-community/gpt2 "Every effort moves you"\n
gradus generate openai-community/gpt2-medium "The weather is" --temperature 0.8 --top-k 40 --seed 7\n
gradus generate weights/my-gpt2 "Dear customer," --max-new-tokens 20\n
gradus generate models:/instruction-follower@candidate "Once upon a time"\n
gradus generate random "Hello" --size "{layers: 2, heads: 2, width: 32, context: 64}" \
--vocabulary sample://vocabulary.tiktoken
"""

LOGGED = "MLmodel"
"""The file by which the folder of a model that MLflow logged is known."""
SIZE_EXAMPLE = "{layers: 2, heads: 2, width: 32, context: 64}"
MODEL_HELP = "A hub id, a folder, a .gguf file, a models:/ or runs:/ URI of a fine-tuned model, or random."
VOCABULARY_HELP = "gpt2, a .tiktoken file, sample://NAME.tiktoken, or auto for the one that comes with the weights."
SIZE_HELP = "124M, 355M, 774M, 1558M, or {layers: ..., heads: ..., width: ..., context: ...}; else as config.json says."


def generate(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    prompt: Annotated[str, typer.Argument(help="The text to go on with; an empty one starts from nothing.")],
    max_new_tokens: Annotated[int, typer.Option(help="Stop after so many tokens, or at the end of the text.")] = 64,
    temperature: answering.Temperature = 0.0,
    top_k: answering.TopK = None,
    top_p: answering.TopP = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws, and of random weights.")] = 123,
    size: Annotated[str | None, typer.Option(help=SIZE_HELP)] = None,
    vocabulary: Annotated[str, typer.Option(help=VOCABULARY_HELP)] = "auto",
    precision: answering.Precision = "auto",
    device: answering.Device = "auto",
    debug: Debug = False,
) -> None:
    """Continue a prompt with a pretrained language model, to see what its weights know.

    Prints the prompt and what follows it. A fine-tuned language model is given instructions with `gradus respond`,
    and a classifier is asked with `gradus predict`.
    """
    with errors_as_lines(debug):
        config = answering.generation_config(
            max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
            precision=precision,
        )  # fmt: skip
        shape = _size(size)
        where = answering.pick(device)
        gpt, encoding = _load(model, shape, vocabulary, seed)
        from components.models.devices import autocast, pick_precision
        from pipelines.shown import harmless

        with autocast(where, pick_precision(config.precision, where)):
            # A terminal would obey control characters.
            shown = harmless if sys.stdout.isatty() else str
            typer.echo(shown(prompt), nl=False)
            for piece in _continuation(gpt.to(where), encoding, prompt, config):
                typer.echo(shown(piece), nl=False)
            typer.echo()


def _load(model: str, size: "AnySize | None", vocabulary: str, seed: int) -> tuple["LanguageModel", "Tokenizer"]:
    """Return a network and its tokenizer: from MLflow, if that is where the model is, or as `load_language_model`."""
    from components.core.home import home, mirror
    from components.generation.loading import classifier_refused, load_language_model
    from components.models.pretrained.files import TRACKED

    if not model.startswith(TRACKED) and not (Path(model).expanduser() / LOGGED).is_file():
        return load_language_model(model, size, vocabulary, home() / "hub", mirror(), seed)
    from components.models.saved.classifier import LoadedClassifier

    loaded, _ = answering.load(model)
    if isinstance(loaded, LoadedClassifier):
        raise classifier_refused(model)
    return loaded.model, loaded.encoding


def _continuation(
    gpt: "LanguageModel", encoding: "Tokenizer", prompt: str, config: "GenerationConfig"
) -> Iterator[str]:
    """Yield the text after the prompt, piece by piece."""
    from components.generation.decoding import as_text, generate
    from components.models.devices import pick_precision
    from components.models.tokenizer import encode_whole, ends_of_text

    ends, context = ends_of_text(encoding), gpt.transformer.size.context
    [tokens] = encode_whole(encoding, [prompt])
    if len(tokens) > context:
        say(f"gradus: the prompt has {len(tokens)} tokens, the model sees the last {context}", style="yellow")
    precision = pick_precision(config.precision, gpt.head.device)
    yield from as_text(encoding, generate(gpt, tokens or ends[:1], config, *ends, precision=precision))


def _size(text: str | None) -> "AnySize | None":
    if text is None:
        return None
    from pydantic import ValidationError

    from components.core.yaml_loader import InvalidYAML, load_yaml
    from components.models.config import ModelConfig

    try:
        return ModelConfig(size=load_yaml(text), weights="random").shape
    except ValidationError as error:
        raise ConfigError(f"--size {text}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    except InvalidYAML as error:
        raise ConfigError(f"--size {text} is not valid YAML: {error}; write it as in {SIZE_EXAMPLE}") from error
