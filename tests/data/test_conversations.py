"""Conversations, read from every layout that is in use: one table, whatever the file; what is wrong is named."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.conversations import find_fault, read_history
from components.core.errors import DataRejected, TableError
from components.data.asked import PromptSource
from components.data.download import download
from components.data.sources import InstructionSourceConfig
from components.data.split.near_duplicates import NearDuplicates
from components.data.split.row_index import index_instructions
from components.data.tables import read_batches
from components.data.turns import as_entries, recognised
from components.prompts import PromptConfig

SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello 안녕"}]
LAST = [{"role": "user", "content": "3 + 4?"}, {"role": "assistant", "content": "7"}]
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}
USER, ANSWER = FIRST
LAST_PAIR = [(turn["role"], turn["content"]) for turn in LAST]
TURNS = [SYSTEM, *FIRST, *LAST]
ANSWER_ALONE = LAST[1:]


def parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


LAYOUTS: dict[str, dict[str, Any]] = {
    "messages": {"messages": TURNS},
    "messages in parts": {"messages": [{**turn, "content": parts(turn["content"])} for turn in TURNS]},
    "messages as JSON": {"messages": json.dumps(TURNS)},
    "messages, their system message apart": {"system": SYSTEM["content"], "messages": TURNS[1:]},
    "messages with their system message, and it apart": {"system": "It is told twice.", "messages": TURNS},
    "conversations": {"conversations": [{"from": SHAREGPT[turn["role"]], "value": turn["content"]} for turn in TURNS]},
    "prompt and completion": {"prompt": TURNS[:-1], "completion": TURNS[-1:]},
    "prompt and response": {"prompt": TURNS[:-1], "response": "7"},
    "history": {
        "instruction": "3 + 4?", "input": "", "output": "7", "system": SYSTEM["content"],
        "history": [["Hi", "Hello 안녕"]],
    },
}  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(folder: Path, rows: list[dict[str, Any]], kind: str = "jsonl", **options: Any) -> pd.DataFrame:
    path = folder / f"chat.{kind}"
    write(path, rows)
    source = InstructionSourceConfig.model_validate({"url": str(path), "format": kind, **options})
    (folder / "out").mkdir()
    download(source, folder / "downloads", None, folder / "out")
    return pd.read_parquet(folder / "out/table.parquet")


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_makes_the_same_table(tmp_path: Path, layout: str, kind: str) -> None:
    table = read(tmp_path, [LAYOUTS[layout]] * 2, kind)
    assert list(table.columns) == ["row", "instruction", "input", "output", "history"]
    for row in table.to_dict("records"):
        assert (row["instruction"], row["input"], row["output"]) == ("3 + 4?", "", "7")
        assert read_history(row["history"]) == TURNS[:-2]


def test_single_turns_have_no_history_and_a_prompt_with_its_completion_is_an_entry(tmp_path: Path) -> None:
    table = read(tmp_path, [{"messages": FIRST}, {"messages": TURNS}])
    assert table["history"].isna().tolist() == [True, False]
    (tmp_path / "plain").mkdir()
    plain = read(tmp_path / "plain", [{"prompt": "Hi", "completion": "Hello"}])
    assert plain.to_dict("list") == {"row": [1], "instruction": ["Hi"], "input": [""], "output": ["Hello"]}


@pytest.mark.parametrize("answer", ["[0, 1]", "[]", '[["Paris", "France"]]', json.dumps(LAST[1:])])
def test_an_answer_that_looks_like_turns_is_a_text_where_turns_are_a_list(tmp_path: Path, answer: str) -> None:
    table = read(tmp_path, [{"prompt": TURNS[:-1], "completion": answer}])
    assert (table["instruction"][0], table["output"][0]) == ("3 + 4?", answer)


@pytest.mark.parametrize("answer", ["[0, 1]", "[]", '[{"name": "Ann"}]'])
def test_turns_that_stand_as_text_may_be_answered_with_a_list(tmp_path: Path, answer: str) -> None:
    rows = [{"said": json.dumps(TURNS[:-1]), "answer": each} for each in (answer, json.dumps(LAST[1:]))]
    table = read(tmp_path, rows, columns={"messages": "said", "output": "answer"})
    assert table["output"].tolist() == [answer, "7"]


@pytest.mark.parametrize("call", [{"tool_calls": [{"function": {"name": "sum"}}]}, {"function_call": {"name": "sum"}}])
def test_a_turn_that_calls_a_tool_is_not_learnt_as_its_text(tmp_path: Path, call: dict[str, Any]) -> None:
    table = read(tmp_path, [{"messages": [*TURNS[:-1], {**TURNS[-1], **call}]}, {"messages": TURNS}])
    assert table["instruction"].isna().tolist() == [True, False]
    assert read_history(table["history"][0])[-1] == {"role": "assistant", "content": None}


def test_answers_of_weight_0_are_not_learnt_and_what_follows_the_last_other_one_is_left_out(tmp_path: Path) -> None:
    unlearnt = {**ANSWER, "weight": 0}
    chats = [[USER, unlearnt, *LAST], [*FIRST, LAST[0], {**LAST[1], "weight": 0}], [USER, {**ANSWER, "weight": 1}]]
    table = read(tmp_path, [{"messages": each} for each in chats])
    assert table["output"].tolist() == ["7", "Hello 안녕", "Hello 안녕"]
    assert [read_history(history or None) for history in table["history"].fillna("")] == [[USER, unlearnt], [], []]


def test_what_is_asked_and_is_no_conversation_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    source = PromptSource(url=str(path), format="jsonl", columns={"messages": "messages"})
    cells = as_entries(path, source, {"messages": [ANSWER_ALONE, TURNS[:-1]]}, 0)
    assert cells["instruction"] == [None, "3 + 4?"]
    assert read_history(cells["history"][0]) == ANSWER_ALONE


def test_a_history_that_begins_late_in_a_parquet_file_is_read(tmp_path: Path) -> None:
    entry = {"instruction": "3 + 4?", "input": "", "output": "7"}
    rows = [{**entry, "history": None}] * 150 + [{**entry, "history": [["Hi", "Hello"]]}]
    history = read(tmp_path, rows, "parquet")["history"]
    assert history.isna().sum() == 150
    assert read_history(history[150])[0] == {"role": "user", "content": "Hi"}


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    columns = {"messages": "dialogue", "task": "kind"}
    table = read(tmp_path, [{"dialogue": TURNS, "kind": "sums", "id": 1}], columns=columns)
    assert (table["task"][0], table["output"][0]) == ("sums", "7")


def test_what_is_no_conversation_is_kept_whole_for_validation(tmp_path: Path) -> None:
    table = read(tmp_path, [{"messages": TURNS[:-1]}, {"messages": None}, {"messages": TURNS}])
    assert table["instruction"].isna().tolist() == [True, True, False]
    assert read_history(table["history"][0]) == TURNS[:-1]


def test_a_file_with_both_layouts_is_refused_with_what_to_name(tmp_path: Path) -> None:
    both = {"messages": TURNS, "instruction": "a", "output": "b"}
    with pytest.raises(DataRejected, match=r"2 layouts \(messages; instruction and output\); name .* source\.columns"):
        read(tmp_path, [both])
    (tmp_path / "named").mkdir()
    assert read(tmp_path / "named", [both], columns={"messages": "messages"})["output"][0] == "7"


@pytest.mark.parametrize("cell", [3, {"role": "user", "content": "x"}, ["a"], [["a", "b", "c"]]])
def test_a_cell_that_holds_no_turns_is_named_with_its_record(tmp_path: Path, cell: Any) -> None:
    with pytest.raises(TableError, match=r"record 2 holds a .* turns of a conversation") as caught:
        read(tmp_path, [{"messages": TURNS}, {"messages": cell}])
    assert "\n" not in str(caught.value)


def test_a_conversation_that_is_mapped_as_a_text_is_told_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"source\.columns='\{messages: chat\}'"):
        read(tmp_path, [{"chat": TURNS, "a": "b"}], columns={"instruction": "chat", "output": "a"})


def test_whole_conversations_have_no_instruction_besides() -> None:
    with pytest.raises(ValidationError, match="messages are whole conversations: leave instruction out"):
        InstructionSourceConfig(url="x", columns={"messages": "m", "instruction": "i"})


FAULTS = [
    ([], "no turn is the assistant's"),
    ([USER], "no turn is the assistant's"),
    ([SYSTEM], "no turn is the assistant's"),
    ([USER, ANSWER, USER], "the last turn is the user's, so it has no answer"),
    ([ANSWER, USER, ANSWER], "turn 1 is the assistant's where the user's is due"),
    ([USER, USER, ANSWER], "turn 2 is the user's where the assistant's is due"),
    ([USER, SYSTEM, ANSWER], "turn 2 is a system message, which may only come first"),
    ([USER, {"role": "tool", "content": "x"}, ANSWER], "turn 2 has the role 'tool', which is none of system, user"),
    ([USER, {"role": "assistant", "content": " \n"}], "turn 2, the assistant's, is empty"),
    ([USER, {"role": "assistant", "content": None}], "turn 2, the assistant's, holds no text"),
    ([USER, {**ANSWER, "weight": 0}], "no answer is to be learnt: the weight of each is 0"),
    ([USER, {**ANSWER, "weight": 0.5}, *LAST], "turn 2 has the weight 0.5, which is neither 0 nor 1"),
]


@pytest.mark.parametrize(("turns", "fault"), FAULTS)
def test_a_fault_of_a_conversation_is_named_with_its_turn(turns: list[dict[str, Any]], fault: str) -> None:
    found = find_fault(turns)
    assert found is not None
    assert found.startswith(fault)
    assert find_fault(TURNS) is None


def test_rows_are_the_same_where_all_that_was_said_before_is(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "HI"}, {"role": "assistant", "content": "Hello 안녕"}]
    rows = [[*FIRST, *LAST], LAST, [*FIRST, *LAST], [*other, *LAST]]
    read(tmp_path, [{"messages": turns} for turns in rows])
    index = index_instructions(tmp_path / "out/table.parquet")
    first, alone, again, folded = index.exact
    assert (first == again, first == alone, first == folded) == (True, False, False)
    assert index.folded[3] == index.folded[0]
    pq.write_table(pq.read_table(tmp_path / "out/table.parquet").drop_columns(["history"]), tmp_path / "single.parquet")
    assert index_instructions(tmp_path / "single.parquet").exact[1] == alone


def test_near_duplicates_are_alike_in_what_is_said_not_in_who_says_it(tmp_path: Path) -> None:
    said = "the quick brown fox jumps over one lazy dog"
    turns = [{"role": role, "content": text} for role, text in (("user", said), ("assistant", "Yes"), *LAST_PAIR)]
    apart = [{"role": turn["role"], "content": turn["content"][::-1]} for turn in turns]
    read(
        tmp_path,
        [{"messages": turns}, {"messages": [{**turns[0], "content": f"{said} now"}, *turns[1:]]}, {"messages": apart}],
    )
    near = NearDuplicates(tmp_path / "out/table.parquet", ["instruction", "input", "history"], True)
    sets = near.of_row[:, 0]
    labels = near.components(sets[:0], sets[:0], near.count)[sets]
    assert labels[0] == labels[1] != labels[2]


def test_a_judge_reads_what_was_said_before() -> None:
    text = PromptConfig(template="chat").text("3 + 4?", "", [SYSTEM, *FIRST])
    assert text == "system: Be brief.\n\nuser: Hi\n\nassistant: Hello 안녕\n\nuser: 3 + 4?"


@pytest.mark.ci
def test_rows_pass_through_in_batches(tmp_path: Path) -> None:
    """The first are there before the last are read, which here cannot be."""
    path = tmp_path / "chat.jsonl"
    path.write_text((json.dumps({"messages": TURNS}) + "\n") * 20_000 + "{", encoding="utf-8")
    source = recognised(path, InstructionSourceConfig(url=str(path), format="jsonl"))
    batches = read_batches(path, source)
    assert next(batches).num_rows < 20_000
    with pytest.raises(TableError, match="line 20001 is not JSON"):
        list(batches)
