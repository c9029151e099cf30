"""What tensors are called in GGUF files, and what `transformers` calls them, by the architecture that a file names."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """The names of an architecture's tensors, without what follows the last dot: file to `transformers`."""

    blocks: str
    """What the names of a block's parts begin with, before its number."""
    parts: Mapping[str, str]
    """The parts of a block."""
    others: Mapping[str, str]
    """Everything else."""
    transposed: frozenset[str] = frozenset()
    """Parts whose weights `transformers` holds transposed."""

    def in_transformers(self, name: str) -> str | None:
        """Return what `transformers` calls a tensor of a file, None for one that is not known."""
        part, _, kind = name.rpartition(".")
        if part in self.others:
            return f"{self.others[part]}.{kind}"
        if part.startswith("blk.") and (place := part.split(".", 2))[-1] in self.parts:
            return f"{self.blocks}{place[1]}.{self.parts[place[2]]}.{kind}"
        return None

    def in_gguf(self, name: str) -> str:
        """Return what a file calls a tensor of `transformers`."""
        part, _, kind = name.rpartition(".")
        others, parts = ({theirs: ours for ours, theirs in each.items()} for each in (self.others, self.parts))
        if part in others:
            return f"{others[part]}.{kind}"
        number, _, inner = part.removeprefix(self.blocks).partition(".")
        return f"blk.{number}.{parts[inner]}.{kind}"


LLAMA = Names(
    blocks="model.layers.",
    parts={
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    },
    others={"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"},
)
GPT2 = Names(
    blocks="transformer.h.",
    parts={
        "attn_norm": "ln_1",
        "attn_qkv": "attn.c_attn",
        "attn_output": "attn.c_proj",
        "ffn_norm": "ln_2",
        "ffn_up": "mlp.c_fc",
        "ffn_down": "mlp.c_proj",
    },
    others={
        "token_embd": "transformer.wte",
        "position_embd": "transformer.wpe",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
    },
    transposed=frozenset({"attn_qkv", "attn_output", "ffn_up", "ffn_down"}),
)
NAMES = {"llama": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA, "gpt2": GPT2}
"""By architecture; Llama's files are also Mistral's and SmolLM2's."""
