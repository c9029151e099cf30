"""What is exported for `transformers` loads there, and computes and encodes the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from components.chat import ChatTemplate
from components.core.errors import WeightsError
from components.models.export.hf import Loaded, write_transformers
from components.models.export.settings import settings_of
from components.models.saved.language_model import LoadedGPT
from components.models.sizes import GPTSize, LlamaSize, size_from_settings
from components.models.tokenizer import encode_prompts, encode_whole, ends_of_text
from components.prompts import TEMPLATES
from tests.models.export.small import (
    BASE,
    DECODERS,
    ENCODERS,
    LABELS,
    LLAMA,
    classifier,
    encoder_tokenizer,
    language_model,
)
from tests.models.pretrained import chat_templates
from tests.models.pretrained.small_tokenizers import folder_of, read, small, trained

TEXTS = [
    "Hello, world! It's 1,234.5 - they'll say",
    "  two  spaces\n\nand\ttabs ",
    "안녕하세요 “quotes” 👩‍👩‍👧",
    "x = [i**2]",
    "a",
]
BATCH = ["a longer text that is not cut", "short"]


def export(loaded: Loaded, folder: Path) -> Path:
    folder.mkdir()
    write_transformers(loaded, folder)
    return folder


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def tokens_of(loaded: Loaded) -> Tensor:
    return torch.randint(2, loaded.encoding.n_vocab, (2, 20), generator=torch.Generator().manual_seed(7))


@pytest.mark.ci
@pytest.mark.parametrize("name", [name for name in DECODERS if name != "qwen2"])
@torch.no_grad()
def test_a_language_model_of_every_family_is_loaded(name: str, tmp_path: Path) -> None:
    loaded = language_model(DECODERS[name], tied=name != "llama")
    folder = export(loaded, tmp_path / "hf")
    peer = AutoModelForCausalLM.from_pretrained(folder).eval()
    close(loaded.model(tokens_of(loaded)), peer(tokens_of(loaded)).logits)
    assert peer.config.model_type == (name if name in ("gpt2", "mistral", "qwen3") else "llama")
    assert peer.generation_config.eos_token_id == list(ends_of_text(loaded.encoding))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == encode_whole(loaded.encoding, TEXTS)


@torch.no_grad()
def test_qwen2_is_loaded_with_the_tokenizer_of_its_kind(tmp_path: Path) -> None:
    encoding, _ = small(tmp_path / "base", "qwen2")
    loaded = language_model(DECODERS["qwen2"], encoding)
    folder = export(loaded, tmp_path / "hf")
    peer = AutoModelForCausalLM.from_pretrained(folder).eval()
    close(loaded.model(tokens_of(loaded)), peer(tokens_of(loaded)).logits)
    assert peer.config.model_type == "qwen2"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == encode_whole(loaded.encoding, TEXTS)


@pytest.mark.one_case
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen3"])
@torch.no_grad()
def test_a_decoder_that_classifies_is_loaded(name: str, tmp_path: Path) -> None:
    same_logits(classifier(DECODERS[name]), tmp_path / "hf")


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("bert", "cls"),
        *((name, pooling) for name in ("roberta", "deberta", "modernbert") for pooling in ("cls", "first_token")),
        ("modernbert", "mean"),
    ],
)
@torch.no_grad()
def test_an_encoder_that_classifies_is_loaded(name: str, pooling: str, tmp_path: Path) -> None:
    encoding = encoder_tokenizer(tmp_path / "base", name)
    same_logits(classifier(ENCODERS[name], encoding, pooling), tmp_path / "hf")


@torch.no_grad()
def test_an_encoder_whose_files_name_no_token_pads_with_that_of_its_network(tmp_path: Path) -> None:
    encoder_tokenizer(base := tmp_path / "base", "roberta")
    (base / "tokenizer_config.json").write_text("{}")
    (base / "config.json").write_text(json.dumps({"eos_token_id": 2, "pad_token_id": 1}))
    same_logits(classifier(ENCODERS["roberta"], read(base), "cls"), tmp_path / "hf")


def same_logits(loaded: Any, folder: Path) -> None:
    """Compare a classifier in a batch with padding, and what its labels are called."""
    export(loaded, folder)
    peer = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(BATCH, padding=True, truncation=True, return_tensors="pt")
    frame = loaded.predict(BATCH)
    expected = torch.tensor(frame[[f"p_{label}" for label in LABELS]].to_numpy(), dtype=torch.float32)
    close(expected, peer(**inputs).logits.softmax(dim=1))
    assert [peer.config.id2label[place] for place in range(3)] == LABELS
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == encode_whole(loaded.encoding, TEXTS)
    assert len(tokenizer("word " * 200, truncation=True)["input_ids"]) == loaded.card.max_length


@pytest.mark.parametrize(
    ("name", "pooling", "options", "line"),
    [
        ("bert", "mean", {}, "train.pooling=mean has no counterpart .* BertForSequenceClassification reads cls"),
        ("roberta", "mean", {}, "train.pooling=mean"),
        ("gpt2", "mean", {}, "train.pooling=mean .* GPT2ForSequenceClassification reads last_token"),
        ("llama", "last_position", {}, "train.pooling=last_position"),
        ("gpt2", "last_token", {"causal": False}, "train.causal=false has no counterpart"),
        ("llama", "last_token", {"bias": True}, "LlamaForSequenceClassification has none"),
    ],
)  # fmt: skip
def test_what_transformers_has_not_is_refused_by_its_name(
    name: str, pooling: str, options: dict[str, Any], line: str, tmp_path: Path
) -> None:
    size = {**DECODERS, **ENCODERS}[name]
    encoding = encoder_tokenizer(tmp_path / "base", name) if size.is_encoder else None
    with pytest.raises(WeightsError, match=line):
        export(classifier(size, encoding, pooling, **options), tmp_path / "hf")


@pytest.mark.parametrize("size", [*DECODERS.values(), *ENCODERS.values()], ids=[*DECODERS, *ENCODERS])
def test_a_config_describes_the_shape_that_it_was_written_of(size: Any) -> None:
    assert size_from_settings(settings_of(size), "it") == size


def test_a_model_keeps_the_type_of_what_it_was_trained_from(tmp_path: Path) -> None:
    size = LlamaSize(**LLAMA)
    base = {**settings_of(size), "model_type": "mistral", "sliding_window": None}
    assert settings_of(size, base)["model_type"] == "mistral"
    assert settings_of(GPTSize(**BASE), base)["model_type"] == "gpt2"


@pytest.mark.one_case
@pytest.mark.parametrize("kind", ["gpt2", "smollm", "llama3", "qwen2", "sentencepiece", "sentencepiece-first"])
def test_tokenizers_of_every_kind_encode_the_same(kind: str, tmp_path: Path) -> None:
    special = trained(kind).get_added_tokens_decoder()[1].content
    config = {"tokenizer_config": {"eos_token": special, "bos_token": special, "add_bos_token": True}}
    encoding = read(folder_of(tmp_path / "base", trained(kind), **config))
    folder = export(language_model(DECODERS["llama"], encoding), tmp_path / "hf")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == encode_whole(encoding, TEXTS)
    again = read(folder)
    assert encode_whole(again, TEXTS) == encode_whole(encoding, TEXTS)


@pytest.mark.ci
@pytest.mark.parametrize("name", ["alpaca", "phi3", "completion"])
def test_messages_become_the_prompt_of_the_training(name: str, tmp_path: Path) -> None:
    loaded = language_model(DECODERS["gpt2"], template=TEMPLATES[name])
    same_prompt(loaded, tmp_path / "hf")


def test_a_chat_template_stays_and_says_what_the_training_said(tmp_path: Path) -> None:
    encoding, _ = small(tmp_path / "base", "smollm")
    template = ChatTemplate(jinja=chat_templates.SMOLLM2, system="Answer in one word.")
    tokenizer = same_prompt(language_model(DECODERS["llama"], encoding, template), tmp_path / "hf")
    written = tokenizer.apply_chat_template([{"role": "user", "content": "Why?"}], tokenize=False)
    assert "system\nAnswer in one word.<|im_end|>" in written
    assert "SmolLM" not in written


def same_prompt(loaded: LoadedGPT, folder: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(export(loaded, folder))
    asked = [{"role": "user", "content": "Name a {colour}."}]
    theirs = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    assert [theirs] == encode_prompts(loaded.encoding, loaded.card.template, [("Name a {colour}.", "")])
    return tokenizer


def test_the_folder_serves_as_weights_of_a_new_run(tmp_path: Path) -> None:
    from components.models.config import ModelConfig
    from components.models.weights import make_gpt

    loaded = language_model(DECODERS["qwen3"])
    folder = export(loaded, tmp_path / "hf")
    config = ModelConfig(weights=str(folder))
    model = make_gpt(config, loaded.encoding.n_vocab, folder, seed=0)
    with torch.no_grad():
        close(loaded.model(tokens_of(loaded)), model(tokens_of(loaded)))
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
