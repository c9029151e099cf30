"""What the tabs share: models in memory, what can be chosen, errors as a line, and pieces of HTML."""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from components.core.errors import GradusError, shortened
from components.core.home import mirror
from components.core.redaction import redact
from components.models.pretrained.files import TRACKED, is_pretrained
from components.tracking.reading import PREFIX, RESPONSES, find_run
from components.tracking.registry.finding import resolve_model
from components.tracking.registry.promotion_tags import CHAMPION
from pipelines.cli.using import answering
from pipelines.found import FoundRun, find, find_models
from pipelines.kinds import KINDS, kind_named, part_of

MOST_RUNS = 500
"""Runs that are listed, the newest."""
KEPT = 3
"""Models that stay in memory: base, champion and candidate are asked together."""
ASKING = "models"
"""What Gradio calls the queue of all that ask a model: one at a time, as memory and cores allow."""
TABLE = {"interactive": False, "wrap": True, "max_height": 460, "max_chars": 120, "buttons": []}
"""How Gradio shows a table."""
Choices = list[tuple[str, str]]
"""What a list shows, and what is meant by it."""


class Shelf:
    """Models in memory, those that were asked last."""

    def __init__(self, home: Path, device: str = "cpu") -> None:
        self.home, self.device = home, device
        self._loaded: dict[tuple[str, str], Any] = {}
        """By address, and where that leads now: an alias may point elsewhere later. The last one asked stands last."""
        self.ending = threading.Event()
        """Set when the page ends."""

    def take(self, address: str) -> Any:
        """Return a model by its address, a run's by its id or the beginning of it.

        Raises:
            TrackingError: if there is none.
            WeightsError: if its files are damaged.
        """
        address = address.strip()
        if PREFIX.fullmatch(address):
            address = find_run(address, self.home).run_id
        place = address if is_pretrained(address) else resolve_model(address, self.home)
        return self._kept((address, place), lambda: answering.load(address, self.device, self.home)[0])

    def take_base(self, weights: str, tuned: Any) -> Any:
        """Return what `model.weights` names, as it was before `tuned` was trained from it.

        It is asked by its own chat template, or in the words that `tuned` is asked in where it has none.

        Raises:
            TrackingError: if it was an earlier run's model, and is gone.
            WeightsError: if it cannot be had.
        """
        if weights.startswith(TRACKED):
            return self.take(weights)
        from components.serving.language_model import load_untuned_responder

        cache, words = self.home / "hub", tuned.card.template
        return self._kept(
            (weights, words.model_dump_json()),
            lambda: load_untuned_responder(weights, cache, mirror(), self.device, otherwise=words),
        )

    def go_on(self, *_progress: int) -> None:
        """Be told of each token; raise GradusError once the page ends: nobody reads what else would be written."""
        if self.ending.is_set():
            raise GradusError("the page ends")

    def _kept(self, key: tuple[str, str], load: Callable[[], Any]) -> Any:
        found = self._loaded.pop(key, None)
        for old in list(self._loaded)[: len(self._loaded) - KEPT + 1]:
            del self._loaded[old]
        self._loaded[key] = found or load()
        return self._loaded[key]


def in_a_line(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a page may call: an error of `function` becomes a line on the page, and no traceback anywhere.

    What the page shows stays as it is then. (An error raised would lay a mark over everything that the call fills.)
    """
    import gradio as gr

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*arguments: Any) -> Iterator[Any]:
            try:
                yield from function(*arguments)
            except Exception as error:  # noqa: BLE001 - as on the command line, every error becomes a line
                _tell(error)
                yield gr.skip()

        return generate

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # noqa: BLE001 - likewise
            _tell(error)
            return gr.skip()

    return call


def line_of(error: Exception) -> str:
    """Return what to say of an error, in one line without secrets."""
    text = str(error) if isinstance(error, GradusError) else f"{type(error).__name__}: {redact(str(error))}"
    return shortened(" ".join(text.split()))


def _tell(error: Exception) -> None:
    import gradio as gr

    gr.Warning(escape(line_of(error)), duration=30, title="")


def writes(pipeline: str) -> bool:
    """Tell whether runs of a pipeline make responses; those of a kind that is not known here do not."""
    kind = kind_named(pipeline)
    return kind in KINDS and RESPONSES in part_of(kind, "compare").KIND.needs


def run_choices(home: Path, writing: bool | None = None) -> Choices:
    """Return finished runs, the newest first; those that write responses, those that do not, or all (None)."""
    found = find(home, {"status": "finished"}, None, MOST_RUNS)
    return [(_title(run), run.run_id) for run in found if writing is None or writes(run.pipeline) == writing]


def champion_choices(home: Path) -> Choices:
    """Return the champions of registered models that write no responses."""
    return [
        (f"{model.name} · champion · version {version.version} · {version.primary}", f"models:/{model.name}@{CHAMPION}")
        for model in find_models(home)
        for version in model.versions
        if CHAMPION in version.aliases and not writes(version.pipeline)
    ]


def _title(run: FoundRun) -> str:
    return " · ".join(filter(None, (run.model or "", run.name, run.primary, run.run_id[:8])))


def chosen(choices: Choices, before: str | None) -> dict[str, Any]:
    """Return how choices are shown: what was chosen `before` stays, else the first is chosen."""
    return {"choices": choices, "value": before or next((value for _, value in choices), None)}


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as HTML; nothing where there is no row."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(each)}</th>" for each in headers)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(found: Mapping[str, str]) -> str:
    """Return names with their values as HTML; those without a value are left out."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in found.items() if value)
    return f'<dl class="facts">{lines}</dl>'


def note(text: str, *commands: str) -> str:
    """Return what to say where there is nothing to show, with what to type, as HTML."""
    typed = "".join(f"<pre><code>{escape(each)}</code></pre>" for each in commands)
    return f'<div class="note"><p>{escape(text)}</p>{typed}</div>'
