"""What can be fine-tuned for: a folder a kind, and the list of them.

A kind's package says which metric decides between its models (DECIDES, the name of a row of
`components.evaluation.metrics`), and holds what runs, checks and commands ask it for, each part imported when it is
wanted:

    config.py       CONFIG, a `pipelines.config.PipelineConfig` whose key `pipeline` is the kind's name
    flow.py         FLOW, a Prefect flow of that name, which takes such a config (`pipelines.run` has what all share)
    check.py        Check, a `pipelines.check.Check`
    watch.py        WATCHED, a `pipelines.service.watching.WatchedKind`
    compare.py      KIND, which fulfils `pipelines.kind.Kind`
    presets/        the presets that come with it, a YAML file each, if any do
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import Flow

    from pipelines.config import PipelineConfig
    from pipelines.run import RunSummary

KINDS = {
    "classification": "pipelines.kinds.classification",
    "instruction": "pipelines.kinds.instruction",
}
"""The package of each kind, by what the key `pipeline` of its presets and of its runs' parameters says."""
DEFAULT = "classification"
"""The kind of presets and of old runs that name none."""


def kind_named(name: str | None) -> str:
    """Return the kind that a preset or a run says it is of; that of old ones that say nothing."""
    return name or DEFAULT


def names_of(kind: str) -> tuple[str, ...]:
    """Return what runs of a kind say they are of."""
    return (kind, "") if kind == DEFAULT else (kind,)


def deciding(kind: str) -> str:
    """Return the metric that decides between models of a kind, without what comparing them imports."""
    return str(import_module(KINDS[kind]).DECIDES)


def config_class(kind: str) -> "type[PipelineConfig]":
    """Return the class of a kind's configs."""
    found: type[PipelineConfig] = part_of(kind, "config").CONFIG
    return found


def flow_of(kind: str) -> "Flow[[Any], RunSummary]":
    """Return the flow of a kind, which takes a config of it."""
    found: Flow[[Any], RunSummary] = part_of(kind, "flow").FLOW
    return found


def part_of(kind: str, name: str) -> Any:
    """Return a module of a kind's package."""
    return import_module(f"{KINDS[kind]}.{name}")
