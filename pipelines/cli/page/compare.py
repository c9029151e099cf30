"""The tab that compares two runs: the page that `gradus compare --html` writes, without logging anything."""

from html import escape
from pathlib import Path

from components.core.errors import ConfigError
from pipelines.cli.page.shared import MOST_RUNS, in_a_line, note, run_choices
from pipelines.comparing.page import page_of
from pipelines.comparison import compare_all
from pipelines.found import find

NOTHING = note(
    "Two finished runs are compared on the test rows that both have. This makes two, in minutes and offline:",
    "gradus run spam-demo --set train.max_steps=30",
    "gradus run spam-demo --set train.max_steps=400",
)


def comparison(first: str | None, second: str | None, home: Path) -> str:
    """Return how the second run compares with the first, as HTML: the page in a frame of its own.

    Raises:
        ConfigError: if two different runs are not chosen.
        TrackingError: if a run cannot be found.
    """
    if not first or not second or first == second:
        raise ConfigError("choose two different runs")
    found = compare_all([first, second], home)
    # A frame, since the page brings its own style; a sandbox, since it has no script.
    return f'<iframe class="page" sandbox title="comparison" srcdoc="{escape(page_of(found, home))}"></iframe>'


def newest_pair(home: Path) -> tuple[str | None, str | None]:
    """Return the two newest runs of one preset, the older one first; None where there is none."""
    before: dict[str, str] = {}
    for run in find(home, {"status": "finished"}, None, MOST_RUNS):
        if run.preset in before:
            return run.run_id, before[run.preset]
        before[run.preset] = run.run_id
    return None, None


def compare_tab(home: Path) -> None:
    """Lay out the tab."""
    import gradio as gr

    def look(first: str | None, second: str | None) -> tuple[object, ...]:
        runs, pair = run_choices(home), newest_pair(home)
        lists = (
            gr.update(choices=runs, value=each or newest) for each, newest in zip((first, second), pair, strict=True)
        )
        return (*lists, gr.update(visible=len(runs) > 1), gr.update(visible=len(runs) < 2))

    with gr.Tab("Compare") as tab:
        empty = gr.HTML(NOTHING, visible=False)
        with gr.Column() as inner:
            with gr.Row():
                first = gr.Dropdown(label="The run to compare with", allow_custom_value=True)
                second = gr.Dropdown(label="The run to look at", allow_custom_value=True)
            button = gr.Button("Compare", variant="primary")
            shown = gr.HTML(elem_id="comparison", min_height=120)
    tab.select(in_a_line(look), [first, second], [first, second, inner, empty])
    button.click(in_a_line(lambda a, b: comparison(a, b, home)), [first, second], shown)
