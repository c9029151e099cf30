"""How the page looks: its tabs, its theme, and the style of what we draw ourselves."""

from typing import TYPE_CHECKING

from pipelines.cli.page.classify import classify_tab
from pipelines.cli.page.compare import compare_tab
from pipelines.cli.page.rate import rate_tab
from pipelines.cli.page.respond import respond_tab
from pipelines.cli.page.runs import models_tab, runs_tab
from pipelines.cli.page.shared import Shelf

if TYPE_CHECKING:
    import gradio as gr

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
CSS = """
.gradio-container { width: min(1240px, 100%) !important; max-width: none !important; margin: 0 auto !important; }
.gradio-container .tabitem { width: 100%; }
.table-container * { font-family: var(--font) !important; }
table.figures { width: 100%; border-collapse: collapse; font-size: 0.9em; border: 0 !important; }
table.figures thead, table.figures tbody, table.figures tr { border: 0 !important; }
table.figures th, table.figures td { text-align: left; padding: 6px 14px 6px 0 !important; vertical-align: top;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; }
div.wide { overflow-x: auto; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; }
dl.facts dt { color: var(--body-text-color-subdued); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
div.note { max-width: 640px; margin: 32px auto; text-align: center; }
div.note pre { display: inline-block; text-align: left; padding: 10px 16px; border-radius: 8px;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); }
iframe.page { width: 100%; height: 80vh; border: 1px solid var(--border-color-primary); border-radius: 8px;
  background: white; }
div.words { font-size: 1.1em; line-height: 1.9; white-space: pre-wrap; overflow-wrap: anywhere; }
span.for, span.against { border-radius: 4px; padding: 1px 2px; }
span.for { background: rgb(234 88 12 / calc(0.75 * var(--strength, 1))); }
span.against { background: rgb(37 99 235 / calc(0.75 * var(--strength, 1))); }
p.legend span { font-size: 0.85em; padding: 1px 8px; margin-right: 8px; --strength: 0.6; }
div.asked { font-size: 1.1em; }
div.revealed { padding: 10px 16px; border-left: 4px solid var(--color-accent);
  background: var(--background-fill-secondary); border-radius: 4px; }
"""


def theme() -> "gr.themes.Base":
    """Return colours and sizes, with fonts that the machine has: others would be fetched from elsewhere."""
    import gradio as gr

    return gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=FONT, font_mono=MONO)


def make_page(shelf: Shelf) -> "gr.Blocks":
    """Return the page of the runs and models in the home of a shelf."""
    import gradio as gr

    home = shelf.home
    with gr.Blocks(title="Gradus", analytics_enabled=False) as page:
        gr.Markdown("# Gradus")
        with gr.Tabs():
            runs_tab(page, home)
            models_tab(home)
            compare_tab(home)
            classify_tab(shelf)
            respond_tab(shelf)
            rate_tab(home)
    return page
