import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken

from components.core.errors import ConfigError, WeightsError
from components.models.tokenizer import encode, end_of_text, load_tokenizer, read_tokenizer, write_tokenizer

CACHE = Path(__file__).parents[2].parent / "shared/data/tiktoken-cache"
GPT2_FILES = {"vocab.bpe": "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"}
TEXTS = [
    "Free entry in 2 a wkly comp to win FA Cup final tkts 21st May 2005!!",
    "I'll  be there,\n\tdon't   wait \r\n ",
    "naïve café — 12½ £ \u200b😀 中文 здравствуйте e\u0301",
    "   ",
    "",
    "<|endoftext|>",
    "a" * 500,
    "'S 's I'LL we'll 1234567890 \u00a0 x\u3000y",
    "lone \ud800 surrogate",
]

needs_gpt2 = pytest.mark.skipif(not CACHE.is_dir(), reason=f"GPT-2's vocabulary is not in {CACHE}")


@pytest.fixture
def gpt2(monkeypatch: pytest.MonkeyPatch) -> tiktoken.Encoding:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
    return load_tokenizer("gpt2")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A vocabulary of the 256 bytes, in another order than their values, and three merges."""
    path = tmp_path / "small.tiktoken"
    tokens = [*(bytes([255 - value]) for value in range(256)), b"he", b"ll", b"hell"]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    encoding = tiktoken.Encoding("small", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})
    write_tokenizer(encoding, tmp_path)
    shutil.move(tmp_path / "vocabulary.tiktoken", path)
    return path


@pytest.mark.ci
@needs_gpt2
def test_gpt2_is_what_tiktoken_gives(gpt2: tiktoken.Encoding) -> None:
    assert gpt2.n_vocab == 50_257
    assert end_of_text(gpt2) == 50_256
    assert encode(gpt2, ["Hello, world!"]) == [[15496, 11, 995, 0]]


@needs_gpt2
def test_gpt2_from_the_mirror_encodes_alike_without_tiktokens_cache(
    gpt2: tiktoken.Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, cached in GPT2_FILES.items():
        shutil.copy(CACHE / cached, tmp_path / name)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "/dev/null/nowhere")
    mirrored = load_tokenizer("gpt2", tmp_path)
    assert mirrored._mergeable_ranks == gpt2._mergeable_ranks
    assert mirrored._special_tokens == gpt2._special_tokens
    assert encode(mirrored, TEXTS) == encode(gpt2, TEXTS)


@needs_gpt2
def test_a_written_vocabulary_is_read_back_the_same(gpt2: tiktoken.Encoding, tmp_path: Path) -> None:
    write_tokenizer(gpt2, tmp_path)
    again = read_tokenizer(tmp_path)
    assert (again.name, again.n_vocab, end_of_text(again)) == ("gpt2", 50_257, 50_256)
    assert encode(again, TEXTS) == encode(gpt2, TEXTS)
    assert [again.decode(tokens) for tokens in encode(again, TEXTS[:5])] == TEXTS[:5]


@needs_gpt2
def test_a_mirror_with_another_vocabulary_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\nh e\n")
    with pytest.raises(WeightsError, match="its SHA-256 should be 1ce1664"):
        load_tokenizer("gpt2", tmp_path)


def test_a_tiktoken_file_gets_end_of_text_as_last_id(small: Path) -> None:
    encoding = load_tokenizer(str(small))
    assert encoding.n_vocab == 260
    assert end_of_text(encoding) == 259
    assert encode(encoding, ["hello"]) == [[258, 255 - ord("o")]]


def test_an_edited_vocabulary_file_is_read_anew(small: Path) -> None:
    load_tokenizer(str(small))
    small.write_text("".join(small.read_text().splitlines(keepends=True)[:-1]))
    assert load_tokenizer(str(small)).n_vocab == 259


def test_special_tokens_in_a_text_are_ordinary_characters(small: Path) -> None:
    encoding = load_tokenizer(str(small))
    [tokens] = encode(encoding, ["so <|endoftext|> it is"])
    assert end_of_text(encoding) not in tokens
    assert encoding.decode(tokens) == "so <|endoftext|> it is"


def test_the_shipped_sample_vocabulary_is_found_by_name() -> None:
    encoding = load_tokenizer("sample://vocabulary.tiktoken")
    assert end_of_text(encoding) == encoding.n_vocab - 1
    assert [encoding.decode(tokens) for tokens in encode(encoding, TEXTS[:7])] == TEXTS[:7]


def test_a_sample_that_is_not_shipped_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"check model\.vocabulary"):
        load_tokenizer("sample://../../nothing.tiktoken")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        ("not a vocabulary at all\n", "not a .tiktoken vocabulary"),
        ("aGU= many\n", "not a .tiktoken vocabulary"),
        ("aGU= 0\n", "not a whole vocabulary"),
        ("", "not a whole vocabulary"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_in_one_line(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "broken.tiktoken"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WeightsError, match=told) as raised:
        load_tokenizer(str(path))
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_damaged_saved_tokenizer_is_refused(small: Path) -> None:
    write_tokenizer(load_tokenizer(str(small)), small.parent)
    (small.parent / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be read as a saved tokenizer"):
        read_tokenizer(small.parent)


@pytest.mark.ci
def test_without_network_cache_and_mirror_the_error_says_what_to_set(tmp_path: Path) -> None:
    # A process of its own: tiktoken keeps what it has loaded once, and proxies are read from the environment.
    code = (
        "from components.core.errors import WeightsError\n"
        "from components.models.tokenizer import load_tokenizer\n"
        "try: load_tokenizer('gpt2')\n"
        "except WeightsError as error: print(error)"
    )
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "TIKTOKEN_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=nowhere, cwd=Path.cwd(), capture_output=True, text=True)
    [line] = done.stdout.splitlines()
    assert "set TIKTOKEN_CACHE_DIR" in line
    assert "GRADUS_MIRROR" in line


def test_more_blanks_than_tiktoken_can_read_are_one_line(gpt2: tiktoken.Encoding) -> None:
    assert len(encode(gpt2, ["a" + " " * 100_000 + "b"])[0]) > 2
    with pytest.raises(ConfigError, match="more blanks in a row than tiktoken can read"):
        encode(gpt2, ["a" + " " * 2_000_000 + "b"])
