"""Train a demo's byte-pair vocabulary: `python -m components.data.samples.make_vocabulary`.

Without arguments it is that of `spam-demo`; `--instructions` makes that of `instruct-demo`.

Byte-pair encoding as in Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909), on bytes and with the pattern of GPT-2
(Radford et al. 2019). The file is tiktoken's: a line a token, `base64(bytes) rank`; ranks 0 to 255 are the bytes.
`<|endoftext|>` is not in the file: it takes the next id.
"""

import argparse
import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from components.data.samples.make_spam import HERE, LABELS, LONG_TEXT
from components.models.pretrained.byte_pairs import GPT2_PATTERN

SIZE = 1535
"""Tokens in the file; with `<|endoftext|>` 1,536."""

PROMPT = "{instruction}\nInput: {input}\nAnswer:"
"""How an entry of the instructions stands in the text: the prompt of the preset `instruct-demo`."""

Pair = tuple[bytes, bytes]


def clean_texts(path: Path) -> list[str]:
    """Return the texts of a sample's rows that validation would let pass."""
    rows = (line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines())
    return [text for label, text in rows if label in LABELS and text.strip() and len(text) <= LONG_TEXT]


def prompts(path: Path) -> list[str]:
    """Return the prompts of a file of instructions.

    Responses are left out: every word that is asked about becomes one token, and so does its ending, but not the two
    together (" fox" and "es"). A network can then copy the word and learn when which ending follows.
    """
    return [PROMPT.format(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def chunks(texts: Iterable[str]) -> Counter[tuple[bytes, ...]]:
    """Return how often each chunk of GPT-2's pattern occurs, as sequences of single bytes."""
    import regex  # type: ignore[import-untyped]  # tiktoken brings it; the standard `re` has no \p{L}

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(regex.findall(GPT2_PATTERN, text))
    return Counter({tuple(bytes([byte]) for byte in chunk.encode()): n for chunk, n in counts.items()})


def train(texts: Iterable[str], size: int = SIZE) -> list[bytes]:
    """Return `size` tokens in order of rank: the 256 bytes, then the merges, the most frequent pair first.

    Of pairs equally frequent, the one whose bytes sort first is merged. Fewer tokens come back
    when nothing is left to merge.
    """
    counts = chunks(texts)
    words, weights = [list(chunk) for chunk in counts], list(counts.values())
    pairs: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        count_pairs(word, weights[i], i, pairs, where)
    tokens = [bytes([byte]) for byte in range(256)]
    known = set(tokens)
    while len(tokens) < size and pairs:
        pair = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for i in where.pop(pair):
            for old in pairwise(words[i]):
                pairs[old] -= weights[i]
            words[i] = merge(words[i], pair)
            count_pairs(words[i], weights[i], i, pairs, where)
        pairs = +pairs
        if (token := b"".join(pair)) not in known:
            known.add(token)
            tokens.append(token)
    return tokens


def count_pairs(
    word: list[bytes], weight: int, index: int, pairs: Counter[Pair], where: defaultdict[Pair, set[int]]
) -> None:
    """Add a word's neighbouring tokens to the counts, and note where they stand."""
    for pair in pairwise(word):
        pairs[pair] += weight
        where[pair].add(index)


def merge(word: list[bytes], pair: Pair) -> list[bytes]:
    """Return `word` with every occurrence of `pair`, from the left, made one token."""
    merged: list[bytes] = []
    for token in word:
        # A token that was just merged is longer than the pair's first half, so it cannot match again by mistake.
        if merged and (merged[-1], token) == pair:
            merged[-1] = b"".join(pair)
        else:
            merged.append(token)
    return merged


def tiktoken_lines(tokens: Iterable[bytes]) -> str:
    """Return a vocabulary in tiktoken's file format."""
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))


def main() -> None:
    """Train on a sample and write the vocabulary."""
    parser = argparse.ArgumentParser(description="Train the byte-pair vocabulary of spam-demo or instruct-demo.")
    parser.add_argument("--instructions", action="store_true", help="make that of instruct-demo")
    parser.add_argument("--sample", type=Path, help="what to train on (default: the sample beside the script)")
    parser.add_argument("--out", type=Path, help="where to write (default: beside the script)")
    given = parser.parse_args()
    if given.instructions:
        texts, name = prompts(given.sample or HERE / "instructions.json"), "instructions.tiktoken"
    else:
        texts, name = clean_texts(given.sample or HERE / "spam.tsv"), "vocabulary.tiktoken"
    (given.out or HERE / name).write_bytes(tiktoken_lines(train(texts)).encode())


if __name__ == "__main__":
    main()
