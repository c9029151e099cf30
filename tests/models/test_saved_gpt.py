import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import torch

from components.core.errors import WeightsError
from components.models.classifier import Classifier
from components.models.config import GPTSize, ModelConfig
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.saved.classifier import load_classifier, save_classifier
from components.models.saved.language_model import load_gpt, save_gpt
from components.models.tokenizer import encode
from components.models.weights import make_gpt, make_transformer
from components.prompts import TEMPLATES, Template
from tests.byte_tokenizer import VOCABULARY, byte_tokenizer

TINY = GPTSize(layers=2, heads=2, width=16, context=12)
TEMPLATE = TEMPLATES["alpaca-ko"]
TOKENS = torch.arange(12)[None]


@pytest.fixture
def encoding() -> tiktoken.Encoding:
    return byte_tokenizer()


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    model = LanguageModel(GPT2(TINY, VOCABULARY, dropout=0.5), tie_embeddings=request.param)
    model.initialise(1)
    if model.lm_head is not None:
        torch.nn.init.normal_(model.lm_head.weight)
    return model.eval()


@pytest.mark.parametrize(
    "template", [TEMPLATE, Template(instruction="{instruction}?", input="{input}", response="{output}.{{")]
)
def test_a_saved_language_model_says_what_the_one_in_memory_says(
    tmp_path: Path, model: LanguageModel, encoding: tiktoken.Encoding, template: Template
) -> None:
    save_gpt(tmp_path, model, encoding, template)
    loaded = load_gpt(tmp_path)
    assert torch.equal(loaded.model(TOKENS), model(TOKENS))
    assert not loaded.model.training
    assert encode(loaded.encoding, ["grüße"]) == encode(encoding, ["grüße"])
    assert loaded.card.template == template
    assert loaded.card.size == TINY
    assert loaded.card.tie_embeddings == (model.lm_head is None)


def test_the_same_model_is_saved_as_the_same_bytes(
    tmp_path: Path, model: LanguageModel, encoding: tiktoken.Encoding
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_gpt(tmp_path / name, model, encoding, TEMPLATE)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["model.json", "model.safetensors", "tokenizer.json", "vocabulary.tiktoken"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


@pytest.mark.parametrize("tie", [True, False])
def test_the_folder_serves_as_weights_of_a_new_run(
    tmp_path: Path, model: LanguageModel, encoding: tiktoken.Encoding, tie: bool
) -> None:
    save_gpt(tmp_path, model, encoding, TEMPLATE)
    config = ModelConfig(size=TINY, weights=str(tmp_path), tie_embeddings=tie)
    assert torch.equal(
        make_transformer(config, VOCABULARY, tmp_path, 0).eval()(TOKENS), model.transformer(TOKENS)
    )  # fmt: skip
    if tie and model.lm_head is not None:
        with pytest.raises(WeightsError, match="have a head of their own"):
            make_gpt(config, VOCABULARY, tmp_path, 0)
    else:
        assert torch.equal(make_gpt(config, VOCABULARY, tmp_path, 0).eval()(TOKENS), model(TOKENS))


def test_transformers_reads_the_weights(tmp_path: Path, model: LanguageModel, encoding: tiktoken.Encoding) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    save_gpt(tmp_path, model, encoding, TEMPLATE)
    tied = model.lm_head is None
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=12, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=tied
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(theirs(TOKENS).logits, model(TOKENS), atol=1e-4)


def test_another_vocabulary_is_not_saved(tmp_path: Path, encoding: tiktoken.Encoding) -> None:
    model = LanguageModel(GPT2(TINY, 300))
    with pytest.raises(ValueError, match="257 tokens for a model that knows 300"):
        save_gpt(tmp_path, model, encoding, TEMPLATE)
    assert not list(tmp_path.iterdir())


def test_the_two_kinds_are_told_apart_in_one_line(
    tmp_path: Path, model: LanguageModel, encoding: tiktoken.Encoding
) -> None:
    (tmp_path / "gpt").mkdir()
    (tmp_path / "classifier").mkdir()
    save_gpt(tmp_path / "gpt", model, encoding, TEMPLATE)
    transformer = GPT2(TINY, VOCABULARY)
    transformer.initialise(0)
    save_classifier(tmp_path / "classifier", Classifier(transformer, 2), encoding, ["a", "b"], max_length=12)
    with pytest.raises(WeightsError, match=r"holds a classifier, not a language model.*gradus predict") as refused:
        load_gpt(tmp_path / "classifier")
    assert "\n" not in str(refused.value)
    with pytest.raises(WeightsError, match=r"holds a language model, not a classifier.*gradus respond") as refused:
        load_classifier(tmp_path / "gpt")
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no saved language model: model\.json"):
        load_gpt(tmp_path)
    (tmp_path / "model.json").write_bytes(b"\xff")
    with pytest.raises(WeightsError, match="is not UTF-8"):
        load_gpt(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "gradus-language-model-9"}, "no language model of a format this Gradus knows .format"),
        ({"template": {"instruction": "x", "input": "{input}", "response": "{output}"}}, r"template\.instruction"),
        ({"size": {**TINY.model_dump(), "layers": 3}}, "lack"),
        ({"later": 1}, "later"),
    ],
)
def test_a_changed_card_is_refused_in_one_line(
    tmp_path: Path, model: LanguageModel, encoding: tiktoken.Encoding, change: dict[str, Any], told: str
) -> None:
    save_gpt(tmp_path, model, encoding, TEMPLATE)
    card = tmp_path / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(WeightsError, match=told) as raised:
        load_gpt(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.ci
def test_answering_imports_nothing_that_it_does_not_need(tmp_path: Path, encoding: tiktoken.Encoding) -> None:
    model = LanguageModel(GPT2(TINY, VOCABULARY))
    model.initialise(1)
    save_gpt(tmp_path, model, encoding, TEMPLATES["completion"])
    code = (
        "import sys; from pathlib import Path; from components.serving.language_model import load_responder\n"
        "print(len(load_responder(Path(sys.argv[1])).respond(['a', 'b'])))\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    rows, modules = done.stdout.splitlines()
    assert rows == "2"
    unwanted = {
        "mlflow", "prefect", "huggingface_hub", "transformers", "great_expectations", "sklearn", "matplotlib", "rich",
    }  # fmt: skip
    assert not unwanted & set(modules.split())
