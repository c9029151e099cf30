"""The sample data of `spam-demo` is varied, hard enough, dirty enough, and what its scripts make."""

import base64
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import tiktoken

from components.data.samples import make_spam, make_vocabulary
from components.data.samples.make_spam import LABELS, LONG_TEXT, Message, fold
from components.models.tokenizer import GPT2_PATTERN

ROOT = Path(__file__).parents[3]
SPAM = make_spam.HERE / "spam.tsv"
VOCABULARY = make_spam.HERE / "vocabulary.tiktoken"
END_OF_TEXT = "<|endoftext|>"

FICTIONAL = re.compile(r"07700 ?900\d{3}|555-01\d\d|020 7946 0\d{3}|0491 570 15[6-9]")
"""Ofcom's, the North American and ACMA's ranges for drama."""


@pytest.fixture(scope="module")
def sample() -> list[Message]:
    return make_spam.sample()


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str]]:
    lines = SPAM.read_text(encoding="utf-8").split("\n")[:-1]
    return [(label, text) for label, text in (line.split("\t") for line in lines)]


@pytest.fixture(scope="module")
def clean(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first of every message that is distinct after folding, dirty rows left out."""
    good = [row for row in rows if row[0] in LABELS and row[1].strip() and len(row[1]) <= LONG_TEXT]
    return list({fold(text): (label, text) for label, text in reversed(good)}.values())


@pytest.fixture(scope="module")
def encoding() -> tiktoken.Encoding:
    lines = (line.split() for line in VOCABULARY.read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    return tiktoken.Encoding(
        "sample",
        pat_str=GPT2_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)},
        explicit_n_vocab=len(ranks) + 1,
    )


def run_script(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"components.data.samples.{module}", *arguments], check=True, cwd=ROOT)


@pytest.mark.ci
def test_the_script_makes_the_committed_messages(tmp_path: Path) -> None:
    run_script("make_spam", "--out", str(tmp_path / "spam.tsv"))
    assert (tmp_path / "spam.tsv").read_bytes() == SPAM.read_bytes()


@pytest.mark.slow
def test_the_script_makes_the_committed_vocabulary(tmp_path: Path) -> None:
    run_script("make_vocabulary", "--out", str(tmp_path / "vocabulary.tiktoken"))
    assert (tmp_path / "vocabulary.tiktoken").read_bytes() == VOCABULARY.read_bytes()


def test_another_seed_makes_other_messages(sample: list[Message]) -> None:
    assert make_spam.sample(make_spam.SEED + 1) != sample


def test_the_file_holds_what_the_script_composed(sample: list[Message], rows: list[tuple[str, str]]) -> None:
    assert rows == [(message.label, message.text) for message in sample]


def test_there_are_enough_messages_in_a_realistic_ratio(clean: list[tuple[str, str]]) -> None:
    spam = sum(label == "spam" for label, _ in clean)
    assert len(clean) >= 2000
    assert spam >= 500
    assert 0.2 <= spam / len(clean) <= 0.27


def test_no_folded_message_has_two_labels(rows: list[tuple[str, str]]) -> None:
    labels: dict[str, set[str]] = {}
    for label, text in rows:
        if label in LABELS and text.strip():
            labels.setdefault(fold(text), set()).add(label)
    assert all(len(found) == 1 for found in labels.values())


def test_no_skeleton_is_in_more_than_20_rows(sample: list[Message]) -> None:
    counts = Counter(number for message in sample for number in message.skeletons)
    assert max(counts.values()) <= 20
    assert len(counts) == len(make_spam.read_skeletons()) >= 200


def test_no_three_words_in_a_row_are_in_more_than_20_rows(rows: list[tuple[str, str]]) -> None:
    """Holds for any way to tell skeletons apart that looks at runs of words."""
    counts: Counter[tuple[str, ...]] = Counter()
    for _, text in rows:
        words = re.findall(r"[a-z']+", text.casefold())
        counts.update({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    assert counts.most_common(1)[0][1] <= 20, counts.most_common(5)


def test_dirty_rows_are_there(rows: list[tuple[str, str]]) -> None:
    texts = [text for _, text in rows]
    missing, blank = texts.count(""), sum(bool(text) and not text.strip() for text in texts)
    long = sum(len(text) > LONG_TEXT for text in texts)
    unknown = [label for label, _ in rows if label not in LABELS]
    assert (missing, blank, long, len(unknown)) == (4, 5, 7, 3)
    assert set(unknown) == {"unknown"}


def test_duplicates_are_there(rows: list[tuple[str, str]], clean: list[tuple[str, str]]) -> None:
    good = [row for row in rows if row[0] in LABELS and row[1].strip() and len(row[1]) <= LONG_TEXT]
    exact = len(good) - len(set(good))
    assert exact >= 24
    assert len(set(good)) - len(clean) >= 20


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in make_spam.HERE.iterdir() if path.is_file()) < 1_000_000


def test_numbers_and_addresses_are_fictional(rows: list[tuple[str, str]]) -> None:
    for _, text in rows:
        rest = FICTIONAL.sub("", text)
        assert not re.search(r"\+\d|(?<!\d)0\d{3,}|\d{7,}|555-", rest), text
        hosts = re.findall(r"[a-z0-9-]+(?:\.[a-z-]+)+", text.casefold())
        assert all(host.endswith(".example") for host in hosts), text


def test_no_text_is_mistaken_for_a_missing_value_or_a_quoted_field(rows: list[tuple[str, str]]) -> None:
    texts = {text.strip().casefold() for _, text in rows}
    assert not texts & {"na", "n/a", "nan", "null", "none", "nil"}
    assert not any('"' in text for text in texts)


@pytest.mark.ci
@pytest.mark.parametrize("seed", range(5))
def test_a_linear_model_scores_85_to_98_percent(clean: list[tuple[str, str]], seed: int) -> None:
    assert 0.85 <= tfidf_accuracy(clean, seed) <= 0.98


def tfidf_accuracy(clean: list[tuple[str, str]], seed: int) -> float:
    """Accuracy on the unbalanced 20 % after training on the balanced 70 %."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(clean, test_size=0.2, random_state=seed, stratify=[label for label, _ in clean])
    train = undersample(train[: round(0.7 * len(clean))], seed)
    vectorizer = TfidfVectorizer()
    features = vectorizer.fit_transform([text for _, text in train])
    model = LogisticRegression(max_iter=1000).fit(features, [label for label, _ in train])
    return float(model.score(vectorizer.transform([text for _, text in test]), [label for label, _ in test]))


def undersample(rows: list[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    spam = [row for row in rows if row[0] == "spam"]
    return spam + random.Random(seed).sample([row for row in rows if row[0] == "ham"], len(spam))


def test_the_first_256_ranks_are_the_bytes() -> None:
    lines = [line.split() for line in VOCABULARY.read_text(encoding="ascii").splitlines()]
    tokens = [base64.b64decode(token) for token, _ in lines]
    assert tokens[:256] == [bytes([byte]) for byte in range(256)]
    assert [int(rank) for _, rank in lines] == list(range(make_vocabulary.SIZE))
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hi mum x",
        "  two  spaces\t\r\n\n",
        "£5 café naïve",
        "日本語 привет नमस्ते",
        "👩🏽‍🚀\u200b\x00\x7f",
        "it's 9.30",
    ],
)
def test_any_text_survives_encoding(encoding: tiktoken.Encoding, text: str) -> None:
    assert encoding.decode(encoding.encode_ordinary(text)) == text


@pytest.mark.ci
def test_random_texts_survive_encoding(encoding: tiktoken.Encoding) -> None:
    rng = random.Random(1)
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for _ in range(200):
        text = "".join(map(chr, rng.choices(points, k=30)))
        assert encoding.decode(encoding.encode_ordinary(text)) == text


def test_end_of_text_is_the_last_id(encoding: tiktoken.Encoding) -> None:
    assert encoding.eot_token == encoding.n_vocab - 1 == make_vocabulary.SIZE


def test_the_vocabulary_shortens_the_sample(encoding: tiktoken.Encoding, clean: list[tuple[str, str]]) -> None:
    """Bytes a token: 1 would be no merges at all."""
    tokens = sum(len(encoding.encode_ordinary(text)) for _, text in clean)
    assert sum(len(text.encode()) for _, text in clean) / tokens > 3


def test_training_merges_the_most_frequent_pair_first() -> None:
    tokens = make_vocabulary.train(["ababab ab", "abc"], size=259)
    assert tokens[256:] == [b"ab", b"abab", b" ab"]


def test_training_stops_when_nothing_is_left_to_merge() -> None:
    assert make_vocabulary.train(["ab"], size=1000)[256:] == [b"ab"]


def test_training_on_overlapping_pairs_merges_from_the_left() -> None:
    assert make_vocabulary.merge([b"a", b"a", b"a"], (b"a", b"a")) == [b"aa", b"a"]
