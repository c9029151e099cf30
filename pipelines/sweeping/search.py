"""Rows that Optuna proposes (Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", 2019).

Its storage is a SQLite file in the home, so a search that was stopped goes on. Trials are judged by validation, and a
run is stopped when its best point so far is worse than the median of what earlier ones had come to at the same step.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import GradusError, cause_of
from components.core.records import fingerprint
from pipelines.sweeping.config import SweepConfig
from pipelines.sweeping.rows import Row, named

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

CURVES = {"validation/accuracy": "curve/validation_accuracy", "validation/loss": "curve/validation_loss"}
"""The points of a training by the figure that it ends in; others have no points on the way."""
STARTUP = 4
"""Trials that are run to their end before any is stopped."""
DRAWN = 8
"""Trials whose values are drawn at random before any are proposed by what came of those before."""
LOOK = 2.0
"""Seconds between looks at the points of a run."""

STUDY = "optuna.db"
"""The study's file."""

Points = Callable[[], list[tuple[int, float]]]
"""Returns the points (step, value) of a run that have arrived."""


class Search:
    """A study of Optuna's, whose trials are rows of a sweep."""

    def __init__(self, sweep: SweepConfig, name: str, folder: Path, maximize: bool) -> None:
        """Open the study `name` in `folder`, or go on with it: what failed or was interrupted stands in line again.

        Nobody else may have it open.

        Raises:
            GradusError: if its file is damaged or locked; so do all methods.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.sweep, self.file = sweep, folder / STUDY
        with self._errors():
            self.study = self._opened(name, maximize)
            self._stand_in_line_again()

    def _opened(self, name: str, maximize: bool) -> "Study":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{self.file}",
            direction="maximize" if maximize else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
            load_if_exists=True,
        )
        # Another seed each time, or a search that goes on would draw what it has drawn before.
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=DRAWN, seed=len(study.trials))
        return study

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except storage_errors() as error:
            raise GradusError(
                f"Optuna's study {self.file} cannot be used: {cause_of(error)}; run the sweep again, and if it stays "
                "so give the sweep another name, or move that file away: its trials are then begun anew"
            ) from error

    def _stand_in_line_again(self) -> None:
        from optuna.trial import TrialState

        settled = {self._key(trial) for trial in self._in(TrialState.COMPLETE, TrialState.PRUNED)}
        settled |= {fingerprint(trial.system_attrs.get("fixed_params")) for trial in self._in(TrialState.WAITING)}
        for trial in self._in(TrialState.RUNNING):  # its process is gone
            self.study.tell(trial.number, state=TrialState.FAIL)
        for trial in self._in(TrialState.FAIL):
            if trial.params and self._key(trial) not in settled:
                settled.add(self._key(trial))
                self.study.enqueue_trial(trial.params)

    def _in(self, *states: Any) -> "list[FrozenTrial]":
        return self.study.get_trials(deepcopy=False, states=states)

    @staticmethod
    def _key(trial: "FrozenTrial") -> str:
        return fingerprint(trial.params)

    @property
    def missing(self) -> int:
        """How many trials are still to be run."""
        from optuna.trial import TrialState

        with self._errors():
            return max(0, (self.sweep.trials or 0) - len(self._in(TrialState.COMPLETE, TrialState.PRUNED)))

    def ask(self) -> "Trial":
        """Return a trial with values for all keys."""
        with self._errors():
            return self.study.ask(fixed_distributions=self._distributions())

    def _distributions(self) -> "dict[str, BaseDistribution]":
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for key, each in self.sweep.ranges.items():
            if each.scale == "int":
                found[key] = IntDistribution(round(each.low), round(each.high))
            else:
                found[key] = FloatDistribution(each.low, each.high, log=each.scale == "log")
        # Optuna keeps choices of a few types only; as JSON they may be of any.
        for key, values in self.sweep.grid.items():
            found[key] = CategoricalDistribution([json.dumps(value) for value in values])
        return found

    def row(self, trial: "Trial | FrozenTrial") -> Row:
        """Return the row that a trial is."""
        values = {key: json.loads(value) if key in self.sweep.grid else value for key, value in trial.params.items()}
        return Row(f"{trial.number + 1}: {named(values, values)}", self.sweep.preset, values, self.sweep.set)

    def rows(self) -> list[tuple[Row, bool]]:
        """Return the rows of all trials that are over, each with whether it was stopped early; one that failed and was
        run again counts once."""
        from optuna.trial import TrialState

        with self._errors():
            over, failures = self._in(TrialState.COMPLETE, TrialState.PRUNED), self._in(TrialState.FAIL)
        keys = {self._key(trial) for trial in over}
        failed = {self._key(trial): trial for trial in failures if trial.params}
        over += [trial for key, trial in failed.items() if key not in keys]
        return [(self.row(trial), trial.state == TrialState.PRUNED) for trial in over]

    def ended(self, trial: "Trial", value: float | None, pruned: bool) -> None:
        """Say what a trial has come to; without a value it has failed, unless it was stopped early."""
        from optuna.trial import TrialState

        state = TrialState.PRUNED if pruned else TrialState.FAIL if value is None else TrialState.COMPLETE
        with self._errors():
            self.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)


def storage_errors() -> tuple[type[Exception], ...]:
    """Return what Optuna raises where its database cannot be used."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    return OptunaError, SQLAlchemyError


class Watching:
    """Looks at the points of a run under way, as they arrive in MLflow, and says whether it is to be stopped."""

    def __init__(self, trial: "Trial", points: Points) -> None:
        self._trial, self._points = trial, points
        self._reported: set[int] = set()
        self._next = 0.0

    def __call__(self) -> bool:
        """Tell whether the run is to be stopped; it is looked at every few seconds."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LOOK
        self.report()
        with suppress(*storage_errors()):
            return self._trial.should_prune()
        return False

    def report(self) -> None:
        """Pass on the points that have arrived since; while the study cannot be written they wait for the next look."""
        with suppress(*storage_errors()):
            for step, value in self._points():
                if step not in self._reported:
                    self._trial.report(value, step)
                    self._reported.add(step)
