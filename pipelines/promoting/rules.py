"""The rules by which a model becomes champion: what each asks of what was measured. `rules.yaml` sets their limits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from components.evaluation.metrics import METRICS
from components.tracking.reading import RecordedRun
from pipelines.kind import Kind
from pipelines.promoting.baselines import Learned
from pipelines.promoting.config import Level, MinimumMetrics, Rule, Rules, UnlearnedRows, UnparsedVerdicts
from pipelines.promoting.evidence import Evidence, Reference

Verdict = Literal["passed", "failed", "not measured"]


class RuleOutcome(BaseModel):
    """What came of a rule: a row of the table that `gradus promote` prints."""

    rule: str
    level: Level
    value: int | float | str | None = None
    """What was measured; None: nothing."""
    limit: int | float | str | None = None
    verdict: Verdict
    sentence: str = ""
    """Why, in plain words."""


@dataclass(frozen=True)
class Found:
    """What was measured of a candidate."""

    run: RecordedRun
    kind: Kind[Any, Any]
    first: bool
    """Whether there is no champion that it is compared with."""
    margin: float
    champions: Evidence
    majority: Evidence
    baseline: Evidence
    learned: Learned
    parity: str | None
    """What the tag says that an export of its version left; None: there was none."""

    @property
    def judged(self) -> list[Reference]:
        """The measurements by a judge's scores."""
        return [each for evidence in (self.champions, self.majority) for each in evidence.references if each.judge]


Check = Callable[[Any, Found], Iterator[RuleOutcome]]


def apply_rules(rules: Rules, found: Found) -> list[RuleOutcome]:
    """Return what comes of each rule, in the order in which a table shows them."""
    return [outcome for name, check in CHECKS.items() for outcome in check(getattr(rules, name), found)]


def _non_inferiority(rule: Rule, found: Found) -> Iterator[RuleOutcome]:
    """Ask for the lower end of the 95 % interval of the difference, the lowest of all champions."""
    evidence = found.champions
    low = min((each.interval[0] for each in evidence.references), default=None)
    yield _outcome("non_inferiority", rule, low, -found.margin, evidence.enough, evidence.sentence)


def _better_than_majority(rule: Rule, found: Found) -> Iterator[RuleOutcome]:
    # A first champion that cannot be measured beside anything has nothing to show.
    passed = False if found.first and found.majority.enough is None else found.majority.enough
    yield _better("better_than_majority", rule, found.majority, passed)


def _better_than_best_baseline(rule: Rule, found: Found) -> Iterator[RuleOutcome]:
    yield _better("better_than_best_baseline", rule, found.baseline, found.baseline.enough)


def _better(name: str, rule: Rule, evidence: Evidence, passed: bool | None) -> RuleOutcome:
    low = evidence.references[0].interval[0] if evidence.references else None
    return _outcome(name, rule, low, 0.0, passed, evidence.sentence)


def _unlearned_rows(rule: UnlearnedRows, found: Found) -> Iterator[RuleOutcome]:
    learned = found.learned
    rows = learned.rows if learned.known or learned.rows else None
    if rows is None:
        sentence = "what it, or a model that it continues, was trained on is not known"
    else:
        sentence = f"it, or a model that it continues, has learned from {rows:,} of {learned.tested:,} test rows"
        sentence += "; no comparison counts them" if rows else ""
    passed = None if rows is None else rows <= rule.max_rows
    yield _outcome("unlearned_rows", rule, rows, rule.max_rows, passed, sentence)


def _unparsed_verdicts(rule: UnparsedVerdicts, found: Found) -> Iterator[RuleOutcome]:
    recorded = found.run.metrics.get("test/unparsed_share")
    shares = [each.unscored for each in found.judged] + ([] if recorded is None else [recorded])
    share = max(shares, default=None)
    unread = f"{share or 0:.1%} of the verdicts on its responses could not be read"
    sentence = "no judge was asked" if share is None else unread
    passed = None if share is None else share <= rule.max_share
    yield _outcome("unparsed_verdicts", rule, share, rule.max_share, passed, sentence)


def _judge_tells(rule: Rule, found: Found) -> Iterator[RuleOutcome]:
    blind = next((each.judge for each in found.judged if each.judge_tells is False), None)
    sure = next((each.judge for each in found.judged if each.judge_tells), None)
    passed = False if blind else True if sure else None
    if blind:
        sentence = (
            f"{blind} cannot tell a right response from a wrong one: it gives other rows' references about as much as "
            "a row's own, or too few of them a score; have both judged by another, as with `gradus judge RUN --set "
            "judge.model=MODEL`"
        )
    else:
        sentence = f"{sure} can" if sure else "no judge was asked, or it was not checked"
    value = None if passed is None else "tells" if passed else "cannot tell"
    yield _outcome("judge_tells", rule, value, "tells", passed, sentence)


def _minimum_metrics(rule: MinimumMetrics, found: Found) -> Iterator[RuleOutcome]:
    """Ask each metric that runs of this kind have; a run without a figure has not shown it."""
    asked = {name: limit for name, limit in rule.metrics.items() if METRICS[name] in found.kind.metrics}
    if not asked:
        yield _outcome("minimum_metrics", rule, None, None, None, "none is asked for")
    for name, limit in asked.items():
        value, metric = found.run.metrics.get(f"test/{name}"), METRICS[name]
        least = metric.better == "more"
        passed = value is not None and (value >= limit if least else value <= limit)
        has = "the run has none" if value is None else f"it is {value:.4g}"
        sentence = f"{metric.title}: {has}, and {limit:g} at {'least' if least else 'most'} is asked for"
        yield _outcome(f"minimum_metrics: {name}", rule, value, limit, passed, sentence)


def _export_parity(rule: Rule, found: Found) -> Iterator[RuleOutcome]:
    """Read what an export left, if there was one: a failed one is no reason to think well of the model."""
    said = (found.parity or "").strip()
    passed = {"passed": True, "failed": False}.get(said.partition(" ")[0].strip(":,;").lower())
    sentence = f"its export: {said}" if said else "it was not exported"
    yield _outcome("export_parity", rule, said or None, "passed", passed, sentence)


def _outcome(
    name: str, rule: Rule, value: float | str | None, limit: float | str | None, passed: bool | None, sentence: str
) -> RuleOutcome:
    verdict: Verdict = "not measured" if passed is None else "passed" if passed else "failed"
    return RuleOutcome(
        rule=name, level=rule.level, value=value, limit=limit, verdict=verdict, sentence=sentence.strip()
    )


CHECKS: dict[str, Check] = {
    "non_inferiority": _non_inferiority,
    "better_than_majority": _better_than_majority,
    "better_than_best_baseline": _better_than_best_baseline,
    "unlearned_rows": _unlearned_rows,
    "unparsed_verdicts": _unparsed_verdicts,
    "judge_tells": _judge_tells,
    "minimum_metrics": _minimum_metrics,
    "export_parity": _export_parity,
}
"""What each rule of `rules.yaml` asks, by its name."""
