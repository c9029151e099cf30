"""Runs that keep their adapter and no more: it is used, compared, promoted and gone on from like a whole model."""

import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from components.core.errors import ConfigError, WeightsError
from components.core.home import home
from components.models.saved.language_model import load_gpt
from components.serving.load import load_model
from components.tracking.registry.finding import resolve_model
from pipelines.cli.using.answering import load
from pipelines.promoting.promote import promote
from tests.models.pretrained.small_tokenizers import folder_of, trained
from tests.pipelines.classifying import run as classify
from tests.pipelines.commands import compare_runs
from tests.pipelines.instructing import config, run

pytestmark = pytest.mark.usefixtures("prefect_server")

ALONE = ("train.trainable=lora", "lora.save=adapter", "lora.rank=2", "train.learning_rate=0.05")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder as the hub gives it: a Llama with random weights."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=512, max_position_embeddings=192, tie_word_embeddings=True, eos_token_id=2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(shape).save_pretrained(tmp_path / "weights")
    return folder_of(tmp_path / "weights", trained("smollm"), tokenizer_config={"eos_token": "<|im_end|>"})


def of(weights: Path | str) -> list[str]:
    return [f"model.weights={weights}", "model.size=auto", "model.vocabulary=auto"]


def saved(address: str) -> Path:
    return next(Path(resolve_model(address, home())).glob("artifacts/*"))


@pytest.mark.ci
def test_a_language_model_that_is_an_adapter_does_all_that_a_whole_one_does(tmp_path: Path, weights: Path) -> None:
    alone = run(tmp_path / "alone", *of(weights), *ALONE)
    whole = run(tmp_path / "alone", *of(weights), *ALONE, "lora.save=merged", "tracking.model_name=whole")
    folder = saved(alone.model_uri or "")
    assert not (folder / "model.safetensors").exists()
    assert sum(file.stat().st_size for file in folder.glob("adapter_model*")) < 40_000
    ours, theirs = load_gpt(folder), load_gpt(saved(whole.model_uri or ""))
    tokens = torch.tensor([[5, 6, 7]])
    assert torch.equal(ours.model(tokens), theirs.model(tokens))
    peft = pytest.importorskip("peft")
    peer = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(weights), folder)
    assert (peer(tokens).logits - ours.model(tokens)).abs().max() < 1e-4

    asked = pd.DataFrame({"instruction": ["Loud"], "input": ["cat"]})
    served, _ = load("models:/tiny/1")
    pyfunc = mlflow.pyfunc.load_model(resolve_model("models:/tiny/1", home()))
    assert pyfunc.predict(asked)["response"].tolist() == served.respond(["Loud"], ["cat"])["response"].tolist()
    assert compare_runs(alone.run_id, whole.run_id, home()).responses is not None
    assert promote("models:/tiny/1", home(), force=True, reason="the first").changed
    later = run(tmp_path / "more", *of("models:/tiny@champion"))
    assert load_gpt(saved(later.model_uri or "")).card.base is None
    copied = shutil.copytree(folder, tmp_path / "copied")
    assert run(tmp_path / "copied on", *of(copied)).status == "FINISHED"


@pytest.mark.slow
def test_a_classifier_that_is_an_adapter_labels_like_a_whole_one(weights: Path) -> None:
    models = [classify(*of(weights), *ALONE, f"lora.save={kept}").model_uri or "" for kept in ("adapter", "merged")]
    texts = ["call now to win", "see you at 5"]
    folders = [saved(model) for model in models]
    assert [(folder / "model.safetensors").exists() for folder in folders] == [False, True]
    ours, theirs = (load_model(folder).predict(texts) for folder in folders)
    pd.testing.assert_frame_equal(ours, theirs)


@pytest.mark.ci
def test_a_base_that_is_gone_or_another_is_named(tmp_path: Path, weights: Path) -> None:
    summary = run(tmp_path / "alone", *of(weights), *ALONE, "train.max_steps=1")
    folder = saved(summary.model_uri or "")
    file = weights / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        WeightsError, match=rf"is an adapter of {weights} as it was then .* holds other weights"
    ) as other:
        load_gpt(folder)
    shutil.rmtree(weights)
    with pytest.raises(WeightsError, match=rf"is an adapter of {weights}, which cannot be had: there is no") as gone:
        load_gpt(folder)
    assert "\n" not in f"{other.value}{gone.value}"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["train.trainable=all"], "is for train.trainable=lora"),
        ([], "needs weights that stay where they are"),
        (["model.weights=models:/tiny/1", "model.size=auto", "model.vocabulary=auto"], "needs weights that stay"),
        (["model.weights=org/model", "model.adapter=somewhere"], "needs weights by themselves"),
    ],
)
def test_an_adapter_that_could_not_be_used_alone_is_refused(tmp_path: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=f"lora.save=adapter {told}.*set lora.save=merged"):
        config(tmp_path, *ALONE, *overrides)
