"""Everything about a run on one page that opens offline: `report.html`."""

import base64
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from math import isfinite
from typing import TYPE_CHECKING, Any

from components.core.records import Manifest
from components.evaluation.metrics import METRICS
from components.tracking.evidence import BASELINES, SPLITS, KeyFigure, key_figures, limits, positive_class
from components.tracking.lineage import Ancestor, lineage_sentence

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ERRORS = 25
LONGEST_TEXT = 400
"""Characters of a text that the page shows."""
PACKAGES = (
    "gradus", "torch", "tiktoken", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy",
    "mlflow", "prefect", "great-expectations",
)  # fmt: skip


@dataclass(frozen=True)
class About:
    """What a run's page says of the run itself: its name and id, its whole config flat, and the tags of its code."""

    name: str
    run_id: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    ancestors: Sequence[Ancestor] = ()
    """The models that its own goes back to, the nearest first."""

    @property
    def lineage(self) -> str:
        """Which models its own goes on from, in a sentence; nothing if it goes on from none."""
        return lineage_sentence(self.ancestors)

    @property
    def code(self) -> str:
        """The git revision that ran, if there was one."""
        revision = self.tags.get("mlflow.source.git.commit", "")
        dirty = self.tags.get("gradus.git.dirty") == "true"
        return revision[:12] + (" with local changes" if dirty else "")

    @property
    def model_uri(self) -> str:
        """Where the model is found: by its alias, or by the run if it has no name."""
        name = self.params.get("tracking.model_name", "null")
        return f"runs:/{self.run_id}/model" if name == "null" else f"models:/{name}@candidate"

    @property
    def sections(self) -> dict[str, dict[str, str]]:
        """The config by section; what stands in none is `general`."""
        found: dict[str, dict[str, str]] = {}
        for key, value in self.params.items():
            section, dot, name = key.partition(".")
            found.setdefault(section if dot else "general", {})[name if dot else key] = value
        return found


def render(
    about: About, manifests: Mapping[str, Manifest], figures: Mapping[str, bytes], errors: "pd.DataFrame"
) -> str:
    """Return the page: no script, nothing fetched from anywhere, every value escaped.

    Args:
        about: the run.
        manifests: of the steps `download`, `validate`, `split`, `fine_tune` and `evaluate`.
        figures: PNG files by the name that the template knows them by; one that is missing is left out.
        errors: `label`, `predicted`, `probability`, `svm`, `tfidf`, `row`, `text`: the test errors it was surest of.
    """
    scores = manifests["evaluate"].facts
    return render_page(
        "report.html",
        about,
        manifests,
        figures,
        key_figures=key_figures(scores["metrics"]),
        baselines=BASELINES,
        bounded=_bounded,
        positive_class=positive_class(scores),
        limits=limits(manifests),
        errors=errors.head(SHOWN_ERRORS).to_dict("records"),
        error_count=_errors(scores["confusion"]["test"]),
    )


def render_page(
    template: str, about: About, manifests: Mapping[str, Manifest], figures: Mapping[str, bytes], **values: Any
) -> str:
    """Return a page from one of this folder's templates, with what every run's page shows and `values` of its own."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("components.tracking")
    loader = FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(count=_count, share=_share, value=_value, cut=_cut)
    return environment.get_template(template).render(
        about=about,
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


def _bounded(figure: KeyFigure) -> bool:
    """Tell whether a metric can be drawn on a scale from 0 to 1."""
    shown = [value for value in (figure.model, *figure.baselines.values()) if value is not None]
    return isfinite(METRICS[figure.name].high) and all(0 <= value <= 1 for value in shown)


def _errors(confusion: list[list[int]]) -> int:
    return sum(count for row, counts in enumerate(confusion) for column, count in enumerate(counts) if row != column)


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _value(value: Any) -> str:
    return "–" if value is None else f"{value:.4f}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
