"""A Modelfile asks a model as it was trained: its template, its system message, its stops and parameters."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from components.chat import ChatTemplate
from components.conversations import Message
from components.core.errors import WeightsError
from components.models.export.export import FORMATS, Model
from components.models.export.ollama import go_template, modelfile
from components.models.export.turns import exchange_of
from components.prompts import TEMPLATES, Template
from tests.models.export.small import DECODERS, language_model
from tests.models.pretrained import chat_templates
from tests.models.pretrained.small_tokenizers import small

CHATML = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n"
    "<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
)
ALPACA = """{{ if .System }}{{ .System }}

{{ end }}Below is an instruction that describes a task. Write a response that appropriately completes the request.

### Instruction:
{{ .Prompt }}

### Response:
{{ .Response }}<|endoftext|>"""
GENERATION = {
    "generation.max_new_tokens": "64",
    "generation.temperature": "0.7",
    "generation.top_k": "null",
    "generation.top_p": "0.9",
    "generation.seed": "123",
    "train.seed": "5",
}


def written(loaded: object, params: dict[str, str], folder: Path) -> str:
    FORMATS["ollama"](Model(loaded, params=params), folder)  # type: ignore[arg-type]
    return (folder / "Modelfile").read_text(encoding="utf-8")


@pytest.mark.ci
def test_an_alpaca_model_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    text = written(language_model(DECODERS["gpt2"]), GENERATION, tmp_path)
    assert text.startswith(f'FROM ./model.gguf\nTEMPLATE """{ALPACA}"""\n')
    parameters = [line.removeprefix("PARAMETER ") for line in text.splitlines() if line.startswith("PARAMETER")]
    assert {"num_ctx 128", "num_predict 64", "temperature 0.7", "top_k 0", "top_p 0.9", "seed 123"} <= {*parameters}
    stops = [line for line in parameters if line.startswith("stop")]
    assert stops == ['stop """### Instruction:"""', 'stop """### Input:"""', 'stop """### Response:"""']
    assert (tmp_path / "model.gguf").is_file()


def test_a_chat_model_keeps_its_turns_its_system_message_and_its_end(tmp_path: Path) -> None:
    config = {"eos_token": "<|endoftext|>", "chat_template": chat_templates.SMOLLM2}
    encoding, _ = small(tmp_path / "base", "smollm", tokenizer_config=config)
    template = ChatTemplate(jinja=chat_templates.SMOLLM2)
    text = modelfile(language_model(DECODERS["llama"], encoding, template), {}, "model.gguf", 128)
    assert f'TEMPLATE """{CHATML}"""\n' in text
    assert 'SYSTEM """You are a helpful AI assistant named SmolLM, trained by Hugging Face"""\n' in text
    assert 'PARAMETER stop """<|im_end|>"""\n' in text
    own = template.model_copy(update={"system": "Answer in one word."})
    text = modelfile(language_model(DECODERS["llama"], encoding, own), {}, "model.gguf", 128)
    assert 'SYSTEM """Answer in one word."""\n' in text
    assert "PARAMETER temperature 0\n" in text


KNOWN = ["SMOLLM2", "LLAMA3", "QWEN25", "GEMMA", "LLAMA2", "MISTRAL", "PHI", "ZEPHYR", "NO_END"]


def chat(name: str) -> ChatTemplate:
    return ChatTemplate(jinja=getattr(chat_templates, name), variables={"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.parametrize("name", KNOWN)
def test_known_chat_templates_come_apart_and_together_again(name: str) -> None:
    turns: list[Message] = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "Four."},
        {"role": "user", "content": "And 3?"},
    ]
    exchange = exchange_of(chat(name), "<s>", "</s>")
    assert exchange.write(turns) == chat(name).render(turns)


@pytest.mark.parametrize("name", ["WITHOUT_THOUGHTS", "LLAMA31"])
def test_templates_that_do_more_are_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="--to gguf, which holds the template itself"):
        exchange_of(chat(name), "<s>", "</s>")


def test_what_go_would_take_for_an_action_is_written_as_text() -> None:
    template = Template(instruction="{{{{{instruction}", input="{input}", response=' """{output}')
    text = go_template(exchange_of(template, "", "<end>"))
    assert text.startswith('{{ if .System }}{{ .System }}\n\n{{ end }}{{ "{{" }}{{ .Prompt }} ')
    assert '"""' not in text


def test_the_completion_layout_keeps_its_separator() -> None:
    text = go_template(exchange_of(TEMPLATES["completion"], "", "<|endoftext|>"))
    assert text.endswith("{{ .Prompt }}\n\n###\n\n{{ .Response }}<|endoftext|>")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("go"), reason="there is no go, in whose templates Ollama's are written")
def test_go_renders_what_the_chat_template_does(tmp_path: Path) -> None:
    turns: list[Message] = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "Four."},
        {"role": "user", "content": "And {{ 3 }}?"},
    ]
    without = {name for name in KNOWN if name in ("LLAMA2", "MISTRAL")}  # an answer's own blank is the model's there
    asked, expected = [], []
    for name in KNOWN:
        exchange, start = exchange_of(chat(name), "<s>", "</s>"), "<s>"
        for messages in (turns[-1:], turns):
            if name in without and len(messages) > 1:
                continue
            system = [] if exchange.system is None else [{"role": "system", "content": exchange.system}]
            asked.append({"Template": go_template(exchange), "Messages": [*system, *messages]})
            expected.append(chat(name).render(messages).removeprefix(start))
    alpaca = TEMPLATES["alpaca"]
    asked.append({"Template": go_template(exchange_of(alpaca, "", "")), "Messages": turns[-1:]})
    expected.append(alpaca.prompt("And {{ 3 }}?"))
    script = Path(__file__).with_name("exchange.go")
    home = {**os.environ, "HOME": str(tmp_path)}  # where go keeps what it compiles
    words = ["go", "run", str(script)]
    done = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, check=True, env=home)
    assert json.loads(done.stdout) == expected
