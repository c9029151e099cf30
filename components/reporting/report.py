"""Everything about a run on one page that opens offline: `report.html`."""

import base64
import json
import platform
from collections.abc import Mapping
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


def render(
    template: str,
    about: About,
    manifests: Mapping[str, Manifest],
    evidence: Evidence,
    figures: Mapping[str, bytes],
    **values: Any,
) -> str:
    """Return the page: no script, nothing fetched from anywhere, every value escaped.

    Args:
        template: the name of one of this folder's templates, that of the run's kind.
        about: the run.
        manifests: of its steps, `download` to `evaluate`.
        evidence: what it shows.
        figures: PNG files by the name that the template knows them by; one that is missing is left out.
        **values: what else the template shows.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("components.reporting")
    loader = FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(count=_count, share=_share, value=_value, cut=_cut)
    return environment.get_template(template).render(
        about=about,
        evidence=evidence,
        facts={name: manifest.facts for name, manifest in manifests.items()},
        files={name: manifest.files for name, manifest in manifests.items()},
        seconds={name: manifest.seconds for name, manifest in manifests.items() if not manifest.cached},
        validation=json.loads(manifests["validate"].path("report.json").read_text(encoding="utf-8")),
        splits=SPLITS,
        figures={name: base64.b64encode(png).decode() for name, png in figures.items()},
        versions=environment_versions(),
        **values,
    )


def environment_versions() -> dict[str, str]:
    """Return the versions of Python, the system, and the packages whose numbers the results depend on."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _share(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def _value(value: Any) -> str:
    return NONE if value is None else f"{value:.4f}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
