"""Servers as they are: other paths, lists, fields and forms of replies, and prompts that they refuse."""

import json
from typing import Any

import pytest

from components.core.errors import ConfigError, JudgeError
from components.evaluation.instruction import warnings
from components.judging.clients import full_name, may_be
from components.judging.config import JudgeConfig
from components.judging.identity import judge_identity
from components.judging.verdicts import BROKEN, CUT, DECLINED, EMPTY, NO_VERDICT, REFUSED, THOUGHTS
from pipelines.judging import judge_config
from tests.judging.bench import ROWS, Bench, write_responses
from tests.judging.serving import OllamaServer

THIRD = '"response": "Number 3!"'
KINDS = pytest.mark.parametrize("kind", ["ollama", "openai"])
STREAMS = pytest.mark.parametrize("stream", [False, True])


def third(bench: Bench) -> dict[str, Any]:
    [row] = [each for each in bench.verdicts() if each["of"] == "model" and each["row"] == 30]
    return row


# --- prompts that are refused


@pytest.mark.ci
@KINDS
@pytest.mark.parametrize("status", ["400", "413", "422"])
def test_a_prompt_that_is_refused_is_one_verdict_without_a_score(
    ollama: OllamaServer, bench: Bench, kind: str, status: str
) -> None:
    ollama.behave(fault=status, where=THIRD)
    facts = bench.judge(ollama, kind=kind, max_unparsed=0.1)
    assert facts["counts"]["model"] == {"scored": ROWS - 1, "unparsed": 1}
    row = third(bench)
    assert (row["score"], row["status"]) == (None, "unparsed")
    assert row["reason"].startswith(f"{REFUSED}: ")
    assert f"this is a {status}" in row["reason"]
    assert facts["unparsed"] == {REFUSED: 1}
    assert f"of the verdicts that could not be read 1: {REFUSED}" in warnings({}, facts)
    asked = len(ollama.chats)
    assert bench.judge(ollama, kind=kind, max_unparsed=0.1) == facts
    assert len(ollama.chats) == asked
    with pytest.raises(
        JudgeError, match=r"1 of 12 verdicts .* judge\.max_unparsed=0\.05 .*the server refused the prompt"
    ):
        bench.judge(ollama, kind=kind)


@pytest.mark.ci
@KINDS
def test_a_first_prompt_that_is_refused_does_not_end_the_judging(ollama: OllamaServer, bench: Bench, kind: str) -> None:
    write_responses(bench.tables["model"], ["Number 3!", "Number 4!"])
    ollama.behave(fault="400", where=THIRD)
    facts = bench.judge(ollama, kind=kind, also=[], max_unparsed=0.5, concurrency=1)
    assert facts["counts"]["model"] == {"scored": 1, "unparsed": 1}
    ollama.behave(fault="400", where='"response": "Number')
    facts = bench.judge(ollama, kind=kind, also=[], max_unparsed=1, concurrency=1, seed=5)
    assert facts["counts"]["model"] == {"scored": 0, "unparsed": 2}, "max_unparsed decides"


@pytest.mark.ci
@KINDS
@pytest.mark.parametrize("status", ["400", "422"])
def test_a_server_that_refuses_every_prompt_is_asked_a_few_times_only(
    ollama: OllamaServer, bench: Bench, kind: str, status: str
) -> None:
    write_responses(bench.tables["model"], [f"Number {row}!" for row in range(1, 1001)])
    ollama.behave(fault=status)
    with pytest.raises(JudgeError, match=rf"this is a {status}.*refuses every prompt.*judge\.extra") as failure:
        bench.judge(ollama, kind=kind, max_unparsed=1)
    assert "\n" not in str(failure.value)
    assert len(ollama.chats) <= 4 * (4 + 4)
    assert "0 of " in str(failure.value)
    ollama.behave()
    write_responses(bench.tables["model"], ["Number 3!"])
    assert bench.judge(ollama, kind=kind)["counts"]["model"] == {"scored": 1, "unparsed": 0}, "nothing was kept"


