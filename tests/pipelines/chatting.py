"""What the tests of models that talk share: weights of one, and conversations."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from components.models.config import ModelConfig
from components.models.saved.language_model import save_gpt
from components.models.tokenizer import load_tokenizer
from components.models.weights import make_gpt
from components.prompts import PromptConfig
from tests.models.pretrained import chat_templates
from tests.models.pretrained.small_tokenizers import folder_of, trained


def save_weights(folder: Path, tied: bool = True) -> Path:
    """Write a folder as the hub gives it: a Llama with random weights that was taught to talk in ChatML.

    With a `tied` head it goes on repeating the last token, a line break.
    """
    library = trained("smollm")
    vocab_size = 512  # some more than the tokenizer has
    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=vocab_size, max_position_embeddings=192, tie_word_embeddings=tied, eos_token_id=2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(shape).save_pretrained(folder)
    talk = {"eos_token": "<|im_end|>", "chat_template": chat_templates.SMOLLM2}
    return folder_of(folder, library, tokenizer_config=talk)


def chat(weights: Path, *more: str) -> list[str]:
    """Return what a preset needs for such a model."""
    settings = ("model.size=auto", "model.vocabulary=auto", "prompt.template=chat", "train.learning_rate=0.005")
    return [f"model.weights={weights}", *settings, *more]


def conversations(count: int = 40, turns: int = 2) -> list[dict[str, Any]]:
    """Conversations of so many questions, in OpenAI's form; every fourth has a system message."""
    found = []
    for row in range(count):
        messages = [{"role": "system", "content": "Be kind."}] if row % 4 == 0 else []
        for turn in range(turns):
            messages += [
                {"role": "user", "content": f"Say {row} {turn}"},
                {"role": "assistant", "content": f"{row}! {row}a"},
            ]
        found.append({"messages": messages})
    return found


def save_talker(folder: Path) -> Path:
    """Save such a model as a run leaves it."""
    (folder / "model").mkdir()
    weights = save_weights(folder / "weights", tied=False)
    config = ModelConfig(weights=str(weights))
    encoding = load_tokenizer(config.tokenizer)
    template = PromptConfig(template="chat").resolved(encoding)
    save_gpt(folder / "model", make_gpt(config, encoding.n_vocab, weights, seed=1), encoding, template)
    return folder / "model"
