"""What there is to be looked at of a run: figures, tables, the report, the model card and the run's description.

`report.html` opens offline. A model card (Mitchell et al., "Model Cards for Model Reporting", 2019) says what a model
is, what it was made from, how good it is, and what it must not be trusted with, as far as a run knows.
"""

import base64
import json
import math
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import ConfigError
from components.core.records import Manifest
from components.core.versions import installed
from components.reporting.evidence import DECIMAL, NONE, PERCENT, POINTS, SPLITS, Evidence, written

if TYPE_CHECKING:
    import pandas as pd

Manifests = Mapping[str, Manifest]

LONGEST_TEXT = 400
"""Characters of a text that the page shows."""
CARD = "model_card.md"
DESCRIPTION_LIMIT = 4900
"""Characters of a version's description; MLflow's registry keeps 5,000."""
PACKAGES = (
    "gradus", "torch", "tiktoken", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy",
    "mlflow", "prefect", "great-expectations",
)  # fmt: skip
"""Those whose versions the results depend on."""
FILTERS: dict[str, Callable[[Any], str]] = {
    "count": lambda value: NONE if value is None else f"{value:,.0f}",
    "share": partial(written, unit=PERCENT),
    "value": partial(written, unit=DECIMAL),
    "point": partial(written, unit=POINTS),
    "perplexity": lambda loss: NONE if loss is None else f"{math.exp(loss):,.2f}",
    "cut": lambda text: text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…",
    "line": lambda text: re.sub(r"\s+", " ", text),
    "cell": lambda text: re.sub(r"\s+", " ", text).replace("|", "\\|"),
    "base64": lambda data: base64.b64encode(data).decode(),
}
"""How the templates write values; a cell is one of a Markdown table."""


@dataclass(frozen=True)
class About:
    """A run: its name and id, its whole config flat, the tags of its code, and what its model goes on from."""

    name: str
    run_id: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    lineage: str = ""
    """Which models its own goes on from, in a sentence; empty if it goes on from none."""
    version: str | None = None
    """The address of the registered version, once there is one: no alias, which moves."""
    store: str = ""
    """The address of MLflow's store, without a password."""

    @property
    def code(self) -> str:
        """The git revision that ran, if there was one."""
        revision = self.tags.get("mlflow.source.git.commit", "")
        dirty = self.tags.get("gradus.git.dirty") == "true"
        return revision[:12] + (" with local changes" if dirty else "")

    @property
    def model_uri(self) -> str:
        """Where the model is found, now and later: its version, or its run."""
        return self.version or f"runs:/{self.run_id}/model"

    @property
    def sections(self) -> dict[str, dict[str, str]]:
        """The config by section; what stands in none is `general`."""
        found: dict[str, dict[str, str]] = {}
        for key, value in self.params.items():
            section, dot, name = key.partition(".")
            found.setdefault(section if dot else "general", {})[name if dot else key] = value
        return found


@dataclass(frozen=True)
class Findings:
    """What a run shows of itself, by the names of the artifacts that it becomes."""

    tables: "Mapping[str, pd.DataFrame]"
    figures: Mapping[str, bytes]
    """PNG files, by their names without `.png`."""
    pages: Mapping[str, str]
    """`report.html` and `model_card.md`."""
    description: str
    """In Markdown: the verdict, and the figures that one looks for first."""
    rows: list[dict[str, Any]]
    """The metrics as a table, a row a metric."""
    files: list[Path]
    """Files of its steps, which become artifacts as they are."""


def gathered(
    about: About,
    manifests: Manifests,
    evidence: Evidence,
    figures: Mapping[str, bytes],
    tables: "Mapping[str, pd.DataFrame]",
    rows: list[dict[str, Any]],
    names: Mapping[str, Sequence[str]],
    **values: Any,
) -> Findings:
    """Return what a run shows of itself, with its report and its card.

    The report shows the `figures` that are there and, besides what every page is given (`render`), `values`. `names`
    are, by step, those of files to keep, where there.
    """
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    versions |= {package: number for package in PACKAGES if (number := installed(package))}
    validation = json.loads(manifests["validate"].path("report.json").read_text(encoding="utf-8"))
    values |= {"figures": figures, "validation": validation, "versions": versions}
    pages = {
        "report.html": render(f"{evidence.kind}.html", manifests, about=about, evidence=evidence, **values),
        CARD: model_card(about, manifests, evidence),
    }
    there = [manifests[step].path(name) for step in names for name in names[step] if name in manifests[step].files]
    return Findings(tables, figures, pages, description(manifests, evidence), rows, there)


def render(template: str, manifests: Manifests, **values: Any) -> str:
    """Return a page: no script, nothing fetched from anywhere, and in HTML every value escaped.

    Args:
        template: the name of one of this folder's templates.
        manifests: of the steps of a run, `download` to `evaluate`.
        **values: what else the template shows: most often `about`, the run, and `evidence`, what it shows.
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
        facts={name: manifest.facts for name, manifest in manifests.items()},
        files={name: manifest.files for name, manifest in manifests.items()},
        seconds={name: manifest.seconds for name, manifest in manifests.items() if not manifest.cached},
        splits=SPLITS,
        **values,
    )


def sentences(template: str, manifests: Manifests, **values: Any) -> list[str]:
    """Return the lines of a text that are not blank."""
    return [line.strip() for line in render(template, manifests, **values).splitlines() if line.strip()]


def model_card(about: About, manifests: Manifests, evidence: Evidence) -> str:
    """Return the whole card in Markdown."""
    return render("model_card.jinja", manifests, about=about, evidence=evidence)


def short_card(about: About, manifests: Manifests, evidence: Evidence) -> str:
    """Return the card's gist in Markdown, for the page of a registered version; cut to what that has room for."""
    text = render("short_card.jinja", manifests, about=about, evidence=evidence).rstrip()
    return text if len(text) <= DESCRIPTION_LIMIT else text[: DESCRIPTION_LIMIT - 1] + "…"


def description(manifests: Manifests, evidence: Evidence) -> str:
    """Return a run's description in Markdown: the verdict, and the figures that one looks for first."""
    return render("description.jinja", manifests, evidence=evidence).rstrip()


def check_place(option: str, path: Path) -> None:
    """Raise ConfigError where no page can be written to the path that an option names, before anything is computed."""
    if path.is_dir():
        raise ConfigError(f"{option} {path}: this is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {path.parent}; make it, or name another file")


def write_page(option: str, path: Path, page: str) -> None:
    """Write a page beside its place, and then put it there.

    Raises:
        ConfigError: if it cannot be written to the path, which an option names.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(f"{option} {path}: cannot be written ({error.strerror}); name another file") from error
