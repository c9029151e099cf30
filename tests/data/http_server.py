"""A small HTTP server that misbehaves on request: `python http_server.py FOLDER ADDRESS [CERTIFICATE KEY]`.

It writes its port to FOLDER/port and a line a request to FOLDER/requests. The path says what to do:
/file/NAME serves FOLDER/NAME; /tagged/NAME does so with its hash as an ETag and answers HEAD;
/status/N answers N; /flaky/K/NAME answers 500 K times, then serves NAME; /stall/NAME sends the head and half the body
and stops; /cut/NAME announces more than it sends; /cut-once/NAME does so the first time only; /endless sends without
end or length; /lying sends 200,000 bytes without a length; /huge announces a terabyte; /redirect?URL redirects; /circle
redirects to itself; /long-redirect?URL does so with a body without end; /busy/STATUS/SECONDS/NAME answers with that
status the first time, and where SECONDS is not empty asks to wait so long; /reset closes without an answer. Of the
others only /redirect answers HEAD.
"""

import socket
import ssl
import sys
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

FOLDER = Path(sys.argv[1])
SEEN: dict[str, int] = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        SEEN[self.path] = SEEN.get(self.path, 0) + 1
        with (FOLDER / "requests").open("a") as log:
            log.write(f"{self.path} {self.headers['User-Agent']}\n")
        kind, _, rest = unquote(self.path).lstrip("/").replace("?", "/", 1).partition("/")
        getattr(self, "answer_" + kind.replace("-", "_"))(rest)

    def do_HEAD(self) -> None:
        kind, _, rest = unquote(self.path).lstrip("/").replace("?", "/", 1).partition("/")
        if kind not in ("tagged", "redirect"):
            self.head(501, 0)
            return
        with (FOLDER / "requests").open("a") as log:
            log.write(f"HEAD {self.path}\n")
        getattr(self, "answer_" + kind)(rest)

    def head(self, status: int, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def answer_file(self, name: str) -> None:
        body = (FOLDER / name).read_bytes()
        self.head(200, len(body))
        self.wfile.write(body)

    def answer_tagged(self, name: str) -> None:
        body = (FOLDER / name).read_bytes()
        self.head(200, len(body), ETag=f'"{sha256(body).hexdigest()}"')
        if self.command == "GET":
            self.wfile.write(body)

    def answer_status(self, status: str) -> None:
        self.head(int(status), 0)

    def answer_flaky(self, rest: str) -> None:
        failures, _, name = rest.partition("/")
        if SEEN[self.path] <= int(failures):
            self.head(500, 0)
        else:
            self.answer_file(name)

    def answer_stall(self, name: str) -> None:
        body = (FOLDER / name).read_bytes()
        self.head(200, len(body))
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        time.sleep(3600)

    def answer_cut(self, name: str) -> None:
        body = (FOLDER / name).read_bytes()
        self.head(200, len(body) + 7)
        self.wfile.write(body)

    def answer_cut_once(self, name: str) -> None:
        if SEEN[self.path] == 1:
            self.answer_cut(name)
        else:
            self.answer_file(name)

    def answer_lying(self, _: str) -> None:
        self.head(200)
        self.wfile.write(b"x" * 200_000)

    def answer_endless(self, _: str) -> None:
        self.head(200)
        self.endless()

    def endless(self) -> None:
        try:
            while True:
                self.wfile.write(b"x" * 65536)
        except OSError:
            return

    def answer_huge(self, _: str) -> None:
        self.head(200, 10**12)
        time.sleep(3600)

    def answer_redirect(self, target: str) -> None:
        self.head(302, 0, Location=target)

    def answer_long_redirect(self, target: str) -> None:
        self.head(302, None, Location=target)
        self.endless()

    def answer_busy(self, rest: str) -> None:
        status, seconds, name = rest.split("/")
        if SEEN[self.path] == 1:
            self.head(int(status), 0, **({"Retry-After": seconds} if seconds else {}))
        else:
            self.answer_file(name)

    def answer_circle(self, _: str) -> None:
        self.answer_redirect("/circle")

    def answer_reset(self, _: str) -> None:
        self.connection.close()

    def log_message(self, *arguments: object) -> None:
        pass


def main() -> None:
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET

    server = Server((sys.argv[2], 0), Handler)
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    draft = FOLDER / ".port"
    draft.write_text(str(server.server_address[1]))
    draft.rename(FOLDER / "port")
    server.serve_forever()


if __name__ == "__main__":
    main()
