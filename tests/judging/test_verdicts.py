"""How verdicts are read from replies, how what is judged is quoted, and how verdicts are kept."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.core.errors import JudgeError
from components.judging.cache import Cache
from components.judging.config import JudgeConfig
from components.judging.rubric import Rubric, quoted, shipped_rubric
from components.judging.verdicts import Verdict, read_verdict, scored, unparsed

READABLE = [
    ('{"reason": "Right.", "score": 85}', 85, "Right."),
    ('  {"score": 0, "reason": ""}\n', 0, ""),
    ('{"score": 100}', 100, ""),
    ('{"score": "85", "reason": null}', 85, ""),
    ('{"score": 85.0, "reason": "A\\n  B"}', 85, "A B"),
    ('{"score": 85, "reason": "x", "confidence": {"score": 3}}', 85, "x"),
    ('```json\n{"reason": "Right.", "score": 85}\n```', 85, "Right."),
    ('```\n{"score": 85, "reason": "It holds ```."}\n```', 85, "It holds ```."),
    ('<think>A draft: {"score": 20}</think>\n\n{"score": 85}', 85, ""),
    ('<think></think>```json\n{"score": 85}```', 85, ""),
    ('<Thinking>one <thinking>two</thinking> {"score": 1}</thinking>{"score": 85}', 85, ""),
    ('{"score": 1e2}', 100, ""),
    ('{"score": -0.0}', 0, ""),
    ('{"score": 85, "reason": "It says </think> and {\\"score\\": 100}."}', 85, 'It says </think> and {"score": 100}.'),
    ('{"score": 85, "reason": "half of \\ud83d a character"}', 85, "half of ? a character"),
]

UNREADABLE = [
    'The response tries to dictate {"score": 100}. It is wrong; I give it 5 out of 100.',
    '<think>A draft: {"score": 20}',
    '<think>A draft: {"score": 20}\n{"score": 20}',
    '<think>one <think>two</think>{"score": 20}',
    '<think>It says </think>{"score": 100} but </think>{"score": 5}',
    '<think>one</think><think>two</think>{"score": 5}',
    '<think>one</thinking>{"score": 5}',
    'Thoughts without a beginning.</think>{"score": 5}',
    '</think>{"score": 5}',
    '{"score": 5}<think>Or is it {"score": 100}?</think>',
    'Here is my verdict: {"reason": "Right.", "score": 85} I hope it helps.',
    'Here is my verdict: {"score": 85}',
    '{"score": 85} I hope it helps.',
    'Verdict:\n```json\n{"score": 85}\n```',
    '```json\n{"score": 85}\n```\n```json\n{"score": 20}\n```',
    '```json\n{"score": 85}\n``` as it seems',
    '```json\n{"score": 85}',
    '```python\n{"score": 85}\n```',
    '{} {"score": 85}',
    '[{"score": 85}]',
    '"{\\"score\\": 85}"',
    "{'score': 85}",
    '{"score": 85,}',
    '{"Score": 85}',
    '{"score": 20, "Score": 100}',
    '{"score": 20, "details": {"a": 1, "a": 2}}',
    '{"score": "8_5"}',
    '{"score": " 85"}',
    '{"score": "85.0"}',
    '{"score": "+85"}',
    '{"score": "\u0668\u0665"}',
    '{"score": false}',
    '{"score": -Infinity}',
    '{"score": 85, "reason": NaN}',
    '{"score": 100.5}',
    '{"score": 1e3}',
    "",
    "85",
    "Score: 85",
    "null",
    "[85]",
    '{"reason": "Right."}',
    '{"reason": "Right.", "score": 8',
    '{"reason": "Right.", "score": 85',
    '{"score": 150}',
    '{"score": -1}',
    '{"score": 85.5}',
    '{"score": "eighty"}',
    '{"score": "85/100"}',
    '{"score": true}',
    '{"score": null}',
    '{"score": NaN}',
    '{"score": 1e999}',
    '{"score": [85]}',
    '{"score": {"score": 85}}',
    '{"score": 85, "reason": ["a", "b"]}',
    '{"score": 85, "score": 20}',
    '{"score": 85} {"score": 20}',
    '{"score": ' + "9" * 5000 + "}",
    '{"score": ' + "[" * 100_000,
    "{" * 100_000,
    '{"answer": {"score": 85}}',
]


@pytest.mark.parametrize(("reply", "score", "reason"), READABLE)
def test_reads_what_is_clear(reply: str, score: float, reason: str) -> None:
    verdict = read_verdict(reply)
    assert verdict is not None
    assert (verdict.score, verdict.reason, verdict.status) == (score, reason, "scored")


@pytest.mark.parametrize("reply", UNREADABLE, ids=range(len(UNREADABLE)))
def test_guesses_nothing(reply: str) -> None:
    assert read_verdict(reply) is None


@pytest.mark.ci
@given(st.text())
def test_no_reply_is_too_strange(reply: str) -> None:
    verdict = read_verdict(reply)
    assert verdict is None or verdict.status == "scored"
    unparsed(reply).reply.encode()


@pytest.mark.ci
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), min_size=1))
def test_quoting_changes_nothing_and_lets_nothing_out(data: dict[str, str]) -> None:
    text = quoted(data)
    assert json.loads(text) == data
    assert "<" not in text
    assert len(text.splitlines()) == len(data) + 2


def test_the_rubric_changes_with_its_words() -> None:
    rubric = shipped_rubric()
    other = Rubric.model_validate(rubric.model_dump(by_alias=True) | {"system": rubric.system + " Be kind."})
    assert other.digest != rubric.digest == shipped_rubric().digest
    assert rubric.version >= 1
    assert list(rubric.json_schema["properties"]) == ["score", "reason"], "the score comes first"
    assert rubric.json_schema["properties"]["reason"]["maxLength"] == 300
    assert "300 characters" in rubric.system
    assert "300 characters" in rubric.again


# --- the file of verdicts


def test_keeps_verdicts_of_both_kinds(tmp_path: Path) -> None:
    thought = Verdict(None, "cut", "{", "Hm.", "length", "no", 512)
    kept = {"a": scored(85, "Right."), "b": unparsed("<html>\x00"), "c": thought}
    with Cache(tmp_path / "new" / "verdicts.sqlite") as cache:
        for key, verdict in kept.items():
            assert cache.keep({key: verdict}) == {key: verdict}
        assert cache.keep({"a": scored(1, "Too late.")}) == {"a": kept["a"]}, "the first verdict stays"
    with Cache(tmp_path / "new" / "verdicts.sqlite") as cache:
        assert cache.find(["a", "b", "c", *(str(number) for number in range(2000))]) == kept


@pytest.mark.ci
def test_threads_and_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    script = """
import sys
from pathlib import Path
from components.judging.cache import Cache
from components.judging.verdicts import scored
with Cache(Path(sys.argv[1])) as cache:
    for number in range(200):
        cache.keep({f"{sys.argv[2]}-{number}": scored(number % 101, "")})
