"""`gradus export` and `gradus push`: what they write, what they leave behind, and what they say."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from components.core.home import home
from components.models.config import LoraConfig, ModelConfig
from components.models.export import export as exporting
from components.models.export import peers
from components.models.lora import add_adapters, merge_adapters
from components.models.saved.adapter import save_adapter
from components.models.saved.language_model import save_gpt
from components.models.tokenizer import read_tokenizer
from components.models.weights import make_gpt
from components.prompts import TEMPLATES
from components.tracking.config import TrackingConfig
from components.tracking.registry.exports import record_parity, version_of
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run
from components.tracking.stores import open_client
from tests.data.hub.hub_server import TOKEN, Hub
from tests.models.export.small import DECODERS, language_model
from tests.models.pretrained.small_tokenizers import folder_of, trained
from tests.pipelines.commands import gradus

TAG = "gradus.export.parity"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def parity_tag() -> str | None:
    return open_client(home()).get_model_version("spam", "1").tags.get(TAG)


@pytest.fixture
def registered(saved_model: Path, copied_databases: None) -> str:
    """The run of a registered classifier, which has a model card."""
    params = {"model.weights": "openai-community/gpt2"}
    with open_run(TrackingConfig(system_metrics=False), home(), "spam", params) as run:
        log_package(run, classifier_package(saved_model, ["a"]), "spam")
        (home() / "model_card.md").write_text("# Of the run\n", encoding="utf-8")
        run.log_file(home() / "model_card.md")
    return run.run_id


@pytest.mark.ci
@pytest.mark.usefixtures("registered")
def test_a_registered_model_is_exported_with_its_card_and_the_outcome_is_noted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = gradus("export", "models:/spam@candidate", "--to", "hf", "--output", out, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["files"] == left(out) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert found["version"] == "spam/1"
    assert found["parity"]["difference"] < 1e-4
    card = (out / "README.md").read_text()
    assert card.startswith("---\nbase_model: openai-community/gpt2\nlibrary_name: transformers\n")
    assert "# Of the run" in card
    assert "models:/spam@candidate" in card
    assert (parity_tag() or "").startswith("passed: hf: loaded by transformers")


@pytest.mark.slow
@pytest.mark.parametrize("address", ["{run}", "runs:/{run}", "runs:/{run}/model", "models:/spam/1"])
def test_every_address_of_a_model_will_do(address: str, registered: str, tmp_path: Path) -> None:
    done = gradus("export", address.format(run=registered), "--to", "hf", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "noted on version spam/1" in done.stdout
    assert "hf: loaded by transformers" in done.stdout


@pytest.mark.usefixtures("registered")
def test_a_mismatch_fails_leaves_nothing_and_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = exporting.write_transformers

    def wrong(loaded: Any, folder: Path) -> None:
        with torch.no_grad():
            loaded.model.head.weight.mul_(1.1)
        write(loaded, folder)
        with torch.no_grad():
            loaded.model.head.weight.div_(1.1)

    monkeypatch.setattr(exporting, "write_transformers", wrong)
    (tmp_path / "parent").mkdir()
    done = gradus("export", "models:/spam/1", "--to", "hf", "--output", tmp_path / "parent/out")
    assert done.returncode == 1
    assert "logits differ from the model's by" in done.stderr
    assert left(tmp_path / "parent") == []
    assert (parity_tag() or "").startswith("failed: hf: ")
    version = version_of("models:/spam/1", home())
    assert version
    assert record_parity(version, "passed: gguf f16: loaded by Gradus's own reader", home()) == parity_tag()
    assert (parity_tag() or "").startswith("failed: hf: ")
    assert record_parity(version, "passed: hf: loaded by transformers", home()) is None
    assert (parity_tag() or "").startswith("passed: hf: ")


@pytest.mark.usefixtures("registered")
def test_a_failure_of_another_format_stays_and_is_named(tmp_path: Path) -> None:
    version = version_of("models:/spam/1", home())
    assert version
    record_parity(version, failure := "failed: gguf f16: token 3 differs", home())
    done = gradus("export", "models:/spam/1", "--to", "hf", "--output", tmp_path / "out")
    assert (done.returncode, parity_tag()) == (0, failure)
    assert "noted on version" not in done.stdout
    assert f"version spam/1 stays marked: {failure}; export it to that format again" in done.stderr


@pytest.mark.ci
def test_a_language_model_is_exported_to_every_format_of_language_models(tmp_path: Path) -> None:
    loaded = language_model(DECODERS["gpt2"])
    (saved := tmp_path / "saved").mkdir()
    save_gpt(saved, loaded.model, loaded.encoding, loaded.card.template)
    for form, file in (("hf", "chat_template.jinja"), ("gguf", "model.gguf"), ("ollama", "Modelfile")):
        done = gradus("export", saved, "--to", form, "--output", tmp_path / form)
        assert done.returncode == 0, done.stderr
        assert {file, "README.md"} <= {*left(tmp_path / form)}
        assert "greedy tokens equal" in done.stdout
        assert "### Response:" in (tmp_path / form / "README.md").read_text()
    assert not home().exists()


def test_without_transformers_gradus_reads_itself(
    saved_gpt: Path, saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "installed", lambda _: None)
    for name, model in (("gpt", saved_gpt), ("classifier", saved_model)):
        done = gradus("export", model, "--to", "hf", "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "loaded by Gradus's own reader" in done.stdout


def test_a_folder_that_exists_is_left_as_it_is(saved_model: Path, tmp_path: Path) -> None:
    for there in ("folder", "file"):
        path = tmp_path / there
        path.mkdir() if there == "folder" else path.write_text("mine")
        done = gradus("export", saved_model, "--to", "hf", "--output", path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"--output {path} is there already" in done.stderr
    assert left(tmp_path) == ["file", "folder"]


def test_what_does_not_go_together_is_one_line(saved_model: Path, saved_gpt: Path, tmp_path: Path) -> None:
    cases = {
        ("--to", "hf", "--quantize", "q8_0"): (2, "--quantize is for --to gguf and --to ollama"),
        ("--to", "gguf"): (1, "llama.cpp runs language models, and this is a classifier"),
        ("--to", "adapter"): (1, "the model has no adapter"),
    }
    for options, (code, line) in cases.items():
        done = gradus("export", saved_model, *options, "--output", tmp_path / "out")
        assert (done.returncode, done.stderr.count("\n")) == (code, 1)
        assert line in done.stderr
    assert left(tmp_path) == []
    done = gradus("export", saved_gpt, "--to", "gguf", "--output", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "bytes that are never merged" in done.stderr
    done = gradus("export", "models:/nothing/1", "--to", "hf", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "models:/nothing/1" in done.stderr


@torch.no_grad()
def test_an_adapter_is_exported_as_peft_loads_it(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=512, max_position_embeddings=192, tie_word_embeddings=True, eos_token_id=2,
    )  # fmt: skip
    base = tmp_path / "base"
    AutoModelForCausalLM.from_config(shape).save_pretrained(base)
    encoding = read_tokenizer(folder_of(base, trained("smollm"), tokenizer_config={"eos_token": "<|im_end|>"}))
    config, lora = ModelConfig(weights=str(base)), LoraConfig(rank=2)
    model = make_gpt(config, encoding.n_vocab, base, seed=0).eval()
    add_adapters(model.transformer, lora, seed=1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    save_adapter(model, lora, str(base), tmp_path / "adapter")
    merge_adapters(model.transformer)
    (tmp_path / "model").mkdir()
    save_gpt(tmp_path / "model", model, encoding, TEMPLATES["alpaca"])
    done = gradus("export", tmp_path / "model", "--to", "adapter", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "adapter: loaded by peft" in done.stdout
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= {
        *left(tmp_path / "out")
    }
    tokens = torch.tensor([[5, 6, 7]])
    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out").eval()
    torch.testing.assert_close(model(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)
    assert gradus("export", tmp_path / "model", "--to", "hf", "--output", tmp_path / "hf").returncode == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    torch.testing.assert_close(model(tokens), merged(tokens).logits, atol=1e-4, rtol=0)


@pytest.fixture
def logged_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def test_a_model_is_uploaded_whole_in_one_commit_and_private(logged_in: Hub, saved_model: Path) -> None:
    done = gradus("push", saved_model, "me/spam", "--json")
    assert done.returncode == 0, done.stderr
    found, there = json.loads(done.stdout), logged_in.repositories["me/spam"]
    assert (found["private"], there.private, len(there.commits)) == (True, True, 1)
    assert sorted(there.files) == found["files"]
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= there.files.keys()
    assert there.files["model.safetensors"] in logged_in.uploaded.values()
    assert TOKEN not in done.stdout + done.stderr
    again = gradus("push", saved_model, "me/spam")
    assert again.returncode == 0, again.stderr
    assert len(there.commits) == 2


def test_a_public_repository_wants_to_be_asked_for(logged_in: Hub, saved_model: Path) -> None:
    assert gradus("push", saved_model, "me/spam", "--public").returncode == 0
    assert not logged_in.repositories["me/spam"].private
    done = gradus("push", saved_model, "me/spam")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "me/spam is public: give --public" in done.stderr
    assert len(logged_in.repositories["me/spam"].commits) == 1


def test_what_the_hub_refuses_is_one_line_and_nothing_is_uploaded(
    hub: Hub, saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [
        ("", "me/spam", 2, "nobody is logged in to the Hugging Face hub: log in with `hf auth login`, or set HF_TOKEN"),
        (TOKEN, "me/spam/again", 2, "'me/spam/again' is no name of a repository; write OWNER/NAME"),
        ("hf_another", "me/spam", 1, "does not let this token write to me/spam"),
    ]
    for token, name, code, line in cases:
        monkeypatch.setenv("HF_TOKEN", token)
        done = gradus("push", saved_model, name)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert line in done.stderr
    assert not hub.repositories


def test_a_hub_that_is_gone_is_one_line(logged_in: Hub, saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = gradus("push", saved_model, "me/spam")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the Hugging Face hub cannot be reached" in done.stderr
