"""The pages of a run, made from this folder's templates: `report.html`, which opens offline, and `model_card.md`."""

import base64
import platform
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from components.core.records import Manifest
from components.reporting.about import About
from components.reporting.evidence import NONE, SPLITS, Evidence

LONGEST_TEXT = 400
"""Characters of a text that the page shows."""
PACKAGES = (
    "gradus", "torch", "tiktoken", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy",
    "mlflow", "prefect", "great-expectations",
)  # fmt: skip
FILTERS: dict[str, Callable[[Any], str]] = {
    "count": lambda value: NONE if value is None else f"{value:,.0f}",
    "share": lambda value: NONE if value is None else f"{100 * value:.1f} %",
    "value": lambda value: NONE if value is None else f"{value:.4f}",
    "cut": lambda text: text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…",
    "cell": lambda text: re.sub(r"\s+", " ", text).replace("|", "\\|"),
    "base64": lambda data: base64.b64encode(data).decode(),
}
"""How the templates write values; a cell is one of a Markdown table."""


def render(template: str, about: About, manifests: Mapping[str, Manifest], evidence: Evidence, **values: Any) -> str:
    """Return a page: no script, nothing fetched from anywhere, and in HTML every value escaped.

    Args:
        template: the name of one of this folder's templates.
        about: the run.
        manifests: of its steps, `download` to `evaluate`.
        evidence: what it shows.
        **values: what else the template shows.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("components.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template(template).render(
        about=about,
        evidence=evidence,
        facts={name: manifest.facts for name, manifest in manifests.items()},
        files={name: manifest.files for name, manifest in manifests.items()},
        seconds={name: manifest.seconds for name, manifest in manifests.items() if not manifest.cached},
        splits=SPLITS,
        **values,
    )


def environment_versions() -> dict[str, str]:
    """Return the versions of Python, the system, and the packages whose numbers the results depend on."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