@pytest.mark.ci
@KINDS
def test_a_prompt_that_is_forbidden_is_one_verdict_without_a_score(
    ollama: OllamaServer, bench: Bench, kind: str
) -> None:
    ollama.behave(fault="403", where=THIRD)
    facts = bench.judge(ollama, kind=kind, max_unparsed=0.1)
    assert facts["counts"]["model"] == {"scored": ROWS - 1, "unparsed": 1}
    assert "this is a 403" in third(bench)["reason"]
    write_responses(bench.tables["model"], ["Number 3!", "Number 4!"])
    facts = bench.judge(ollama, kind=kind, also=[], max_unparsed=0.5, concurrency=1, seed=5)
    assert facts["counts"]["model"] == {"scored": 1, "unparsed": 1}, "if it is the first one too"


@KINDS
def test_a_key_that_may_not_do_it_is_no_prompts_fault(ollama: OllamaServer, bench: Bench, kind: str) -> None:
    ollama.behave(fault="403")
    with pytest.raises(JudgeError, match=r"answered 403 .*name a variable with the server's key in judge\.api_key_env"):
        bench.judge(ollama, kind=kind, max_unparsed=1, concurrency=1)
    assert len(ollama.chats) == 2, "the prompt, and one that nobody minds"


@pytest.mark.ci
def test_too_many_refused_prompts_end_the_judging_at_once(ollama: OllamaServer, bench: Bench) -> None:
    write_responses(bench.tables["model"], [f"Number {row}!" for row in range(1, 401)])
    ollama.behave(fault="400", where='"response": "Number')
    told = r"2\d of 400 verdicts on the model's responses .*mostly: the server refused the prompt\)"
    with pytest.raises(JudgeError, match=told) as failure:
        bench.judge(ollama)
    assert failure.value.evidence == bench.out
    refused = [each for each in bench.verdicts() if each["status"] == "unparsed"]
    assert 21 <= len(refused) < 21 + 4, "those under way are waited for, and no other is begun"
    assert sum('"response": "Number' in body["messages"][1]["content"] for body in ollama.chats) == len(refused)


@pytest.mark.one_case
@pytest.mark.parametrize("code", [400, "400", 403, "413", "content_filter", "context_length_exceeded"])
def test_an_error_of_one_prompt_with_status_200_is_its_own(ollama: OllamaServer, bench: Bench, code: int | str) -> None:
    ollama.behave(fault="error_200_of_the_prompt", where=THIRD, code=code)
    facts = bench.judge(ollama, kind="openai", also=[], max_unparsed=0.1)
    assert facts["unparsed"] == {REFUSED: 1}
    assert "blocked by the filter" in third(bench)["reason"]


# --- replies that are cut, empty, or refusals


@pytest.mark.ci
@KINDS
@STREAMS
def test_a_reply_that_is_cut_is_asked_for_again_with_more_room(
    ollama: OllamaServer, bench: Bench, kind: str, stream: bool
) -> None:
    ollama.behave(room=1000)
    facts = bench.judge(ollama, kind=kind, stream=stream, also=[])
    assert facts["counts"]["model"] == {"scored": ROWS, "unparsed": 0}
    limits = [body.get("options", {}).get("num_predict") or body["max_tokens"] for body in ollama.chats]
    assert sorted(limits) == [256] * ROWS + [1024] * ROWS
    if kind == "ollama":
        assert all(body["options"]["num_ctx"] >= body["options"]["num_predict"] + 700 for body in ollama.chats)


@pytest.mark.one_case
@KINDS
def test_a_reply_that_is_always_cut_is_no_verdict_whatever_it_holds(
    ollama: OllamaServer, bench: Bench, kind: str
) -> None:
    ollama.behave(fault="said", where=THIRD, said={"content": '{"score": 20}', "finish_reason": "length"})
    facts = bench.judge(ollama, kind=kind, also=[], max_unparsed=0.1)
    row = third(bench)
    assert (row["score"], row["finish_reason"], row["reply"], row["reason"]) == (None, "length", '{"score": 20}', CUT)
    asked = [body for body in ollama.chats if THIRD in body["messages"][-1]["content"]]
    limits = [body.get("options", {}).get("num_predict") or body["max_tokens"] for body in asked]
    assert limits == [256, 1024, 4096]
    assert facts["unparsed"] == {f"{CUT}: raise judge.max_tokens": 1}
    assert any(CUT in line and "raise judge.max_tokens" in line for line in warnings({}, facts))


