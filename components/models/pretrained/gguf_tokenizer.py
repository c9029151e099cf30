"""Tokenizers in GGUF files, written as `transformers` keeps them: `tokenizer.json` and `tokenizer_config.json`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from components.core.errors import WeightsError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
"""Kinds of tokens, as llama.cpp numbers them."""

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
LLAMA3 += r"|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
"""How Llama 3 and Qwen2 cut text before merging, as their `tokenizer.json` have it."""


def by_pattern(pattern: str) -> Any:
    """Return what cuts a text by a pattern before its bytes are merged."""
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _smollm() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


CUTS: dict[str, Callable[[], Any]] = {
    "gpt-2": _gpt2,
    "smollm": _smollm,
    "llama-bpe": lambda: by_pattern(LLAMA3),
    "llama3": lambda: by_pattern(LLAMA3),
    "qwen2": lambda: by_pattern(QWEN2),
}
"""How text is cut before bytes are merged, by what files call it."""
WHOLE_FIRST = ("llama-bpe", "llama3")
"""Those of Llama 3: a piece that is a token is not merged from its parts, and `<|begin_of_text|>` stands first."""


def write_tokenizer_files(given: Mapping[str, Any], folder: Path, path: Path) -> None:
    """Write the tokenizer that a GGUF file describes.

    Args:
        given: the file's keys that begin with `tokenizer.`.
        folder: where the files go.
        path: the GGUF file, for errors.

    Raises:
        WeightsError: if it is of a kind that is not known.
    """
    if "tokenizer.ggml.tokens" not in given:
        raise WeightsError(f"{path} holds no tokenizer: it is no whole model; fetch it again")
    tokens, kinds = given["tokenizer.ggml.tokens"], given.get("tokenizer.ggml.token_type", [])
    cut = given.get("tokenizer.ggml.pre", "gpt-2")
    match kind := given.get("tokenizer.ggml.model"):
        case "gpt2":
            tokenizer = _byte_level(given, tokens, cut, path)
        case "llama":
            tokenizer = _sentencepiece(given, tokens, kinds or [NORMAL] * len(tokens))
        case _:
            raise WeightsError(f"{path} has a tokenizer of the kind {kind}; known are gpt2 and llama")
    for token, its_kind in zip(tokens, kinds, strict=False):
        if its_kind in (CONTROL, UNKNOWN):
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif its_kind == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "pad_token": "padding_token_id"}
    special = {}
    for name, each in names.items():
        if (number := given.get(f"tokenizer.ggml.{each}")) is None:
            continue
        if number >= len(tokens):
            raise WeightsError(f"{path}: tokenizer.ggml.{each} is {number}, of {len(tokens):,} tokens; fetch it again")
        special[name] = tokens[number]
    config = {
        **special,
        "chat_template": given.get("tokenizer.chat_template"),
        "add_bos_token": bool(given.get("tokenizer.ggml.add_bos_token", kind == "llama" or cut in WHOLE_FIRST)),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _byte_level(given: Mapping[str, Any], tokens: list[str], cut: str, path: Path) -> Tokenizer:
    if "tokenizer.ggml.merges" not in given:
        raise WeightsError(f"{path} does not say tokenizer.ggml.merges: it is no whole model; fetch it again")
    if cut not in CUTS:
        raise WeightsError(f"{path} cuts text as {cut} before it merges bytes; known are {', '.join(CUTS)}")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [(pair[0], pair[1]) for each in given["tokenizer.ggml.merges"] if (pair := each.split(" ", 1))]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=cut in WHOLE_FIRST))
    if cut == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = CUTS[cut]()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(given: Mapping[str, Any], tokens: list[str], kinds: list[int]) -> Tokenizer:
    """Return a byte-pair vocabulary of sentencepiece: what merges first is what has the higher score.

    Only normal tokens are merged from parts: a text that spells `</s>` does not end there.
    """
    vocabulary = {token: number for number, token in enumerate(tokens)}
    scores = given["tokenizer.ggml.scores"]
    merges: list[tuple[float, str, str]] = []
    for token, score, kind in zip(tokens, scores, kinds, strict=True):
        if kind != NORMAL:
            continue
        pairs = ((token[:place], token[place:]) for place in range(1, len(token)))
        known = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += [
            (-score, *pair) for pair in sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        ]
    merges.sort(key=lambda each: each[0])
    unknown = tokens[given.get("tokenizer.ggml.unknown_token_id", 0)]
    ordered = [(first, second) for _, first, second in merges]
    tokenizer = Tokenizer(models.BPE(vocabulary, ordered, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = [normalizers.Prepend("▁")] if given.get("tokenizer.ggml.add_space_prefix", True) else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    tail = [decoders.Strip(" ", 1, 0)] if prefix else []
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *tail]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer
