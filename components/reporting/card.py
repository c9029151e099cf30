"""The model card: what a model is, what it was made from, how good it is, and what it must not be trusted with.

After Mitchell et al., "Model Cards for Model Reporting", 2019, as far as a run knows.
"""

from collections.abc import Mapping

from components.core.records import Manifest
from components.reporting.evidence import BASELINES, SPLITS, key_figures, limits, positive_class
from components.reporting.markdown import bullets, data_section, lineage_part, number, recipe_section, shortened, table
from components.reporting.about import About


def model_card(about: About, manifests: Mapping[str, Manifest]) -> str:
    """Return the whole card in Markdown."""
    facts = manifests["evaluate"].facts
    parts = [
        f"# {about.name}",
        f"> {facts['verdict']}",
        "## What it is\n\n" + _what(about, manifests),
        "## Figures on the test split\n\n" + _figures(manifests) + f"\n\n{positive_class(facts)}",
        "## Limits\n\n" + bullets(limits(manifests)),
        "## Data\n\n" + data_section(about, manifests),
        "## Recipe\n\n" + recipe_section(about, ("model", "train", "balance")),
        "## How to use it\n\n" + _use(about),
    ]
    return "\n\n".join(parts) + "\n"


def short_card(about: About, manifests: Mapping[str, Manifest]) -> str:
    """Return the card's gist in Markdown, for the page of a registered version."""
    facts, splits = manifests["evaluate"].facts, manifests["split"].facts
    metrics = facts["metrics"]
    rows = ", ".join(f"{name} {splits['rows'][name]:,}" for name in SPLITS)
    parts = [
        str(facts["verdict"]),
        f"- test accuracy **{metrics['test/accuracy']:.2%}** "
        f"(95 % interval {metrics['test/accuracy_low']:.2%} to {metrics['test/accuracy_high']:.2%})\n"
        f"- data: `{manifests['download'].facts['url']}`, {rows} rows\n"
        f"- the run has `report.html` and `model_card.md`: `{about.run_id}`" + lineage_part(about),
        "Limits:\n\n" + bullets(limits(manifests)),
    ]
    return shortened("\n\n".join(parts))


def _what(about: About, manifests: Mapping[str, Manifest]) -> str:
    trained = manifests["fine_tune"].facts
    labels = ", ".join(f"`{label}`" for label in trained["labels"])
    weights = about.params.get("model.weights", "?")
    whole = trained["trained_parameters"] == trained["parameters"]
    how_many = "All" if whole else f"{trained['trained_parameters']:,}"
    most = manifests["evaluate"].facts["max_length"]
    code = f", code `{about.code}`" if about.code else ""
    return (
        f"A text classifier with the labels {labels}: a GPT of {trained['parameters']:,} parameters that started from "
        f"`{weights}`. {how_many} of them were trained for {trained['steps']:,} steps; the weights of step "
        f"{trained['kept_step']:,} were kept. It reads {most:,} tokens at most.\n\n"
        f"MLflow run `{about.run_id}`{code}." + lineage_part(about)
    )


def _figures(manifests: Mapping[str, Manifest]) -> str:
    rows = [
        (
            figure.title,
            f"**{figure.model:.4f}**",
            figure.interval or "–",
            *map(number, figure.baselines.values()),
        )
        for figure in key_figures(manifests["evaluate"].facts["metrics"])
    ]
    classes = [
        (f"`{each['label']}`", f"{each['rows']:,}", *(number(each[name]) for name in ("precision", "recall", "f1")))
        for each in manifests["evaluate"].facts["per_class"]["test"]
    ]
    return (
        table(("metric", "model", "95 % interval", *BASELINES.values()), rows)
        + "\n\n"
        + table(("label", "test rows", "precision", "recall", "F1"), classes)
    )


def _use(about: About) -> str:
    return (
        f'```\ngradus predict {about.model_uri} "a text"\n```\n\n'
        "or, where Gradus is not installed, with `mlflow`:\n\n"
        "```python\nimport mlflow, pandas\n\n"
        f'model = mlflow.pyfunc.load_model("{about.model_uri}")\n'
        'model.predict(pandas.DataFrame({"text": ["a text"]}))\n```'
    )