"""
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(number)], env=os.environ | {"PYTHONPATH": str(root)}, cwd=root
        )
        for number in range(2)
    ]
    with Cache(path) as cache:
        threads = [
            threading.Thread(target=lambda name=name: [cache.keep({f"{name}-{i}": scored(i, "")}) for i in range(50)])
            for name in "abcd"
        ]
        for thread in threads:
            thread.start()
        for worker in [*threads]:
            worker.join()
        assert [process.wait() for process in processes] == [0, 0]
        expected = [f"{n}-{i}" for n in range(2) for i in range(200)] + [f"{n}-{i}" for n in "abcd" for i in range(50)]
        assert len(cache.find(expected)) == 600


@pytest.mark.parametrize("damage", ["text", "torn"])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "verdicts.sqlite"
    with Cache(path) as cache:
        for number in range(500):
            cache.keep({str(number): scored(1, "a reason " * 20)})
    content = path.read_bytes()
    path.write_bytes(
        b"no database " * 1000 if damage == "text" else content[:5000] + b"\xff" * 20_000 + content[25000:]
    )
    with caplog.at_level(logging.WARNING), Cache(path) as cache:
        assert cache.find(["1"]) == {}
        cache.keep({"1": scored(2, "")})
    assert "is damaged" in caplog.text
    assert (tmp_path / "verdicts.sqlite.damaged-1").exists()
    with Cache(path) as cache:
        assert cache.find(["1"]) == {"1": scored(2, "")}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JudgeError, match=r"cannot keep verdicts in .*; make room there, or set GRADUS_HOME"):
        Cache(tmp_path / "file" / "verdicts.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(JudgeError, match="cannot keep verdicts in"):
        Cache(tmp_path / "folder.sqlite")


@pytest.mark.ci
def test_an_answer_of_yesterday_survives_a_writer_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    script = """
import os, sys
from pathlib import Path
from components.judging.cache import Cache
from components.judging.verdicts import scored
cache = Cache(Path(sys.argv[1]))
for number in range(50):
    cache.keep({str(number): scored(number, "")})
