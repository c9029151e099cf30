"""Tokenizers as GGUF files hold them: tokens with their kinds, merges or scores, and how text is cut.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
from collections.abc import Mapping
from typing import Any

import tiktoken

from components.core.errors import WeightsError
from components.models.export.tokenizer import pad_token, tokenizer_spec
from components.models.pretrained.gguf_tokenizer import CONTROL, CUTS, NORMAL, UNKNOWN, USER_DEFINED
from components.models.pretrained.tokenizer import BYTE_TOKEN, CONFIG_FILE
from components.models.tokenizer import Tokenizer, ends_of_text

UNUSED, BYTE = 5, 6
"""Kinds of tokens, as llama.cpp numbers them: one that the network knows and no text has, and a byte."""
WITHOUT_MERGE = -1e6
"""The score of a token that is merged from no others."""

Keys = dict[str, Any]


def tokenizer_keys(encoding: Tokenizer) -> Keys:
    """Return the keys of a file that describe a tokenizer, without `tokenizer.` before their names.

    Raises:
        WeightsError: if llama.cpp does not cut texts as it does.
    """
    spec = tokenizer_spec(encoding)
    tokens, kinds = _tokens(spec, encoding.n_vocab)
    model = spec["model"]
    if model["type"] != "BPE" or not model["merges"]:
        what = model["type"] if model["type"] != "BPE" else "bytes that are never merged"
        raise WeightsError(f"llama.cpp knows no vocabulary of {what} for a language model; export it with --to hf")
    merges = [each if isinstance(each, str) else " ".join(each) for each in model["merges"]]
    if model.get("byte_fallback"):
        own: Keys = {"model": "llama", "scores": _scores(tokens, merges), "add_space_prefix": _prefixes(spec)}
    else:
        own = {"model": "gpt2", "pre": _cut(spec, encoding.name), "merges": merges}
    named = {f"ggml.{name}": value for name, value in (own | _special(encoding, tokens, model)).items()}
    return {**named, "ggml.tokens": tokens, "ggml.token_type": kinds}


def _tokens(spec: Mapping[str, Any], count: int) -> tuple[list[str], list[int]]:
    """Return the names of all tokens that the network knows, and their kinds."""
    tokens, kinds = [f"[PAD{number}]" for number in range(count)], [UNUSED] * count
    bytes_too = spec["model"].get("byte_fallback")
    for token, number in spec["model"]["vocab"].items():
        is_byte = bytes_too and BYTE_TOKEN.fullmatch(token)
        tokens[number], kinds[number] = token, BYTE if is_byte else NORMAL
    for added in spec["added_tokens"]:
        kind = CONTROL if added["special"] else USER_DEFINED
        unknown = added["content"] == spec["model"].get("unk_token")
        tokens[added["id"]], kinds[added["id"]] = added["content"], UNKNOWN if unknown else kind
    return tokens, kinds


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """Return the scores of sentencepiece: what is merged first has the highest."""
    first: dict[str, int] = {}
    for place, merge in enumerate(merges):
        first.setdefault(merge.replace(" ", "", 1), place)
    return [-float(first[token]) if token in first else WITHOUT_MERGE for token in tokens]


def _prefixes(spec: Mapping[str, Any]) -> bool:
    """Tell whether a blank is put before a text."""
    normal, cut = json.dumps(spec.get("normalizer")), json.dumps(spec.get("pre_tokenizer"))
    return '"Prepend"' in normal or '"prepend_scheme": "first"' in cut or '"prepend_scheme": "always"' in cut


def _cut(spec: Mapping[str, Any], name: str) -> str:
    """Return what llama.cpp calls the way in which a text is cut before bytes are merged."""
    wanted = _plain(spec["pre_tokenizer"])
    normal = (spec.get("normalizer") or {}).get("type")
    for known, make in CUTS.items():
        normal_there = "NFC" if known == "qwen2" else None
        if _plain(json.loads(make().__getstate__())) == wanted and normal in (None, normal_there):
            return known
    raise WeightsError(
        f"the vocabulary {name} cuts texts in a way that llama.cpp does not know, or that is not known here; known are "
        f"those of {', '.join(CUTS)}: export it with --to hf"
    )


def _plain(cut: Any) -> Any:
    """Return how texts are cut without what makes no difference to it."""
    if isinstance(cut, dict):
        return {name: _plain(value) for name, value in cut.items() if name != "trim_offsets"}
    return [_plain(each) for each in cut] if isinstance(cut, list) else cut


def _special(encoding: Tokenizer, tokens: list[str], model: Mapping[str, Any]) -> Keys:
    """Return which tokens begin and end texts, and pad."""
    config: Keys = {}
    if not isinstance(encoding, tiktoken.Encoding):
        config = json.loads(encoding.files.get(CONFIG_FILE, "{}"))
    starts: tuple[int, ...] = getattr(encoding, "starts", ())
    ends = ends_of_text(encoding)
    found: Keys = {"eos_token_id": ends[0], "add_bos_token": bool(starts)}
    if len(ends) > 1:
        found["eot_token_id"] = ends[1]
    if config.get("pad_token"):
        found["padding_token_id"] = pad_token(encoding, config)
    if starts:
        found["bos_token_id"] = starts[0]
    elif not isinstance(encoding, tiktoken.Encoding) and (bos := encoding.variables.get("bos_token")) in tokens:
        found["bos_token_id"] = tokens.index(bos)
    if model.get("byte_fallback") and model.get("unk_token") in tokens:
        found["unknown_token_id"] = tokens.index(model["unk_token"])
    return found
