"""How texts and entries are shown as the network gets them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.models.config import LoraConfig, ModelConfig, Pooling
from components.models.tokenizer import encode, end_of_text, load_tokenizer
from components.prompts import TEMPLATES
from components.training.batching import Examples
from components.training.config import InstructionTrainConfig
from components.training.instruction import build_gpt
from components.training.objectives.instruction import IGNORED, Entries
from components.training.planning.preview import (
    compare_batchings,
    describe_cuts,
    describe_entries,
    describe_lengths,
    sample_entries,
    sample_texts,
)

ENCODING = load_tokenizer("sample://vocabulary.tiktoken")


@pytest.mark.ci
@given(st.lists(st.integers(0, 300), min_size=1, max_size=80), st.integers(1, 200))
def test_bars_hold_every_text_once_and_cuts_add_up(lengths: list[int], limit: int) -> None:
    found = describe_lengths("train", np.array(lengths), limit)
    assert sum(bar["texts"] for bar in found["bars"]) == len(lengths)
    for bar in found["bars"]:
        assert bar["texts"] == sum(bar["first"] <= max(length, 1) <= bar["last"] for length in lengths)
    assert found["percentiles"]["longest"] == max(lengths)
    assert found["cut_texts"] == sum(length > limit for length in lengths)
    assert found["cut_tokens"] == sum(lengths) - sum(min(length, limit) for length in lengths)


@pytest.mark.parametrize(
    ("pooling", "read"),
    [
        ("last_token", "position 3, ' you'"),
        ("first_token", "position 1, 'call'"),
        ("mean", "the mean of positions 1 to 3"),
        ("last_position", "position 8, padding"),
        ("mean_positions", "the mean of positions 1 to 8, 5 of them padding"),
    ],
)
def test_a_sample_says_what_feeds_the_classifier(pooling: Pooling, read: str) -> None:
    rows = encode(ENCODING, ["call you", "see you soon", "call see you now ok"])
    rows[0] = [rows[0][0], rows[1][1], rows[1][1]]
    pieces = [ENCODING.decode([token]) for token in rows[0]]
    examples = Examples.of(rows, [1, 0, 1])
    [ham, spam] = sample_texts("train", examples.cut(3), ["ham", "spam"], ENCODING, pooling, 8, each=1)
    assert (ham["label"], spam["label"], spam["pieces"], spam["ids"]) == ("ham", "spam", pieces, rows[0])
    assert spam["read"] == read.replace("'call'", repr(pieces[0])).replace("' you'", repr(pieces[2]))
    assert ham["lost"] == max(len(rows[1]) - 3, 0)


END = end_of_text(ENCODING)


def written(template: str = "alpaca", outputs: tuple[str, ...] = ("Paris.", "Two and two are four.")) -> Entries:
    chosen = TEMPLATES[template]
    prompts = encode(ENCODING, [chosen.prompt(f"Answer number {number}.", "") for number in range(len(outputs))])
    return Entries.of(zip(prompts, encode(ENCODING, [chosen.completion(text) for text in outputs]), strict=True))


@pytest.mark.parametrize("mask_prompt", [True, False])
@pytest.mark.parametrize("limit", [None, 20, 160])
def test_what_is_shown_as_learnt_is_what_has_a_target(limit: int | None, mask_prompt: bool) -> None:
    entries = written().cut(limit)
    for sample in sample_entries("train", entries, [0, 1], ENCODING, END, mask_prompt):
        targets = entries.targets(sample["row"], END, mask_prompt)
        assert sample["learnt"] == [False, *(target != IGNORED for target in targets)]
        learnt = [token for token, known in zip(sample["ids"], sample["learnt"], strict=True) if known]
        assert learnt == [target for target in targets if target != IGNORED]
        assert sample["ids"][:-1] == entries.tokens(sample["row"])
        whole = (
            TEMPLATES["alpaca"].prompt(f"Answer number {sample['row']}.")
            + ("Paris.", "Two and two are four.")[sample["row"]]
        )
        assert (whole + "<|endoftext|>").startswith("".join(sample["pieces"]).rstrip("\ufffd"))
        assert sample["lost"] + len(sample["ids"]) == len(encode(ENCODING, [whole])[0]) + 1 or limit == 20


def test_an_entry_ends_with_the_token_that_ends_it_and_its_response_is_what_is_learnt() -> None:
    [sample] = sample_entries("train", written(), [0], ENCODING, END, mask_prompt=True)
    learnt = [piece for piece, known in zip(sample["pieces"], sample["learnt"], strict=True) if known]
    assert "".join(learnt) == "Paris.<|endoftext|>"
    assert sample["lost"] == 0


def test_characters_of_several_tokens_are_shown_whole() -> None:
    entries = written("alpaca-ko", ("파리입니다.",))
    [sample] = sample_entries("train", entries, [0], ENCODING, END, mask_prompt=True)
    assert "".join(sample["pieces"]).endswith("### 응답:\n파리입니다.<|endoftext|>")
    assert len(sample["pieces"]) == len(sample["ids"])
    assert "\ufffd" not in "".join(sample["pieces"])


@pytest.mark.parametrize("text", ["파리 날씨", "a 🎉 b 👩‍👩‍👧"])
def test_characters_of_texts_are_shown_whole_wherever_they_are_cut(text: str) -> None:
    examples = Examples.of(encode(ENCODING, [text]), [0])
    for limit in range(1, int(examples.lengths[0]) + 1):
        [sample] = sample_texts("train", examples.cut(limit), ["mine"], ENCODING, "first_token", None, each=1)
        assert text.startswith("".join(sample["pieces"]))
        assert len(sample["pieces"]) == limit
        entries = Entries.of([(list(examples.tokens(0)), [END] * 2)]).cut(limit)
        [sample] = sample_entries("train", entries, [0], ENCODING, END, mask_prompt=False)
        assert "\ufffd" not in "".join(sample["pieces"])
    assert sample["pieces"]


def test_cuts_are_counted_by_hand() -> None:
    entries = Entries.of([([1] * 10, [2] * 5), ([1] * 12, [2] * 1), ([1] * 4, [2] * 3)])
    cuts = describe_cuts("train", entries.cut(11), 11, context=16, new_tokens=6)
    assert cuts == {
        "split": "train", "entries": 3, "limit": 11, "cut_entries": 2, "cut_tokens": 4 + 2, "without_response": 1,
        "no_room": 1,
    }  # fmt: skip
    lengths = describe_entries("train", entries.cut(11), 11)
    assert [lengths[part]["tokens"] for part in ("entry", "prompt", "response")] == [35, 26, 9]


def test_batchings_are_compared_on_the_batches_that_training_makes() -> None:
    generator = np.random.default_rng(0)
    entries = Entries.of([([1] * int(length), [2]) for length in generator.integers(3, 40, 300)])
    config = InstructionTrainConfig(batch_size=8, batching="length", seed=5)
    model = ModelConfig(size={"layers": 1, "heads": 1, "width": 4, "context": 96}, weights="random")
    with torch.device("meta"):
        outline = build_gpt(model, LoraConfig(), config, 9, outline=True)
    found = {each["batching"]: each for each in compare_batchings(outline, entries, config, 0)}
    assert list(found) == ["padded", "length", "packed"]
    assert found["length"]["padding"] < 0.1
    assert found["padded"]["padding"] > 0.3
    assert (found["padded"]["rows"], found["length"]["rows"]) == (8, 8)
    assert found["packed"]["rows"] < 4
    assert found["packed"]["padding"] < found["padded"]["padding"]
