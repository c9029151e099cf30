import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiktoken
import torch

from components.core.errors import WeightsError
from components.models.classifier import Classifier, classify
from components.models.config import GPTSize, Pooling
from components.models.gpt2 import GPT2
from components.models.saved.classifier import load_classifier, save_classifier
from components.models.tokenizer import encode, end_of_text
from tests.byte_tokenizer import VOCABULARY, byte_tokenizer

TINY = GPTSize(layers=2, heads=2, width=16, context=12)
LABELS = ["ham", "spam", "fraud"]
TEXTS = ["hello", "", "a text much longer than the context of twelve", "<|endoftext|>", "ok", "x" * 12]


@pytest.fixture
def encoding() -> tiktoken.Encoding:
    return byte_tokenizer()


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(5)
    model = Classifier(GPT2(TINY, VOCABULARY, dropout=0.5), 3)
    model.transformer.initialise(1)
    for parameter in model.parameters():
        if parameter.dim() == 2:  # biases at random would outweigh the text
            torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize(("pooling", "padding"), [("last_token", None), ("last_position", 10)])
def test_a_saved_classifier_predicts_what_the_one_in_memory_predicts(
    tmp_path: Path, model: Classifier, encoding: tiktoken.Encoding, pooling: Pooling, padding: int | None
) -> None:
    model.pooling = pooling
    save_classifier(tmp_path, model, encoding, LABELS, max_length=10, padding=padding)
    rows = [tokens[:10] for tokens in encode(encoding, TEXTS)]
    logits = classify(model, rows, end_of_text(encoding), padding)
    frame = load_classifier(tmp_path).predict(TEXTS)
    assert list(frame.columns) == ["label", "probability", "p_ham", "p_spam", "p_fraud"]
    assert (frame[["p_ham", "p_spam", "p_fraud"]].to_numpy() == logits.double().softmax(dim=1).numpy()).all()
    assert frame["label"].tolist() == [LABELS[index] for index in logits.argmax(dim=1)]
    assert frame["label"].nunique() > 1
    assert (frame["probability"] == frame[["p_ham", "p_spam", "p_fraud"]].max(axis=1)).all()


def test_no_text_gives_no_rows_with_the_same_columns(
    tmp_path: Path, model: Classifier, encoding: tiktoken.Encoding
) -> None:
    save_classifier(tmp_path, model, encoding, LABELS, max_length=12)
    loaded = load_classifier(tmp_path)
    none, some = loaded.predict([]), loaded.predict(["a"])
    assert len(none) == 0
    pd.testing.assert_series_equal(none.dtypes, some.dtypes)


def test_a_text_is_cut_at_max_length(tmp_path: Path, model: Classifier, encoding: tiktoken.Encoding) -> None:
    save_classifier(tmp_path, model, encoding, LABELS, max_length=4)
    loaded = load_classifier(tmp_path)
    pd.testing.assert_frame_equal(loaded.predict(["abcdefghijklmnop"]), loaded.predict(["abcd"]))
    assert not loaded.predict(["abcd"]).equals(loaded.predict(["abc"]))


def test_the_same_classifier_is_saved_as_the_same_bytes(
    tmp_path: Path, model: Classifier, encoding: tiktoken.Encoding
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_classifier(tmp_path / name, model, encoding, LABELS, max_length=12)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["model.json", "model.safetensors", "tokenizer.json", "vocabulary.tiktoken"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    ("labels", "max_length", "padding", "told"),
    [
        (["ham", "spam"], 12, None, "2 labels for a head of 3 classes"),
        (LABELS, 13, None, "max_length 13 exceeds"),
        (LABELS, 10, 8, "max_length 10 exceeds"),
    ],
)
def test_what_does_not_agree_is_not_saved(
    tmp_path: Path,
    model: Classifier,
    encoding: tiktoken.Encoding,
    labels: list[str],
    max_length: int,
    padding: int | None,
    told: str,
) -> None:
    with pytest.raises(ValueError, match=told):
        save_classifier(tmp_path, model, encoding, labels, max_length, padding)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no saved classifier: model\.json"):
        load_classifier(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"format": "gradus-classifier-9"}, "format"), ({"labels": LABELS[:2]}, r"head\.\w+ has shape")],
)
def test_a_changed_card_is_refused_in_one_line(
    tmp_path: Path, model: Classifier, encoding: tiktoken.Encoding, change: dict[str, Any], told: str
) -> None:
    save_classifier(tmp_path, model, encoding, LABELS, max_length=12)
    card = tmp_path / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(WeightsError, match=told) as raised:
        load_classifier(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.ci
def test_serving_imports_nothing_that_it_does_not_need(
    tmp_path: Path, model: Classifier, encoding: tiktoken.Encoding
) -> None:
    save_classifier(tmp_path, model, encoding, LABELS, max_length=12)
    code = (
        "import sys; from pathlib import Path; from components.models.saved.classifier import load_classifier\n"
        "print(len(load_classifier(Path(sys.argv[1])).predict(['a', 'b'])))\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    rows, modules = done.stdout.splitlines()
    assert rows == "2"
    unwanted = {"mlflow", "prefect", "huggingface_hub", "transformers", "great_expectations", "sklearn", "matplotlib"}
    assert not unwanted & set(modules.split())
