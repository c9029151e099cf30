"""Tokenizers of pretrained models, from the files in which `transformers` keeps them.

A byte-level BPE is encoded by `tiktoken`, several times as fast, where a probe of texts shows that it gives the same;
everything else by the library `tokenizers`. Both stand behind `components.models.tokenizer.Tokenizer`.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import tiktoken
import tokenizers

from components.core.errors import WeightsError
from components.models.byte_pairs import BYTE_OF, as_encoding

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
MODEL_FILE, GENERATION_FILE = "config.json", "generation_config.json"
FILES = (TOKENIZER_FILE, CONFIG_FILE, TEMPLATE_FILE, MODEL_FILE, GENERATION_FILE)

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
"""How sentencepiece writes a byte that is no character."""

PRIVATE = 0x100000
"""What is added to a character to hide it: a plane of Unicode that is for private use."""
HIDDEN = re.compile(f"[{chr(PRIVATE)}-{chr(PRIVATE + 0xFFFD)}]")

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


class PretrainedTokenizer:
    """A tokenizer of a pretrained model."""

    def __init__(self, files: Mapping[str, str], n_vocab: int, ends: tuple[int, ...], name: str) -> None:
        """`files` are the contents of `tokenizer.json` and its like by name; `n_vocab` what the network knows."""
        self.files, self.n_vocab, self.ends, self.name = dict(files), n_vocab, ends, name
        self._library = tokenizers.Tokenizer.from_str(files[TOKENIZER_FILE])
        self._library.encode_special_tokens = True  # a text that contains one is a text like any other
        self._library.no_truncation()
        self._library.no_padding()
        spec = json.loads(files[TOKENIZER_FILE])
        self._normal_form = (spec.get("normalizer") or {}).get("type")
        self._encoding = as_encoding(spec, name)
        self._without_token = _bytes_without_token(self._encoding)
        if self._encoding and any(self._by_tiktoken(text) != self._by_library(text) for text in PROBE):
            self._encoding = None

    @property
    def uses_tiktoken(self) -> bool:
        """Whether texts are encoded by `tiktoken`."""
        return self._encoding is not None

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """The ids of tokens that no text is encoded to, by what they are called."""
        return {each.content: number for number, each in self._library.get_added_tokens_decoder().items()}

    @property
    def chat_template(self) -> str | None:
        """The Jinja template in which the model was taught to talk, if it was."""
        if TEMPLATE_FILE in self.files:
            return self.files[TEMPLATE_FILE]
        found = self._config.get("chat_template")
        if isinstance(found, list):  # several, by name
            found = next((each["template"] for each in found if each.get("name") == "default"), None)
        return found

    @cached_property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(self.files.get(CONFIG_FILE, "{}"))
        return config

    @cached_property
    def variables(self) -> dict[str, str]:
        """What a chat template may use besides messages: the names of special tokens."""
        config = self._config
        named = {
            name: config[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token") if config.get(name)
        }
        return {name: str(each["content"] if isinstance(each, dict) else each) for name, each in named.items()}

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The tokens that the model expects before the first of a text, such as `<s>`."""
        start = self.special_tokens.get(self.variables.get("bos_token", ""))
        if start is None:
            return ()
        asked = self._config.get("add_bos_token")
        if asked is None:
            asked = self._library.encode("a", add_special_tokens=True).ids[:1] == [start]
        return (start,) if asked else ()

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the tokens of a text, none of them special. What has no token is left out."""
        return self._by_library(text) if self._encoding is None else self._by_tiktoken(text)

    def encode_rendered(self, text: str) -> list[int]:
        """Return the tokens of what a chat template wrote: special ones where it wrote their names."""
        tokens: list[int] = []
        for place, piece in enumerate(self._special.split(text)):
            special = place % 2
            tokens += [self.special_tokens[piece]] if special else self.encode_ordinary(self._shown(piece))
        return tokens

    def hide_special(self, text: str) -> str:
        """Return a text in which names of special tokens are written so that `encode_rendered` takes them for text."""
        return self._special.sub(lambda name: "".join(chr(PRIVATE + ord(each)) for each in name[0]), text)

    def _shown(self, text: str) -> str:
        return HIDDEN.sub(lambda found: chr(ord(found[0]) - PRIVATE), text)

    @cached_property
    def _special(self) -> re.Pattern[str]:
        names = sorted(self.special_tokens, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else re.compile("((?!))")

    def write(self, folder: Path) -> None:
        """Write the files that `read_pretrained_tokenizer` reads."""
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")

    def _by_tiktoken(self, text: str) -> list[int]:
        assert self._encoding is not None
        raw = text.encode()
        if len(raw) != len(raw.translate(None, self._without_token)):  # tiktoken would panic
            return self._by_library(text)
        return self._encoding.encode_ordinary(unicodedata.normalize("NFC", text) if self._normal_form else text)

    def _by_library(self, text: str) -> list[int]:
        ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
        return ids

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for one that the network knows and the vocabulary does not."""
        piece = self._library.id_to_token(token)
        if piece is None or piece in self.special_tokens:
            return (piece or "").encode()
        if self._byte_level:
            return bytes(BYTE_OF[character] for character in piece)
        if match := BYTE_TOKEN.fullmatch(piece):
            return bytes([int(match[1], 16)])
        return str(piece).replace("▁", " ").encode()

    @cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in json.dumps(json.loads(self.files[TOKENIZER_FILE]).get("decoder"))

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text that tokens stand for; bytes that are no text become U+FFFD."""
        return b"".join(map(self.decode_single_token_bytes, tokens)).decode("utf-8", "replace")


def _bytes_without_token(encoding: tiktoken.Encoding | None) -> bytes:
    if encoding is None:
        return b""
    return bytes(byte for byte in range(256) if bytes([byte]) not in encoding._mergeable_ranks)


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
        settings = {name: json.loads(files.get(name, "{}")) for name in (CONFIG_FILE, MODEL_FILE, GENERATION_FILE)}
        library = tokenizers.Tokenizer.from_str(files[TOKENIZER_FILE])
    except (OSError, ValueError) as error:
        raise WeightsError(f"the tokenizer in {folder} cannot be read ({error}); fetch the model again") from error
    except Exception as error:
        raise WeightsError(f"{path} is no tokenizer that is known here ({error}); fetch the model again") from error
    known = library.get_vocab_size(with_added_tokens=True)
    n_vocab = int(settings[MODEL_FILE].get("vocab_size") or known)
    if known > n_vocab:
        raise WeightsError(
            f"the tokenizer in {folder} has {known:,} tokens and the network knows {n_vocab:,}: they do not belong "
            "together; fetch both from one model"
        )
    ends = _ends(settings, library)
    if not ends:
        raise WeightsError(f"{folder} does not say which token ends a text (eos_token in {CONFIG_FILE})")
    return PretrainedTokenizer(files, n_vocab, ends, folder.name)


def _ends(settings: Mapping[str, Mapping[str, Any]], library: tokenizers.Tokenizer) -> tuple[int, ...]:
    """Return the tokens that end a text or a turn; the first is what training puts there."""
    named = settings[CONFIG_FILE].get("eos_token")
    named = named["content"] if isinstance(named, dict) else named
    found = [library.token_to_id(named)] if named else []
    for name in (GENERATION_FILE, MODEL_FILE):
        given = settings[name].get("eos_token_id")
        found += given if isinstance(given, list) else [given]
    return tuple(dict.fromkeys(int(each) for each in found if each is not None))
