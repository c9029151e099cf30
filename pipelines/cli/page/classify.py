"""The tab where a message is typed: its label, how likely each is, and which words weighed."""

from html import escape
from typing import TYPE_CHECKING

from components.core.errors import ConfigError
from components.evaluation.occlusion import MOST, Weighed, weigh_words
from pipelines.cli.page.shared import ASKING, Shelf, champion_choices, chosen, in_a_line, note, run_choices, table

if TYPE_CHECKING:
    from components.models.saved.classifier import LoadedClassifier

NOTHING = note("There is no classifier yet. This trains a small one in a minute, offline:", "gradus run spam-demo")
HEAVIEST = 8
"""Words that are listed with their weights."""
CLEAR = 0.3
"""Weight of a word that is drawn in full colour: so much probability gone with one word is much."""
HOW = (
    "The weight of a word is by how much the label's probability falls when that word is taken away (occlusion). "
    "Where several words say the same, each alone weighs little."
)


def classify(text: str, model: str | None, shelf: Shelf) -> tuple[dict[str, float], str]:
    """Return how likely each label is for a text, and the text with the weights of its words, as HTML.

    Raises:
        ConfigError: if there is no text or model, or the model is none with labels.
        TrackingError, WeightsError: if the model cannot be had.
    """
    if not text.strip():
        raise ConfigError("type a message first")
    if not model:
        raise ConfigError("choose a model first: `gradus run spam-demo` makes one")
    classifier: LoadedClassifier = shelf.take(model)
    if not hasattr(classifier, "probabilities"):
        raise ConfigError(f"{model} is a language model, which has no labels; ask it under Respond")
    found = weigh_words(text, lambda texts: classifier.probabilities(texts).numpy())
    labels = classifier.card.labels
    return dict(zip(labels, found.probabilities.tolist(), strict=True)), words_shown(found, labels[found.label])


def words_shown(found: Weighed, label: str) -> str:
    """Return a text as HTML, each word in a colour as strong as it weighed, and the heaviest ones as a table."""
    pairs = list(zip(found.pieces, found.weights, strict=True))
    text = "".join(escape(piece) if weight is None else _marked(piece, weight) for piece, weight in pairs)
    known = sorted(((weight, piece) for piece, weight in pairs if weight is not None), key=lambda each: -abs(each[0]))
    rows = [[piece, f"{weight:+.3f}"] for weight, piece in known[:HEAVIEST]]
    cut = f"<p>Only the first {MOST} words are weighed.</p>" if len(known) == MOST else ""
    legend = f'<p class="legend"><span class="for">for {escape(label)}</span><span class="against">against</span></p>'
    return f'{legend}<div class="words">{text}</div>{cut}{table(["word", f"weight for {label}"], rows)}<p>{HOW}</p>'


def _marked(piece: str, weight: float) -> str:
    side, strength = "for" if weight > 0 else "against", min(abs(weight) / CLEAR, 1)
    return f'<span class="{side}" style="--strength:{strength:.2f}" title="{weight:+.3f}">{escape(piece)}</span>'


def classify_tab(shelf: Shelf) -> None:
    """Lay out the tab."""
    import gradio as gr

    def look(before: str | None) -> tuple[object, ...]:
        models = champion_choices(shelf.home) + run_choices(shelf.home, writing=False)
        return gr.update(**chosen(models, before)), gr.update(visible=bool(models)), gr.update(visible=not models)

    with gr.Tab("Classify") as tab:
        empty = gr.HTML(NOTHING, visible=False)
        with gr.Row() as inner:
            with gr.Column():
                hint = "A run, or an address such as models:/NAME@champion"
                model = gr.Dropdown(label="Classifier", info=hint, allow_custom_value=True)
                text = gr.Textbox(label="Message", lines=5, placeholder="You have won a prize, claim it now!")
                button = gr.Button("Classify", variant="primary")
            with gr.Column():
                label = gr.Label(label="Label", num_top_classes=10, elem_id="label")
                words = gr.HTML(elem_id="words", min_height=120)
    tab.select(in_a_line(look), model, [model, inner, empty])
    ask = in_a_line(lambda text, model: classify(text, model, shelf))
    gr.on([button.click, text.submit], ask, [text, model], [label, words], concurrency_id=ASKING)
