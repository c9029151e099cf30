"""What encodes texts: byte-pair vocabularies through tiktoken, or a pretrained model's own tokenizer.

Texts are encoded with `encode`, which never produces a special token: a message that contains the characters
`<|endoftext|>` is text like any other.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import tiktoken

from components.chat import ChatTemplate
from components.conversations import Entry
from components.core.errors import ConfigError, WeightsError, WeightsUnreachable, is_panic
from components.core.home import home
from components.core.home import mirror as home_mirror
from components.core.records import sha256_of
from components.core.yaml_loader import load_json_object
from components.models.pretrained.byte_pairs import GPT2_PATTERN, printable_bytes
from components.models.pretrained.files import TRACKED, find_local_weights, folder_of, read_settings
from components.models.pretrained.tokenizer import PretrainedTokenizer
from components.models.pretrained.tokenizer_files import read_pretrained_tokenizer
from components.prompts import AnyTemplate, Template

END_OF_TEXT = "<|endoftext|>"
SAMPLE = "sample://"
VOCABULARY_FILE = "vocabulary.tiktoken"
TOKENIZER_FILE = "tokenizer.json"

GPT2_MERGES = "vocab.bpe"
GPT2_MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"

PROBE = "".join(map(chr, range(256)))
"""What every vocabulary encodes."""

Tokenizer = tiktoken.Encoding | PretrainedTokenizer
"""What turns texts into tokens and back."""


def load_tokenizer(vocabulary: str, mirror: Path | None = None) -> Tokenizer:
    """Return the encoding that `model.vocabulary` names.

    `gpt2` is read from `vocab.bpe` in the mirror if it stands there, else by tiktoken: from its cache
    (`TIKTOKEN_CACHE_DIR`) or the network. With a `.tiktoken` file GPT-2's pattern is used, and `<|endoftext|>` gets the
    id after its last one. Anything else names a pretrained model that brings its own, as `model.weights` would.

    Raises:
        WeightsError: if the vocabulary cannot be found, fetched or read.
    """
    if vocabulary == "gpt2":
        merges = mirror / GPT2_MERGES if mirror else None
        return _gpt2_from_merges(merges) if merges and merges.is_file() else _gpt2_from_tiktoken()
    if not vocabulary.endswith(".tiktoken"):
        folder = folder_of(vocabulary, home() / "hub", mirror)
        if not (folder / TOKENIZER_FILE).is_file() and read_settings(folder).get("model_type", "gpt2") == "gpt2":
            return load_tokenizer("gpt2", mirror)
        return read_tokenizer(folder)
    path = _vocabulary_path(vocabulary)
    ranks = _read_ranks(path)
    return _encoding(path.stem, GPT2_PATTERN, ranks, {END_OF_TEXT: len(ranks)}, path)


def encode(encoding: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each text. Special tokens written out in a text are encoded as ordinary characters."""
    # Not tiktoken's own way for many texts: a task in a pool of threads for each takes longer than to encode it.
    try:
        return [encoding.encode_ordinary(text) for text in texts]
    except BaseException as error:
        if not is_panic(error):
            raise
        raise ConfigError("a text has more blanks in a row than tiktoken can read, a million or so") from error


