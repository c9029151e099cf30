"""A pretrained model of the Llama family through both flows: its own shape, tokenizer and chat template."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.core.errors import ConfigError
from components.core.home import home
from components.models.config import ModelConfig
from components.models.saved.language_model import load_gpt
from components.serving.language_model import load_responder
from components.tracking.registry.finding import resolve_model
from pipelines.check import check
from pipelines.cli.using.answering import load
from tests.pipelines.chatting import chat, save_weights
from tests.pipelines.instructing import client, config, entries, run

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights"))


@pytest.mark.ci
def test_a_run_leaves_a_model_that_talks_as_it_was_taught_and_is_gone_on_from(weights: Path, tmp_path: Path) -> None:
    summary = run(tmp_path / "talked", *chat(weights, "prompt.system=Be brief."))
    assert (summary.status, summary.model_uri) == ("FINISHED", "models:/tiny/1")
    folder = next(Path(resolve_model("models:/tiny/1", home())).glob("artifacts/*"))
    loaded = load_gpt(folder)
    assert loaded.model.transformer.name == "llama"
    prompt = loaded.card.template.prompt("Loud", "cat")
    assert prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nLoud\n\ncat<|im_end|>")
    served, _ = load("models:/tiny/1")
    here = load_responder(folder).respond(["Loud"], ["cat"])
    assert served.respond(["Loud"], ["cat"])["response"].tolist() == here["response"].tolist()
    again = AutoModelForCausalLM.from_pretrained(folder)  # what is saved, others read too
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(again(tokens).logits, loaded.model(tokens), atol=1e-4, rtol=1e-4)

    more = [{**entry, "instruction": f"More. {entry['instruction']}"} for entry in entries()]
    later = run(tmp_path / "more", *chat(Path("x"), "model.weights=models:/tiny/1"), content=more)
    assert later.status == "FINISHED"
    assert client().get_run(later.run_id).data.params["model.weights"] == "models:/tiny/1"


@pytest.mark.ci
@pytest.mark.parametrize("option", ["train.fast=false", "lora.dora=true", "train.batching=packed"])
def test_other_recipes(weights: Path, tmp_path: Path, option: str) -> None:
    adapters = ("train.trainable=lora", "lora.targets=attention") if option.startswith("lora") else ()
    summary = run(tmp_path / "other", *chat(weights, option, *adapters, "train.max_steps=2"))
    assert summary.status == "FINISHED"


@pytest.mark.ci
def test_a_check_shows_the_conversation_and_what_is_learnt(weights: Path, tmp_path: Path) -> None:
    found = check(config(tmp_path / "check", *chat(weights)))
    sample = found.texts["samples"][0]
    learnt = [piece for piece, each in zip(sample["pieces"], sample["learnt"], strict=True) if each]
    assert "".join(sample["pieces"]).startswith("<|im_start|>system")
    assert learnt[-1] == "<|im_end|>"
    assert "<|im_start|>" not in learnt
    assert found.cost.timing is not None


def test_a_model_that_was_not_taught_to_talk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prompt\.template=chat.*alpaca"):
        check(config(tmp_path / "silent", "prompt.template=chat"))


def test_a_template_that_writes_nothing_is_refused(weights: Path, tmp_path: Path) -> None:
    silent = tmp_path / "weights"
    silent.mkdir()
    for file in weights.iterdir():
        (silent / file.name).write_bytes(file.read_bytes())
    (silent / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": "{# #}"}))
    with pytest.raises(ConfigError, match=r"prompt\.template"):
        check(config(tmp_path / "check", *chat(silent)))


def test_what_names_its_shape_needs_no_other_key(weights: Path) -> None:
    model = ModelConfig(weights=str(weights))
    assert (model.size, model.vocabulary, model.tied) == ("auto", "auto", True)
    assert model.shape.kv_heads == 2
