"""What a logged text classifier does when it is asked through MLflow."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

TEXT = "text"


class TextClassifier:
    """Texts in; a row each out: `label`, its `probability`, and `p_<label>` for every label."""

    def __init__(self, folder: Path) -> None:
        """Read weights and vocabulary from the saved model's folder."""
        from components.models.saved.classifier import load_classifier

        self.classifier = load_classifier(folder)

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classify a table with a column `text`, a list of strings or a series of them.

        The table returned has the index of the one that came in. `params` may hold `batch_size`.
        """
        texts = column_of_texts(model_input)
        size = int((params or {}).get("batch_size", 32))
        if size < 1:
            raise MlflowException.invalid_parameter_value(f"batch_size must be 1 or more, not {size}")
        result = self.classifier.predict(texts.tolist(), batch_size=size)
        return result.set_index(texts.index)


def column_of_texts(data: Any) -> "pd.Series[str]":
    """Return the texts of what a caller passed, or say what is wrong with it."""
    if not isinstance(data, pd.DataFrame):
        texts = pd.Series([data] if isinstance(data, str) else data, dtype=object)
    elif TEXT in data:
        texts = data[TEXT]
    elif len(data.columns) == 1 and not isinstance(data.columns[0], str | None):
        # A list or a series without a name arrives as a table with one column, 0. A column of another name may be
        # anything: better no answer than one about the labels.
        texts = data[data.columns[0]]
    else:
        names = ", ".join(map(repr, data.columns))
        raise MlflowException.invalid_parameter_value(
            f"the input has no column {TEXT!r} but {names}: pass data[[{TEXT!r}]]"
        )
    wrong = [value for value in texts if not isinstance(value, str)]
    if wrong:
        raise MlflowException.invalid_parameter_value(f"{len(wrong)} of {len(texts)} texts are missing or not strings")
    return texts
