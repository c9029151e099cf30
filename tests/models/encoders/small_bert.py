"""A BERT with random weights and a WordPiece tokenizer, in the folder in which models bring them."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import AutoModel, BertConfig

from tests.models.pretrained.small_tokenizers import folder_of, trained

AROUND = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}


def small_bert(folder: Path, **shape: Any) -> Path:
    library = trained("wordpiece")
    ends = [(name, library.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    library.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    size = {**sizes, "vocab_size": library.get_vocab_size(), "max_position_embeddings": 40, **shape}
    AutoModel.from_config(BertConfig(**size)).save_pretrained(folder)
    return folder_of(folder, library, tokenizer_config=AROUND)
