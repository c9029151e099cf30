"""Small tokenizers, trained on the spot by the library `tokenizers`, in the folders in which models bring them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from components.models.pretrained.tokenizer import PretrainedTokenizer
from components.models.tokenizer import read_tokenizer

CORPUS = [
    "Hello world, it's 1,234 days; they'll say the weather is lovely today and tomorrow",
    "안녕하세요 한국어 문장입니다. 안녕히 가세요, 한국어!",
    "def main():\n    return {'a': [1, 2, 3]}\n\n\n\tx = 100 ** 20",
    "👩‍👩‍👧 emoji 🎉 Ünïcödé naïve café “quotes” … 2024-11-28 ½",
    "SHOUTED I'VE DON'T you're we'd  two  blanks   three",
] * 3

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
LLAMA3 += r"|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPECIAL = {
    "llama3": (
        "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
        "<|finetune_right_pad_id|>",
    ),
    "sentencepiece": ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
    "wordpiece": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
}  # fmt: skip
BYTE_LEVEL = ("gpt2", "smollm", "llama3", "qwen2")


def byte_level(kind: str) -> Tokenizer:
    """Return an untrained byte-level BPE that cuts text as a family does."""
    library = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    library.decoder = decoders.ByteLevel()
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind == "smollm":
        cut = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), cut])
    elif kind != "gpt2":
        split = pre_tokenizers.Split(Regex(LLAMA3 if kind == "llama3" else QWEN2), "isolated")
        cut = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    library.pre_tokenizer = cut
    if kind == "qwen2":
        library.normalizer = normalizers.NFC()
    return library


def sentencepiece(first_only: bool = False) -> Tokenizer:
    """Return an untrained BPE as sentencepiece has it: blanks are `▁`, what has no token becomes bytes."""
    library = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if first_only:
        library.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    else:
        library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    library.decoder = decoders.Sequence(steps)
    return library


def wordpiece() -> Tokenizer:
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    return library


def trained(kind: str, alphabet: bool = True) -> Tokenizer:
    """Return a tokenizer of a kind; without its `alphabet`, bytes that the corpus has not have no token."""
    special = list(SPECIAL.get(kind.removesuffix("-first"), CHATML))
    bytes_of = pre_tokenizers.ByteLevel.alphabet() if alphabet and kind in BYTE_LEVEL else []
    if kind == "wordpiece":
        library, trainer = wordpiece(), trainers.WordPieceTrainer(vocab_size=300, special_tokens=special)
    elif kind.startswith("sentencepiece"):
        names = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
        library = sentencepiece(kind.endswith("first"))
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=names, max_token_length=12)
    else:
        library = byte_level(kind)
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=bytes_of)
    library.train_from_iterator(CORPUS, trainer)
    return without_bytes_as_special(library) if kind.startswith("sentencepiece") else library


def without_bytes_as_special(library: Tokenizer) -> Tokenizer:
    spec = json.loads(library.to_str())
    spec["added_tokens"] = [each for each in spec["added_tokens"] if not each["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(spec))


def folder_of(folder: Path, library: Tokenizer, eos: str | None = None, **files: Any) -> Path:
    """Write a tokenizer and what a model has beside it; `files` are other JSON files by name without their ending."""
    folder.mkdir(parents=True, exist_ok=True)
    library.save(str(folder / "tokenizer.json"))
    added = sorted(library.get_added_tokens_decoder().items())
    files.setdefault("tokenizer_config", {"eos_token": eos or added[0][1].content})
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def read(folder: Path) -> PretrainedTokenizer:
    encoding = read_tokenizer(folder)
    assert isinstance(encoding, PretrainedTokenizer)
    return encoding


def small(folder: Path, kind: str, **files: Any) -> tuple[PretrainedTokenizer, Tokenizer]:
    """Return a tokenizer of a kind as it is read here, and the library's, which takes special tokens for text."""
    library = trained(kind)
    encoding = read(folder_of(folder, library, **files))
    library.encode_special_tokens = True
    return encoding, library


def added(names: Sequence[str], **options: Any) -> list[AddedToken]:
    return [AddedToken(name, **options) for name in names]
