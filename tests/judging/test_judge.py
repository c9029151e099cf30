"""Judging with a server that does as its protocol says."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from components.core.errors import JudgeError, JudgeUnreachable
from components.judging.config import JudgeConfig
from components.judging.identity import judge_identity
from tests.judging.bench import ALL, ROWS, Bench, write_responses
from tests.judging.serving import OllamaServer

DIGEST = "sha256:" + "365c" * 16


@pytest.mark.ci
def test_judges_the_model_the_start_and_the_references(ollama: OllamaServer, bench: Bench) -> None:
    facts = bench.judge(ollama)
    assert facts == {
        "judge": {
            "kind": "ollama",
            "model": "llama3",
            "digest": DIGEST,
            "name": "llama3 (Ollama, 365c365c365c)",
            "is_language_model": True,
        },
        "rubric": 2,
        "repeats": 1,
        "counts": {of: {"scored": ROWS, "unparsed": 0} for of in ("model", "start", "reference")},
        "unparsed": {},
        "cut_prompts": 0,
        "control": {"rows": ROWS, "own": 100.0, "other": facts["control"]["other"], "apart": 30.0, "tells": True},
        "usage": {"requests": ALL, "tokens_in": facts["usage"]["tokens_in"], "tokens_out": 20 * ALL, "estimated": ALL},
    }
    verdicts = bench.verdicts()
    assert [(verdict["of"], verdict["row"], verdict["repeat"]) for verdict in verdicts] == [
        (of, row * 10, 0) for of in ("model", "start", "reference") for row in range(1, ROWS + 1)
    ]
    for verdict in verdicts:
        assert verdict["status"] == "scored"
        assert verdict["reason"].startswith("It says ")
        assert verdict["reply"] == ""
        assert (verdict["score"] == verdict["chrf"] == 100) == (verdict["of"] == "reference")
    assert len({verdict["score"] for verdict in verdicts}) > 10, "each response has a score of its own"
    assert yaml.safe_load((bench.out / "rubric.yaml").read_text())["version"] == 2


@pytest.mark.ci
def test_the_requests_are_what_ollama_documents(ollama: OllamaServer, bench: Bench) -> None:
    bench.judge(ollama, also=[])
    first, *others = ollama.requests
    assert (first["method"], first["path"]) == ("GET", "/api/tags"), "before the first verdict"
    assert [(request["method"], request["path"]) for request in others] == [("POST", "/api/chat")] * ROWS
    for body in ollama.chats:
        assert body["model"] == "llama3"
        assert body["stream"] is False
        assert body["options"] == {"seed": 123, "temperature": 0.0, "num_ctx": 2048, "num_predict": 256}
        assert body["format"]["properties"]["score"] == {"type": "integer", "minimum": 0, "maximum": 100}
        assert [message["role"] for message in body["messages"]] == ["system", "user"]


@pytest.mark.ci
def test_scores_stand_beside_the_responses_they_are_about(ollama: OllamaServer, bench: Bench) -> None:
    bench.judge(ollama)
    for table in ("model", "start"):
        scores = {verdict["row"]: verdict["score"] for verdict in bench.verdicts() if verdict["of"] == table}
        for row in pq.read_table(bench.tables[table]).to_pylist():
            quoted = json.dumps(row["model_response"])
            [reply] = [reply for question, reply in ollama.replies.items() if quoted in question]
            assert scores[row["row"]] == json.loads(reply)["score"]


@pytest.mark.ci
def test_streamed_replies_give_the_same_verdicts(ollama: OllamaServer, bench: Bench) -> None:
    bench.judge(ollama)
    plain = bench.verdicts()
    bench.cache.unlink()
    bench.judge(ollama, stream=True)
    assert bench.verdicts() == plain
    assert [body["stream"] for body in ollama.chats] == [False] * ALL + [True] * ALL


@pytest.mark.ci
def test_judging_again_asks_nothing(ollama: OllamaServer, bench: Bench) -> None:
    facts = bench.judge(ollama)
    first, asked = bench.verdicts(), len(ollama.chats)
    assert asked == ALL
    assert bench.judge(ollama, stream=True, concurrency=1) == facts
    assert bench.verdicts() == first
    ollama.kill()
    assert bench.judge(ollama) == facts, "finished judgings need no server"
    assert bench.verdicts() == first
    assert len(ollama.chats) == asked


@pytest.mark.ci
@pytest.mark.parametrize("change", [{"seed": 7}, {"temperature": 0.5}, {"max_tokens": 64}, {"model": "phi3"}])
def test_another_judge_asks_anew(ollama: OllamaServer, bench: Bench, change: dict[str, Any]) -> None:
    ollama.behave(models={"llama3:latest": DIGEST, "phi3:latest": "sha256:other"})
    bench.judge(ollama, also=[])
    bench.judge(ollama, also=[], **change)
    assert len(ollama.chats) == 2 * ROWS
    ollama.behave(models={"llama3:latest": "sha256:pulled anew", "phi3:latest": "sha256:other"})
    bench.judge(ollama, also=[])
    assert len(ollama.chats) == 3 * ROWS


@pytest.mark.ci
def test_only_what_changed_is_asked(ollama: OllamaServer, bench: Bench) -> None:
    bench.judge(ollama, also=[])
    write_responses(bench.tables["model"], ["Number 1!", "something new", *[f"Number {row}!" for row in range(3, 8)]])
    bench.judge(ollama, also=[])
    assert len(ollama.chats) == ROWS + 1
    assert len(bench.verdicts()) == 7


@pytest.mark.ci
def test_the_same_words_about_the_same_task_are_asked_once(ollama: OllamaServer, bench: Bench) -> None:
    write_responses(bench.tables["model"], [f"The number {row}." for row in range(1, ROWS + 1)])
    bench.judge(ollama, also=["reference"])
    assert len(ollama.chats) == 2 * ROWS, "and those about other rows' references"
    assert [verdict["score"] for verdict in bench.verdicts()] == [100] * 2 * ROWS


@pytest.mark.ci
def test_repeats_vary_seed_and_temperature(ollama: OllamaServer, bench: Bench) -> None:
    facts = bench.judge(ollama, repeats=3, also=[])
    assert facts["repeats"] == 3
    assert facts["counts"] == {"model": {"scored": 3 * ROWS, "unparsed": 0}}
    options = [body["options"] for body in ollama.chats]
    assert sorted(option["seed"] for option in options) == [123] * ROWS + [124] * ROWS + [125] * ROWS
    assert {option["temperature"] for option in options} == {0.7}
    assert [(verdict["row"], verdict["repeat"]) for verdict in bench.verdicts()] == [
        (row * 10, repeat) for row in range(1, ROWS + 1) for repeat in range(3)
    ]


@pytest.mark.ci
def test_a_prompt_of_ones_own_is_what_the_judge_sees(ollama: OllamaServer, bench: Bench, tmp_path: Path) -> None:
    from components.judging.judge import judge

    config = JudgeConfig(url=ollama.url, also=())
    judge(bench.tables, config, lambda instruction, text: f"### {instruction} / {text}", bench.cache, tmp_path)
    texts = sorted(body["messages"][1]["content"] for body in ollama.chats)
    assert '"task": "### Say the number 1. / "' in texts[0]


@pytest.mark.ci
def test_the_context_grows_with_the_longest_prompt(ollama: OllamaServer, bench: Bench) -> None:
    write_responses(bench.tables["model"], ["short", "word " * 1500])
    bench.judge(ollama, also=[])
    lengths = {body["options"]["num_ctx"] for body in ollama.chats}
    assert lengths == {5120}, "one length for all, or the model is loaded anew; in steps of 1,024 tokens"
    assert [request["path"] for request in ollama.requests].count("/api/show") == 1


def test_no_context_beyond_the_models_own(ollama: OllamaServer, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    ollama.behave(context=4096)
    write_responses(bench.tables["model"], ["short", "word " * 1500])
    bench.judge(ollama, also=[])
    assert {body["options"]["num_ctx"] for body in ollama.chats} == {4096}
    assert "llama3 holds 4096" in caplog.text


@pytest.mark.ci
def test_openai_gives_the_same_verdicts(ollama: OllamaServer, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "a secret")
    ollama.behave(models={"llama3": ""}, key="a secret")
    facts = bench.judge(ollama, kind="openai", api_key_env="JUDGE_KEY")
    assert facts["judge"]["name"] == "llama3 (OpenAI-compatible server)"
    verdicts = bench.verdicts()
    bench.cache.unlink()
    bench.judge(ollama, kind="openai", api_key_env="JUDGE_KEY", stream=True)
    assert bench.verdicts() == verdicts
    ollama.behave()
    bench.judge(ollama)
    assert bench.verdicts() == verdicts
    paths = [request["path"] for request in ollama.requests]
    assert paths[: ALL + 1] == ["/v1/models"] + ["/v1/chat/completions"] * ALL
    body = ollama.chats[0]
    assert (body["seed"], body["temperature"], body["max_tokens"]) == (123, 0.0, 256)
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["score", "reason"]


@pytest.mark.ci
def test_openai_without_schemas_is_asked_without(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(models={"llama3": ""}, schema=False)
    facts = bench.judge(ollama, kind="openai", also=[], concurrency=1)
    assert facts["counts"]["model"] == {"scored": ROWS, "unparsed": 0}
    with_schema = ["response_format" in body for body in ollama.chats]
    assert with_schema == [True] + [False] * ROWS, "refused once, then left out"


def test_openai_need_not_list_its_models(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(listed=False)
    facts = bench.judge(ollama, kind="openai", url=f"{ollama.url}/v1/", also=[])
    assert facts["counts"]["model"] == {"scored": ROWS, "unparsed": 0}
    assert {request["path"] for request in ollama.requests} == {"/v1/models", "/v1/chat/completions"}


@pytest.mark.ci
def test_a_terminal_shows_how_far_it_is(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(delay=0.1)
    script = """
