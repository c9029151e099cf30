"""Running the trials of a search: each is a row, all of whose seeds are run, or is stopped on the way."""

from typing import TYPE_CHECKING

from components.core.errors import GradusError, TrackingError
from components.core.home import home
from components.core.progress import progress_bar
from components.tracking.reading import curves_of
from components.tracking.sweeps import runs_under
from pipelines.sweeping.rows import Child, Row, identity_of
from pipelines.sweeping.running import INTERRUPTED, PRUNED, Running
from pipelines.sweeping.search import CURVES, Search, Watching

if TYPE_CHECKING:
    from optuna import Trial

    from pipelines.sweeping.sweep import Sweep, Tell


class Trials:
    """The trials of a sweep, as they are run."""

    def __init__(self, sweep: "Sweep", search: Search, running: Running, tell: "Tell") -> None:
        self.sweep, self.search, self.running, self.tell = sweep, search, running, tell

    def run(self) -> None:
        """Run as many as are missing; one that fails counts until the sweep is run again."""
        total, missing = self.search.sweep.trials or 0, self.search.missing
        if missing < total:
            self.tell(f"{total - missing} of {total} trials were over before")
        with progress_bar("sweep", total, "trials", done=total - missing) as update:
            self.running.all([self._one] * missing, lambda _number, _why: update(advance=1))

    def _one(self) -> str:
        trial = self.search.ask()
        row = self.search.row(trial)
        try:
            why = self._run(trial, row)
            value = None if why else self.sweep.score(row)
        except GradusError as error:  # MLflow is away, for example
            why, value = str(error), None
        if why != INTERRUPTED:  # else it stays open, and stands in line the next time
            self.search.ended(trial, value, pruned=why == PRUNED)
        self.tell(f"{row.name}: {why or 'done'}")
        return why

    def _run(self, trial: "Trial", row: Row) -> str:
        """Run all seeds of a row; return why one did not come to its end. The first decides whether it is stopped."""
        watch: Watching | None = None
        children = self.sweep.add(row)
        if not children:
            return self.sweep.rows[-1].skipped
        for number, child in enumerate(children):
            if number == 0 and self.sweep.metric in CURVES:
                watch = Watching(trial, lambda child=child: self._points(child))  # type: ignore[misc]
            why = self.running.one(child, watch if number == 0 else None)
            if number == 0 and watch:
                watch.report()
            if why:
                self.sweep.failed[child.identity] = why
                return why
        return ""

    def _points(self, child: Child) -> list[tuple[int, float]]:
        """Return the points of a run that have arrived; none while MLflow does not answer."""
        curve = CURVES[self.sweep.metric]
        try:
            runs = runs_under(self.sweep.parent, home())
            found = next((run for run in runs if identity_of(run.params) == child.identity), None)
            return curves_of(found, [curve], home()).get(curve, []) if found else []
        except TrackingError:
            return []
