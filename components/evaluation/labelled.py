"""What a classifier says of rows whose labels are known."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Predict = Callable[[list[str]], Probabilities]
"""Maps N texts to how likely each of C labels is for each (N, C)."""


@dataclass(frozen=True)
class Predictions:
    """A classifier's predictions of N rows: true class ids (N) and probabilities (N, C)."""

    truth: Ids
    probabilities: Probabilities

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def classes(self) -> int:
        """Return how many classes there are (C)."""
        return int(self.probabilities.shape[1])

    @property
    def predicted(self) -> Ids:
        """Return the most probable class id of every row (N)."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confidence(self) -> Probabilities:
        """Return the probability of the predicted class of every row (N)."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return which rows (N) were right."""
        return np.asarray(self.predicted == self.truth)

    @property
    def averaged(self) -> list[int]:
        """Return the class ids that averages are over: of two classes the second, of more those with a row."""
        present = np.unique(self.truth).tolist()
        return [label for label in present if label == 1] if self.classes == 2 else present

    def take(self, rows: Ids | NDArray[np.bool_]) -> "Predictions":
        """Return the predictions of some rows."""
        return Predictions(self.truth[rows], self.probabilities[rows])