def encode_whole(encoding: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each text, within what the model expects around it: `<s>`, or `[CLS]` and `[SEP]`."""
    if isinstance(encoding, tiktoken.Encoding) or not (encoding.starts or encoding.closes):
        return encode(encoding, texts)
    return [[*encoding.starts, *tokens, *encoding.closes] for tokens in encode(encoding, texts)]


def closing(encoding: Tokenizer) -> int:
    """Return how many tokens the model expects behind a text: they stay where the text is cut."""
    return 0 if isinstance(encoding, tiktoken.Encoding) else len(encoding.closes)


def encode_prompts(
    encoding: Tokenizer, template: AnyTemplate, entries: Iterable[Entry | tuple[str, str]]
) -> list[list[int]]:
    """Return the tokens of each entry, an instruction and its input, up to the response.

    Special tokens are those that the template writes, and what the model expects before a text. One that stands in an
    entry is encoded as ordinary characters.
    """
    if isinstance(encoding, tiktoken.Encoding) or not isinstance(template, ChatTemplate):
        return encode_whole(encoding, [template.prompt(*entry) for entry in entries])
    return [encoding.encode_rendered(template.prompt(*_hidden(encoding, Entry(*entry)))) for entry in entries]


def encode_turns(encoding: Tokenizer, template: AnyTemplate, entry: Entry) -> list[list[int]]:
    """Return the tokens of `encode_prompts` in parts: what is read, what the assistant says, and so on; a last is read.

    Raises:
        ConfigError: if the template does not let them be told apart.
    """
    if isinstance(encoding, tiktoken.Encoding) or not isinstance(template, ChatTemplate) or not entry.history:
        return encode_prompts(encoding, template, [entry])
    parts = template.parts(template.messages(_hidden(encoding, entry)), encoding.special_in)
    return [encoding.encode_rendered(part, first=not place) for place, part in enumerate(parts)]


def encode_answers(encoding: Tokenizer, template: AnyTemplate, outputs: Sequence[str]) -> list[list[int]]:
    """Return the tokens of responses as they follow their prompts, each without the token that ends it."""
    if isinstance(template, Template):
        return encode(encoding, [template.completion(output) for output in outputs])
    if isinstance(encoding, tiktoken.Encoding):
        return encode(encoding, outputs)
    answers = [template.answer(encoding.hide_special(output), encoding.special_in) for output in outputs]
    return [encoding.encode_rendered(answer, first=False) for answer in answers]


def _hidden(encoding: PretrainedTokenizer, entry: Entry) -> Entry:
    """Return an entry in which names of special tokens are written so that they are taken for text."""
    hide = encoding.hide_special
    history = [{**turn, "content": hide(turn["content"])} for turn in entry.history]
    return Entry(hide(entry.instruction), hide(entry.input), history)


def end_of_text(encoding: Tokenizer) -> int:
    """Return the id of the token that ends a text, such as `<|endoftext|>`; it also pads."""
    return ends_of_text(encoding)[0]


def end_of_answer(encoding: Tokenizer, template: AnyTemplate) -> int:
    """Return the id of the token that a response is taught to end with: that of a turn, where the template has one."""
    if isinstance(template, Template) or isinstance(encoding, tiktoken.Encoding) or not encoding.turn_ends:
        return end_of_text(encoding)
    return encoding.turn_ends[0]


def ends_of_text(encoding: Tokenizer) -> tuple[int, ...]:
    """Return the ids of the tokens at which a text ends that the model writes: also that of a turn, where it talks."""
    if isinstance(encoding, tiktoken.Encoding):
        return (encoding.encode_single_token(END_OF_TEXT),)
    return tuple(dict.fromkeys((*encoding.ends, *encoding.turn_ends)))


def write_tokenizer(encoding: Tokenizer, folder: Path) -> None:
    """Write into `folder` all that `read_tokenizer` needs: `tokenizer.json`, and what belongs to it."""
    if not isinstance(encoding, tiktoken.Encoding):
        encoding.write(folder)
        return
    ranks = sorted(encoding._mergeable_ranks.items(), key=lambda item: item[1])
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks]
    (folder / VOCABULARY_FILE).write_text("".join(lines), encoding="ascii")
    rest = {"name": encoding.name, "pattern": encoding._pat_str, "special_tokens": encoding._special_tokens}
    (folder / TOKENIZER_FILE).write_text(json.dumps(rest, indent=1) + "\n", encoding="utf-8")


def read_tokenizer(folder: Path) -> Tokenizer:
    """Return what `write_tokenizer` wrote into `folder`, or a pretrained model's; nothing else is read, and no network.

    Raises:
        WeightsError: if a file is missing or broken.
    """
    path = folder / TOKENIZER_FILE
    try:
        rest = load_json_object(path.read_text(encoding="utf-8"))
        if "model" in rest:
            return read_pretrained_tokenizer(folder)
        if lacking := {"name", "pattern", "special_tokens"} - rest.keys():
            raise ValueError(f"it has no {min(lacking)}")
        name, pattern, special_tokens = rest["name"], rest["pattern"], rest["special_tokens"]
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as a saved tokenizer ({error}); fetch or save the model again"
        ) from error
    return _encoding(name, pattern, _read_ranks(folder / VOCABULARY_FILE), special_tokens, path)


def _encoding(
    name: str, pattern: str, ranks: dict[bytes, int], special_tokens: dict[str, int], path: Path
) -> tiktoken.Encoding:
    # tiktoken checks the ids it is told to expect by assert, and crashes later on a vocabulary without all bytes.
    try:
        ids = sorted([*ranks.values(), *special_tokens.values()])
        if ids != list(range(len(ids))) or any(bytes([byte]) not in ranks for byte in range(256)):
            raise WeightsError(f"{path} is not a whole vocabulary: it needs all 256 bytes, and ids from 0 without gaps")
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special_tokens)
        encoding.encode_ordinary(PROBE)
    except BaseException as error:
        # What tiktoken raises where a pattern finds nothing is no Exception, and has no name outside of it.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} is no vocabulary that is known here ({error}); fetch or save it again") from error
    return encoding


def _read_ranks(path: Path) -> dict[bytes, int]:
    # Not tiktoken's own reader: it caches by path, and would return what a file held before it was edited.
    try:
        pairs = [line.split() for line in path.read_bytes().splitlines() if line]
        return {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except OSError as error:
        raise WeightsError(f"vocabulary {path} cannot be read: {error.strerror}; check model.vocabulary") from error
    except (ValueError, binascii.Error) as error:
        raise WeightsError(f"{path} is not a .tiktoken vocabulary: a line is not `base64 rank`") from error


def vocabulary_identity(vocabulary: str) -> str | None:
    """Return what a vocabulary is by content: `gpt2`, which never changes, or its file's SHA-256 (None: not there)."""
    if vocabulary == "gpt2":
        return vocabulary
    if not vocabulary.endswith(".tiktoken"):
        tracked = vocabulary.startswith(TRACKED)
        found = (
            folder_of(vocabulary, home() / "hub", None) if tracked else find_local_weights(vocabulary, home_mirror())
        )
        path = found / TOKENIZER_FILE if found and found.is_dir() else found
        return sha256_of(path) if path and path.is_file() else vocabulary
    path = _vocabulary_path(vocabulary)
    return sha256_of(path) if path.is_file() else None


def _vocabulary_path(vocabulary: str) -> Path:
    if not vocabulary.startswith(SAMPLE):
        return Path(vocabulary).expanduser()
    name = Path(vocabulary.removeprefix(SAMPLE)).name
    return Path(str(resources.files("components") / "data" / "samples" / name))


def _gpt2_from_tiktoken() -> tiktoken.Encoding:
    try:
        return tiktoken.get_encoding("gpt2")
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
        raise WeightsUnreachable(
            f"GPT-2's vocabulary could not be fetched ({type(error).__name__}); set TIKTOKEN_CACHE_DIR to a folder "
            f"that holds it, or put {GPT2_MERGES} in the folder GRADUS_MIRROR"
        ) from error


def _gpt2_from_merges(path: Path) -> tiktoken.Encoding:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != GPT2_MERGES_SHA256:
        raise WeightsError(f"{path} is not GPT-2's {GPT2_MERGES}: its SHA-256 should be {GPT2_MERGES_SHA256}")
    byte_of = printable_bytes()
    ranks = {bytes([byte]): rank for rank, byte in enumerate(byte_of.values())}
    for line in content.decode().splitlines()[1:]:
        merged = bytes(byte_of[character] for character in line.replace(" ", ""))
        ranks[merged] = len(ranks)
    return _encoding("gpt2", GPT2_PATTERN, ranks, {END_OF_TEXT: len(ranks)}, path)
