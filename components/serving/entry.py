"""The MLflow model from code of every logged model: MLflow runs this file, with `integrity` in place of its import.

Not to be imported. It works where Gradus is not installed: beside it, in `code/`, stands a package of a private name
with the sources that the model needs (https://mlflow.org/docs/latest/ml/model/models-from-code/).
"""

from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

from components.core.integrity import ENVIRONMENT, find_damage


class BundledModel(PythonModel):
    """A model whose class is named by `model_config["served"]`, `MODULE:CLASS`; it is made of the saved model."""

    def load_context(self, context: Any) -> None:
        """Check the files of the model's folder, then import its code and load it."""
        folder = Path(context.artifacts["model"]).parents[1]
        if damage := find_damage(folder, ENVIRONMENT):
            raise MlflowException.invalid_parameter_value(
                f"the model's file {folder / damage} since it was written: fetch or log the model again"
            )
        module, _, name = context.model_config["served"].partition(":")
        package = import_module(module.partition(".")[0])
        for found in walk_packages(package.__path__, f"{package.__name__}."):
            import_module(found.name)  # now: other models of this version share it, and this folder may be gone then
        self.served = getattr(import_module(module), name)(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return what the model's class says of the rows, a row each."""
        answers: pd.DataFrame = self.served.predict(model_input, params)
        return answers


mlflow.models.set_model(BundledModel())
