"""Greedy decoding token by token as transformers does it, and the text that tokens make."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from components.core.errors import ConfigError, WeightsError
from components.generation.config import GenerationConfig
from components.generation.decoding import as_text, generate
from components.generation.loading import load_language_model
from components.models.config import GPTSize
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.saved.language_model import save_gpt
from components.models.tokenizer import encode
from components.prompts import TEMPLATES
from tests.generation.models import ENCODING, END, LIKE, WORDS, network, peer, uncached
from tests.models.pretrained.small_tokenizers import folder_of, trained

STOP = END


def load(folder: Path, size: GPTSize | None = None) -> LanguageModel:
    return load_language_model(str(folder), size, WORDS, folder / "cache")[0]


def without_prefix(model: GPT2LMHeadModel, folder: Path) -> None:
    from safetensors.torch import save_file

    model.config.save_pretrained(folder)
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in model.transformer.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.ci
@pytest.mark.parametrize("layout", ["prefix", "no prefix", "own head"])
def test_greedy_output_is_that_of_transformers(tmp_path: Path, layout: str) -> None:
    model = peer(tied=layout != "own head")
    if layout == "no prefix":
        without_prefix(model, tmp_path)
    else:
        model.save_pretrained(tmp_path)
    gpt = load(tmp_path)
    [prompt] = encode(ENCODING, ["see you at five"])
    ids = torch.tensor([prompt])
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)
    found = list(prompt)
    for token in generate(gpt, prompt, GenerationConfig(max_new_tokens=24), STOP):
        best, second = uncached(gpt)(torch.tensor([found]))[0].topk(2).values
        found.append(token)
        if best - second < LIKE:
            break
        assert token == int(expected[0, len(found) - 1])
    assert len(found) > len(prompt) + 5


def test_it_ends_before_the_token_to_stop_at() -> None:
    gpt = network()
    tokens = list(generate(gpt, [1, 2], GenerationConfig(max_new_tokens=10), STOP))
    stop = next(token for token in tokens if token != tokens[0])
    ended = generate(gpt, [1, 2], GenerationConfig(max_new_tokens=10), stop)
    assert list(ended) == tokens[: tokens.index(stop)]


def test_beyond_the_context_the_last_tokens_are_seen() -> None:
    gpt = LanguageModel(GPT2(GPTSize(layers=1, heads=2, width=16, context=8), ENCODING.n_vocab)).eval()
    gpt.initialise(3)
    tokens = torch.arange(12)[None]
    assert torch.equal(uncached(gpt)(tokens), uncached(gpt)(tokens[:, -8:]))
    assert len(list(generate(gpt, range(12), GenerationConfig(max_new_tokens=12), STOP))) == 12


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    gpt = LanguageModel(GPT2(GPTSize(layers=1, heads=2, width=16, context=64), ENCODING.n_vocab)).eval()
    gpt.initialise(3)

    def drawn(seed: int) -> list[int]:
        config = GenerationConfig(max_new_tokens=20, temperature=1.0, seed=seed)
        return list(generate(gpt, [1], config, STOP))

    assert drawn(1) == drawn(1) != drawn(2)


def test_characters_come_whole_however_their_bytes_are_cut() -> None:
    text = "Grüße 🎁 ok"
    one_byte_tokens = [ENCODING.encode_single_token(bytes([byte])) for byte in text.encode()]
    pieces = list(as_text(ENCODING, one_byte_tokens))
    assert "".join(pieces) == text
    assert "🎁" in pieces
    assert "".join(as_text(ENCODING, one_byte_tokens[:10])) == "Grüße "


def test_a_size_is_read_from_the_config_or_must_be_given(tmp_path: Path) -> None:
    peer().save_pretrained(tmp_path)
    size = GPTSize(layers=3, heads=4, width=32, context=48)
    assert load(tmp_path).transformer.size == size
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match="give --size"):
        load(tmp_path)
    assert load(tmp_path, size).transformer.size == size


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"model_type": "gemma3"}', "of the type gemma3"), ("[1]", "cannot be read"), ("{", "cannot be read")],
)
def test_a_config_of_something_else_is_refused(tmp_path: Path, content: str, message: str) -> None:
    peer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    peer().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace(f'"vocab_size": {ENCODING.n_vocab}', '"vocab_size": 7'))
    with pytest.raises(WeightsError, match=r"knows 7 tokens.*give --vocabulary"):
        load(tmp_path)


def test_a_classifier_is_sent_to_predict(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ConfigError, match="gradus predict"):
        load(tmp_path)


def test_a_saved_language_model_knows_its_size_and_vocabulary(tmp_path: Path) -> None:
    size = GPTSize(layers=1, heads=2, width=16, context=8)
    gpt = LanguageModel(GPT2(size, ENCODING.n_vocab), tie_embeddings=False).eval()
    gpt.initialise(3)
    save_gpt(tmp_path, gpt, ENCODING, TEMPLATES["completion"])
    loaded, encoding = load_language_model(str(tmp_path), None, "gpt2", tmp_path / "cache")
    tokens = torch.arange(8)[None]
    assert torch.equal(loaded(tokens), gpt(tokens))
    assert encoding._mergeable_ranks == ENCODING._mergeable_ranks
    with pytest.raises(ConfigError, match="leave --size out"):
        load(tmp_path, gpt.transformer.size)


def test_a_gpt2_with_a_tokenizer_of_its_own_is_read_with_it(tmp_path: Path) -> None:
    library = trained("gpt2")
    words = library.get_vocab_size()
    shape = GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=8, vocab_size=words, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(shape).save_pretrained(folder_of(tmp_path, library))
    _, encoding = load_language_model(str(tmp_path), None, "auto", tmp_path / "cache")
    assert encoding.n_vocab == words
    assert encoding.encode_ordinary("hello there") == library.encode("hello there").ids
