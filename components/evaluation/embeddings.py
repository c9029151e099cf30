"""What a pretrained model that nothing has fine-tuned makes of texts.

Shapes: N texts, D width.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from components.models.classifier import Classifier, classify
from components.models.config import ModelConfig
from components.models.padding import cut
from components.models.tokenizer import closing, encode_whole, end_of_text, read_tokenizer
from components.models.weights import make_transformer


class Embedder:
    """A frozen model: texts in, the mean of their tokens' states out, of length 1 (Reimers & Gurevych 2019)."""

    def __init__(self, folder: Path, device: str) -> None:
        """Read a model from a folder in the layout of `transformers`.

        Raises:
            WeightsError: if it holds none that is known.
        """
        self.encoding = read_tokenizer(folder)
        config = ModelConfig(weights=str(folder), size="auto", vocabulary="auto")
        network = make_transformer(config, self.encoding.n_vocab, folder, seed=0)
        self.context = network.size.context
        self.model = Classifier(network, network.size.width, "mean")
        torch.nn.init.eye_(self.model.head.weight)  # its classes are the embedding's numbers
        self.model.to(device)

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts: (N, D)."""
        kept = closing(self.encoding)
        rows = [cut(tokens, self.context, kept) for tokens in encode_whole(self.encoding, texts)]
        states = classify(self.model, rows, end_of_text(self.encoding))
        embedded: NDArray[np.float32] = torch.nn.functional.normalize(states).numpy()
        return embedded
