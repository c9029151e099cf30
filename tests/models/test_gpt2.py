import pytest
import torch

from components.core.errors import ConfigError
from components.models.config import SIZES, GPTSize
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel

TINY = GPTSize(layers=3, heads=4, width=32, context=24)
VOCABULARY = 101


def tiny(tie_embeddings: bool = True, seed: int = 1, dropout: float = 0.0) -> LanguageModel:
    gpt = LanguageModel(GPT2(TINY, VOCABULARY, dropout), tie_embeddings)
    gpt.initialise(seed)
    return gpt


def some_tokens(rows: int = 2, length: int = 24) -> torch.Tensor:
    return torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(7))


@pytest.mark.ci
@pytest.mark.parametrize(
    ("name", "tied", "untied"),
    [
        ("124M", 124_439_808, 163_037_184),
        ("355M", 354_823_168, 406_286_336),
        ("774M", 774_030_080, 838_359_040),
        ("1558M", 1_557_611_200, 1_638_022_400),
    ],
)
def test_the_published_sizes_have_as_many_parameters_as_published(name: str, tied: int, untied: int) -> None:
    with torch.device("meta"):
        models = [LanguageModel(GPT2(SIZES[name], 50_257), tie) for tie in (True, False)]
    assert [sum(parameter.numel() for parameter in model.parameters()) for model in models] == [tied, untied]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    for name, parameter in tiny(seed=5).state_dict().items():
        assert torch.equal(parameter, tiny(seed=5).state_dict()[name])
    assert not torch.equal(tiny(seed=5).transformer.wte.weight, tiny(seed=6).transformer.wte.weight)


def test_initialising_leaves_the_global_generator_alone_and_does_not_depend_on_the_head() -> None:
    tied, untied = tiny(tie_embeddings=True), tiny(tie_embeddings=False)
    state = torch.get_rng_state()
    tied.initialise(3)
    untied.initialise(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, tied.transformer.parameters(), untied.transformer.parameters()))


def test_weights_are_drawn_as_in_gpt2() -> None:
    size = GPTSize(layers=8, heads=4, width=128, context=64)
    transformer = GPT2(size, 1000)
    transformer.initialise(0)
    for name, parameter in transformer.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif "ln_" in name:
            assert (parameter == 1).all()
        else:
            expected = 0.005 if name.endswith("c_proj.weight") else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < expected / 10, name


def test_a_later_token_does_not_change_earlier_logits() -> None:
    gpt, tokens = tiny().eval(), some_tokens()
    changed = tokens.clone()
    changed[:, 15] = (changed[:, 15] + 1) % VOCABULARY
    before, after = gpt(tokens), gpt(changed)
    assert torch.equal(before[:, :15], after[:, :15])
    assert not torch.allclose(before[:, 15:], after[:, 15:])


def test_logits_are_the_head_applied_to_hidden_states() -> None:
    tied, untied, tokens = tiny(), tiny(tie_embeddings=False), some_tokens()
    assert untied.lm_head is not None
    assert tied.hidden(tokens).shape == (2, 24, 32)
    torch.testing.assert_close(tied(tokens), tied.hidden(tokens) @ tied.transformer.wte.weight.T)
    torch.testing.assert_close(untied(tokens), untied.hidden(tokens) @ untied.lm_head.weight.T)
    assert not torch.allclose(tied(tokens), untied(tokens))


def test_dropout_acts_in_training_only() -> None:
    gpt, tokens = tiny(dropout=0.5), some_tokens()
    assert not torch.equal(gpt(tokens), gpt(tokens))
    assert torch.equal(gpt.eval()(tokens), tiny().eval()(tokens))


def test_dropout_reaches_the_attention_weights() -> None:
    gpt, tokens = tiny(dropout=0.5), some_tokens()
    for module in gpt.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert not torch.equal(gpt(tokens), gpt(tokens))


def test_more_tokens_than_the_context_are_refused() -> None:
    assert tiny()(some_tokens(length=24)).shape == (2, 24, VOCABULARY)
    with pytest.raises(ConfigError, match="25 tokens do not fit a context of 24"):
        tiny()(some_tokens(length=25))
