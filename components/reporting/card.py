"""The model card: what a model is, what it was made from, how good it is, and what it must not be trusted with.

After Mitchell et al., "Model Cards for Model Reporting", 2019, as far as a run knows.
"""

from collections.abc import Iterator, Mapping

from components.core.records import Manifest
from components.reporting.about import About
from components.reporting.evidence import NONE, SPLITS, Evidence
from components.reporting.markdown import bullets, shortened, table

Manifests = Mapping[str, Manifest]


def model_card(about: About, manifests: Manifests, evidence: Evidence) -> str:
    """Return the whole card in Markdown."""
    parts = [
        f"# {about.name}",
        f"> {manifests['evaluate'].facts['verdict']}",
        "## What it is\n\n" + _what(about, manifests, evidence),
        "## Figures on the test split\n\n" + "\n\n".join(_figures(evidence)),
        "## Limits\n\n" + bullets(evidence.limits),
        "## Data\n\n" + _data(about, manifests),
        "## Recipe\n\n" + _recipe(about, evidence),
        "## How to use it\n\n" + _use(about, evidence),
    ]
    return "\n\n".join(parts) + "\n"


def short_card(about: About, manifests: Manifests, evidence: Evidence) -> str:
    """Return the card's gist in Markdown, for the page of a registered version."""
    facts = [
        *evidence.first,
        f"data: `{manifests['download'].facts['url']}`, {_sizes(manifests, evidence)}",
        f"the run has `report.html` and `model_card.md`: `{about.run_id}`",
    ]
    limits = "Limits:\n\n" + bullets(evidence.limits)
    parts = [str(manifests["evaluate"].facts["verdict"]), bullets(facts), about.lineage, evidence.judge, limits]
    return shortened("\n\n".join(filter(None, parts)))


def description(manifests: Manifests, evidence: Evidence) -> str:
    """Return a run's description in Markdown: the verdict, and the figures that one looks for first."""
    overlap = manifests["split"].facts["overlap"]["test"]
    facts = [
        *evidence.first,
        f"test {evidence.rows} that also stand in train: {overlap['exact']} word for word, "
        f"{overlap['folded']} after folding",
        _sizes(manifests, evidence),
    ]
    parts = [str(manifests["evaluate"].facts["verdict"]), bullets(facts), evidence.judge]
    return "\n\n".join(filter(None, parts))


def _sizes(manifests: Manifests, evidence: Evidence) -> str:
    rows = manifests["split"].facts["rows"]
    return ", ".join(f"{name} {rows[name]:,}" for name in SPLITS) + f" {evidence.rows}"


def _what(about: About, manifests: Manifests, evidence: Evidence) -> str:
    trained = manifests["fine_tune"].facts
    weights = about.params.get("model.weights", "?")
    whole = trained["trained_parameters"] == trained["parameters"]
    how_many = "All" if whole else f"{trained['trained_parameters']:,}"
    code = f", code `{about.code}`" if about.code else ""
    parts = [
        f"{evidence.what}: a GPT of {trained['parameters']:,} parameters that started from `{weights}`. {how_many} of "
        f"them were trained for {trained['steps']:,} steps{evidence.seen}; the weights of step "
        f"{trained['kept_step']:,} were kept. {evidence.takes}",
        f"MLflow run `{about.run_id}`{code}.",
        about.lineage,
    ]
    return "\n\n".join(filter(None, parts))


def _figures(evidence: Evidence) -> Iterator[str]:
    rows = [
        (
            figure.title,
            f"**{figure.shown(figure.model)}**",
            figure.interval or NONE,
            *(figure.shown(figure.beside[name]) for name in evidence.beside),
        )
        for figure in evidence.figures
    ]
    yield table(("metric", "model", "95 % interval", *evidence.beside.values()), [*rows, *evidence.more_figures])
    if evidence.groups:
        yield table(evidence.groups[0], evidence.groups[1:])
    yield from filter(None, (evidence.reading, evidence.judge))


def _data(about: About, manifests: Manifests) -> str:
    """Say where the data is from, and how much of it is in which split."""
    source, checked, splits = (manifests[name].facts for name in ("download", "validate", "split"))
    member = f", member `{source['member']}`" if source["member"] else ""
    licence = next((about.params[key] for key in ("source.licence", "source.license") if key in about.params), "null")
    lines = [
        f"source: `{source['url']}`{member}",
        f"SHA-256: `{source['sha256']}`",
        *([f"licence: {licence}"] if licence != "null" else []),
        f"validation: {checked['rows_out']:,} of {checked['rows_in']:,} rows are used",
    ]
    rows = []
    for name in SPLITS:
        overlap = splits["overlap"].get(name)
        also = (f"{overlap[how]:,}" if overlap else NONE for how in ("exact", "folded"))
        rows.append(
            (name, f"{splits['rows'][name]:,}", *also, f"`{manifests['split'].files[f'{name}.parquet'].sha256}`")
        )
    header = ("split", "rows", "also in train", "also in train, folded", "SHA-256")
    return bullets(lines) + "\n\n" + table(header, rows)


def _recipe(about: About, evidence: Evidence) -> str:
    """Return the config's values that made the model, and those of adapters where there are any."""
    lora = ["lora"] if about.params.get("train.trainable") == "lora" else []
    begin = tuple(f"{section}." for section in [*evidence.recipe, *lora])
    chosen = {key: value for key, value in about.params.items() if key.startswith(begin)}
    rows = [(f"`{key}`", f"`{value}`" if value else "") for key, value in chosen.items()]
    return table(("key", "value"), rows) + "\n\nThe whole config is the run's artifact `config.yaml`."


def _use(about: About, evidence: Evidence) -> str:
    return (
        f"```\n{evidence.use(about.model_uri)}\n```\n\n"
        "or, where Gradus is not installed, with `mlflow`:\n\n"
        "```python\nimport mlflow, pandas\n\n"
        f'model = mlflow.pyfunc.load_model("{about.model_uri}")\n'
        f"model.predict(pandas.DataFrame({evidence.frame}))\n```"
    )
