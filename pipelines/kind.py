"""The contract of a kind: what those ask it that act on runs of any kind. Which there are says `pipelines.kinds`.

Comparison (`pipelines.comparison`) and promotion (`pipelines.promoting.evidence`) ask an object of the run's kind, and
do not know which it is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.errors import NotComparable, TrackingError, WeightsError
from components.data.split.folding import fold
from components.evaluation.metrics import Metric
from components.evaluation.paired.comparison import Paired
from components.evaluation.paired.matching import Pairs, RunRows, read_scored
from components.evaluation.paired.non_inferiority import Difference
from components.learned import NO_ANCESTRY, Ancestry
from components.tracking.reading import RecordedRun, Registered, artifacts_of
from components.tracking.registry.finding import resolve_model
from components.tracking.registry.lineage import ancestors_of, learned_by
from components.tracking.stores import tracking_uri
from pipelines.compared import Compared
from pipelines.kinds import KINDS, kind_named, names_of, part_of

if TYPE_CHECKING:  # models need torch, which comparing what runs have left does without
    from components.models.saved.classifier import LoadedClassifier
    from components.serving.language_model import Responder

Rows = TypeVar("Rows", bound=RunRows)
"""What a run left of its test rows."""
Both = TypeVar("Both", bound=Pairs[Any])
"""What two models predicted or answered on the same rows."""
Runs = tuple[RecordedRun, RecordedRun]


class Unlike(NotComparable):
    """Two runs that no common test rows make comparable; the message says what would."""


class NothingLeft(Unlike):
    """A run left no files that one could test on."""


@dataclass(frozen=True)
class Sides:
    """A candidate and a reference on the same N rows."""

    candidate: NDArray[Any]
    """What the metric that decides is the mean of (N); nan where there is none."""
    reference: NDArray[Any]
    by: Any = None
    """Who gave these scores, if somebody did."""


@dataclass(frozen=True)
class Candidate(Generic[Rows]):
    """A candidate's run, and which of its N test rows count."""

    run: RecordedRun
    rows: Rows
    paths: Mapping[str, Path]
    """Its artifacts, by name."""
    counted: NDArray[np.bool_]
    """Which rows (N) nobody that is measured on them has learned from."""


@dataclass(frozen=True)
class Measured:
    """A candidate and a reference on the same rows."""

    difference: Difference
    rows: str
    """Which rows they are, in words."""
    by: str = ""
    """Whose scores they are, in words; nothing for shares of right ones."""
    tells: bool | None = None
    """Whether who gave them can tell a right response from a wrong one; None: it was not checked, or nobody did."""
    unscored: float = 0.0
    """Share of the rows of which the candidate has no score, as no verdict on it could be read."""
    notes: tuple[str, ...] = ()
    """What speaks against the figures, one clause each."""
    anew: bool = False
    """Whether the reference was run for it."""
    detail: str = ""
    """What else a comparison of the two says, in sentences."""


class Kind(Protocol[Rows, Both]):
    """How runs of a kind are compared and promoted."""

    key: str
    """Under which key of `RunComparison` the outcome stands."""
    metrics: tuple[Metric, ...]
    """What two runs may be compared by."""
    decides: str
    """The metric that decides unless somebody names another one, and that promotion goes by."""
    selects: str | None
    """The figure of the validation split that the runs of a sweep are ranked by; None: the sweep has to name one."""
    margin: float
    """How much worse in it a candidate may be, unless somebody says otherwise."""
    needs: tuple[str, ...]
    """Artifacts of a run without which there is nothing to test on."""
    reads: tuple[str, ...]
    """Artifacts that may be missing."""
    group: str
    """What the groups of rows are called by which a comparison tells where two differ."""

    def texts(self, paths: Mapping[str, Path]) -> pd.DataFrame:
        """Return what a run's N test rows are, in the order of `read`, to be shown.

        Columns: `text`, what the model was given; `expected`; `said`, what it answered; `group`, None where a row has
        none; and `row`, a number that stands for it, where people may rate what is answered. A kind may leave this
        method out: its runs are then compared by their figures alone.
        """

    def read(self, run: RecordedRun, paths: Mapping[str, Path], home: Path) -> Rows:
        """Return what a run left of its test rows, from its artifacts by name."""

    def pair(self, runs: Runs, rows: tuple[Rows, Rows]) -> Both:
        """Return what two models predicted for the rows that both were tested on and neither has learned from.

        Raises:
            NotComparable: if there are none.
        """

    def compare(self, runs: Runs, pairs: Both, primary: str) -> Paired:
        """Compare two models by all metrics, of which `primary` decides."""

    def shown(self, pairs: Both, paired: Paired) -> Compared:
        """Return what `--json` prints of a comparison."""

    def sentence(self, pairs: Both, paired: Paired, names: tuple[str, str]) -> str:
        """Say in plain words which of two is better on what."""

    def caveats(self, runs: Runs, pairs: Both) -> Iterable[str]:
        """Return what speaks against a comparison of this kind, one line each."""

    def sides(self, pairs: Both) -> Sides:
        """Return the second model as the candidate and the first as the reference."""

    def baseline(self, candidate: Candidate[Rows]) -> tuple[Sides, str]:
        """Return a candidate beside the least that it must be better than, and what to call that.

        Raises:
            NotComparable: if there is no such thing.
        """

    def best_baseline(self, candidate: Candidate[Rows]) -> tuple[Sides, str]:
        """Return a candidate beside the best of the baselines that its run was measured against, and its name.

        Raises:
            NotComparable: if the run has left nothing of one.
        """

    def run_anew(self, champion: Registered, name: str, candidate: Candidate[Rows], home: Path) -> Sides:
        """Run a champion, called `name`, on a candidate's test rows, and return both beside each other.

        Raises:
            NotComparable: if that cannot be.
        """

    def measure(self, sides: Sides, where: str, notes: list[str]) -> Measured:
        """Return the difference of two on rows called `where`, with what speaks against the figures.

        Raises:
            NotComparable: if it would mean nothing.
        """


