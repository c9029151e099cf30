"""A model's folder with one thing wrong in it: what is refused, in one line that says what and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from components.core.errors import GradusError
from components.models.config import ModelConfig
from components.models.starting_weights import bring_weights
from components.models.tokenizer import encode_prompts, load_tokenizer
from components.models.weights import make_gpt
from components.prompts import PromptConfig
from tests.models.pretrained import chat_templates
from tests.models.pretrained.small_tokenizers import folder_of, trained

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small Llama as the hub gives it, taught to talk in ChatML."""
    shape = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=512, max_position_embeddings=192, tie_word_embeddings=True, eos_token_id=2,
    )  # fmt: skip
    found = tmp_path / "weights"
    AutoModelForCausalLM.from_config(shape).save_pretrained(found)
    talk = {"eos_token": "<|im_end|>", "chat_template": chat_templates.SMOLLM2}
    return folder_of(found, trained("smollm"), tokenizer_config=talk)


def use(folder: Path, out: Path) -> None:
    """Do what a run does with a model before it trains."""
    config = ModelConfig(weights=str(folder))
    assert config.shape.layers > 0
    encoding = load_tokenizer(config.tokenizer)
    out.mkdir()
    bring_weights(config.weights, out / "cache", None, out)
    assert encode_prompts(encoding, PromptConfig(template="chat").resolved(encoding), [("Name a colour.", "")])
    make_gpt(config, encoding.n_vocab, out / "weights", seed=0)


def edited(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        known = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**known, **values}))

    return change


def shards(left_out: int, index: bool) -> Callable[[Path], None]:
    """Cut the weights into two files, with an index or not, and delete one."""

    def change(folder: Path) -> None:
        tensors = sorted(load_file(folder / WEIGHTS).items())
        names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        for name, part in zip(names, (tensors[::2], tensors[1::2]), strict=True):
            save_file(dict(part), folder / name)
        if index:
            places = {key: names[place % 2] for place, (key, _) in enumerate(tensors)}
            (folder / INDEX).write_text(json.dumps({"weight_map": places}))
        (folder / WEIGHTS).unlink()
        (folder / names[left_out]).unlink()

    return change


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def written(name: str, content: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        if name == INDEX:
            (folder / WEIGHTS).unlink()
        (folder / name).write_text(json.dumps(content))

    return write


def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """Change the last norm's weights."""

    def write(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        save_file({**tensors, "model.norm.weight": change(tensors["model.norm.weight"])}, folder / WEIGHTS)

    return write


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights wider than their config": (
        edited("config.json", hidden_size=16),
        r"has shape \(\d+, 32\) in .*, the model needs \(\d+, 16\); check model.size",
    ),
    "fewer layers than the config says": (edited("config.json", num_hidden_layers=3), "weights in .* lack 9 of"),
    "more layers than the config says": (edited("config.json", num_hidden_layers=1), r"have layers\.1\..*model\.size"),
    "a shard that the index names": (
        shards(1, index=True),
        r"lacks model-00002-of-00002\.safetensors, which its .*ind",
    ),
    "a shard without an index": (shards(1, index=False), "has 1 of 2 files of weights; fetch the model again"),
    "the first shard": (shards(0, index=False), "has 1 of 2 files of weights; fetch the model again"),
    "a tokenizer of another model": (
        edited("config.json", vocab_size=300),
        r"the tokenizer in .* has \d+ tokens and the network knows 300: they do not belong together; fetch both",
    ),
    "a tokenizer of a much smaller model": (
        edited("config.json", vocab_size=128_256),
        r"the tokenizer in .* has \d+ tokens and the network knows 128,256: they do not belong together; fetch both",
    ),
    "a tokenizer without the token that ends texts": (
        edited("tokenizer_config.json", eos_token="<|over|>"),
        r"texts end with '<\|over\|>' by tokenizer_config\.json, which is no token of tokenizer\.json",
    ),
    "a tokenizer that reads nothing": (
        edited("tokenizer.json", normalizer={"type": "Replace", "pattern": {"Regex": ".*"}, "content": ""}),
        r"makes no token of .*; fetch the model again",
    ),
    "a tokenizer's settings without names": (written("tokenizer_config.json", []), "it holds a list where names"),
    "what ends an answer without names": (written("generation_config.json", [3]), "it holds a list where names"),
    "a config without names": (
        written("config.json", [3]),
        r"config\.json cannot be read \(it holds a list",
    ),
    "an index without files": (written(INDEX, {}), r"cannot be read \(it has no weight_map\)"),
    "more layers than anybody made": (edited("config.json", num_hidden_layers=20_000), "layers: .*less than.* 1000"),
    "a vocabulary without end": (edited("config.json", vocab_size=10**25), "is no number of a token, or of tokens"),
    "a context without end": (
        edited("config.json", max_position_embeddings=10**25),
        "describes no network .context: no number here is larger than 2,147,483,647",
    ),
    "positions that turn alike": (
        edited("config.json", rope_parameters={"rope_theta": 1, "rope_type": "yarn", "factor": 2}),
        "describes no network .yarn needs a base above 1, not 1",
    ),
    "heads that are not shared evenly": (
        edited("config.json", num_key_value_heads=3),
        r"describes no network \(heads 4 is not divisible by kv_heads 3\)",
    ),
    "a number that is none": (changed(lambda tensor: tensor.fill_(float("nan"))), "norm.* numbers that are not finite"),
    "a number without end": (changed(lambda tensor: tensor.fill_(float("inf"))), "norm.* numbers that are not finite"),
    "whole numbers": (changed(lambda tensor: tensor.to(torch.int8)), "norm.* holds int8 .*which are no weights"),
    "a template that does not render": (
        edited("tokenizer_config.json", chat_template="{{ messages[0].content"),
        r"prompt\.template: the model's chat template cannot be rendered: .*write a template of your own",
    ),
    "a template that prints nothing": (
        edited("tokenizer_config.json", chat_template="{% if false %}x{% endif %}"),
        r"prompt\.template: the model's chat template writes nothing; write one of your own",
    ),
    "a pickle": (pickled, r"but pytorch_model\.bin, which could run code when it is read; convert the weights"),
    "weights that are cut off": (cut, "cannot be read .*; fetch or save them again"),
    "code of its own": (
        edited("config.json", auto_map={"AutoModelForCausalLM": "modeling.Model"}),
        r"wants code of its own run \(auto_map, trust_remote_code\).* choose a model of a known family",
    ),
}


def test_the_folder_by_itself_is_fine(folder: Path, tmp_path: Path) -> None:
    use(folder, tmp_path / "out")


@pytest.mark.parametrize(("damage", "told"), BAD.values(), ids=BAD)
def test_one_line_says_what_is_wrong(folder: Path, tmp_path: Path, damage: Callable[[Path], None], told: str) -> None:
    damage(folder)
    with pytest.raises(GradusError, match=told) as raised:
        use(folder, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert "template" in str(raised.value) or str(folder) in str(raised.value)
