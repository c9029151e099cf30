"""A saved language model with random weights and a byte vocabulary."""

from pathlib import Path

import torch

from components.models.config import GPTSize
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.saved.language_model import save_gpt
from components.prompts import Template
from tests.byte_tokenizer import VOCABULARY, byte_tokenizer

TEMPLATE = Template(instruction="Q: {instruction}", input=" ({input})", response=" A:{output}", stop=["Q:"])


def save_language_model(folder: Path, context: int = 96, tied: bool = False) -> Path:
    """Write the model into an absent folder, and return it."""
    gpt = LanguageModel(GPT2(GPTSize(layers=2, heads=2, width=32, context=context), VOCABULARY), tie_embeddings=tied)
    gpt.initialise(seed=4)
    with torch.no_grad():
        for parameter in gpt.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
        head = gpt.head
        head[[*range(32), *range(127, 256)]] = 0  # it says letters, for the most part
    folder.mkdir(parents=True)
    save_gpt(folder, gpt, byte_tokenizer(), TEMPLATE)
    return folder
