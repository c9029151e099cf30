"""A tokenizer with a token for each byte and one that ends a text, for networks that are made for a test."""

import tiktoken

VOCABULARY = 257


def byte_tokenizer() -> tiktoken.Encoding:
    ranks = {bytes([value]): value for value in range(256)}
    return tiktoken.Encoding(
        "bytes", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": VOCABULARY - 1}
    )
