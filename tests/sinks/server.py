"""ClickHouse's own engine behind as much of its HTTP interface as a sink uses, on loopback, to be told to misbehave."""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import chdb

#: What a proxy says whose ClickHouse is away.
HTML = b"<html><head><title>Bad Gateway</title></head><body>nginx</body></html>"
VERSION = "(version 26.9.2.1 (official build))"
#: What the HTTP interface takes for itself, of what stands in an address.
_TRANSPORT = {
    "query", "database", "compress", "wait_end_of_query", "query_id", "client_protocol_version",
    "enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
}  # fmt: skip
_DENIED = (
    "{user}: Authentication failed: password is incorrect, or there is no user with such name.\n\n"
    "If you have installed ClickHouse and forgot password you can reset it in the configuration file.\n"
    "See also /etc/clickhouse-server/users.xml on the server where ClickHouse is installed.\n\n"
)


def exception(code: int, name: str, text: str) -> Answer:
    """What ClickHouse answers to what it cannot do."""
    status = 403 if code in (497, 516) else 404 if code in (60, 81) else 500
    return Answer(status, f"Code: {code}. DB::Exception: {text}. ({name}) {VERSION}\n".encode(), str(code))


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP; with a code, one of ClickHouse's exceptions."""

    status: int
    body: bytes
    code: str = ""
    kind: str = "text/plain; charset=UTF-8"
    query: str = ""


@dataclass
class Request:
    """What was asked.

    Attributes:
        statement: the SQL.
        options: what stands in the address: settings, parameters.
        body: the bytes behind an INSERT.
        done: whether the engine has done it.
    """

    statement: str
    options: dict[str, str]
    body: bytes
    agent: str = ""
    done: bool = False


@dataclass
class Fault:
    """What is to go wrong with a request.

    Attributes:
        matching: which requests: those with this at the beginning of their statement.
        after: so many of these pass before.
        times: so many of these then meet it.
        instead: what is answered, and the engine is given nothing.
        amid: the connection is cut while the body comes.
        before: it is cut when the request is read, and the engine is given nothing.
        behind: it is cut when the engine has done it, before the answer.
        seconds: so long it lies before the engine is given it, cut off or not.
    """

    matching: str = ""
    after: int = 0
    times: int = 1
    instead: Answer | None = None
    amid: bool = False
    before: bool = False
    behind: bool = False
    seconds: float = 0.0
    met: int = field(default=0, init=False)
    _passed: int = field(default=0, init=False)

    def meets(self, statement: str) -> bool:
        if not statement.startswith(self.matching):
            return False
        self._passed += 1
        if self._passed <= self.after or self.met >= self.times:
            return False
        self.met += 1
        return True


class _Cut(Exception):
    """The connection is to end without a word."""


class ClickHouseServer:
    """A ClickHouse over HTTP; see `Fault` for what can be wrong with it.

    Attributes:
        port: where it listens, also after it was stopped and started.
        requests: all that it was asked.
        faults: what goes wrong with the next ones; the first that meets a request is the one.
        frozen: while set, nothing is read and nothing answered, and no connection ends.
    """

    def __init__(self, folder: Path, *, users: dict[str, str] | None = None) -> None:
        self._folder = str(folder)
        self._engine = chdb.connect(self._folder)
        self._files = folder.parent / f"{folder.name}-bodies"
        self._files.mkdir()
        self._numbers = itertools.count()
        self._users = {"default": ""} if users is None else users
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.frozen = threading.Event()
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        server = self

        class Handler(_Handler):
            clickhouse = server

        self._http = _Listener(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Ends it as a crash does; what the engine was given, it does."""
        self._http.shutdown()
        self._http.socket.close()
        self.cut()

    def cut(self) -> None:
        """Ends all connections."""
        for connection in list(self._http.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def fault(self, **options: Any) -> Fault:
        fault = Fault(**options)
        self.faults.append(fault)
        return fault

    def asked(self, beginning: str) -> list[Request]:
        return [request for request in self.requests if request.statement.startswith(beginning)]

    def lie(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def wait_while_frozen(self) -> None:
        while self.frozen.is_set() and not self._closing.is_set():
            self._closing.wait(0.02)

    def fault_of(self, statement: str) -> Fault | None:
        with self._lock:
            return next((fault for fault in self.faults if fault.meets(statement)), None)

    def denied(self, authorization: str) -> Answer | None:
        """What is answered to a user that it does not know."""
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if authorization and self._users.get(user) == password:
            return None
        return exception(516, "AUTHENTICATION_FAILED", _DENIED.format(user=user or "default"))

    def execute(self, request: Request) -> Answer:
        """Has the engine do it, in a session of its own, as over HTTP."""
        statement, file = request.statement, self._files / str(next(self._numbers))
        if request.body:
            file.write_bytes(request.body)
            statement = re.sub(r" FORMAT (\w+)$", rf" FROM INFILE '{file}' FORMAT \1", statement)
        options = request.options.items()
        settings = {name: value for name, value in options if name not in _TRANSPORT and not name.startswith("param_")}
        parameters = {name[6:]: value for name, value in options if name.startswith("param_")}
        session = chdb.connect(self._folder)
        try:
            for name, value in settings.items():
                session.query(f"SET {name} = '{value}'")
            body = bytes(session.query(statement, "TabSeparated", params=parameters).bytes())
        except RuntimeError as error:
            found = re.search(r"Code: (\d+)", str(error))
            code = found[1] if found else "1"
            status = 404 if code in ("60", "81") else 500
            return Answer(status, f"{error} {VERSION}\n".encode(), code)
        finally:
            session.close()
            file.unlink(missing_ok=True)
        request.done = True
        return Answer(200, body, query=request.options["query_id"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self.stop()
        self._http.server_close()
        self._engine.close()


class _Listener(ThreadingHTTPServer):
    """Knows its connections; waits for their threads when it is closed."""

    daemon_threads = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    clickhouse: ClickHouseServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.clickhouse
        server.wait_while_frozen()
        try:
            answer = self._answer()
        except _Cut:
            self.close_connection = True
            linger = struct.pack("ii", 1, 0)  # which resets it
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        server.wait_while_frozen()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.code:
            self.send_header("X-ClickHouse-Exception-Code", answer.code)
        if answer.query:
            self.send_header("X-ClickHouse-Query-Id", answer.query)
        self.end_headers()
        self.wfile.write(answer.body)

    def _answer(self) -> Answer:
        server = self.clickhouse
        options = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        query = options.pop("query", "")
        fault = server.fault_of(query) if query else None
        if fault is not None and fault.amid:
            self.rfile.read(100)
            raise _Cut
        body = self._body()
        request = Request(query or body.decode(), options, body if query else b"", self.headers["User-Agent"])
        server.requests.append(request)
        if (denied := server.denied(self.headers.get("Authorization", ""))) is not None:
            return denied
        fault = fault or (None if query else server.fault_of(request.statement))
        if fault is None:
            return server.execute(request)
        server.lie(fault.seconds)
        if fault.before or fault.amid:
            raise _Cut
        answer = fault.instead or server.execute(request)
        if fault.behind:
            raise _Cut
        return answer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().strip() or b"-", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def plain(answer: Callable[[str], Answer]) -> Any:
    """Some other web server, which answers what it is told to; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = answer(self.path)
            self.send_response(found.status)
            self.send_header("Content-Type", found.kind)
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = do_POST  # noqa: N815 - as its class wants it

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
