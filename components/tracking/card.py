"""The model card: what a model is, what it was made from, how good it is, and what it must not be trusted with.

After Mitchell et al., "Model Cards for Model Reporting", 2019, as far as a run knows.
"""

import re
from collections.abc import Iterable, Mapping

from components.records import Manifest
from components.tracking.evidence import SPLITS, key_figures, limits, positive_class
from components.tracking.report import About

DESCRIPTION_LIMIT = 4900
"""Characters of a version's description; MLflow's registry keeps 5,000."""


def model_card(about: About, manifests: Mapping[str, Manifest]) -> str:
    """Return the whole card in Markdown."""
    facts = manifests["evaluate"].facts
    parts = [
        f"# {about.name}",
        f"> {facts['verdict']}",
        "## What it is\n\n" + _what(about, manifests),
        "## Figures on the test split\n\n" + _figures(manifests) + f"\n\n{positive_class(facts)}",
        "## Limits\n\n" + _bullets(limits(manifests)),
        "## Data\n\n" + _data(about, manifests),
        "## Recipe\n\n" + _recipe(about),
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
        f"- the run has `report.html` and `model_card.md`: `{about.run_id}`",
        "Limits:\n\n" + _bullets(limits(manifests)),
    ]
    text = "\n\n".join(parts)
    return text if len(text) <= DESCRIPTION_LIMIT else text[: DESCRIPTION_LIMIT - 1] + "…"


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
        f"MLflow run `{about.run_id}`{code}."
    )


def _figures(manifests: Mapping[str, Manifest]) -> str:
    rows = [
        (
            figure.title,
            f"**{figure.model:.4f}**",
            figure.interval or "–",
            _number(figure.tfidf),
            _number(figure.majority),
        )
        for figure in key_figures(manifests["evaluate"].facts["metrics"])
    ]
    classes = [
        (f"`{each['label']}`", f"{each['rows']:,}", *(_number(each[name]) for name in ("precision", "recall", "f1")))
        for each in manifests["evaluate"].facts["per_class"]["test"]
    ]
    return (
        _table(("metric", "model", "95 % interval", "TF-IDF + LR", "majority"), rows)
        + "\n\n"
        + _table(("label", "test rows", "precision", "recall", "F1"), classes)
    )


def _data(about: About, manifests: Mapping[str, Manifest]) -> str:
    source, checked, splits = (manifests[name].facts for name in ("download", "validate", "split"))
    member = f", member `{source['member']}`" if source["member"] else ""
    licence = next((about.params[key] for key in ("source.licence", "source.license") if key in about.params), "null")
    lines = [
        f"source: `{source['url']}`{member}",
        f"SHA-256: `{source['sha256']}`",
        *([f"licence: {licence}"] if licence != "null" else []),
        f"validation: {checked['rows_out']:,} of {checked['rows_in']:,} rows are used",
    ]
    rows = [
        (
            name,
            f"{splits['rows'][name]:,}",
            f"{splits['overlap'][name]['exact']:,}" if name in splits["overlap"] else "–",
            f"{splits['overlap'][name]['folded']:,}" if name in splits["overlap"] else "–",
            f"`{manifests['split'].files[f'{name}.parquet'].sha256}`",
        )
        for name in SPLITS
    ]
    header = ("split", "rows", "also in train", "also in train, folded", "SHA-256")
    return _bullets(lines) + "\n\n" + _table(header, rows)


def _recipe(about: About) -> str:
    sections = ("model.", "train.", "balance.", *(["lora."] if about.params.get("train.trainable") == "lora" else []))
    chosen = {key: value for key, value in about.params.items() if key.startswith(sections)}
    rows = [(f"`{key}`", f"`{value}`" if value else "") for key, value in chosen.items()]
    return _table(("key", "value"), rows) + "\n\nThe whole config is the run's artifact `config.yaml`."


def _use(about: About) -> str:
    return (
        f'```\ngradus predict {about.model_uri} "a text"\n```\n\n'
        "or, where Gradus is not installed, with `mlflow`:\n\n"
        "```python\nimport mlflow, pandas\n\n"
        f'model = mlflow.pyfunc.load_model("{about.model_uri}")\n'
        'model.predict(pandas.DataFrame({"text": ["a text"]}))\n```'
    )


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
