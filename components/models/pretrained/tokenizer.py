"""Tokenizers of pretrained models, from the files in which `transformers` keeps them.

A byte-level BPE is encoded by `tiktoken`, several times as fast, where a probe of texts shows that it gives the same;
everything else by the library `tokenizers`. Both stand behind `components.models.tokenizer.Tokenizer`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import tiktoken
import tokenizers

from components.chat import ChatTemplate
from components.core.errors import ConfigError
from components.models.pretrained.byte_pairs import BYTE_OF, PROBE, as_encoding

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
MODEL_FILE, GENERATION_FILE = "config.json", "generation_config.json"
FILES = (TOKENIZER_FILE, CONFIG_FILE, TEMPLATE_FILE, MODEL_FILE, GENERATION_FILE)

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
"""How sentencepiece writes a byte that is no character."""

MARK, PRIVATE = chr(0x10FFFF), 0x100000
"""How the name of a special token is hidden: what Unicode promises never to be a character, then the token's number
among them in a plane that is for private use."""
BLANKS = re.compile(r"\s{100000}")  # more of them overflow the stack on which tiktoken goes back
HIDDEN = re.compile(f"{MARK}([{chr(PRIVATE)}-{chr(PRIVATE + 0xFFFD)}])")


class PretrainedTokenizer:
    """A tokenizer of a pretrained model."""

    def __init__(self, files: Mapping[str, str], n_vocab: int, ends: tuple[int, ...], name: str) -> None:
        """`files` are the contents of `tokenizer.json` and its like by name; `n_vocab` what the network knows."""
        self.files, self.n_vocab, self.ends, self.name = dict(files), n_vocab, ends, name
        self._library = _library(files[TOKENIZER_FILE])
        # As the library writes it: files of earlier years leave out what has since become a choice.
        self._encoding = as_encoding(json.loads(self._library.to_str()), name)
        self._without_token = _bytes_without_token(self._encoding)
        if self._encoding and any(self._by_tiktoken(text) != self._by_library(text) for text in PROBE):
            self._encoding = None

    @property
    def uses_tiktoken(self) -> bool:
        """Whether texts are encoded by `tiktoken`."""
        return self._encoding is not None

    @cached_property
    def _added(self) -> dict[int, tokenizers.AddedToken]:
        found: dict[int, tokenizers.AddedToken] = self._library.get_added_tokens_decoder()
        return found

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """The ids of tokens that no text is encoded to, by what they are called."""
        return {each.content: number for number, each in self._added.items() if each.special}

    @property
    def chat_template(self) -> str | None:
        """The Jinja template in which the model was taught to talk, if it was."""
        if TEMPLATE_FILE in self.files:
            return self.files[TEMPLATE_FILE]
        found = self._config.get("chat_template")
        if isinstance(found, list):  # several, by name
            named = [each for each in found if isinstance(each, dict) and each.get("name") == "default"]
            found = named[0].get("template") if named else None
        return found if isinstance(found, str) else None

    @cached_property
    def turn_ends(self) -> tuple[int, ...]:
        """The special token that the chat template writes after what an assistant says, if it does.

        Base models may end texts with one token, and bring a template whose turns end with another one.
        """
        said = "said"
        turns = [{"role": "user", "content": "asked"}, {"role": "assistant", "content": said}]
        try:
            template = ChatTemplate(jinja=self.chat_template or "", variables=self.variables)
            after = template.render(turns, turn=False).rpartition(said)[2].lstrip()
        except ConfigError:  # that is said where it matters, when a prompt is made
            return ()
        found = any_of(self.special_tokens).match(after)
        return (self.special_tokens[found[0]],) if found else ()

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
        return {name: str(each.get("content", "") if isinstance(each, dict) else each) for name, each in named.items()}

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The tokens that the model expects before the first of a text, such as `<s>` or `[CLS]`."""
        if self._around:
            return self._around[0]
        start = self.special_tokens.get(self.variables.get("bos_token", ""))
        if start is None:
            return ()
        asked = self._config.get("add_bos_token")
        if asked is None:
            asked = self._library.encode("a", add_special_tokens=True).ids[:1] == [start]
        return (start,) if asked else ()

    @property
    def closes(self) -> tuple[int, ...]:
        """The tokens that an encoder expects after the last of a text, such as `[SEP]`."""
        return self._around[1] if self._around else ()

    @cached_property
    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """What an encoder's tokenizer puts before and behind a text, None with others.

        The files of the first encoders name no special token; `tokenizer.json` alone says what belongs there.
        """
        cls, sep, start, end = (self._config.get(f"{name}_token") for name in ("cls", "sep", "bos", "eos"))
        return around(self._library) if (cls and sep) or not (start or end) else None

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the tokens of a text, none of them special. What has no token is left out."""
        return self._by_library(_whole(text)) if self._encoding is None else self._by_tiktoken(_whole(text))

    def encode_rendered(self, text: str, first: bool = True) -> list[int]:
        """Return the tokens of what a chat template wrote: special ones where it wrote their names.

        `first` says whether the text is the first of its row.
        """
        tokens: list[int] = []
        for place, piece in enumerate(self._special.split(text)):
            if place % 2:
                name = piece if piece in self.special_tokens else piece.strip()
                tokens.append(self.special_tokens[name])
            elif piece:
                within = place or not first
                tokens += (
                    self._encode_within(self._shown(piece)) if within else self.encode_ordinary(self._shown(piece))
                )
        return tokens

    def special_in(self, text: str, start: int) -> tuple[int, int] | None:
        """Return where the next name of a special token in a text begins and ends, from `start` on, if there is one."""
        found = self._special.search(text, start)
        return found.span() if found else None

    def _encode_within(self, text: str) -> list[int]:
        """Return the tokens of a text that is not the first of its row."""
        if self._within is None:
            return self.encode_ordinary(text)
        ids: list[int] = self._within.encode(_whole(text), add_special_tokens=False).ids
        return ids

    @cached_property
    def _within(self) -> tokenizers.Tokenizer | None:
        """What puts no blank before a text, where the tokenizer does only at the beginning of a row."""
        spec = json.loads(self.files[TOKENIZER_FILE])
        cut = json.dumps(spec.get("pre_tokenizer"))
        if (inner := cut.replace('"prepend_scheme": "first"', '"prepend_scheme": "never"')) == cut:
            return None
        return _library(json.dumps({**spec, "pre_tokenizer": json.loads(inner)}))

    def hide_special(self, text: str) -> str:
        """Return a text in which names of special tokens are written so that `encode_rendered` takes them for text."""
        names = list(self.special_tokens)
        without = text.replace(MARK, "\ufffd")
        return self._names.sub(lambda found: f"{MARK}{chr(PRIVATE + names.index(found[0]))}", without)

    def _shown(self, text: str) -> str:
        names = list(self.special_tokens)
        return HIDDEN.sub(lambda found: names[ord(found[1]) - PRIVATE], text)

    @cached_property
    def _special(self) -> re.Pattern[str]:
        """What names of special tokens look like, with the blanks that some take in."""
        forms = [
            (r"\s*" if each.lstrip else "") + re.escape(each.content) + (r"\s*" if each.rstrip else "")
            for each in sorted(self._added.values(), key=lambda each: -len(each.content))
            if each.special
        ]
        return re.compile(f"({'|'.join(forms) or '(?!)'})")

    @cached_property
    def _names(self) -> re.Pattern[str]:
        return any_of(self.special_tokens)

    def write(self, folder: Path) -> None:
        """Write the files that `components.models.pretrained.tokenizer_files` reads."""
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")

    def _by_tiktoken(self, text: str) -> list[int]:
        assert self._encoding is not None
        normal = self._library.normalizer.normalize_str(text) if self._library.normalizer else text
        raw = normal.encode()
        panics = len(raw) != len(raw.translate(None, self._without_token)) or BLANKS.search(normal)
        if panics or self._plain.search(text) or self._plain.search(normal):
            return self._by_library(text)
        return self._encoding.encode_ordinary(normal)

    @cached_property
    def _plain(self) -> re.Pattern[str]:
        """What tokens look like that were added and are not special: texts are encoded to them."""
        return any_of(each.content for each in self._added.values() if not each.special)

    def _by_library(self, text: str) -> list[int]:
        ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
        return ids

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for one that the network knows and the vocabulary does not.

        Where a vocabulary marks the beginnings of words, these begin with a blank.
        """
        piece = self._library.id_to_token(token)
        if piece is None:
            return b""
        byte_level = "ByteLevel" in self._decoder
        if token in self._added and (byte_level or self._added[token].special):
            return str(piece).encode()
        if byte_level:
            known = all(character in BYTE_OF for character in piece)
            return bytes(BYTE_OF[character] for character in piece) if known else str(piece).encode()
        if match := BYTE_TOKEN.fullmatch(piece):
            return bytes([int(match[1], 16)])
        if "WordPiece" in self._decoder:
            return (piece.removeprefix("##") if piece.startswith("##") else f" {piece}").encode()
        return str(piece).replace("▁", " ").encode()

    @cached_property
    def _decoder(self) -> str:
        return json.dumps(json.loads(self.files[TOKENIZER_FILE]).get("decoder"))

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text that tokens stand for; bytes that are no text become U+FFFD.

        A blank before the first word stays if the vocabulary marks the beginnings of words.
        """
        return b"".join(map(self.decode_single_token_bytes, tokens)).decode("utf-8", "replace")


def any_of(names: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds any of some names, the longest that stands at a place; the name is its group."""
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(f"({longest_first or '(?!)'})")


def _library(spec: str) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer.from_str(spec)
    library.encode_special_tokens = True  # a text that contains one is a text like any other
    library.no_truncation()
    library.no_padding()
    return library


def around(library: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens that a tokenizer puts before and behind a text."""
    whole, plain = (library.encode("a", add_special_tokens=each).ids for each in (True, False))
    place = next(at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
    return tuple(whole[:place]), tuple(whole[place + len(plain) :])


def _whole(text: str) -> str:
    """Return a text without halves of characters, which JSON may hold and UTF-8 may not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _bytes_without_token(encoding: tiktoken.Encoding | None) -> bytes:
    if encoding is None:
        return b""
    return bytes(byte for byte in range(256) if bytes([byte]) not in encoding._mergeable_ranks)
