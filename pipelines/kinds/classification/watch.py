"""How a classifier in use is watched: by its labels and how sure it is, and by its errors where labels are known."""

from pathlib import Path
from typing import Any

import pandas as pd

from components.data.asked import TextSource
from components.data.formats.dialect import READING
from components.evaluation.drift import OF_LABELS, words_of
from components.models.saved.classifier import LoadedClassifier
from components.tasks.classification import validate
from components.tasks.shared import download
from components.tracking.reading import PREDICTIONS
from pipelines.asking import Asked
from pipelines.kinds.classification.config import ClassificationConfig


class WatchedClassifier:
    """A classifier."""

    artifact = PREDICTIONS
    measures = OF_LABELS
    axes = ("predicted label", "probability of the label")
    most: int | None = None
    retrained = True

    def __init__(self, model: LoadedClassifier) -> None:
        """Take the model."""
        self.model = model
        self.classes: list[str] = list(model.card.labels)

    def tested(self, path: Path) -> tuple[pd.DataFrame, set[str]]:
        """Return what it said of its test split, and the words of the texts that it learnt from."""
        rows = pd.read_parquet(path, columns=["split", "text", "label", "predicted", "probability"])
        known = words_of(rows.loc[rows["split"] == "train", "text"].tolist())
        tested = rows[rows["split"] == "test"].rename(columns={"predicted": "class", "probability": "value"})
        return tested.assign(wrong=(tested["label"] != tested["class"]).astype(float)), known

    def labelled(self, config: ClassificationConfig) -> pd.DataFrame:
        """Return what it says of the rows of a source, which are validated before."""
        table = validate(download(config.source), config.validation).path("table.parquet")
        rows = pd.read_parquet(table, columns=["text", "label"])
        said = self.model.predict(rows["text"].tolist())
        wrong = (rows["label"].to_numpy() != said["label"].to_numpy()).astype(float)
        return rows.assign(**{"class": said["label"].to_numpy(), "value": said["probability"].to_numpy()}, wrong=wrong)

    def unlabelled(self, config: ClassificationConfig, file: Path, most: int) -> pd.DataFrame:
        """Return what it says of the first rows of a file in any format; those without a text are left out.

        Raises:
            ConfigError: if the file cannot be read.
        """
        import pyarrow as pa

        def predict(some: Any, _first: int) -> Any:
            return self.model.predict(some["text"])[[*kinds]].to_dict("list")

        kinds = {"label": pa.string(), "probability": pa.float64()}
        learnt = config.source.model_dump(mode="json", include=set(READING))
        found, rows = [pd.DataFrame(columns=["text", *kinds])], 0
        for read, said in Asked(TextSource, file, {}, [], None).answers(learnt, predict, kinds):
            found.append(pd.DataFrame({"text": read.texts["text"], **said}).dropna())
            if (rows := rows + len(found[-1])) >= most:
                break
        whole = pd.concat(found[1:] or found, ignore_index=True).head(most)
        return whole.rename(columns={"label": "class", "probability": "value"})


WATCHED = WatchedClassifier
