"""Conversations through the whole flow: validated, learnt, answered, judged, served, and talked with."""

import json
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from components.core.errors import ConfigError, DataRejected
from components.core.home import home
from components.tracking.registry.finding import resolve_model
from pipelines.check import check
from pipelines.judging import judge_run
from tests.pipelines.chatting import chat, conversations, save_weights
from tests.pipelines.commands import gradus
from tests.pipelines.instructing import client, config, run

pytestmark = pytest.mark.usefixtures("prefect_server")

TURNS = "source.columns={messages: messages}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights"))


@pytest.mark.ci
def test_conversations_are_learnt_answered_judged_served_and_gone_on_with(weights: Path, tmp_path: Path) -> None:
    summary = run(tmp_path / "talked", *chat(weights, TURNS), content=conversations())
    assert summary.status == "FINISHED"
    found = client().get_run(summary.run_id).data
    assert (found.metrics["data/conversations_several_turns"], found.metrics["data/cut_conversations_train"]) == (40, 0)
    path = client().download_artifacts(summary.run_id, "responses.parquet")
    responses = pd.read_parquet(path)
    assert json.loads(responses["history"][0])[-1]["role"] == "assistant"
    assert responses["instruction"].str.endswith(" 1").all()
    assert judge_run(summary.run_id, ["judge.also=[reference]"], home()).rows == len(responses)

    served = mlflow.pyfunc.load_model(resolve_model(str(summary.model_uri), home()))
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "3?"},
    ]
    short = {"max_new_tokens": 4, "precision": "fp32"}
    several = served.predict(pd.DataFrame({"messages": [json.dumps(turns)]}), short)
    assert several["response"].map(type).tolist() == [str]
    single = served.predict(pd.DataFrame({"messages": [json.dumps(turns[:1])]}), short)
    assert single.equals(served.predict(pd.DataFrame({"instruction": ["Hi"]}), short))
    with pytest.raises(MlflowException, match="messages of row 0: turn 2 is the user's where the assistant's is due"):
        served.predict(pd.DataFrame({"messages": [json.dumps([turns[0], turns[2]])]}))

    file = tmp_path / "asked.jsonl"
    file.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    done = gradus(
        "respond", summary.model_uri, "--file", file, "--json", "--max-new-tokens", "4", "--precision", "fp32"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["response"] == several["response"][0]


@pytest.mark.ci
def test_a_check_shows_every_answer_as_learnt_and_what_is_cut(weights: Path, tmp_path: Path) -> None:
    found = check(
        config(tmp_path / "check", *chat(weights, TURNS, "train.max_length=140"), content=conversations(40, 6))
    )
    sample = found.texts["samples"][0]
    learnt = [piece for piece, each in zip(sample["pieces"], sample["learnt"], strict=True) if each]
    assert learnt.count("<|im_end|>") >= 2
    assert "user" not in "".join(learnt)
    assert 2 < found.data["conversations"]["most_turns"] < 12  # cut at the context
    assert found.texts["cut_conversations"]["train"] == found.data["splits"]["train"]
    last = check(config(tmp_path / "last", *chat(weights, TURNS, "train.learn=last"), content=conversations()))
    assert sum(last.texts["samples"][0]["learnt"]) < sum(sample["learnt"])


@pytest.mark.ci
def test_what_is_too_long_is_left_out_where_the_preset_says_so(weights: Path, tmp_path: Path) -> None:
    content = [*conversations(40), *conversations(2, 40)]
    found = check(
        config(tmp_path / "out", *chat(weights, TURNS, "validation.length.too_long=leave_out"), content=content)
    )
    assert sum(found.data["splits"].values()) == 40
    strict = ("validation.length.too_long=leave_out", "validation.length.severity=error")
    with pytest.raises(DataRejected, match=r"length: .*rows 41, 42: .* tokens"):
        check(config(tmp_path / "strict", *chat(weights, TURNS, *strict), content=content))
    cut = check(config(tmp_path / "cut", *chat(weights, TURNS), content=content))
    assert (sum(cut.data["splits"].values()), cut.data["conversations"]["cut"]) == (42, 2)


def test_a_faulty_conversation_is_named_with_its_row_and_turn(weights: Path, tmp_path: Path) -> None:
    content = conversations(30)
    content[4]["messages"] = content[4]["messages"][:-1]
    content[7]["messages"][1]["role"] = "tool"
    strict = ("validation.conversation.severity=error",)
    with pytest.raises(DataRejected) as raised:
        check(config(tmp_path / "strict", *chat(weights, TURNS, *strict), content=content))
    told = str(raised.value)
    assert "conversation: 2 of 30 rows fail (row 5: the last turn is the user's, so it has no answer; row 8:" in told
    assert "role 'tool', which is none of system, user, assistant" in told
    assert "not_null" not in told
    found = check(config(tmp_path / "out", *chat(weights, TURNS), content=content))
    assert sum(found.data["splits"].values()) == 28


def test_a_prompt_of_single_entries_cannot_write_conversations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^prompt\.template: .*set prompt\.template=chat"):
        check(config(tmp_path / "single", TURNS, content=conversations()))
