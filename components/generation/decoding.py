"""The decoding loop: one token a turn, and the text that the tokens make.

Shapes: B batch, T tokens, D width, V vocabulary.
"""

import codecs
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from components.generation.cache import Reader
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.generation.plain import read_anew
from components.generation.sampling import next_tokens
from components.models.language_model import LanguageModel
from components.models.tokenizer import Tokenizer

NextLogits = Callable[[Tensor], Tensor]
"""From all tokens so far (B, T) to the logits of the next one (B, V).

Every turn it is given one more column and may remember the rest.
"""


def uncached(model: LanguageModel) -> NextLogits:
    """Return a `NextLogits` that reads everything anew each turn; beyond the context, the last tokens only."""
    return lambda tokens: read_anew(model, tokens.tolist()).float()


def cached(model: LanguageModel, precision: str = "fp32") -> NextLogits:
    """Return a `NextLogits` that reads each token once, in `fp32` or `bf16`; beyond the context it does as `uncached`.

    There every token that is seen has another position each turn, and what was computed of it no longer holds.
    """
    decoder, read_anew = Decoder(model, precision), uncached(model)
    reader: Reader | None = None

    def logits(tokens: Tensor) -> Tensor:
        nonlocal reader
        if tokens.shape[1] > model.transformer.size.context or not decoder.sees_all(tokens.shape[1]):
            return read_anew(tokens)
        if reader is None:
            reader = Reader(decoder, tokens.tolist())
            return reader.logits
        return reader.read(tokens[:, -1])

    return logits


def generate(next_logits: NextLogits, tokens: Tensor, config: GenerationConfig, stop: int) -> Iterator[Tensor]:
    """Yield the next token of every row (B), turn after turn, for prompts of equal length: tokens (B, T), T > 0.

    A row that has come to the token `stop` goes on with it; the last turn is the one in which all rows have, or
    `config.max_new_tokens`. Same prompts, seed and machine: same tokens.
    """
    generator = torch.Generator(tokens.device).manual_seed(config.seed)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(config.max_new_tokens):
        chosen = next_tokens(next_logits(tokens), config, generator).masked_fill(ended, stop)
        ended |= chosen == stop
        yield chosen
        if ended.all():
            return
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)


def as_text(encoding: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """Yield the text that each token completes.

    A token of a byte-level vocabulary may end within a character: its bytes are held back until the character is
    whole, and what never becomes one is shown as U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        yield decoder.decode(encoding.decode_single_token_bytes(token))
    yield decoder.decode(b"", final=True)