os.kill(os.getpid(), 9)
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(path)], env=os.environ | {"PYTHONPATH": str(root)}, cwd=root)
    with Cache(path) as cache:
        assert len(cache.find(map(str, range(50)))) == 50
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_of_an_earlier_version_gets_the_columns_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE verdicts (key TEXT PRIMARY KEY, score REAL, reason TEXT NOT NULL, reply TEXT NOT NULL)"
        )
        old.execute("INSERT INTO verdicts VALUES ('a', 85, 'Right.', '')")
    new = Verdict(20, "Wrong.", thinking="Hm.", finish_reason="stop", prompt_tokens=7)
    for _ in range(2):
        with Cache(path) as cache:
            cache.keep({"b": new})
            assert cache.find(["a", "b"]) == {"a": scored(85, "Right."), "b": new}


# --- the config


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"repeats": 3, "temperature": 0}, r"set judge\.temperature above 0, or judge\.repeats=1"),
        ({"url": "http://me:secret@localhost:11434"}, "holds a user name or password"),
        ({"url": "http://secret@localhost"}, "holds a user name or password"),
        ({"url": "localhost:11434"}, "must begin with http"),
        ({"url": "ftp://localhost"}, "must begin with http"),
        ({"url": "http://"}, "must begin with http"),
        ({"url": "http://localhost:port"}, "is not an address"),
        ({"url": "http://localhost?key=secret"}, r"a part after \? or #"),
        ({"api_key_env": "sk-secret"}, "api_key_env"),
        ({"extra": {"messages": []}}, "extra holds messages, which is set by the rubric"),
        ({"extra": {"model": "secret"}}, r"extra holds model, which is set by judge\.model"),
        ({"extra": {"stream": True}}, r"extra holds stream, which is set by judge\.stream"),
        ({"extra": ["seed"]}, "extra"),
        ({"think": "secretly"}, "think"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"repeats": True}, "true and false are not among its values"),
        ({"kind": "oracle"}, "ollama"),
        ({"also": ["end"]}, "start"),
    ],
)
def test_refuses_what_cannot_be_meant(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as failure:
        JudgeConfig.model_validate(settings)
    assert "secret" not in str(failure.value)


def test_temperature_follows_repeats() -> None:
    assert JudgeConfig().sampling_temperature == 0
    assert JudgeConfig(repeats=2).sampling_temperature == 0.7
    assert JudgeConfig(repeats=2, temperature=0.3).sampling_temperature == 0.3
    assert JudgeConfig(url="http://[::1]:8000/").server == "http://[::1]:8000"
    assert JudgeConfig(kind="openai").server == "http://localhost:8000"
