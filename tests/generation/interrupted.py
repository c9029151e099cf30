"""What a process runs that is told to stop, or killed, while it answers a split through the store.

It says `batch` when it begins one, and the facts at the end. Told to, it stays in a batch until it is stopped.
"""

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from components.core.records import Facts
from components.core.store import Store
from components.generation import batched, cache
from components.generation.config import GenerationConfig
from components.generation.responses import respond
from components.models.saved.language_model import load_gpt

CONFIG = GenerationConfig(max_new_tokens=40, batch_size=4, temperature=0.9, top_p=0.95, precision="fp32")


def main(home: Path, stay_in: int = -1) -> None:
    loaded = load_gpt(home / "model")
    batches = itertools.count(1)

    class Reader(cache.Reader):
        def __init__(self, *arguments: Any) -> None:
            say("batch")
            super().__init__(*arguments)
            if next(batches) == stay_in:
                time.sleep(3600)

    batched.Reader = Reader  # type: ignore[misc]

    def write(out: Path) -> Facts:
        return respond(
            home / "entries.parquet",
            loaded.model,
            loaded.encoding,
            loaded.card.template,
            CONFIG,
            torch.device("cpu"),
            out,
        )

    say(json.dumps(Store(home / "store").produce("respond", "k", write).facts))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
