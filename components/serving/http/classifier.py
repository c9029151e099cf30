"""`/predict`: a classifier that is served, asked by texts, a text or several a request."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from components.models.fast.onednn import onednn_multiplies
from components.models.fast.prepared import prepared
from components.models.saved.classifier import LoadedClassifier
from components.serving.gathering import Gathering, TooManyWaiting
from components.serving.http.app import check_name
from components.serving.http.errors import Refused, logged
from components.serving.http.hanging_up import unless_gone
from components.serving.http.metrics import Metrics
from components.serving.http.requests import PredictRequest, read

MOST_TEXTS = 2048
"""Texts of a request: a larger one would keep all others waiting."""
Prediction = dict[str, Any]
NONE: Prediction = {"label": None, "probability": None, "probabilities": None}
"""What a text gets that is empty or blank: `gradus predict` gives it no label either."""


class ServedClassifier:
    """A classifier that is served."""

    def __init__(self, classifier: LoadedClassifier, name: str, most: int, queue: int, metrics: Metrics) -> None:
        """Take a classifier that is where it computes, and lay out its weights anew: it is of no other use any more.

        `most` texts go together, and `queue` may wait.
        """
        self.name = name
        self._labels = classifier.card.labels
        self._classifier = classifier
        device = classifier.model.head.weight.device
        if onednn_multiplies(device, torch.float32):
            classifier.model.transformer = prepared(classifier.model.transformer, torch.float32, take=True, fuse=False)
        # On a CPU a thread each for several batches does more than several threads for one, which wait for each other.
        workers = torch.get_num_threads() if device.type == "cpu" else 1
        self._gathering = Gathering(
            self._predict, most, queue, metrics.batch.observe, workers, partial(torch.set_num_threads, 1)
        )
        metrics.watch_queue(lambda: self._gathering.waiting)
        self.router = APIRouter()
        self.router.add_api_route("/predict", self.predict, methods=["POST"])

    @property
    def is_alive(self) -> bool:
        """Whether it still answers."""
        return self._gathering.is_alive

    def close(self) -> None:
        """End what predicts."""
        self._gathering.close()

    async def predict(self, request: Request) -> JSONResponse:
        """Return a prediction for each text: its label, that label's probability, and those of all labels."""
        asked = await read(request, PredictRequest)
        check_name(self.name, asked.model)
        texts = [asked.text] if isinstance(asked.text, str) else asked.text
        if len(texts) > MOST_TEXTS:
            raise Refused(
                400, f"{len(texts):,} texts at once, of {MOST_TEXTS:,} at most; ask in parts, or with gradus predict "
                "--file", "too_many_texts", "text",
            )  # fmt: skip
        told = [place for place, text in enumerate(texts) if text and not text.isspace()]
        predictions = [NONE] * len(texts)
        for place, found in zip(told, await self._found(request, [texts[place] for place in told]), strict=True):
            predictions[place] = found
        return JSONResponse({"model": self.name, "predictions": predictions})

    async def _found(self, request: Request, texts: list[str]) -> Sequence[Prediction]:
        if not texts:
            return []
        try:
            future = self._gathering.submit(texts)
        except TooManyWaiting as error:
            raise Refused(429, str(error), "queue_full", retry_after=1) from error
        try:
            return await unless_gone(request, asyncio.wrap_future(future))
        except Refused:
            raise
        except Exception as error:
            raise logged(error) from error

    def _predict(self, texts: list[str]) -> list[Prediction]:
        found = self._classifier.probabilities(texts)
        likeliest, rows = found.argmax(dim=1).tolist(), found.tolist()
        return [
            {
                "label": self._labels[place],
                "probability": row[place],
                "probabilities": dict(zip(self._labels, row, strict=True)),
            }
            for place, row in zip(likeliest, rows, strict=True)
        ]