FIELD = {"ollama": "thinking", "openai": "reasoning_content"}
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": '{"score": 7}'}]
SAID: list[tuple[dict[str, Any], float | None, str, str, str]] = [
    ({"content": "", "thinking": 'Maybe {"score": 20}'}, None, THOUGHTS, 'Maybe {"score": 20}', ""),
    ({"content": None, "reasoning": "Hm."}, None, THOUGHTS, "Hm.", ""),
    ({"content": "", "reasoning_content": "Hm.", "reasoning": "Hm."}, None, THOUGHTS, "Hm.", ""),
    ({"content": ""}, None, EMPTY, "", ""),
    ({"content": None, "refusal": "I cannot."}, None, f"{DECLINED}: I cannot.", "", "I cannot."),
    ({"content": '{"score": 7}', "refusal": "I cannot."}, None, f"{DECLINED}: I cannot.", "", "I cannot."),
    ({"content": '{"score": 7}', "finish_reason": "content_filter"}, None, f"{DECLINED}: content_filter", "", ""),
    ({"content": "It is fine."}, None, NO_VERDICT, "", ""),
    ({"content": PARTS}, 7, "", "Hm.", ""),
    ({"content": ['{"score"', ": 7}"]}, 7, "", "", ""),
    ({"content": '{"score": 7}', "reasoning": "Hm."}, 7, "", "Hm.", ""),
]


@KINDS
@STREAMS
@pytest.mark.parametrize(("said", "score", "reason", "thinking", "refusal"), SAID)
def test_what_a_reply_holds_besides_is_kept(
    ollama: OllamaServer, bench: Bench, kind: str, stream: bool, said: dict[str, Any], score: float | None, reason: str,
    thinking: str, refusal: str,
) -> None:  # fmt: skip
    ollama.behave(fault="said", where=THIRD, said=said)
    facts = bench.judge(ollama, kind=kind, stream=stream, also=[], max_unparsed=0.1)
    row = third(bench)
    expected = (score, reason, thinking, refusal, said.get("finish_reason", "stop"))
    assert (row["score"], row["reason"], row["thinking"], row["refusal"], row["finish_reason"]) == expected
    whys = {f"{THOUGHTS}: set judge.think=false, or raise judge.max_tokens": 1} if reason == THOUGHTS else None
    assert facts["unparsed"] == (whys or ({reason.partition(":")[0]: 1} if reason else {}))


@KINDS
def test_parts_that_are_no_parts_break_nothing(ollama: OllamaServer, bench: Bench, kind: str) -> None:
    ollama.behave(fault="said", where=THIRD, said={"content": [{"type": "thinking", "thinking": 5}, 7]})
    bench.judge(ollama, kind=kind, also=[], max_unparsed=0.1)
    assert third(bench)["reason"] == BROKEN


# --- prompts that are cut


def counted(ollama: OllamaServer, bench: Bench, how: str, words: int = 500, **settings: Any) -> int:
    write_responses(bench.tables["model"], [f"Number {row}! " + "word " * (words + 37 * row) for row in range(1, ROWS)])
    ollama.behave(counted=how)
    return int(bench.judge(ollama, **settings)["cut_prompts"])


@pytest.mark.one_case
@pytest.mark.parametrize("cap", ["300", "512", "600"])
def test_a_server_that_cuts_prompts_is_warned_of(ollama: OllamaServer, bench: Bench, cap: str) -> None:
    found = counted(ollama, bench, cap)
    assert found >= ROWS - 1
    assert {each["prompt_tokens"] for each in bench.verdicts() if each["of"] == "model"} == {int(cap)}
    facts = bench.judge(ollama)
    assert facts["cut_prompts"] == found, "also where all is known already"
    [line] = [line for line in warnings({}, facts) if "only a part" in line]
    assert "num_ctx" in line


