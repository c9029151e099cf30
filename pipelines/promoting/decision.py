"""Whether a version may become champion: what was measured of it, and what each rule says to that."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.core.errors import ConfigError
from components.evaluation.metrics import METRICS
from components.tracking.names import EXPORT_PARITY_TAG
from components.tracking.reading import RecordedRun, Registered
from components.tracking.registry.history import read_history
from components.tracking.registry.promotion import model_margin, version_tags
from components.tracking.registry.promotion_tags import MARGIN_TAG
from pipelines.kind import Kind, kind_of
from pipelines.promoting.baselines import beside_baselines
from pipelines.promoting.champions import beside_champions
from pipelines.promoting.config import Rules
from pipelines.promoting.evidence import Evidence, Reference
from pipelines.promoting.rules import Found, RuleOutcome, apply_rules


@dataclass(frozen=True)
class Decision:
    """What the rules say of a version."""

    outcomes: tuple[RuleOutcome, ...]
    measured: tuple[Reference, ...]
    """The champions or, of a first one, what it had to be better than."""
    sentence: str
    """What speaks for it; where rules of level `error` fail, what speaks against it."""

    @property
    def allowed(self) -> bool:
        """Whether no rule of level `error` fails."""
        return not any(each.verdict == "failed" and each.level == "error" for each in self.outcomes)


def decide(
    version: Registered,
    champion: Registered | None,
    run: RecordedRun,
    rules: Rules,
    margin: float,
    home: Path,
    anew: bool = True,
) -> Decision:
    """Measure a version, and ask the rules.

    Args:
        version: the candidate.
        champion: the present champion, if there is one.
        run: the candidate's run.
        rules: the rules.
        margin: how much worse than a champion it may be.
        home: the folder of the local store.
        anew: whether a champion may be run where it shares too few test rows.

    Raises:
        NotComparable: if the run is of no known kind.
        TrackingError: if the store cannot be read.
    """
    deleted = None if champion else read_history(version.name, home).deleted
    champions = _beside_deleted(version, deleted)
    if champions is None:
        champions = beside_champions(version, champion, run, margin, home, anew)
    majority, baseline, learned = beside_baselines(version, run, home)
    first = champion is None and not deleted
    parity = version_tags(version, home).get(EXPORT_PARITY_TAG)
    found = Found(run, kind_of(run), first, margin, champions, majority, baseline, learned, parity)
    outcomes = apply_rules(rules, found)
    against = [each.sentence for each in outcomes if each.verdict == "failed" and each.level == "error"]
    evidence = _of_first(version, majority, champions) if first else champions
    sentence = "; ".join(each.rstrip(".") for each in against) or f"{evidence.sentence} {evidence.detail}".strip()
    return Decision(tuple(outcomes), evidence.references, sentence)


def _beside_deleted(version: Registered, deleted: str | None) -> Evidence | None:
    """Return what can be said beside a champion that was deleted, if that is why there is none."""
    if deleted is None:
        return None
    return Evidence(
        False,
        f"the champion of {version.name}, version {deleted}, was deleted, so nothing can be compared with it; "
        f"`gradus rollback {version.name}` puts the one before it back",
    )


def _of_first(version: Registered, majority: Evidence, champions: Evidence) -> Evidence:
    """Return what speaks for a first champion: what it is better than and, if there are, earlier ones."""
    beside_earlier = [champions.sentence] if champions.references else []
    sentence = " ".join([f"the first champion of {version.name}: {majority.sentence}", *beside_earlier])
    return replace(majority, sentence=sentence, references=majority.references + champions.references)


def allowed_margin(given: float | None, rules: Rules, kind: Kind[Any, Any], name: str, home: Path) -> float:
    """Return the margin of who promotes, of the registered model, of the rules, or the kind's.

    Raises:
        ConfigError: if it is out of range.
        TrackingError: if the store cannot be read.
    """
    sources = {
        "--margin": given,
        f"the tag {MARGIN_TAG} of {name}": model_margin(name, home) if given is None else None,
        "non_inferiority.margin of the rules": rules.non_inferiority.margin,
        "the kind": kind.margin,
    }
    where, margin = next((source, each) for source, each in sources.items() if each is not None)
    if not 0 <= margin < METRICS[kind.decides].high:
        raise ConfigError(
            f"{where} is {margin:g}; give a share such as 0.01 for a classifier, or points of a hundred such as 2 for "
            "a judge's score"
        )
    return float(margin)
