"""A pretrained model's tokenizer, read from a folder in the layout of `transformers`."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import tokenizers

from components.core.config import LARGEST
from components.core.errors import WeightsError
from components.core.yaml_loader import load_json_object
from components.models.pretrained.tokenizer import (
    CONFIG_FILE,
    FILES,
    GENERATION_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    PretrainedTokenizer,
    around,
)

PROBE = "What is 1 + 1?"
LEAST = 0.75
"""Share of the tokens that a network knows which its tokenizer has: padded networks know a few per cent more."""


def read_pretrained_tokenizer(folder: Path) -> PretrainedTokenizer:
    """Return the tokenizer whose files stand in a folder in the layout of `transformers`; one is kept in memory.

    Raises:
        WeightsError: if a file is damaged, or there are more tokens than the network knows.
    """
    changed = tuple((folder / name).stat().st_mtime_ns for name in FILES if (folder / name).is_file())
    return _read(folder, changed)


@lru_cache(maxsize=1)
def _read(folder: Path, _changed: tuple[int, ...]) -> PretrainedTokenizer:
    path = folder / TOKENIZER_FILE
    try:
        files = {name: (folder / name).read_text(encoding="utf-8") for name in FILES if (folder / name).is_file()}
        named = (CONFIG_FILE, MODEL_FILE, GENERATION_FILE)
        settings = {name: load_json_object(files.get(name, "{}")) for name in named}
        library = tokenizers.Tokenizer.from_str(files[TOKENIZER_FILE])
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"the tokenizer in {folder} cannot be read ({error}); fetch the model again") from error
    except Exception as error:
        raise WeightsError(f"{path} is no tokenizer that is known here ({error}); fetch the model again") from error
    known = max(library.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    n_vocab = _number(settings[MODEL_FILE].get("vocab_size") or known, folder)
    if not LEAST * n_vocab <= known <= n_vocab:
        raise WeightsError(
            f"the tokenizer in {folder} has {known:,} tokens and the network knows {n_vocab:,}: they do not belong "
            "together; fetch both from one model"
        )
    if not library.encode(PROBE, add_special_tokens=False).ids:
        raise WeightsError(f"the tokenizer in {folder} makes no token of {PROBE!r}; fetch the model again")
    ends = tuple(_number(each, folder) for each in _ends(settings, library, folder))
    if unknown := [each for each in ends if not 0 <= each < n_vocab]:
        raise WeightsError(f"{folder} ends texts with the token {unknown[0]}, the network knows {n_vocab:,}")
    if not ends:
        raise WeightsError(f"{folder} does not say which token ends a text (eos_token in {CONFIG_FILE})")
    return PretrainedTokenizer(files, n_vocab, ends, folder.name)


def _number(value: object, folder: Path) -> int:
    if not isinstance(value, int) or value > LARGEST:
        raise WeightsError(
            f"{folder}: {str(value)[:40]!r} is no number of a token, or of tokens; fetch the model again"
        )
    return value


def _ends(settings: Mapping[str, Mapping[str, Any]], library: tokenizers.Tokenizer, folder: Path) -> tuple[object, ...]:
    """Return the tokens that end a text or a turn; the first is what training puts there."""
    named = settings[CONFIG_FILE].get("eos_token") or settings[CONFIG_FILE].get("sep_token")
    named = named.get("content") if isinstance(named, dict) else named
    found = [library.token_to_id(str(named))] if named else []
    if None in found:
        raise WeightsError(
            f"{folder}: texts end with {str(named)[:40]!r} by {CONFIG_FILE}, which is no token of {TOKENIZER_FILE}: "
            "they do not belong together; fetch both from one model"
        )
    for name in (GENERATION_FILE, MODEL_FILE):
        given = settings[name].get("eos_token_id")
        found += given if isinstance(given, list) else [given]
    if not any(each is not None for each in found):  # the files of the first encoders name none
        found += around(library)[1][-1:]
    return tuple(each for place, each in enumerate(found) if each is not None and each not in found[:place])