import sys
from pathlib import Path
from components.judging.config import JudgeConfig
from components.judging.judge import judge
table, cache, out, url = sys.argv[1:]
judge({"model": Path(table)}, JudgeConfig(url=url, also=()), None, Path(cache), Path(out))
"""
    root = Path(__file__).parents[2]
    ours, theirs = pty.openpty()
    arguments = [bench.tables["model"], bench.cache, bench.folder, ollama.url]
    environment = os.environ | {"PYTHONPATH": str(root), "COLUMNS": "120", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=root, env=environment, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    assert process.wait() == 0
    os.close(ours)
    assert b"judge  llama3" in shown
    assert f"{ROWS}/{ROWS}".encode() in shown
    assert b"unreadable 0" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other end is closed
        return b""


@pytest.mark.ci
def test_two_processes_at_once_share_the_verdicts(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(delay=0.02)
    script = """
import sys, time
from pathlib import Path
from components.judging.config import JudgeConfig
from components.judging.judge import judge
table, cache, out, url = sys.argv[1:]
Path(out).mkdir()
while len(list(Path(out).parent.glob("process-*"))) < 2:
    time.sleep(0.01)
judge({"model": Path(table)}, JudgeConfig(url=url, also=(), concurrency=2), None, Path(cache), Path(out))
"""
    write_responses(bench.tables["model"], [f"Number {row}!" for row in range(60)])
    outs = [bench.folder / f"process-{number}" for number in range(2)]
    arguments = [bench.tables["model"], bench.cache]
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *map(str, [*arguments, out, ollama.url])],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        for out in outs
    ]
    assert [process.wait() for process in processes] == [0, 0]
    first, second = [pq.read_table(out / "verdicts.parquet").to_pylist() for out in outs]
    assert first == second
    assert len(first) == len(ollama.answered) == 60


@pytest.mark.ci
def test_identity_is_the_model_on_the_server(ollama: OllamaServer, bench: Bench) -> None:
    config = JudgeConfig(url=ollama.url)
    identity = judge_identity(config, bench.cache)
    assert identity["digest"] == DIGEST
    assert identity != judge_identity(JudgeConfig(url=ollama.url, seed=5), bench.cache)
    assert identity == judge_identity(JudgeConfig(url=ollama.url, concurrency=9, stream=True), bench.cache)
    ollama.behave(models={"llama3:latest": "sha256:pulled anew"})
    changed = judge_identity(config, bench.cache)
    assert changed["digest"] == "sha256:pulled anew"
    ollama.kill()
    assert judge_identity(config, bench.cache) == changed, "remembered while the server is down"
    bench.cache.unlink()
    with pytest.raises(JudgeUnreachable, match="ollama serve"):
        judge_identity(config.model_copy(update={"backoff": 0.01}), bench.cache)


@pytest.mark.ci
def test_unparsed_is_counted_against_each(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(fault="eighty", where='"response": "Number 3!"')
    facts = bench.judge(ollama, max_unparsed=0.1)
    assert facts["counts"]["model"] == {"scored": ROWS - 1, "unparsed": 1}
    with pytest.raises(JudgeError, match=r"1 of 12 verdicts on the model's responses .* judge\.max_unparsed=0\.05"):
        bench.judge(ollama)