def kind_of(run: RecordedRun) -> Kind[Any, Any]:
    """Return the kind of a run.

    Raises:
        Unlike: if it is none that is known here.
    """
    name = kind_named(run.pipeline)
    if name not in KINDS:
        raise Unlike(f"run {run.run_id[:8]} is of the pipeline {name}, which is not known here")
    kind: Kind[Any, Any] = part_of(name, "compare").KIND
    return kind


def kind_of_both(first: RecordedRun, second: RecordedRun) -> Kind[Any, Any]:
    """Return the kind of two runs.

    Raises:
        Unlike: if they are not of the same.
    """
    names = [kind_named(run.pipeline) for run in (first, second)]
    if names[0] != names[1]:
        raise Unlike(
            f"run {first.run_id[:8]} is of the pipeline {names[0]} and run {second.run_id[:8]} of {names[1]}; "
            "give two runs of one pipeline"
        )
    return kind_of(first)


@contextmanager
def left_by(run: RecordedRun, kind: Kind[Any, Any], home: Path) -> Iterator[dict[str, Path]]:
    """Fetch what its kind reads of a run; the files are deleted afterwards.

    Raises:
        NothingLeft: if what the kind needs is not there.
        TrackingError: if the store cannot be read.
    """
    with artifacts_of(run, [*kind.needs, *kind.reads], home) as paths:
        if lacking := [name for name in kind.needs if name not in paths]:
            raise NothingLeft(f"run {run.run_id[:8]} left no {' and no '.join(lacking)}: there is nothing to test on")
        yield paths


def rows_of(run: RecordedRun, kind: Kind[Rows, Any], home: Path) -> Rows:
    """Return what a run left of its test rows.

    Raises:
        NotComparable: if it left nothing, or nothing that can be read.
        TrackingError: if the store cannot be read.
    """
    with left_by(run, kind, home) as paths:
        return kind.read(run, paths, home)


def pair_runs(runs: Runs, kind: Kind[Any, Both], home: Path, read: Callable[[RecordedRun], Any] | None = None) -> Both:
    """Return what two runs' models predicted for the same rows; `read` gives what a run left of them: `rows_of`.

    Raises:
        NotComparable: if there are no rows to compare them on.
        TrackingError: if the store cannot be read.
    """
    rows, lacking = [], []
    for run in runs:
        try:
            rows.append(read(run) if read else rows_of(run, kind, home))
        except NothingLeft as error:
            lacking.append(str(error))
    if lacking:
        raise NothingLeft("; ".join(dict.fromkeys(lacking)))
    return kind.pair(runs, (rows[0], rows[1]))


def load_version(version: Registered, home: Path) -> "LoadedClassifier | Responder":
    """Return the model of a registered version.

    Raises:
        NotComparable: if its files are gone or damaged.
    """
    from components.models.devices import pick_device
    from components.serving.load import load_with_reading

    try:
        folder = resolve_model(f"models:/{version.name}/{version.number}", home)
        return load_with_reading(folder, tracking_uri(home), str(pick_device("auto")))[0]
    except (TrackingError, WeightsError) as error:
        raise NotComparable(f"version {version.number} cannot be run on other test rows: {error}") from error


def ancestry_of(run: RecordedRun, home: Path) -> Ancestry:
    """Return what the models that a run's goes back to were trained on.

    Raises:
        TrackingError: if the store cannot be read.
    """
    chain = ancestors_of(run.run_id, home)
    return learned_by(chain, lambda path: read_scored(path, fold).learned, home) if chain else NO_ANCESTRY


def unknown_ancestors(runs: Iterable[RecordedRun], ancestries: Iterable[Ancestry]) -> list[str]:
    """Return a line for each model that one of some runs continues and whose training rows are not known."""
    found = [
        f"run {run.run_id[:8]} went on from {model}, which may have been trained on some of these rows"
        for run, ancestry in zip(runs, ancestries, strict=True)
        for model in ancestry.unknown(names_of(kind_named(run.pipeline)))
    ]
    return list(dict.fromkeys(found))


def common_rows(found: Pairs[Any]) -> str:
    """Name the rows that two runs are compared on."""
    if found.same_test_set and not found.left_out:
        return f"the same {found.rows:,} test rows"
    if not found.left_out and not all(found.learned_known):
        return f"the {found.rows:,} test rows that both have"
    neither = "neither, nor a model that one of them continues," if found.by_ancestors else "neither"
    return f"the {found.rows:,} test rows that both have and {neither} was trained on"
