"""The tab where responses are rated blind, and browsed with the judge's verdicts."""

import getpass
from html import escape
from pathlib import Path
from typing import Any

from components.core.errors import ConfigError
from pipelines.cli.page.shared import TABLE, chosen, in_a_line, note, run_choices
from pipelines.comparing.blind import Asked, Round, begin, keep, skip, verdicts

NOTHING = note("No run has written responses yet. This makes one in minutes, offline:", "gradus run instruct-demo")
ITSELF = "the model that training started from"
SCALE = [("wrong", 0), ("poor", 25), ("half right", 50), ("good", 75), ("right", 100)]
LETTERS = "AB"
DONE = "There is nothing left to rate. How far judges agree with what people say:"
COLUMNS = ["row", "instruction", "input", "response", "score", "reason", "people", "reference"]


def progress(of: Round) -> str:
    """Say how far a round is."""
    return f"{of.rated:,} of {of.total:,} entries are rated by {of.by}."


def asked_shown(asked: Asked) -> str:
    """Return what was asked, as HTML."""
    turns = "".join(f"<p><b>{escape(str(each['role']))}</b> {escape(str(each['content']))}</p>" for each in asked.turns)
    given = f"<pre>{escape(asked.input)}</pre>" if asked.input else ""
    return f'<div class="asked">{turns}<p>{escape(asked.instruction)}</p>{given}</div>'


def revealed(asked: Asked, ratings: list[Any]) -> str:
    """Say who wrote what, with the rating and the judge's verdict, as HTML."""
    lines = []
    for letter, written, rating in zip(LETTERS, asked.written, ratings, strict=False):
        judge = "no verdict" if written.score is None else f"the judge gave {written.score:.0f}"
        reason = f": {written.reason}" if written.reason else ""
        said = f"<b>{letter}</b> was {escape(written.author.name)}: you gave {rating}, {escape(judge + reason)}"
        lines.append(f"<li>{said}</li>")
    return f'<div class="revealed"><p>{escape(asked.instruction)}</p><ul>{"".join(lines)}</ul></div>'


