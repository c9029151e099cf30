"""Finished classification runs as their flow leaves them in MLflow, from predictions that err where a test says."""

from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from components.tracking.config import TrackingConfig
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run

QUIET = TrackingConfig(experiment="compared", system_metrics=False)
ROWS = 200


def labelled_run(
    home: Path,
    folder: Path,
    model: Path,
    name: str,
    wrong: int,
    start: int = 0,
    train: tuple[str, ...] = ("learned",),
    svm_wrong: int | None = None,
    **params: str,
) -> str:
    """Record a run whose model, registered as `name`, errs on its first `wrong` test rows; return its id.

    `svm_wrong` is on how many the baseline `svm` errs, if the run has one.
    """
    with open_run(QUIET, home, "made", params) as run:
        run.metrics({"test/accuracy": 1 - wrong / ROWS}, 1)
        run.log_file(predictions(folder, wrong, start, train, svm_wrong))
        log_package(run, classifier_package(model, ["a"]), name)
    return run.run_id


def predictions(folder: Path, wrong: int, start: int, train: tuple[str, ...], svm_wrong: int | None = None) -> Path:
    """Write predictions that err on the first `wrong` test rows; the baseline's, if it has any, on its own first."""
    number = np.arange(start, start + ROWS)
    truth = number % 2
    spam = np.where(np.arange(ROWS) < wrong, 1 - truth, truth) * 0.8 + 0.1
    frame = pd.DataFrame({"split": "test", "label": np.array(["ham", "spam"])[truth]})
    frame = frame.assign(text=[f"text {chr(97 + row % 26)}{chr(97 + row // 26)}" for row in number])
    learned = pd.DataFrame({"split": "train", "label": "ham", "text": train})
    if svm_wrong is not None:
        frame["svm"] = np.array(["ham", "spam"])[np.where(np.arange(ROWS) < svm_wrong, 1 - truth, truth)]
    frame = pd.concat([frame.assign(p_ham=1 - spam, p_spam=spam), learned.assign(p_ham=1.0, p_spam=0.0)])
    frame.to_parquet(folder / "predictions.parquet", index=False)
    return folder / "predictions.parquet"


def aliases(home: Path, name: str) -> dict[str, str]:
    found = MlflowClient(f"sqlite:///{home}/mlflow.db").get_registered_model(name).aliases
    return {alias: str(version) for alias, version in found.items() if alias != "candidate"}
