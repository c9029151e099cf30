"""Byte-level BPE vocabularies of the library `tokenizers` as encodings of `tiktoken`."""

from collections.abc import Mapping
from typing import Any

import tiktoken
from tokenizers import models

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

PROBE = (
    "Hello, world! It's 1,234.5 - they'll say; I'D'VE",
    "  two  spaces\n\n\nthree lines \t\ttabs   \r\n end ",
    "x = [i**2 for i in range(10)]  # code\n    return {'a': 1}\n",
    "안녕하세요, 한국어 문장입니다. 값은 3만 5천원!",
    "Ünïcödé ÅÄÖ ß — “quotes” … ½ ² ٣٤ 五十",
    "👩‍👩‍👧 emoji 🎉🇰🇷 é (e + accent) \u00a0no-break\u200bzero\u3000wide",
    "CamelCase HTTPServer 2024-11-28T12:00:00Z a1b22c333d4444 0x7fff 100000",
    "<|endoftext|> </s> <s> [INST] <|im_start|>user",
    "".join(map(chr, range(256))),
    " ".join(map(chr, range(256))),
    "",
    " ",
    "\n",
    "don't DON'T 'S'T ''' ,,,... !!!??",
)
"""Texts on which both libraries have to agree: digits, blanks, scripts, emoji, and what ends up as every byte."""


def as_encoding(spec: Mapping[str, Any], name: str) -> tiktoken.Encoding | None:
    """Return the encoding that does what a `tokenizer.json` says, or None where tiktoken cannot.

    tiktoken merges any pair that makes a token, lowest id first; `tokenizers` those that are listed, in their order. So
    ids must grow with merges, and each token must come of a listed one. Tokens that are added besides are for the
    caller, and so is it to probe whether both cut texts into the same pieces.
    """
    model, pattern = spec["model"], _pattern(spec.get("pre_tokenizer"))
    normal = (spec.get("normalizer") or {"type": None}).get("type")
    odd = (model.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "dropout"))
    if model.get("type") != "BPE" or pattern is None or normal not in (None, "NFC") or any(odd):
        return None
    added = {each["content"]: each["id"] for each in spec.get("added_tokens", [])}
    vocabulary = {token: number for token, number in model["vocab"].items() if token not in added}
    split = (each.split(" ") if isinstance(each, str) else each for each in model["merges"])
    pairs = [(first, second) for first, second in split]
    merged = [model["vocab"]["".join(pair)] for pair in pairs]
    if merged != sorted(merged) or any(not set(token) <= BYTE_OF.keys() for token in vocabulary):
        return None
    if not _all_are_merged(vocabulary, pairs, bool(model.get("ignore_merges"))):
        return None
    ranks = {bytes(BYTE_OF[character] for character in token): number for token, number in vocabulary.items()}
    try:
        return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=added)
    except ValueError:  # a pattern in words that only `tokenizers` knows
        return None


def _all_are_merged(vocabulary: Mapping[str, int], pairs: list[tuple[str, str]], whole_first: bool) -> bool:
    """Tell whether merging by the list gives each token of several bytes.

    Then tiktoken merges the same: the last merge that gives a token is the only one that either would do. Where pieces
    that are tokens are not merged (`whole_first`) it is enough that the list has all pairs that make one.
    """
    listed, plain = set(pairs), models.BPE(dict(vocabulary), [pair for pair in pairs if "".join(pair) in vocabulary])
    for token in vocabulary:
        if len(token) == 1 or [each.value for each in plain.tokenize(token)] == [token]:
            continue
        if not whole_first:
            return False
        splits = ((token[:place], token[place:]) for place in range(1, len(token)))
        if any(a in vocabulary and b in vocabulary and (a, b) not in listed for a, b in splits):
            return False
    return True


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
