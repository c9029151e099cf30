"""Tokenizers as `transformers` keeps them: `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import tiktoken
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from components.core.errors import WeightsError
from components.models.export.templates import name_of
from components.models.pretrained.byte_pairs import BYTE_OF, GPT2_PATTERN, PROBE
from components.models.pretrained.gguf_tokenizer import by_pattern
from components.models.pretrained.tokenizer import CONFIG_FILE, MODEL_FILE, TEMPLATE_FILE, TOKENIZER_FILE
from components.models.tokenizer import Tokenizer, encode_whole, end_of_text

ANY_CLASS = "PreTrainedTokenizerFast"
"""The class of `transformers` that reads `tokenizer.json` as it is; others build one anew by their own rules."""
OF_CLASSES = {"add_bos_token", "add_eos_token", "added_tokens_decoder", "auto_map", "chat_template", "legacy"}
"""Keys for such classes, or which have become a part of `tokenizer.json`."""


def tokenizer_files(encoding: Tokenizer, template: str | None, max_length: int) -> dict[str, str]:
    """Return the contents of the files by their names; `template` is a chat template in Jinja.

    Raises:
        WeightsError: if `tokenizer.json` cannot say how texts are cut.
    """
    spec = tokenizer_spec(encoding)
    config = {
        **{name: value for name, value in _config_of(encoding).items() if name not in OF_CLASSES},
        "tokenizer_class": ANY_CLASS,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
    }
    files = {TOKENIZER_FILE: json.dumps(spec, ensure_ascii=False), CONFIG_FILE: json.dumps(config, indent=1)}
    return files | ({TEMPLATE_FILE: template} if template else {})


def tokenizer_spec(encoding: Tokenizer) -> dict[str, Any]:
    """Return what `tokenizer.json` holds.

    Raises:
        WeightsError: as `tokenizer_files`.
    """
    if isinstance(encoding, tiktoken.Encoding):
        library = _from_tiktoken(encoding)
    else:
        library = tokenizers.Tokenizer.from_str(encoding.files[TOKENIZER_FILE])
        library.no_truncation()
        library.no_padding()
    library.encode_special_tokens = True
    if isinstance(encoding, tiktoken.Encoding) or _ids(library, "a") != encode_whole(encoding, ["a"])[0]:
        _put_around(library, encoding)
    for text in PROBE:
        if _ids(library, text) != encode_whole(encoding, [text])[0]:
            raise WeightsError(f"the vocabulary {encoding.name} cuts texts in a way that tokenizer.json cannot say")
    spec: dict[str, Any] = json.loads(library.to_str())
    return spec


def _config_of(encoding: Tokenizer) -> dict[str, Any]:
    """Return what `tokenizer_config.json` says of special tokens.

    Where none pads, that of `config.json` does, else the end of a text.
    """
    end = name_of(encoding, end_of_text(encoding))
    if isinstance(encoding, tiktoken.Encoding):
        return {"eos_token": end, "pad_token": end}
    config, network = (json.loads(encoding.files.get(name, "{}")) for name in (CONFIG_FILE, MODEL_FILE))
    names = {token: name for name, token in encoding.special_tokens.items()}
    named = {name: value for name, value in config.items() if not (name.endswith("_token") and value is None)}
    return {"eos_token": end, "pad_token": names.get(network.get("pad_token_id"), end), **named}


def pad_token(encoding: Tokenizer, config: Mapping[str, Any]) -> int:
    """Return the token that pads, by its name in `tokenizer_config.json`."""
    named = config["pad_token"]
    name = str(named["content"] if isinstance(named, dict) else named)
    if isinstance(encoding, tiktoken.Encoding):
        return encoding.encode_single_token(name)
    return encoding.special_tokens.get(name, end_of_text(encoding))


def _ids(library: tokenizers.Tokenizer, text: str) -> list[int]:
    try:
        text.encode()
    except UnicodeEncodeError:
        return []
    ids: list[int] = library.encode(text, add_special_tokens=True).ids
    return ids


def _put_around(library: tokenizers.Tokenizer, encoding: Tokenizer) -> None:
    """Have the library put before and behind a text what the model expects there."""
    starts, closes = (getattr(encoding, name, ()) for name in ("starts", "closes"))
    if not (starts or closes):
        return
    names = {token: name_of(encoding, token) for token in (*starts, *closes)}
    single = [*(names[token] for token in starts), "$A", *(names[token] for token in closes)]
    special = [(name, token) for token, name in names.items()]
    library.post_processor = tokenizers.processors.TemplateProcessing(single=single, special_tokens=special)


def _from_tiktoken(encoding: tiktoken.Encoding) -> tokenizers.Tokenizer:
    """Return the same byte-level vocabulary for `tokenizers`, which wants to know of each token what it merges."""
    letters = {byte: letter for letter, byte in BYTE_OF.items()}
    spelt = {token: "".join(letters[byte] for byte in token) for token in encoding._mergeable_ranks}
    pairs = [_parts(token, encoding._mergeable_ranks) for token in _by_rank(encoding) if len(token) > 1]
    whole = any(len(parts) != 2 for parts in pairs)  # a token that no merge gives is found as a whole word only
    merges = [(spelt[parts[0]], spelt[parts[1]]) for parts in pairs if len(parts) == 2]
    vocabulary = {spelt[token]: rank for token, rank in encoding._mergeable_ranks.items()}
    library = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=whole))
    plain = encoding._pat_str == GPT2_PATTERN
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False) if plain else by_pattern(encoding._pat_str)
    library.decoder = decoders.ByteLevel()
    special = sorted(encoding._special_tokens.items(), key=lambda item: item[1])
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name, _ in special])
    return library


def _by_rank(encoding: tiktoken.Encoding) -> list[bytes]:
    return sorted(encoding._mergeable_ranks, key=encoding._mergeable_ranks.__getitem__)


def _parts(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Return what a token is merged from: what its bytes become by the merges that come before it."""
    parts, own = [token[place : place + 1] for place in range(len(token))], ranks[token]
    while len(parts) > 2:
        found = [ranks.get(first + second, own) for first, second in pairwise(parts)]
        if (lowest := min(found)) >= own:
            break
        place = found.index(lowest)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts
