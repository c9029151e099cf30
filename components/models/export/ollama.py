"""A Modelfile, from which Ollama makes a model that is asked as it was trained.

https://github.com/ollama/ollama/blob/main/docs/modelfile.md
"""

import json
from collections.abc import Mapping

from components.chat import ChatTemplate
from components.core.errors import WeightsError
from components.models.export.templates import name_of
from components.models.export.turns import Exchange, exchange_of
from components.models.saved.language_model import LoadedGPT
from components.models.tokenizer import end_of_text, ends_of_text

MODELFILE = "Modelfile"
GENERATION = {"temperature": "temperature", "max_new_tokens": "num_predict", "seed": "seed"}
"""Keys of a preset's `generation`, and what Ollama calls them."""
UNLIMITED = {"top_k": "0", "top_p": "1"}
"""How Ollama is told to leave out no token."""
BY_ITSELF = {"min_p": "0", "repeat_penalty": "1"}
"""What Ollama would change in the probabilities unless it is told not to."""
QUOTES = '"' * 3


def modelfile(loaded: LoadedGPT, params: Mapping[str, str], file: str, context: int) -> str:
    """Return the text of a Modelfile.

    Args:
        loaded: the model.
        params: the config of its run, flat; without one Ollama takes the likeliest token, and as many as it will.
        file: the GGUF file.
        context: how many tokens it sees.

    Raises:
        WeightsError: if Ollama's template cannot say what the model's does.
    """
    encoding, template = loaded.encoding, loaded.card.template
    starts: tuple[int, ...] = getattr(encoding, "starts", ())
    bos = "".join(name_of(encoding, token) for token in starts)
    exchange = exchange_of(template, bos if isinstance(template, ChatTemplate) else "", _end(loaded))
    system = getattr(template, "system", None)
    system = exchange.system if system is None else system
    if system is not None and not (exchange.before_system or exchange.after_system):
        raise WeightsError("the model's chat template has no place of its own for a system message that Ollama knows")
    lines = [f"FROM ./{file}", f"TEMPLATE {_quoted(go_template(exchange))}"]
    lines += [] if system is None else [f"SYSTEM {_quoted(system)}"]
    lines += [f"PARAMETER {name} {value}" for name, value in _parameters(params, context).items()]
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in _stops(loaded)]
    return "\n".join(lines) + "\n"


def go_template(exchange: Exchange) -> str:
    """Return the template of an exchange as Go's `text/template` has it; Ollama puts its start before it by itself."""
    system = ""
    if exchange.before_system or exchange.after_system:
        around = (_literal(exchange.before_system), _literal(exchange.after_system))
        system = f"{{{{ if .System }}}}{around[0]}{{{{ .System }}}}{around[1]}{{{{ end }}}}"
    return (
        f"{_literal(exchange.before)}{system}{_literal(exchange.before_user)}{{{{ .Prompt }}}}"
        f"{_literal(exchange.before_assistant)}{{{{ .Response }}}}{_literal(exchange.after_assistant)}"
    )


def _literal(text: str) -> str:
    """Return a text as it stands in a template, with what would begin an action, or end the template, in a string."""
    for special in ("{{", QUOTES):
        text = text.replace(special, f"{{{{ {json.dumps(special)} }}}}") if special in text else text
    return text


def _quoted(text: str) -> str:
    if QUOTES in text:
        raise WeightsError(f"{text[:40]!r} holds {QUOTES}, which a Modelfile cannot hold; export it with --to gguf")
    return f"{QUOTES}{text}{QUOTES}"


def _end(loaded: LoadedGPT) -> str:
    return name_of(loaded.encoding, end_of_text(loaded.encoding))


def _stops(loaded: LoadedGPT) -> list[str]:
    """Return the texts at which a response ends; of a model that talks, also the names of the tokens that end it."""
    template = loaded.card.template
    if not isinstance(template, ChatTemplate):
        return list(template.stops)
    return [name_of(loaded.encoding, token) for token in ends_of_text(loaded.encoding)]


def _parameters(params: Mapping[str, str], context: int) -> dict[str, str]:
    given = {key.removeprefix("generation."): value for key, value in params.items() if key.startswith("generation.")}
    found = {"num_ctx": str(context), "temperature": "0"}
    found |= {ours: given[key] for key, ours in GENERATION.items() if key in given}
    limits = {name: value if (value := given.get(name, "null")) != "null" else no for name, no in UNLIMITED.items()}
    return found | limits | BY_ITSELF