@pytest.mark.slow
@pytest.mark.parametrize("how", ["all", "uncached", "1", ""])
@pytest.mark.parametrize("words", [1, 100, 500, 2000])
def test_a_server_that_cuts_nothing_is_not_suspected(ollama: OllamaServer, bench: Bench, how: str, words: int) -> None:
    assert counted(ollama, bench, how, words, concurrency=1) == 0
    assert counted(ollama, bench, how, words, concurrency=1, repeats=2) == 0


# --- settings


@pytest.mark.parametrize(
    ("think", "ollama_says", "openai_says"),
    [
        (None, "nothing", None),
        (False, False, None),
        (True, True, "medium"),
        ("low", "low", "low"),
        ("high", "high", "high"),
    ],
)
def test_thinking_is_asked_for_in_the_servers_words(
    ollama: OllamaServer, bench: Bench, think: Any, ollama_says: Any, openai_says: Any
) -> None:
    bench.judge(ollama, also=[], think=think)
    assert {body.get("think", "nothing") for body in ollama.chats} == {ollama_says}
    bench.judge(ollama, also=[], think=think, kind="openai")
    assert {body.get("reasoning_effort") for body in ollama.chats[ROWS:]} == {openai_says}


@pytest.mark.ci
def test_fields_are_added_renamed_and_dropped(ollama: OllamaServer, bench: Bench) -> None:
    extra = {"max_completion_tokens": 300, "max_tokens": None, "seed": None, "temperature": 1, "top_p": 0.9}
    ollama.behave(rejects=["max_tokens", "seed"], room=1000)
    bench.judge(ollama, kind="openai", also=[], extra=extra)
    assert {body["max_completion_tokens"] for body in ollama.chats} == {300, 1200}, "it grows as max_tokens does"
    assert not {"max_tokens", "seed"} & {name for body in ollama.chats for name in body}
    assert {(body["temperature"], body["top_p"]) for body in ollama.chats} == {(1, 0.9)}


def test_options_are_merged_one_by_one(ollama: OllamaServer, bench: Bench) -> None:
    bench.judge(ollama, also=[], extra={"options": {"num_gpu": 0, "seed": None, "num_ctx": 4096}, "keep_alive": "1h"})
    expected = {"temperature": 0.0, "num_ctx": 4096, "num_predict": 256, "num_gpu": 0}
    assert all((body["options"], body["keep_alive"]) == (expected, "1h") for body in ollama.chats)


