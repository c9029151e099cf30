"""A language model as OpenAI's own client sees it: answers are those of `respond`, errors are its exceptions."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from components.generation.cache import Reader
from components.generation.config import GenerationConfig
from components.generation.decoding import as_text, generate
from components.models.tokenizer import ends_of_text
from components.serving.language_model import Responder, load_responder
from tests.patience import PATIENCE
from tests.serving.http.running import Running, running

ASKED = ["Say hello", "Name a bird", "Grüße 🎁", "why not", "x" * 40]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def responder(saved_language_model: Path) -> Responder:
    return load_responder(saved_language_model)


@pytest.fixture(scope="module")
def server(responder: Responder) -> Iterator[Running]:
    with running(responder, precision="fp32", most=3) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE) as found:
        yield found


def said(responder: Responder, asked: list[str], **options: Any) -> list[dict[str, Any]]:
    config = GenerationConfig(**{"precision": "fp32", "max_new_tokens": 30, **options})
    return responder.respond(asked, config=config).to_dict("records")


def turn(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.mark.ci
def test_answers_are_those_of_respond(client: openai.OpenAI, responder: Responder) -> None:
    offline = said(responder, ASKED)
    assert len({row["response"] for row in offline}) > 2
    for text, row in zip(ASKED, offline, strict=True):
        answer = client.chat.completions.create(model="tuned", messages=turn(text), max_tokens=30)
        [choice] = answer.choices
        assert (choice.message.role, choice.message.content) == ("assistant", row["response"])
        assert choice.finish_reason == ("length" if row["stopped"] == "length" else "stop")
        assert answer.usage is not None
        assert answer.usage.completion_tokens == row["new_tokens"]
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + row["new_tokens"]
        assert (answer.object, answer.model) == ("chat.completion", "tuned")


def test_many_at_once_are_answered_as_offline_whole_and_in_pieces(client: openai.OpenAI, responder: Responder) -> None:
    texts = [f"{text} {number}" for number in range(4) for text in ASKED]
    lengths = [5 + number for number in range(len(texts))]

    def ask(number: int) -> str:
        given: dict[str, Any] = {"model": "tuned", "messages": turn(texts[number]), "max_tokens": lengths[number]}
        if number % 2:
            return client.chat.completions.create(**given).choices[0].message.content
        pieces = client.chat.completions.create(**given, stream=True)
        return "".join(piece.choices[0].delta.content or "" for piece in pieces)

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(ask, range(len(texts))))
    offline = [said(responder, [text], max_new_tokens=most) for text, most in zip(texts, lengths, strict=True)]
    assert found == [row["response"] for [row] in offline]


def test_a_stream_has_the_form_that_clients_read(client: openai.OpenAI, server: Running, responder: Responder) -> None:
    [row] = said(responder, ["Say hello"])
    options = {"stream_options": {"include_usage": True}}
    stream = client.chat.completions.create(
        model="tuned", messages=turn("Say hello"), max_tokens=30, stream=True, **options
    )
    pieces = list(stream)
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces[:-1]) == row["response"]
    reasons = [piece.choices[0].finish_reason for piece in pieces[:-1]]
    assert reasons[:-1] == [None] * (len(pieces) - 2)
    assert reasons[-1] in ("length", "stop")
    assert (pieces[-1].choices, pieces[-1].usage.completion_tokens) == ([], row["new_tokens"])
    assert len({piece.id for piece in pieces}) == 1
    body = {"model": "tuned", "messages": turn("Say hello"), "max_tokens": 30, "stream": True}
    with server.client.stream("POST", CHAT, json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert not any("usage" in json.loads(line.removeprefix("data: ")) for line in lines[:-1]), "nobody asked for it"


def test_completions_go_on_with_a_text_as_generate_does(client: openai.OpenAI, responder: Responder) -> None:
    config = GenerationConfig(max_new_tokens=16, precision="fp32")
    encoding = responder.encoding

    def offline(text: str) -> str:
        tokens = generate(responder.model, encoding.encode_ordinary(text), config, *ends_of_text(encoding))
        return "".join(as_text(encoding, tokens))

    texts = ["see you", "once upon a time"]
    answer = client.completions.create(model="tuned", prompt=texts)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(n, offline(t)) for n, t in enumerate(texts)]
    by_tokens = client.completions.create(model="tuned", prompt=encoding.encode_ordinary("see you"))
    assert by_tokens.choices[0].text == offline("see you")
    pieces = list(client.completions.create(model="tuned", prompt=texts, stream=True))
    for place, text in enumerate(texts):
        mine = [piece.choices[0] for piece in pieces if piece.choices[0].index == place]
        assert "".join(choice.text for choice in mine) == offline(text)
        assert mine[-1].finish_reason in ("length", "stop")


@pytest.mark.ci
@pytest.mark.parametrize("stream", [False, True])
def test_a_text_to_stop_at_is_not_part_of_the_answer(client: openai.OpenAI, responder: Responder, stream: bool) -> None:
    [row] = said(responder, ["Say hello"])
    stop = row["response"][6:9]
    given: dict[str, Any] = {"model": "tuned", "messages": turn("Say hello"), "max_tokens": 30, "stop": ["§", stop]}
    if stream:
        pieces = list(client.chat.completions.create(**given, stream=True))
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        reason = pieces[-1].choices[0].finish_reason
    else:
        [choice] = client.chat.completions.create(**given).choices
        text, reason = choice.message.content, choice.finish_reason
    assert (text, reason) == (row["response"].partition(stop)[0].strip(), "stop")


@pytest.mark.ci
def test_draws_are_those_of_respond_with_the_same_seed(client: openai.OpenAI, responder: Responder) -> None:
    [row] = said(responder, ["Say hello"], temperature=1.2, top_p=0.9, seed=8)
    given: dict[str, Any] = {"model": "tuned", "messages": turn("Say hello"), "max_completion_tokens": 30}
    drawn = client.chat.completions.create(**given, temperature=1.2, top_p=0.9, seed=8)
    assert drawn.choices[0].message.content == row["response"]
    others = {client.chat.completions.create(**given, temperature=1.2).choices[0].message.content for _ in range(5)}
    assert len(others) > 1, "without a seed each is drawn anew"


def test_the_models_that_there_are(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tuned"]
    assert client.models.retrieve("tuned").id == "tuned"
    with pytest.raises(openai.NotFoundError, match="'other' does not exist here; this server has 'tuned'"):
        client.models.retrieve("other")


@pytest.mark.parametrize(
    ("change", "status", "param", "says"),
    [
        ({"model": "other"}, 404, "model", "this server has 'tuned'"),
        ({"model": None}, 400, "model", "model"),
        ({"messages": []}, 400, "messages", "at least 1"),
        ({"messages": [{"role": "tool", "content": "a"}]}, 400, "messages.0.role", "'user'"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, 400, "messages", "must be the user's"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, None, "'text'"),
        ({"messages": turn("a") + turn("b")}, 400, "messages", "several turns"),
        ({"messages": turn("x" * 300)}, 400, "messages", "context of 96"),
        ({"temperature": 3}, 400, "temperature", "less than or equal to 2"),
        ({"temperature": "warm"}, 400, "temperature", "number"),
        ({"top_p": 1.5}, 400, "top_p", "less than or equal to 1"),
        ({"max_tokens": 0}, 400, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 10**30}, 400, "max_tokens", "less than or equal to"),
        ({"top_k": 10**25, "temperature": 1}, 400, "top_k", "less than or equal to"),
        ({"stop": ["a"] * 5}, 400, "stop", "at most 4"),
        ({"stop": ""}, 400, "stop.0", "at least 1"),
        ({"n": 2}, 400, "n", "n is not supported here"),
        ({"logprobs": True}, 400, "logprobs", "not supported"),
        ({"tools": [{"type": "function"}]}, 400, "tools", "not supported"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format", "not supported"),
        ({"presence_penalty": 0.5}, 400, "presence_penalty", "not supported"),
        ({"tempreature": 0.5}, 400, "tempreature", "Unrecognized request argument supplied: tempreature"),
    ],
)
def test_what_cannot_be_asked_is_refused_as_openai_does(
    server: Running, change: dict[str, Any], status: int, param: str | None, says: str
) -> None:
    found, error = server.error(CHAT, **{"model": "tuned", "messages": turn("a"), **change})
    assert (found, error["type"]) == (status, "invalid_request_error")
    assert says in error["message"]
    assert param is None or error["param"] == param
    assert "\n" not in error["message"]


def test_more_prompts_than_may_ever_wait_are_refused_and_not_put_off(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"5,000 prompts at once, of [\d,]+ at most; ask in parts"):
        client.completions.create(model="tuned", prompt=["a"] * 5000)


def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"306 tokens.*context of 96") as refused:
        client.chat.completions.create(model="tuned", messages=turn("x" * 300))
    assert refused.value.code == "context_length_exceeded"


def test_fields_that_change_nothing_are_ignored(client: openai.OpenAI, responder: Responder) -> None:
    [row] = said(responder, ["Say hello"], max_new_tokens=8)
    answer = client.chat.completions.create(
        model="tuned", messages=turn("Say hello"), max_tokens=8, n=1, user="me", store=False, presence_penalty=0,
        logit_bias={}, response_format={"type": "text"}, tool_choice="none",
    )  # fmt: skip
    assert answer.choices[0].message.content == row["response"]


def test_what_is_no_request_is_refused(server: Running) -> None:
    for body, says in ((b'{"model"', "not JSON"), (b"[]", "not an object"), (b"", "not JSON")):
        response = server.client.post(CHAT, content=body)
        assert (response.status_code, says in response.json()["error"]["message"]) == (400, True)
    large = server.client.post(CHAT, content=b" " * (17 << 20))
    assert (large.status_code, "16 MB" in large.json()["error"]["message"]) == (413, True)
    assert server.client.get(CHAT).status_code == 405
    assert server.client.get("/v2").json()["error"]["message"] == "there is no GET /v2 here"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_frees_its_place(
    responder: Responder, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    begun, go_on, read = threading.Event(), threading.Event(), Reader.read

    def held(this: Reader, tokens: torch.Tensor) -> torch.Tensor:
        begun.set()
        assert go_on.wait(PATIENCE)
        return read(this, tokens)

    monkeypatch.setattr(Reader, "read", held)
    with running(responder, precision="fp32", most=1) as server:
        body = json.dumps({"model": "tuned", "messages": turn("Say hello"), "max_tokens": 60, "stream": stream})
        head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall((head + body).encode())
            assert begun.wait(PATIENCE)
        while not server.figure(f'gradus_requests_total{{path="{CHAT}",status="{200 if stream else 499}"}}'):
            pass  # the model has not said more than a token, and the request is over
        go_on.set()
        answer = server.ask(CHAT, model="tuned", messages=turn("Say hello"), max_tokens=2)
        assert answer.status_code == 200
        assert server.figure('gradus_tokens_total{kind="completion"}') < 5


def test_a_client_that_hangs_up_before_it_has_asked_is_no_error(server: Running) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}{{".encode())
    while not server.figure(f'gradus_requests_total{{path="{CHAT}",status="499"}}'):
        pass


def test_a_full_queue_says_when_to_come_again(responder: Responder) -> None:
    with running(responder, precision="fp32", most=1, queue=0) as server:
        with ThreadPoolExecutor(12) as threads:
            asked = {"model": "tuned", "prompt": "a", "max_tokens": 60}
            answers = list(threads.map(lambda _: server.ask("/v1/completions", **asked), range(12)))
        assert {answer.status_code for answer in answers} == {200, 429}
        response = next(answer for answer in answers if answer.status_code == 429)
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["error"]["type"] == "rate_limit_error"
        assert server.ask("/v1/completions", model="tuned", prompt="a").status_code == 200


def test_figures_are_counted(server: Running) -> None:
    done = 'gradus_requests_total{path="/v1/completions",status="200"}'
    before = {name: server.figure(name) for name in (done, 'gradus_tokens_total{kind="completion"}')}
    answer = server.ask("/v1/completions", model="tuned", prompt="see you", max_tokens=7).json()
    assert server.figure(done) == before[done] + 1
    written = server.figure('gradus_tokens_total{kind="completion"}') - before['gradus_tokens_total{kind="completion"}']
    assert written == answer["usage"]["completion_tokens"]
    assert server.figure("gradus_batch_size_count") >= 7
    assert server.figure('gradus_request_seconds_count{path="/v1/completions"}') >= 1
    assert server.figure("gradus_queue_length") == 0
