"""Prompts of different lengths in one batch: each gets what it gets alone, and ends for the right reason."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.generation.batched import continue_prompts
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.generation.decoding import as_text
from components.generation.loading import load_language_model
from components.models.language_model import LanguageModel
from components.models.tokenizer import encode
from tests.generation.models import ENCODING, END, LIKE, WORDS, alone, assert_alike, network, peer, uncached

TIED, UNTIED = network(), network(tied=False, seed=6)


def prompts_of(lengths: list[int], seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(END, (length,), generator=generator).tolist() for length in lengths]


class Written(NamedTuple):
    tokens: list[int]
    stopped: str | None


def go_on(gpt: LanguageModel, prompts: list[list[int]], most: int = 64, **options: object) -> list[Written]:
    stops = options.pop("stops", ())
    numbers = options.pop("numbers", None)
    config = GenerationConfig(max_new_tokens=most, **options)  # type: ignore[arg-type]
    rows = continue_prompts(Decoder(gpt, "fp32"), ENCODING, prompts, config, stops, numbers)  # type: ignore[arg-type]
    return [Written(row.tokens, row.stopped) for row in rows]


def in_batches(gpt: LanguageModel, prompts: list[list[int]], size: int, most: int) -> list[Written]:
    starts = range(0, len(prompts), size)
    return [each for start in starts for each in go_on(gpt, prompts[start : start + size], most)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3, 16])
@pytest.mark.parametrize("gpt", [TIED, UNTIED], ids=["tied", "untied"])
def test_a_batch_writes_what_the_uncached_loop_writes_to_the_end_of_the_context(gpt: LanguageModel, size: int) -> None:
    prompts = prompts_of([1, 2, 5, 7, 12, 20, 31, 40, 46, 47, 3, 9, 0, 47, 30, 1, 18, 25])
    found = in_batches(gpt, prompts, size, most=64)
    for prompt, each in zip(prompts, found, strict=True):
        assert_alike(gpt, prompt, each.tokens, alone(gpt, prompt, 64))
        assert each.stopped == "length"
        assert len(each.tokens) == 48 - max(len(prompt), 1)
    assert len({tuple(each.tokens[:5]) for each in found}) > 5, "the network says different things"


@pytest.mark.parametrize("gpt", [TIED, UNTIED], ids=["tied", "untied"])
def test_without_fast_paths_the_same_is_written(gpt: LanguageModel) -> None:
    prompts = prompts_of([1, 12, 31, 46, 47, 3, 0, 47, 18])
    for prompt, plain, fast in zip(prompts, go_on(gpt, prompts, fast=False), go_on(gpt, prompts), strict=True):
        assert_alike(gpt, prompt, plain.tokens, fast.tokens)
        assert plain.stopped == fast.stopped


def test_without_fast_paths_there_is_no_second_copy_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepared(*_: object) -> None:
        raise AssertionError("weights are made ready that nobody uses")

    monkeypatch.setattr("components.generation.decoder.prepared", prepared)
    assert go_on(TIED, [[1, 2]], 3, fast=False)[0].stopped == "length"
    with pytest.raises(AssertionError):
        go_on(TIED, [[1, 2]], 3)


@pytest.mark.ci
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    most=st.integers(1, 12),
    seed=st.integers(0, 1000),
    tied=st.booleans(),
)
def test_whatever_the_lengths(lengths: list[int], most: int, seed: int, tied: bool) -> None:
    gpt, prompts = TIED if tied else UNTIED, prompts_of(lengths, seed)
    for prompt, each in zip(prompts, go_on(gpt, prompts, most), strict=True):
        assert_alike(gpt, prompt, each.tokens, alone(gpt, prompt, most))
        assert (each.stopped == "no_room") == (len(prompt) >= 48)


@pytest.mark.ci
def test_a_memory_of_many_blocks_says_what_the_uncached_loop_says() -> None:
    gpt = network(context=400)
    prompts = prompts_of([60, 64, 65, 3, 130])
    for prompt, each in zip(prompts, go_on(gpt, prompts, 150), strict=True):
        assert_alike(gpt, prompt, each.tokens, alone(gpt, prompt, 150))


@pytest.mark.ci
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_batch_writes_what_transformers_writes(tmp_path: Path, tied: bool) -> None:
    theirs = peer(tied)
    theirs.save_pretrained(tmp_path)
    gpt, _ = load_language_model(str(tmp_path), None, WORDS, tmp_path / "cache")
    prompts = prompts_of([4, 11, 1, 40, 47])
    longest = max(map(len, prompts))
    tokens = torch.tensor([[END] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    generated = theirs.generate(tokens, attention_mask=mask, do_sample=False, max_new_tokens=1)
    assert generated.shape[1] == longest + 1
    for prompt, row, each in zip(prompts, generated, go_on(gpt, prompts, 1), strict=True):
        assert_alike(gpt, prompt, each.tokens, [token for token in row[longest:].tolist() if token != END])
    for prompt in prompts:  # alone, up to the end of the context
        ids = torch.tensor([prompt])
        room = 48 - len(prompt)
        generated = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=room
        )  # fmt: skip
        expected = generated[0, len(prompt) :].tolist()
        expected = expected[: expected.index(END)] if END in expected else expected
        [found] = go_on(gpt, [prompt], 64)
        assert_alike(gpt, prompt, found.tokens, expected)


def speaking_of_the_end(prompt: list[int], after: int) -> LanguageModel:
    """A network that says end-of-text where it said something else before, `after` tokens into its continuation."""
    gpt = network(tied=False, seed=6)
    said = alone(gpt, prompt, 40)
    first = next(place for place in range(after, len(said)) if said[place] not in said[:place])
    assert gpt.lm_head is not None
    with torch.no_grad():
        rows = gpt.lm_head.weight[[said[first], END]]
        gpt.lm_head.weight[[END, said[first]]] = rows
    assert alone(gpt, prompt, 40) == said[:first]
    return gpt


@pytest.mark.ci
def test_rows_end_each_at_its_own_end_of_text_and_leave_the_others_alone() -> None:
    prompts = prompts_of([6, 9, 30, 2, 17])
    gpt = speaking_of_the_end(prompts[1], after=4)
    found = go_on(gpt, prompts, 20)
    for prompt, each in zip(prompts, found, strict=True):
        expected = alone(gpt, prompt, 20)
        assert_alike(gpt, prompt, each.tokens, expected)
        room = min(20, 48 - len(prompt))
        assert each.stopped == ("end" if len(expected) < room else "length")
    assert found[1].stopped == "end"
    assert {each.stopped for each in found} == {"end", "length"}


def test_a_prompt_that_fills_the_context_is_no_trouble_to_the_others() -> None:
    prompts = prompts_of([48, 47, 60, 5])
    found = go_on(TIED, prompts, 4)
    assert [each.stopped for each in found] == ["no_room", "length", "no_room", "length"]
    assert [len(each.tokens) for each in found] == [0, 1, 0, 4]
    assert found[3] == go_on(TIED, [prompts[3]], 4)[0]
    assert [each.stopped for each in go_on(TIED, [prompts[0]])] == ["no_room"]
    assert go_on(TIED, []) == []


def test_a_marker_that_spans_tokens_ends_a_row_once_it_is_whole() -> None:
    prompt = prompts_of([6])[0]
    said = alone(TIED, prompt, 30)
    pieces = [ENCODING.decode_single_token_bytes(token) for token in said]
    texts = {first: b"".join(pieces[first : first + 3]).decode(errors="replace") for first in range(3, 25)}
    first, text = next((first, text) for first, text in texts.items() if "\ufffd" not in text and len(text) > 6)
    [found] = go_on(TIED, [prompt], 30, stops=(text[1:-1],))
    assert found.stopped == "marker"
    assert found.tokens == said[: first + 3], "the marker begins in one token, and ends in the next but one"
    assert go_on(TIED, [prompt], 30, stops=("a text that nobody says",))[0].stopped == "length"


@pytest.mark.parametrize("marker", ["", "### 응답:", "é!", "🎁"])
@pytest.mark.parametrize("before", ["", "Grüße ", "x" * 20])
def test_markers_are_found_however_characters_are_cut(marker: str, before: str) -> None:
    from components.generation.batched import Ends, Row, row_generator

    marker = marker or "##"
    text = (before + marker + " and more").encode()
    row = Row([1], 200, GenerationConfig(max_new_tokens=150), row_generator(0, 0, torch.device("cpu")))
    ends = Ends(ENCODING, (END,), [b"never", marker.encode()])
    for byte in text:
        row.take(ENCODING.encode_single_token(bytes([byte])), ends)
        if row.stopped:
            break
    assert row.stopped == "marker"
    assert "".join(as_text(ENCODING, row.tokens)) == before + marker


@pytest.mark.ci
def test_a_row_is_drawn_alike_whatever_its_batch_and_its_neighbours() -> None:
    prompts = prompts_of([5, 9, 2, 5, 30, 7])
    prompts[3] = prompts[0]
    options: dict[str, object] = {"temperature": 1.0, "top_k": 50}
    together = go_on(TIED, prompts, 12, **options)
    for number in (0, 3, 4):
        [found] = go_on(TIED, [prompts[number]], 12, numbers=[number], **options)
        assert found == together[number]
    assert together[0] != together[3], "the same prompt under another number is drawn anew"
    assert go_on(TIED, prompts, 12, seed=7, **options) != together
    assert go_on(TIED, prompts, 12, **options) == together


@pytest.mark.ci
def test_draws_come_as_often_as_their_probability() -> None:
    prompt = prompts_of([5])[0]
    config = GenerationConfig(temperature=1.3, top_k=4, max_new_tokens=1)
    from components.generation.sampling import filtered

    shares = filtered(uncached(TIED)(torch.tensor([prompt])), config).softmax(dim=-1)[0]
    found = go_on(TIED, [prompt] * 2000, 1, temperature=1.3, top_k=4)
    drawn = torch.tensor([each.tokens[0] if each.tokens else END for each in found])
    counted = drawn.bincount(minlength=len(shares)) / len(found)
    assert (shares > 0).sum() == 4
    assert torch.allclose(counted, shares, atol=0.04)
    assert not counted[shares == 0].any()


def test_a_network_in_training_is_asked_without_dropout_and_goes_on_training() -> None:
    gpt = network()
    for module in gpt.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9
    prompts = prompts_of([5, 8])
    expected = go_on(gpt, prompts, 8)
    gpt.train()
    assert go_on(gpt, prompts, 8) == expected
    assert gpt.training


def test_progress_is_told_of_every_row_and_token() -> None:
    told: list[tuple[int, int]] = []
    prompts = prompts_of([48, 45, 10, 3])
    config = GenerationConfig(max_new_tokens=6)
    found = continue_prompts(Decoder(TIED, "fp32"), ENCODING, prompts, config, report=lambda *each: told.append(each))
    assert sum(rows for rows, _ in told) == len(prompts)
    ends = sum(each.stopped == "end" for each in found)
    assert sum(tokens for _, tokens in told) == sum(len(each.tokens) for each in found) + ends
    assert told[0] == (1, 0)


def test_special_tokens_written_out_in_a_prompt_are_text() -> None:
    [prompt] = encode(ENCODING, ["<|endoftext|>"])
    assert END not in prompt
    assert go_on(TIED, [prompt], 3)[0].stopped == "length"


def test_the_tie_rule_is_as_narrow_as_it_says() -> None:
    prompt = prompts_of([5])[0]
    said = alone(TIED, prompt, 4)
    assert LIKE == 1e-4
    with pytest.raises(AssertionError):
        assert_alike(TIED, prompt, [(said[0] + 1) % END, *said[1:]], said)
    with pytest.raises(AssertionError):
        assert_alike(TIED, prompt, said[:-1], said)
