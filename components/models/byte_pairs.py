"""Byte-level BPE vocabularies of the library `tokenizers` as encodings of `tiktoken`."""

from collections.abc import Mapping
from typing import Any

import tiktoken

GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""How GPT-2 cuts text before merging (openai/gpt-2, `encoder.py`)."""
DIGIT_BY_DIGIT = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"""
"""The same after each digit was cut out by itself, with no blank before it, as SmolLM has it."""


def printable_bytes() -> dict[str, int]:
    """Return GPT-2's spelling of bytes in order of rank: printable ones as themselves, the rest from U+0100 on."""
    printable = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF = printable_bytes()
"""Which byte a character of a byte-level vocabulary stands for."""


def as_encoding(spec: Mapping[str, Any], name: str) -> tiktoken.Encoding | None:
    """Return the encoding that does what a `tokenizer.json` says, or None where tiktoken cannot.

    tiktoken merges the pair whose token has the lowest id; `tokenizers` the one whose merge stands first. So ids must
    grow with merges. Whether both do the same is for the caller to probe.
    """
    model, pattern = spec["model"], _pattern(spec.get("pre_tokenizer"))
    normal = (spec.get("normalizer") or {"type": None}).get("type")
    odd = (model.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "dropout"))
    if model.get("type") != "BPE" or pattern is None or normal not in (None, "NFC") or any(odd):
        return None
    special = {each["content"]: each["id"] for each in spec.get("added_tokens", [])}
    vocabulary = {token: number for token, number in model["vocab"].items() if token not in special}
    pairs = (each.split(" ") if isinstance(each, str) else each for each in model["merges"])
    merged = [model["vocab"].get("".join(pair)) for pair in pairs]
    if None in merged or merged != sorted(merged) or any(not set(token) <= BYTE_OF.keys() for token in vocabulary):
        return None
    ranks = {bytes(BYTE_OF[character] for character in token): number for token, number in vocabulary.items()}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)


def _pattern(cut: Mapping[str, Any] | None) -> str | None:
    """Return the pattern of the pieces in which a pre-tokenizer cuts a text, None where there is none."""
    match cut:
        case {"type": "ByteLevel", "use_regex": True, "add_prefix_space": False}:
            return GPT2_PATTERN
        case {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "use_regex": True, "add_prefix_space": False},
        ]}:  # fmt: skip
            return DIGIT_BY_DIGIT
        case {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False},
        ]}:  # fmt: skip
            return str(pattern)
    return None
