"""What is learnt of a conversation: in every family's template the assistant's turns with their ends, and no more."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from components.conversations import Entry
from components.core.errors import ConfigError
from components.models.pretrained.tokenizer import PretrainedTokenizer
from components.models.pretrained.turns import encode_fitting
from components.models.tokenizer import encode_prompts, end_of_answer, end_of_text
from components.prompts import AnyTemplate, PromptConfig
from components.training.config import InstructionTrainConfig
from components.training.instruction import prepare, tokenise
from components.training.objectives.instruction import IGNORED, Entries
from tests.models.pretrained import chat_templates
from tests.models.pretrained.small_tokenizers import folder_of, read, trained

CHATML = {"eos_token": "<|im_end|>"}
LLAMA3 = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
SENTENCEPIECE = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
FAMILIES = [
    ("smollm", "SMOLLM2", CHATML), ("smollm", "MARKED", CHATML), ("qwen2", "QWEN25", CHATML),
    ("llama3", "LLAMA3", LLAMA3), ("llama3", "LLAMA31", LLAMA3),
    ("sentencepiece", "MISTRAL", SENTENCEPIECE), ("sentencepiece-first", "MISTRAL", SENTENCEPIECE),
    ("sentencepiece", "LLAMA2", SENTENCEPIECE), ("smollm", "ZEPHYR", CHATML),
    ("smollm", "PHI", CHATML), ("smollm", "GEMMA", CHATML),
]  # fmt: skip
BLANK_FIRST = ("sentencepiece", "ZEPHYR", SENTENCEPIECE)
"""Where nothing special stands before an answer, sentencepiece has it begin with a blank, as it does a response."""
SAID = ["Hello, it's me.", "It is 7,\n\nnot 8 ½ 안녕.", "Bye 🎉 <|im_end|></s><|eot_id|>"]
ASKED = ["Hi", "3 + 4 = ? <|im_end|>", "  Thanks!  "]


def chat_model(folder: Path, kind: str, template: str, named: dict[str, str]) -> PretrainedTokenizer:
    jinja = getattr(chat_templates, template)
    return read(folder_of(folder, trained(kind), tokenizer_config={**named, "chat_template": jinja}))


def entry(system: str | None = None, turns: int = 3) -> Entry:
    history: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for asked, said in zip(ASKED[: turns - 1], SAID, strict=False):
        history += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return Entry(ASKED[turns - 1], "", history)


def write(path: Path, *entries: Entry, output: str = SAID[2]) -> Path:
    import pandas as pd

    rows = [
        {**each._asdict(), "row": row, "output": output, "history": json.dumps(each.history) if each.history else None}
        for row, each in enumerate(entries)
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


def learnt(entries: Entries, encoding: PretrainedTokenizer, row: int = 0) -> list[str]:
    """Return the runs of tokens that are learnt of an entry, decoded."""
    targets = entries.targets(row, end_of_text(encoding), mask_prompt=True)
    runs: list[list[int]] = [[]]
    for target in targets:
        if target == IGNORED:
            runs.append([])
        else:
            runs[-1].append(target)
    return [encoding.decode(run) for run in runs if run]


@pytest.mark.ci
@pytest.mark.parametrize(("kind", "name", "named"), [*FAMILIES, BLANK_FIRST])
def test_the_assistants_turns_and_their_ends_are_learnt_and_nothing_else(
    tmp_path: Path, kind: str, name: str, named: dict[str, str]
) -> None:
    encoding = chat_model(tmp_path, kind, name, named)
    template = PromptConfig(template="chat").resolved(encoding)
    table = write(tmp_path / "train.parquet", entry(), entry(turns=1), entry(turns=2))
    every = tokenise(table, template, encoding, with_said=True)
    end = encoding.decode([end_of_text(encoding)])
    for row, wanted in enumerate([SAID, SAID[2:], [SAID[0], SAID[2]]]):
        found = learnt(every, encoding, row)
        assert [text.removesuffix(end).strip() for text in found] == wanted
        assert all(text.endswith(end) for text in found)
        assert int(every.trained(mask_prompt=True)[row]) == sum(
            target != IGNORED for target in every.targets(row, end_of_text(encoding), mask_prompt=True)
        )
    last = tokenise(table, template, encoding)
    assert [learnt(last, encoding, row) for row in range(3)] == [learnt(every, encoding, 1)] * 3


def test_an_answer_of_weight_0_is_read_and_not_learnt(smollm: tuple[Any, AnyTemplate], tmp_path: Path) -> None:
    encoding, template = smollm
    weighed = entry()
    first = next(place for place, turn in enumerate(weighed.history) if turn["role"] == "assistant")
    history = [{**turn, "weight": 0} if place == first else turn for place, turn in enumerate(weighed.history)]
    table = write(tmp_path / "train.parquet", entry(), weighed._replace(history=history))
    entries = tokenise(table, template, encoding, with_said=True)
    assert learnt(entries, encoding, 1) == learnt(entries, encoding, 0)[1:]
    whole, same = np.split(entries.ids, entries.offsets[1:-1])
    assert whole.tolist() == same.tolist()


@pytest.mark.ci
@pytest.mark.parametrize(("kind", "name", "named"), FAMILIES)
def test_what_is_learnt_is_what_will_be_asked(tmp_path: Path, kind: str, name: str, named: dict[str, str]) -> None:
    """The tokens of training are those of generation, which are the ones of `transformers`."""
    encoding = chat_model(tmp_path, kind, name, named)
    template = PromptConfig(template="chat").resolved(encoding)
    for asked in (entry(), entry(turns=2)):
        [prompt] = encode_fitting(encoding, template, [asked], [None], with_said=True)
        assert [prompt.tokens] == encode_prompts(encoding, template, [asked])


IN_ROWS = [
    *(each for each in FAMILIES if each[0] != "sentencepiece"), ("sentencepiece", "MISTRAL", SENTENCEPIECE),
    ("sentencepiece-first", "LLAMA2", SENTENCEPIECE), ("qwen2", "MISTRAL_WITH_SYSTEM", CHATML),
    ("smollm", "SMOLLM2", {"eos_token": "<|endoftext|>"}), ("sentencepiece-first", "CHATML_WITHIN", SENTENCEPIECE),
]  # fmt: skip


@pytest.mark.ci
@pytest.mark.parametrize(("kind", "name", "named"), IN_ROWS)
def test_the_last_answer_is_learnt_as_transformers_writes_it(
    tmp_path: Path, kind: str, name: str, named: dict[str, str]
) -> None:
    """Also where texts end with another token than turns, and the template puts a blank before an answer, or trims."""
    encoding = chat_model(tmp_path, kind, name, named)
    template = PromptConfig(template="chat").resolved(encoding)
    peer = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), **encoding.variables)
    peer.chat_template = encoding.chat_template
    for answer in ("Once, twice.", " It is 7,\n\nnot 8 ½ 안녕. "):
        asked = entry(turns=2)
        turns = [*asked.history, {"role": "user", "content": ASKED[1].split(" <")[0]}]
        asked = asked._replace(instruction=turns[-1]["content"])
        turns.append({"role": "assistant", "content": answer})
        table = write(tmp_path / "train.parquet", asked, output=answer)
        entries = tokenise(table, template, encoding)
        ours = [*entries.tokens(0)[:1], *entries.targets(0, end_of_answer(encoding, template), mask_prompt=False)]
        theirs = peer.apply_chat_template(turns, return_dict=False)
        assert ours == theirs[: len(ours)]


BAD = [
    # The system message moves to the last turn of the user's, so that what was read before changes.
    ("MISTRAL_WITH_SYSTEM", "Be kind.", "writes what stands before turn 3 otherwise once more turns follow"),
    ("WITHOUT_THOUGHTS", None, "leaves out or rewrites what the assistant says in turn 2"),
    ("NO_END", None, "does not end the assistant's turns by a special token"),
]


@pytest.mark.parametrize(("name", "system", "told"), BAD)
def test_a_template_that_rewrites_earlier_turns_is_refused(
    tmp_path: Path, name: str, system: str | None, told: str
) -> None:
    encoding = chat_model(tmp_path, "sentencepiece", name, SENTENCEPIECE)
    template = PromptConfig(template="chat").resolved(encoding)
    table = write(tmp_path / "train.parquet", entry(system))
    with pytest.raises(ConfigError, match=rf"^prompt\.template: .*{told}.*set train\.learn=last") as raised:
        tokenise(table, template, encoding, with_said=True)
    assert "\n" not in str(raised.value)
    assert learnt(tokenise(table, template, encoding), encoding)[-1].strip().startswith(SAID[2])


def test_conversations_need_a_template_that_writes_turns(tmp_path: Path) -> None:
    table = write(tmp_path / "train.parquet", entry())
    encoding = chat_model(tmp_path, "smollm", "SMOLLM2", CHATML)
    with pytest.raises(ConfigError, match=r"^prompt\.template: .*set prompt\.template=chat"):
        tokenise(table, PromptConfig(template="alpaca").resolved(encoding), encoding)


@pytest.fixture
def smollm(tmp_path: Path) -> tuple[PretrainedTokenizer, AnyTemplate]:
    encoding = chat_model(tmp_path, "smollm", "SMOLLM2", CHATML)
    return encoding, PromptConfig(template="chat").resolved(encoding)


def test_a_long_conversation_is_cut_from_the_front_by_whole_turns(
    smollm: tuple[Any, AnyTemplate], tmp_path: Path
) -> None:
    encoding, template = smollm
    whole, shorter, alone = (encode_prompts(encoding, template, [entry("Be kind.", turns)])[0] for turns in (3, 2, 1))
    whole_entry = entry("Be kind.")
    for room, kept in ((len(whole), 4), (len(whole) - 1, 2), (len(whole) - len(alone), None), (1, 0)):
        [prompt] = encode_fitting(encoding, template, [whole_entry], [room], with_said=True)
        text = encoding.decode(prompt.tokens)
        assert text.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n")
        assert text.endswith("<|im_start|>user\n  Thanks!  <|im_end|>\n<|im_start|>assistant\n")
        assert len(prompt.tokens) <= room or prompt.turns == 2
        assert prompt.cut == (prompt.turns < 6)
        if kept is not None:
            assert prompt.turns == kept + 2
    assert len(whole) > len(shorter)


def test_cut_conversations_are_counted(smollm: tuple[Any, AnyTemplate], tmp_path: Path) -> None:
    encoding, template = smollm
    table = write(tmp_path / "train.parquet", entry(), entry(turns=1), entry())
    whole = tokenise(table, template, encoding)
    data = prepare(table, table, template, encoding, InstructionTrainConfig(), int(whole.lengths.max()) - 1)
    assert (data.train.cut_conversations, data.truncated) == (2, {"train": 0, "validation": 0})
    assert learnt(data.train, encoding)[-1] == SAID[2] + "<|im_end|>"
    assert learnt(data.train, encoding)[0] == SAID[1] + "<|im_end|>"
