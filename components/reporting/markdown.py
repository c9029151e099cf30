"""The parts of a model card that every kind of model has, in Markdown."""

import re
from collections.abc import Iterable, Mapping

from components.core.records import Manifest
from components.reporting.evidence import SPLITS
from components.reporting.about import About

DESCRIPTION_LIMIT = 4900
"""Characters of a version's description; MLflow's registry keeps 5,000."""


def data_section(about: About, manifests: Mapping[str, Manifest]) -> str:
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
    return bullets(lines) + "\n\n" + table(header, rows)


def recipe_section(about: About, sections: Iterable[str]) -> str:
    """Return the config's values in these sections, and those of adapters where there are any."""
    lora = ["lora"] if about.params.get("train.trainable") == "lora" else []
    begin = tuple(f"{section}." for section in [*sections, *lora])
    chosen = {key: value for key, value in about.params.items() if key.startswith(begin)}
    rows = [(f"`{key}`", f"`{value}`" if value else "") for key, value in chosen.items()]
    return table(("key", "value"), rows) + "\n\nThe whole config is the run's artifact `config.yaml`."


def bullets(sentences: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def number(value: float | None) -> str:
    """Return a figure with four digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.4f}"


def shortened(text: str) -> str:
    """Return a text cut to what the registry keeps of a description."""
    return text if len(text) <= DESCRIPTION_LIMIT else text[: DESCRIPTION_LIMIT - 1] + "…"


def lineage_part(about: About) -> str:
    """Return a paragraph on the models that this one goes back to, or nothing."""
    return f"\n\n{about.lineage}" if about.lineage else ""
