"""Small models of every family, with weights that tell, as they are loaded from where they were saved."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, processors
from torch import nn

from components.models.architecture import Transformer, make_network
from components.models.classifier import Classifier
from components.models.encoders.sizes import BertSize, DebertaSize, ModernBertSize, RobertaSize
from components.models.language_model import LanguageModel
from components.models.saved.classifier import ClassifierCard, LoadedClassifier
from components.models.saved.language_model import LanguageModelCard, LoadedGPT
from components.models.sizes import AnySize, GPTSize, LlamaSize, Rope
from components.models.tokenizer import load_tokenizer
from components.prompts import TEMPLATES, AnyTemplate
from tests.models.pretrained.small_tokenizers import folder_of, read, trained

BASE = {"layers": 2, "heads": 4, "width": 32, "context": 128}
LLAMA = {**BASE, "kv_heads": 2, "head_width": 8, "mlp_width": 64}
ENCODER = {**BASE, "mlp_width": 64}
YARN = Rope(scaling="yarn", factor=2.0, trained=64, attention_factor=1.0693147180559945)
DECODERS: dict[str, AnySize] = {
    "gpt2": GPTSize(**BASE),
    "llama": LlamaSize(**LLAMA),
    "mistral": LlamaSize(**LLAMA, window=8, windowed=(0, 1)),
    "qwen2": LlamaSize(**LLAMA, qkv_bias=True),
    "qwen3": LlamaSize(**LLAMA, qk_norm=True),
    "linear": LlamaSize(**LLAMA, rope=Rope(scaling="linear", factor=2.0)),
    "llama3": LlamaSize(**LLAMA, rope=Rope(scaling="llama3", factor=8.0, trained=64)),
    "yarn": LlamaSize(**LLAMA, rope=YARN),
    "biased": LlamaSize(**LLAMA, qkv_bias=True, output_bias=True, mlp_bias=True),
}
"""Language models by what is special about them; those without a `model_type` of their own are Llamas."""
ENCODERS: dict[str, AnySize] = {
    "bert": BertSize(**ENCODER, token_types=2),
    "roberta": RobertaSize(**ENCODER, token_types=1, offset=2),
    "deberta": DebertaSize(**ENCODER, buckets=8, farthest=32),
    "modernbert": ModernBertSize(
        **ENCODER, rope_base=160_000.0, local_rope_base=10_000.0, window=8, local=(1,)
    ),
}  # fmt: skip
ROBERTA = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "eos_token": "</s>"}
LABELS = ["ham", "spam", "news"]


def stir(model: nn.Module) -> None:
    """Give all parameters other values, biases and norms too, as if they had learnt something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def network(size: AnySize, vocabulary: int) -> Transformer:
    made = make_network(size, vocabulary)
    made.initialise(seed=0)
    return made


def language_model(
    size: AnySize, encoding: Any = None, template: AnyTemplate | None = None, tied: bool = True
) -> LoadedGPT:
    encoding = encoding or load_tokenizer("sample://vocabulary.tiktoken")
    model = LanguageModel(network(size, encoding.n_vocab), tied)
    model.initialise(seed=0)
    stir(model)
    card = LanguageModelCard(size=size, tie_embeddings=tied, template=template or TEMPLATES["alpaca"])
    return LoadedGPT(model.eval(), encoding, card)


def classifier(size: AnySize, encoding: Any = None, pooling: Any = None, **options: Any) -> LoadedClassifier:
    encoding = encoding or load_tokenizer("sample://vocabulary.tiktoken")
    model = Classifier(network(size, encoding.n_vocab), len(LABELS), pooling, **options)
    stir(model)
    card = ClassifierCard(
        size=size, labels=LABELS, pooling=model.pooling, causal=model.causal, max_length=64,
        bias=model.head.bias is not None,
    )  # fmt: skip
    return LoadedClassifier(model.eval(), encoding, card)


def encoder_tokenizer(folder: Path, family: str) -> Any:
    """Return a tokenizer as models of a family bring one."""
    if family != "roberta":
        library = trained("wordpiece")
        return read(folder_of(folder, _within(library, "[CLS]", "[SEP]"), tokenizer_config=BERT))
    library = trained("gpt2")
    renamed = library.to_str()
    for ours, theirs in (("<|endoftext|>", "<s>"), ("<|im_start|>", "<pad>"), ("<|im_end|>", "</s>")):
        renamed = renamed.replace(ours, theirs)
    return read(folder_of(folder, _within(Tokenizer.from_str(renamed), "<s>", "</s>"), tokenizer_config=ROBERTA))


BERT = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}


def _within(library: Tokenizer, start: str, end: str) -> Tokenizer:
    ends = [(name, library.token_to_id(name)) for name in (start, end)]
    library.post_processor = processors.TemplateProcessing(f"{start} $A {end}", special_tokens=ends)
    return library
