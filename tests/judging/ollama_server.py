"""A server that speaks Ollama's documented protocol, and misbehaves when told; `OllamaServer` starts it.

GET /api/version, GET /api/tags, POST /api/show, POST /api/chat (streamed unless `stream` is false), and OpenAI's
GET /v1/models, POST /v1/chat/completions. It makes FOLDER/ready when it listens. Of each request it adds a line of JSON
to FOLDER/requests (method, path, headers, body), and one to FOLDER/answers (question, options, reply) right before a
chat's answer is sent: who has got it finds it there. FOLDER/behaviour is a JSON object that is read anew at each
request; the keys are those of `Behaviour`.

It judges like this: the user's message must hold one line `<data>`, one line of JSON and more, one line `</data>`; the
score is 100 if the response in it is the reference, 0 if it is empty, and else depends on the response's hash only.
"""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.judging.behaviour import Behaviour, tokens_of, verdict_on

LOCK = threading.Lock()
COUNTS = {"faults": 0, "verdicts": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept open
    server: "Server"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for the acknowledgement of its head

    def do_GET(self) -> None:
        self.how = self.server.behaviour()
        self.server.record("requests", method="GET", path=self.path, headers=dict(self.headers))
        if self.how.key and self.headers.get("Authorization") != f"Bearer {self.how.key}":
            self.answer(401, {"error": f"wrong key: {self.headers.get('Authorization')}"})
        elif self.how.site:
            self.send(200, b"<html><body>Welcome</body></html>", "text/html")
        elif self.path == "/api/version":
            self.answer(200, {"version": "0.12.6"})
        elif self.path == "/api/tags":
            models = [{"name": name, "model": name, "digest": digest} for name, digest in self.how.models.items()]
            self.answer(200, {"models": models})
        elif self.path == f"{self.how.base}/models" and self.how.listed:
            models = [{"id": name, "object": "model"} for name in self.how.models]
            forms = {"data": {"object": "list", "data": models}, "bare": models, "strings": list(self.how.models)}
            self.answer(200, forms[self.how.names])
        else:
            self.send(404, b"404 page not found", "text/plain")

    def do_POST(self) -> None:
        self.how = self.server.behaviour()
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.record("requests", method="POST", path=self.path, headers=dict(self.headers), body=self.body)
        if self.path == "/api/show":
            self.answer(200, {"model_info": {"llama.context_length": self.how.context}})
        elif self.path != "/api/chat" and "response_format" in self.body and not self.how.schema:
            self.answer(400, {"error": {"message": "response_format is not supported"}})
        elif rejected := [name for name in self.how.rejects if name in self.fields()]:
            self.answer(400, {"error": {"message": f"{rejected[0]} is not supported"}})
        elif self.path in ("/api/chat", f"{self.how.base}/chat/completions"):
            self.chat()
        else:
            self.send(404, b"404 page not found", "text/plain")

    def fields(self) -> set[str]:
        return {*self.body, *(message["role"] for message in self.body["messages"])}

    def chat(self) -> None:
        self.question = self.body["messages"][-1]["content"]
        fault = self.how.fault if self.is_faulty() else ""
        if fault != "said":
            self.how.said = {}
        if fault.isdigit():
            self.answer(int(fault), {"error": f"this is a {fault}"}, **self.how.headers)
        elif fault:
            getattr(self, "answer_" + fault)()
        else:
            with self.server.slots:
                time.sleep(self.how.delay)
                self.answer_verdict()

    def answer_verdict(self) -> None:
        """A verdict, or as much of it as there is room for: thoughts with a draft."""
        limits = {**self.body, **self.body.get("options", {})}
        room = next(limits[name] for name in ("num_predict", "max_completion_tokens", "max_tokens") if name in limits)
        if room < self.how.room:
            self.how.said = {"finish_reason": "length"}
            self.say('<think>A draft: {"score": 20}')
        else:
            self.say(verdict_on(self.question, self.how.score, self.how.prefers))

    def is_faulty(self) -> bool:
        with LOCK:
            if not self.how.fault or self.how.where not in self.question:
                return False
            COUNTS["faults"] += 1
            return self.how.times < 0 or COUNTS["faults"] <= self.how.times

    # --- faults

    def answer_html(self) -> None:
        self.send(200, b"<html><body>Please log in</body></html>", "text/html")

    def answer_half_json(self) -> None:
        self.send(
            200, b'{"model": "llama3", "message": {"role": "assistant", "content": "{\\"score\\": 8', "application/json"
        )

    def answer_half_verdict(self) -> None:
        self.say('{"reason": "It is cut o')

    def answer_score_150(self) -> None:
        self.say('{"reason": "Better than good.", "score": 150}')

    def answer_eighty(self) -> None:
        self.say('{"reason": "Good.", "score": "eighty"}')

    def answer_stall(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"model"')
        time.sleep(3600)

    def answer_cut(self) -> None:
        """Announce more than is sent."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"model"')
        self.close_connection = True

    def answer_reset(self) -> None:
        self.close_connection = True

    def answer_endless(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b" " * 65536)
        except OSError:
            return

    def answer_undone(self) -> None:
        """A stream that ends before the object with `done: true`, or before [DONE]."""
        self.say(verdict_on(self.question, self.how.score), done=False)

    def answer_failed_stream(self) -> None:
        """A stream that ends with an error, as the documentation shows it."""
        lines = [{"message": {"role": "assistant", "content": "{"}, "done": False}, {"error": "the runner stopped"}]
        self.send(200, "".join(json.dumps(line) + "\n" for line in lines).encode(), "application/x-ndjson")

    def answer_error_200(self) -> None:
        """What some proxies say when a server behind them is busy."""
        self.answer(200, {"error": {"message": "too many requests", "code": 429}})

    def answer_redirect(self) -> None:
        self.answer(302, {}, Location="http://127.0.0.1:9/elsewhere")

    def answer_said(self) -> None:
        """What the behaviour's `said` holds."""
        self.say("")

    def answer_error_200_of_the_prompt(self) -> None:
        self.answer(200, {"error": {"message": "blocked by the filter", "code": self.how.code}})

    # --- answers

    def say(self, reply: str, done: bool = True) -> None:
        # Under the lock nothing is recorded without being sent when the process kills itself.
        with LOCK:
            self.server.record("answers", question=self.question, options=self.body.get("options"), reply=reply)
            self.send_reply(reply, done)
            COUNTS["verdicts"] += 1
            if COUNTS["verdicts"] == self.how.dies_after:
                os.kill(os.getpid(), 9)

    def send_reply(self, reply: str, done: bool) -> None:
        if self.path != "/api/chat":
            self.say_openai(reply, done)
        elif self.body.get("stream", True) or self.how.streams:
            pieces = [reply[start : start + 7] for start in range(0, len(reply), 7)]
            lines = [self.message(piece, done=False) for piece in pieces]
            self.stream([json.dumps(line) + "\n" for line in lines + [self.message("", done=True)] * done])
        else:
            self.answer(200, self.message(reply, done))

    def say_openai(self, reply: str, done: bool) -> None:
        if self.body.get("stream"):
            pieces = [reply[start : start + 7] for start in range(0, len(reply), 7)]
            choices = [{"delta": {"content": piece}} for piece in pieces]
            last = [{"delta": self.told(), "finish_reason": self.finish_reason}] * done
            events = [json.dumps({"choices": [choice]}) for choice in choices + last]
            self.stream([f"data: {event}\n\n" for event in events + ["[DONE]"] * done])
        else:
            message = {"role": "assistant", "content": reply} | self.told()
            prompt = " ".join(message["content"] for message in self.body["messages"])
            counted = {"prompt_tokens": tokens_of(prompt, self.how.counted or "all"), "completion_tokens": 20}
            usage = {"usage": counted} if self.how.usage else {}
            self.answer(
                200, {"choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason}]} | usage
            )

    @property
    def finish_reason(self) -> str:
        return str(self.how.said.get("finish_reason", "stop"))

    def told(self) -> dict[str, Any]:
        return {name: value for name, value in self.how.said.items() if name != "finish_reason"}

    def message(self, content: str, done: bool) -> dict[str, Any]:
        message = {"role": "assistant", "content": content}
        said = {"model": self.body["model"], "created_at": "2026-11-21T12:00:00Z", "message": message, "done": done}
        if not done:
            return said
        if self.how.counted:
            prompt = " ".join(message["content"] for message in self.body["messages"])
            said["prompt_eval_count"] = tokens_of(prompt, self.how.counted)
        return said | {"message": message | self.told(), "done_reason": self.finish_reason, "eval_count": 20}

    def stream(self, lines: list[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in [*lines, ""]:
            self.wfile.write(f"{len(line.encode()):x}\r\n{line}\r\n".encode())

    def answer(self, status: int, body: Any, **headers: str) -> None:
        self.send(status, json.dumps(body).encode(), "application/json; charset=utf-8", **headers)

    def send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.folder = folder
        self.slots = threading.BoundedSemaphore(self.behaviour().slots)

    def behaviour(self) -> Behaviour:
        return Behaviour(**json.loads((self.folder / "behaviour").read_text()))

    def record(self, name: str, **values: Any) -> None:
        line = json.dumps(values) + "\n"
        descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def handle_error(self, *arguments: object) -> None:
        """Say nothing of clients that hang up."""


def main(folder: Path, port: int) -> None:
    server = Server(folder, port)
    (folder / "ready").touch()
    server.serve_forever()
