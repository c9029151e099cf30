"""The tab where an instruction is typed, and base, champion and candidate of a model answer it side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.errors import ConfigError, GradusError
from components.serving.language_model import DEFAULTS
from components.tracking.reading import find_run
from pipelines.cli.page.shared import ASKING, MOST_RUNS, Shelf, in_a_line, note, writes
from pipelines.found import find

ROLES = ("base", "champion", "candidate")
NOTHING = note("No language model is registered yet. This makes one in minutes, offline:", "gradus run instruct-demo")
WAITING = "…"
RANDOM = "random"


@dataclass(frozen=True)
class Answer:
    """What one of the three says, or why it says nothing."""

    role: str
    model: str
    """Its address; empty where there is none."""
    text: str
    missing: bool = False
    """Whether `text` is why it says nothing."""


def writers(home: Path) -> list[str]:
    """Return the names of the registered models that write responses, the one of the newest run first."""
    found = find(home, {"status": "finished"}, None, MOST_RUNS)
    models = [run.model for run in found if run.model and writes(run.pipeline)]
    return list(dict.fromkeys(model.partition("/")[0] for model in models))


def answers(
    name: str | None, instruction: str, given: str, tokens: int, temperature: float, shelf: Shelf
) -> Iterator[dict[str, Answer]]:
    """Yield what there is by role after each answer: what candidate, champion and base of a model say.

    Each is loaded and asked as `gradus respond --beside` does it. What the base is says `model.weights` of the run. One
    of the three that is not there, or cannot answer, is said in a line, and costs the others nothing.

    Args:
        name: of a registered model.
        instruction: what to do.
        given: what it applies to.
        tokens: most tokens of an answer.
        temperature: 0 takes the likeliest token.
        shelf: where models are kept.

    Raises:
        ConfigError: if there is no instruction, or no model.
    """
    if not instruction.strip():
        raise ConfigError("type an instruction first")
    if not name:
        raise ConfigError("choose a model first: `gradus run instruct-demo` makes one")
    config = DEFAULTS.model_copy(update={"max_new_tokens": int(tokens), "temperature": float(temperature)})
    found: dict[str, Answer] = {}
    for role in reversed(ROLES):
        try:
            model, responder = _responder(role, name, shelf)
            text = responder.respond([instruction], [given or ""], config, shelf.go_on)["response"][0]
            found[role] = Answer(role, model, text)
        except GradusError as error:
            found[role] = Answer(role, "", str(error), missing=True)
        yield dict(found)


def _responder(role: str, name: str, shelf: Shelf) -> tuple[str, Any]:
    """Return the address of a model, and the model."""
    if role != "base":
        address = f"models:/{name}@{role}"
        responder = shelf.take(address)
        if not hasattr(responder, "respond"):
            raise ConfigError(f"{address} is a classifier, which writes no text; ask it under Classify")
        return address, responder
    weights = find_run(f"models:/{name}/latest", shelf.home).params.get("model.weights", RANDOM)
    if weights == RANDOM:
        raise ConfigError("training began with random weights: there is no base that could answer")
    return weights, shelf.take_base(weights, shelf.take(f"models:/{name}/latest"))


def respond_tab(shelf: Shelf) -> None:
    """Lay out the tab."""
    import gradio as gr

    def look(before: str | None) -> tuple[object, ...]:
        names = writers(shelf.home)
        kept = before if before in names else next(iter(names), None)
        return gr.update(choices=names, value=kept), gr.update(visible=bool(names)), gr.update(visible=not names)

    def ask(name: str, instruction: str, given: str, tokens: int, temperature: float) -> Iterator[list[object]]:
        yield [gr.update(value=WAITING, label=role) for role in ROLES]
        for found in answers(name, instruction, given, tokens, temperature, shelf):
            yield [_shown(found[role]) if role in found else gr.skip() for role in ROLES]

    def _shown(answer: Answer) -> object:
        title = f"{answer.role} · {answer.model}" if answer.model else f"{answer.role} · not there"
        return gr.update(value=answer.text, label=title, placeholder="(an empty answer)")

    with gr.Tab("Respond") as tab:
        empty = gr.HTML(NOTHING, visible=False)
        with gr.Column() as inner:
            with gr.Row():
                model = gr.Dropdown(label="Model", scale=1)
                with gr.Column(scale=3):
                    instruction = gr.Textbox(label="Instruction", lines=2, placeholder="Name three colours.")
                    given = gr.Textbox(label="Input", info="What the instruction applies to, if anything", lines=1)
            with gr.Accordion("How the models write", open=False), gr.Row():
                tokens = gr.Slider(1, 1024, 128, step=1, label="Most tokens of an answer")
                temperature = gr.Slider(0, 2, 0, step=0.1, label="Temperature", info="0 takes the likeliest token")
            button = gr.Button("Ask all three", variant="primary")
            with gr.Row(equal_height=True):
                boxes = [gr.Textbox(label=role, lines=8, interactive=False, elem_id=role) for role in ROLES]
    tab.select(in_a_line(look), model, [model, inner, empty])
    asked = [model, instruction, given, tokens, temperature]
    gr.on([button.click, instruction.submit], in_a_line(ask), asked, boxes, concurrency_id=ASKING)
