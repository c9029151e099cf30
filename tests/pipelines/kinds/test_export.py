"""What a real run left is exported, with what the run was told."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from components.core.home import home
from components.serving.load import load_model
from components.tracking.registry.finding import resolve_model
from pipelines.run import RunSummary
from tests.models.pretrained.small_tokenizers import folder_of, trained
from tests.pipelines.commands import gradus
from tests.pipelines.instructing import run as instruct

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_modelfile_says_what_the_training_said(instructed: tuple[Path, RunSummary], tmp_path: Path) -> None:
    run = instructed[1]
    done = gradus("export", str(run.run_id), "--to", "ollama", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out/Modelfile").read_text(encoding="utf-8")
    assert 'TEMPLATE """{{ if .System }}{{ .System }}\n\n{{ end }}Q: {{ .Prompt }}\nA:{{ .Response }}' in text
    for line in ("num_predict 6", "temperature 0.0", "num_ctx 64", "seed 123", 'stop """\nQ:"""'):
        assert f"PARAMETER {line}\n" in text
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "## Figures on the test split" in card
    assert "noted on version tiny/1" in done.stdout


@pytest.mark.ci
def test_a_classifier_of_a_run_is_exported(finished: RunSummary, tmp_path: Path) -> None:
    done = gradus("export", f"runs:/{finished.run_id}", "--to", "hf", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    peer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert sorted(peer.config.label2id) == ["ham", "spam"]


@pytest.mark.ci
@pytest.mark.parametrize("save", ["merged", "adapter"])
def test_adapters_are_exported_whether_they_were_merged_or_not(save: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=512, max_position_embeddings=192, tie_word_embeddings=True, eos_token_id=2,
    )  # fmt: skip
    base = tmp_path / "base"
    AutoModelForCausalLM.from_config(shape).save_pretrained(base)
    folder_of(base, trained("smollm"), tokenizer_config={"eos_token": "<|im_end|>"})
    options = {"model.weights": base, "model.size": "auto", "model.vocabulary": "auto", "train.trainable": "lora"}
    options |= {"lora.rank": 2, "train.learning_rate": 0.01, "lora.save": save}  # more, and fp16 rounds off much
    summary = instruct(tmp_path / "run", *(f"{key}={value}" for key, value in options.items()))
    original = load_model(resolve_model(str(summary.model_uri), home())).model
    tokens = torch.tensor([[5, 6, 7, 8]])
    for form in ("adapter", "hf", "gguf"):
        done = gradus("export", str(summary.run_id), "--to", form, "--output", tmp_path / form)
        assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = original(tokens)
        whole = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
        alone = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter").eval()
        torch.testing.assert_close(whole(tokens).logits, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(alone(tokens).logits, expected, atol=1e-4, rtol=0)