def verdict_rows(run: str | None, home: Path) -> list[list[str]]:
    """Return a run's responses with verdicts and ratings, as `COLUMNS` names the cells."""
    if not run:
        raise ConfigError("choose a run first")
    table = verdicts(run, home).astype(object)
    rows: list[list[object]] = table.where(table.notna(), "").to_numpy().tolist()
    return [[f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]


def rate_tab(home: Path) -> None:
    """Lay out the tab."""
    import gradio as gr

    def look(run: str | None, beside: str | None, by: str, request: gr.Request) -> dict[Any, Any]:
        return rating.look(run, beside, by or request.username or getpass.getuser())

    with gr.Tab("Rate") as tab:
        rating = RateTab(home)
    lists = [rating.run, rating.beside, rating.by]
    tab.select(in_a_line(look), lists, [*lists, rating.inner, rating.empty])
    parts = rating.parts()
    # Elsewhere it would cover what is to be clicked on.
    busy = {"show_progress_on": [rating.told]}
    rating.begin.click(in_a_line(rating.start), lists, parts, **busy)
    given = [rating.round, *rating.scales, rating.comment]
    rating.keep.click(in_a_line(rating.keep_and_go_on), given, parts, **busy)
    rating.skip.click(in_a_line(rating.go_on), rating.round, parts, **busy)
    rating.browse.click(in_a_line(rating.every), rating.run, rating.table)


class RateTab:
    """The parts of the tab, and what happens to them."""

    def __init__(self, home: Path) -> None:
        import gradio as gr

        self.home = home
        self.empty, self.round = gr.HTML(NOTHING, visible=False), gr.State()
        with gr.Column() as self.inner:
            with gr.Row(equal_height=True):
                self.run = gr.Dropdown(label="Responses of", allow_custom_value=True, scale=3)
                known = [(ITSELF, "")]
                self.beside = gr.Dropdown(known, value="", label="Beside those of", allow_custom_value=True, scale=3)
                self.by = gr.Textbox(label="Who rates", max_lines=1, scale=1, min_width=140, elem_id="by")
                self.begin = gr.Button("Begin", variant="primary", scale=1, min_width=120)
            self.progress, self.asked = gr.Markdown(), gr.HTML(elem_id="asked")
            with gr.Row(visible=False, equal_height=True) as self.responses:
                pairs = [self._response(letter) for letter in LETTERS]
            self.boxes, self.scales = [box for box, _ in pairs], [scale for _, scale in pairs]
            with gr.Column(visible=False) as self.answer:
                self.comment = gr.Textbox(label="Comment", info="If you like; kept with each rating", max_lines=2)
                with gr.Accordion("What the data has as the answer", open=False):
                    self.reference = gr.Textbox(show_label=False, interactive=False)
                with gr.Row():
                    self.keep = gr.Button("Keep, and show whose they were", variant="primary")
                    self.skip = gr.Button("Skip")
            self.told = gr.HTML(elem_id="revealed")
            with gr.Accordion("All responses of the run, with the judge's verdicts and people's ratings", open=False):
                self.browse = gr.Button("Show them")
                self.table = gr.Dataframe(headers=COLUMNS, elem_id="verdicts", **TABLE)

    def _response(self, letter: str) -> tuple[Any, Any]:
        import gradio as gr

        with gr.Column():
            box = gr.Textbox(
                label=f"Response {letter}",
                lines=5,
                interactive=False,
                placeholder="(empty)",
                elem_id=f"response-{letter}",
            )
            return box, gr.Radio(SCALE, label=f"How good is {letter}?", elem_id=f"rating-{letter}")

    def parts(self) -> list[Any]:
        """Return what changes from one entry to the next."""
        shown = [self.progress, self.asked, self.responses, *self.boxes, *self.scales, self.answer, self.comment]
        return [self.round, *shown, self.reference, self.told]

    def look(self, run: str | None, beside: str | None, by: str) -> dict[Any, Any]:
        """Fill the lists."""
        import gradio as gr

        runs = run_choices(self.home, writing=True)
        return {
            self.run: gr.update(**chosen(runs, run)),
            self.beside: gr.update(choices=[(ITSELF, ""), *runs], value=beside or ""),
            self.by: by,
            self.inner: gr.update(visible=bool(runs)),
            self.empty: gr.update(visible=not runs),
        }

    def start(self, run: str | None, beside: str | None, by: str) -> dict[Any, Any]:
        """Draw the order, and show the first entry."""
        if not run:
            raise ConfigError("choose a run first")
        return self.shown(begin(run, beside or None, by, self.home)) | {self.told: ""}

    def keep_and_go_on(self, of: Round | None, first: Any, second: Any, comment: str) -> dict[Any, Any]:
        """Keep the ratings, say whose the responses were, and show the next entry."""
        if of is None:
            raise ConfigError("begin first")
        asked = keep(of, [first, second], comment, self.home)
        return self.shown(of) | {self.told: revealed(asked, [first, second])}

    def go_on(self, of: Round | None) -> dict[Any, Any]:
        """Show the next entry."""
        if of is None:
            raise ConfigError("begin first")
        skip(of)
        return self.shown(of) | {self.told: ""}

    def every(self, run: str | None) -> list[list[str]]:
        """Return all responses, for the table."""
        return verdict_rows(run, self.home)

    def shown(self, of: Round) -> dict[Any, Any]:
        """Show the entry that comes next, or that there is none."""
        import gradio as gr

        asked = of.now
        texts = [each.response.text for each in asked.written] if asked else []
        here = [place < len(texts) for place in range(len(LETTERS))]
        found = {
            self.round: of,
            self.progress: progress(of),
            self.asked: asked_shown(asked) if asked else note(DONE, "gradus judge RUN --ratings"),
            self.responses: gr.update(visible=bool(texts)),
            self.answer: gr.update(visible=bool(texts)),
            self.comment: "",
            self.reference: asked.reference if asked else "",
        }
        for place, is_there in enumerate(here):
            found[self.boxes[place]] = gr.update(value=texts[place] if is_there else "", visible=is_there)
            found[self.scales[place]] = gr.update(value=None, visible=is_there)
        return found