def test_a_field_that_a_server_does_not_know_is_one_line(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(rejects=["max_tokens"])
    with pytest.raises(
        JudgeError, match=r"max_tokens is not supported.*; it refuses every prompt.*max_completion_tokens"
    ):
        bench.judge(ollama, kind="openai")


@pytest.mark.one_case
@pytest.mark.parametrize(
    "change", [{"think": True}, {"max_tokens": 64}, {"extra": {"top_p": 0.5}}, {"extra": {"seed": None}}]
)
def test_what_changes_a_verdict_is_part_of_the_judges_identity(
    ollama: OllamaServer, bench: Bench, change: dict[str, Any]
) -> None:
    bench.judge(ollama, also=[])
    bench.judge(ollama, also=[], **change)
    assert len(ollama.chats) == 2 * ROWS
    plain, changed = (JudgeConfig.model_validate({"url": ollama.url} | more) for more in ({}, change))
    assert judge_identity(plain, bench.cache) != judge_identity(changed, bench.cache)


def test_extra_fields_are_set_one_by_one_on_the_command_line() -> None:
    base = JudgeConfig(kind="openai", extra={"top_p": 0.5}, think="low").model_dump(mode="json")
    assert judge_config(base, ["judge.extra.seed=null"]).extra == {"top_p": 0.5, "seed": None}
    assert judge_config(base, ["judge.extra={seed: null}"]).extra == {"seed": None}
    other = judge_config(base, ["judge.kind=ollama", "judge.extra.keep_alive=1h"])
    assert (other.extra, other.think) == ({"keep_alive": "1h"}, False)
    with pytest.raises(ConfigError, match=r"set by judge\.model"):
        judge_config(base, ["judge.extra.model=x"])


# --- addresses, lists, names, roles


@pytest.mark.ci
@pytest.mark.parametrize(
    ("path", "base"),
    [("", "/v1"), ("/", "/v1"), ("/v1", "/v1"), ("/v1beta/openai", "/v1beta/openai"), ("/api/v3/", "/api/v3")],
)
def test_a_path_is_kept_as_it_is(ollama: OllamaServer, bench: Bench, path: str, base: str) -> None:
    ollama.behave(base=base)
    facts = bench.judge(ollama, kind="openai", url=f"{ollama.url}{path}", also=[])
    assert facts["counts"]["model"] == {"scored": ROWS, "unparsed": 0}
    assert {request["path"] for request in ollama.requests} == {f"{base}/models", f"{base}/chat/completions"}


@pytest.mark.ci
@pytest.mark.parametrize("names", ["data", "bare", "strings"])
@pytest.mark.parametrize("listed", ["gemini-2.5-flash", "models/gemini-2.5-flash", "google/gemini-2.5-flash"])
def test_lists_of_models_may_be_bare_and_prefixed(ollama: OllamaServer, bench: Bench, names: str, listed: str) -> None:
    ollama.behave(names=names, models={listed: "", "another": ""})
    bench.judge(ollama, kind="openai", also=[], model="gemini-2.5-flash")
    assert {body["model"] for body in ollama.chats} == {"gemini-2.5-flash"}
    with pytest.raises(JudgeError, match=r"has no model 'gemini' \(it has: "):
        bench.judge(ollama, kind="openai", also=[], model="gemini")


@pytest.mark.ci
def test_names_are_compared_as_ollama_compares_them(ollama: OllamaServer, bench: Bench) -> None:
    same = ["llama3", "Llama3:latest", "library/llama3", "registry.ollama.ai/library/LLAMA3:Latest"]
    assert {full_name(name) for name in same} == {"registry.ollama.ai/library/llama3:latest"}
    assert full_name("hf.co/User/Model:Q4_K_M") == "hf.co/user/model:q4_k_m"
    assert full_name("user/llama3") != full_name("llama3") != full_name("llama3:8b")
    assert not may_be("llama3", "codellama3")
    assert not may_be("llama3:8b", "llama3")
    for name in same:
        assert bench.judge(ollama, also=[], model=name)["counts"]["model"]["scored"] == ROWS
    with pytest.raises(JudgeError, match="has no model"):
        bench.judge(ollama, also=[], model="llama3:8b")


@pytest.mark.ci
@STREAMS
def test_a_server_without_a_system_role_gets_one_message(ollama: OllamaServer, bench: Bench, stream: bool) -> None:
    bench.judge(ollama, kind="openai", also=[])
    expected, before = bench.verdicts(), ollama.chats
    bench.cache.unlink()
    ollama.behave(rejects=["system"])
    bench.judge(ollama, kind="openai", also=[], concurrency=1, stream=stream)
    assert bench.verdicts() == expected
    roles = [[message["role"] for message in body["messages"]] for body in ollama.chats[ROWS:]]
    assert roles == [["system", "user"]] * 2 + [["user"]] * ROWS, "refused, with and without a schema, once for the run"
    [system, user] = before[0]["messages"]
    assert f"{system['content']}\n\n{user['content']}" in {
        body["messages"][0]["content"] for body in ollama.chats[ROWS:]
    }
    assert all("response_format" in body for body in ollama.chats[ROWS + 2 :])


def test_a_server_with_neither_schema_nor_system_role(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(rejects=["system", "response_format"], fault="400", where=THIRD)
    facts = bench.judge(ollama, kind="openai", also=[], max_unparsed=0.1)
    assert facts["counts"]["model"] == {"scored": ROWS - 1, "unparsed": 1}
    assert json.dumps(ollama.chats[-1]).count('"role"') == 1
