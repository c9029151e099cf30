"""The tabs of runs and of models: what was run, how it went, and what is in use, as the commands list it."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli.page.shared import MOST_RUNS, TABLE, facts, in_a_line, note, table
from pipelines.found import FoundModel, FoundRun, find, find_models, find_one
from pipelines.promoting.rollback import history_of

if TYPE_CHECKING:
    import gradio as gr

RUNS = ["run", "name", "started (UTC)", "took", "status", "primary metric", "model", "verdict"]
WIDTHS = ["8%", "14%", "13%", "7%", "8%", "13%", "14%", "23%"]
MODELS = ["model", "versions", "champion", "candidate"]
VERSIONS = ["version", "alias", "run", "registered (UTC)", "primary metric", "name of the run", "verdict"]
HISTORY = ["when (UTC)", "what", "version", "before", "by", "why"]
NO_RUN = note("There is no run yet. This trains a small classifier in a minute, offline:", "gradus run spam-demo")
NO_MODEL = note("No model is registered yet. A finished run registers its model:", "gradus run spam-demo")


def run_rows(home: Path) -> list[list[str]]:
    """Return the newest runs, a row each, as `RUNS` names the cells."""
    return [_run(each) for each in find(home, {}, None, MOST_RUNS)]


def _run(each: FoundRun) -> list[str]:
    model, said = each.model or "", each.verdict or each.error
    return [each.run_id[:8], each.name, _time(each.started), each.took, each.status.lower(), each.primary, model, said]


def one_run(address: str, home: Path) -> str:
    """Return all that there is to say of a run, as HTML."""
    run = find_one(address, home)
    told = {
        "run": run.run_id,
        "name": run.name,
        "status": f"{run.status.lower()}, started {_time(run.started)} UTC, took {run.took}",
        "preset": run.preset,
        "set": run.set,
        "model": f"models:/{run.model.partition(' ')[0]}" if run.model else "",
        "verdict": run.verdict,
        "error": run.error,
        "code": run.code,
    }
    return facts(told) + table(["test set", "value"], [[title, value] for title, value in run.test.items()])


def model_rows(home: Path) -> list[list[str]]:
    """Return the registered models, a row each, as `MODELS` names the cells."""
    return [
        [model.name, str(len(model.versions)), model.shown("champion"), model.shown("candidate")]
        for model in find_models(home)
    ]


def one_model(name: str, home: Path) -> str:
    """Return the versions of a model, and who was champion when, as HTML."""
    [model] = find_models(home, name)
    history = history_of(name, home)
    events = [
        [_time(each.at), each.action, each.version, each.over or "–", each.by, each.reason or each.evidence]
        for each in history.events
    ]
    return f"<h3>{escape(name)}</h3>{table(VERSIONS, _versions(model))}<p>{escape(history.sentence)}</p>" + table(
        HISTORY, events
    )


def _versions(model: FoundModel) -> list[list[str]]:
    return [
        [
            each.version,
            ", ".join(each.aliases),
            each.run_id[:8],
            _time(each.registered),
            each.primary,
            each.run_name,
            each.verdict,
        ]
        for each in model.versions
    ]


def _time(iso: str) -> str:
    return iso.replace("T", " ")[:16]


def runs_tab(page: "gr.Blocks", home: Path) -> None:
    """Lay out the tab of runs, which the page opens with."""
    hint = "Choose a run to see its figures."
    look, parts = _tab("Run", hint, NO_RUN, RUNS, lambda: run_rows(home), lambda run: one_run(run, home), WIDTHS)
    page.load(look, outputs=parts)


def models_tab(home: Path) -> None:
    """Lay out the tab of models."""
    hint = "Choose a model to see its versions and its history."
    _tab("Model", hint, NO_MODEL, MODELS, lambda: model_rows(home), lambda model: one_model(model, home))


def _tab(
    what: str,
    hint: str,
    nothing: str,
    headers: list[str],
    rows: Callable[[], list[list[str]]],
    one: Callable[[str], str],
    widths: list[str] | None = None,
) -> tuple[Callable[[], tuple[object, ...]], "list[gr.Component]"]:
    """Lay out a list, read when the tab is opened, and below it what was chosen in it; return how both are filled."""
    import gradio as gr

    def look() -> tuple[object, ...]:
        found = rows()
        there = gr.update(visible=bool(found))
        return gr.update(value=found, visible=bool(found)), there, gr.update(visible=not found)

    def show(event: gr.SelectData) -> str:
        return one(event.row_value[0])

    with gr.Tab(f"{what}s") as tab:
        empty = gr.HTML(nothing, visible=False)
        listed = gr.Dataframe(headers=headers, column_widths=widths, elem_id=f"{what.lower()}s", **TABLE)
        detail = gr.HTML(hint, elem_id=what.lower())
    parts = [listed, detail, empty]
    tab.select(in_a_line(look), outputs=parts)
    listed.select(in_a_line(show), outputs=detail)
    return in_a_line(look), parts
