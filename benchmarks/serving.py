"""A history of many days, and servers of it, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, repeat
from typing import Any

import nats
import polars as pl
import pyarrow as pa
import pyarrow.flight as fl

from benchmarks.history import blocks, fill
from benchmarks.running import Numbers, peak_memory
from fraiseql_events.bridge.consumer import SUBJECT
from fraiseql_events.flight import EventServer
from fraiseql_events.log import Cursor, Filter, Log, LogOptions
from fraiseql_events.ticket import Ticket


@dataclass(frozen=True, slots=True)
class Server:
    """A server's address, and its process."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """Its time on the processor so far, to the nanosecond; /proc counts in hundredths of a second."""
        return time.clock_gettime(~self.pid << 3 | 2)  # what clock_getcpuclockid(3) gives on Linux

    def peak_bytes(self) -> int:
        """The most memory that it has had."""
        return peak_memory(self.pid)


@contextmanager
def started(command: list[str], *, stop: Callable[[subprocess.Popen[str]], None]) -> Iterator[Server]:
    """A server that says "ready" and its address on its standard output, until the block ends."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready "), f"{command} did not start: {line!r}"
        try:
            yield Server(line.split()[1], process.pid)
        finally:
            stop(process)


def serving(kind: str, settings: Numbers) -> AbstractContextManager[Server]:
    """A server of a kind of `KINDS`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.serving", kind, json.dumps(settings)]
    return started(command, stop=_close_input)


def _close_input(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def serve_history(settings: Numbers) -> None:
    """Our Flight server over the history; nothing of it is in memory."""
    log = Log(settings["store"])
    with EventServer(log, "127.0.0.1:0", status=dict) as server:
        _wait(server.url)
    log.close()


def serve_tail(settings: Numbers) -> None:
    """Our Flight server over the same events, all of them in the log's memory still."""
    with tempfile.TemporaryDirectory(dir=settings["folder"]) as store:
        log = Log(store, LogOptions(tail_bytes=4 << 30, compact_files=0))  # no merging in the midst of it
        fill(log, islice(blocks(settings["events"]), *settings["blocks"]))
        with EventServer(log, "127.0.0.1:0", status=dict) as server:
            _wait(server.url)
        log.close()


class _Memory(fl.FlightServerBase):  # type: ignore[misc]
    """The least that a Flight server is: batches in memory, one stream."""

    def __init__(self, path: str) -> None:
        with pa.OSFile(path, "rb") as source, pa.ipc.open_stream(source.read()) as reader:
            self._schema, self._batches = reader.schema, list(reader)
        super().__init__("grpc://127.0.0.1:0")

    def do_get(self, context: Any, ticket: Any) -> fl.FlightDataStream:
        return fl.RecordBatchStream(pa.RecordBatchReader.from_batches(self._schema, self._batches))


def serve_memory(settings: Numbers) -> None:
    """A plain Flight server of the batches that `keep_batches` has kept."""
    with _Memory(settings["batches"]) as server:
        _wait(f"grpc://127.0.0.1:{server.port}")


def keep_batches(settings: Numbers) -> int:
    """Writes what our server answers, batch by batch as it is, to ``settings["batches"]``; how many events it is."""
    rows = 0
    ticket = fl.Ticket(settings["ticket"].encode())
    with serving("history", settings) as server, fl.connect(server.url) as client:
        reader = client.do_get(ticket)
        with pa.OSFile(settings["batches"], "wb") as sink, pa.ipc.new_stream(sink, reader.schema) as writer:
            for chunk in reader:
                rows += chunk.data.num_rows
                writer.write_batch(chunk.data)
    return rows


def serve_http(settings: Numbers) -> None:
    """The same range from the same history as newline-delimited JSON, as a Python program would write it.

    A path of ``/json`` makes it row by row with the standard library, one of ``/polars`` with Polars.
    """
    log = Log(settings["store"])
    makers = {"/json": _by_json, "/polars": _by_polars}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.end_headers()
            condition = Filter.of(Ticket.decode(settings["http_ticket"]))
            for batch in Cursor(log, condition).read(log.offset):
                self.wfile.write(makers[self.path](batch.select(condition.columns)))

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _wait(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    log.close()


def _by_json(batch: pa.RecordBatch) -> bytes:
    return "".join(json.dumps(row, default=str) + "\n" for row in batch.to_pylist()).encode()


def _by_polars(batch: pa.RecordBatch) -> bytes:
    return pl.DataFrame(batch).write_ndjson().encode()


class _Floor(fl.FlightServerBase):  # type: ignore[misc]
    """Sends each message that comes as a batch of one row."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        super().__init__("grpc://127.0.0.1:0")

    def do_get(self, context: Any, ticket: Any) -> fl.FlightDataStream:
        schema = pa.schema([("data", pa.string())])
        return fl.GeneratorStream(schema, (pa.record_batch([[self.messages.get()]], schema) for _ in repeat(None)))


def serve_floor(settings: Numbers) -> None:
    """nats-py's callback and a plain Flight server: what comes from now on, one event a batch."""
    with _Floor() as server:

        async def take(message: Any) -> None:
            server.messages.put(message.data)

        async def read() -> None:
            client = await nats.connect(settings["nats"])
            await client.jetstream().subscribe(SUBJECT, cb=take, ordered_consumer=True, deliver_policy="new")
            print(f"ready grpc://127.0.0.1:{server.port}", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

        asyncio.run(read())
        os._exit(0)  # its stream waits for messages for ever


def _wait(url: str) -> None:
    """Says that the server is there, and waits for the end of the standard input."""
    print(f"ready {url}", flush=True)
    sys.stdin.read()


KINDS: dict[str, Callable[[Numbers], None]] = {
    "history": serve_history,
    "tail": serve_tail,
    "memory": serve_memory,
    "http": serve_http,
    "floor": serve_floor,
}


if __name__ == "__main__":
    KINDS[sys.argv[1]](json.loads(sys.argv[2]))
