"""What a logged text classifier does when it is asked through MLflow."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

TEXT = "text"


class TextClassifier(PythonModel):
    """Texts in; a row each out: `label`, its `probability`, and `p_<label>` for every label."""

    def load_context(self, context: Any) -> None:
        """Read weights and vocabulary from the model's own folder."""
        from components.models.saved.classifier import load_classifier

        self.classifier = load_classifier(Path(context.artifacts["model"]))

    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Classify a table with a column `text`, a list of strings or a series of them.

        The table returned has the index of the one that came in. `params` may hold `batch_size`.
        """
        texts = column_of_texts(model_input)
        result = self.classifier.predict(texts.tolist(), batch_size=batch_size(params))
        return result.set_index(texts.index)


def column_of_texts(data: Any) -> "pd.Series[str]":
    """Return the texts of what a caller passed, or say what is wrong with it."""
    if isinstance(data, pd.DataFrame):
        texts = data[TEXT] if TEXT in data else _only_column(data)
    else:
        texts = pd.Series([data] if isinstance(data, str) else data, dtype=object)
    wrong = [value for value in texts if not isinstance(value, str)]
    if wrong:
        raise MlflowException.invalid_parameter_value(f"{len(wrong)} of {len(texts)} texts are missing or not strings")
    return texts


def _only_column(data: pd.DataFrame) -> "pd.Series[str]":
    # A list or a series without a name arrives as a table with one column, 0. A column of another name may be
    # anything: better no answer than one about the labels.
    name = data.columns[0] if len(data.columns) == 1 else None
    if name is not None and not isinstance(name, str):
        return data[name]
    names = ", ".join(map(repr, data.columns))
    raise MlflowException.invalid_parameter_value(
        f"the input has no column {TEXT!r} but {names}: pass data[[{TEXT!r}]]"
    )


def batch_size(params: dict[str, Any] | None) -> int:
    """Return how many texts go through the network at once."""
    size = int((params or {}).get("batch_size", 32))
    if size < 1:
        raise MlflowException.invalid_parameter_value(f"batch_size must be 1 or more, not {size}")
    return size
