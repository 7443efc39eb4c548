"""A steady publisher: each message is in the stream once and in its order, whatever NATS goes through meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from array import array
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from fraiseql_events.shop import Shop
from tests.faults.model import EPOCH
from tests.mixed import dumps

Event = dict[str, Any]
#: Every so manieth message is none of ours.
BAD_EVERY = 400
#: A change of an entity carries the row: with a note of this length an event has about half a kilobyte.
NOTE_CHARACTERS = 300
TICK_SECONDS = 0.05
ACK_SECONDS = 3.0
ENTITIES = ("Order", "User", "Product")


def messages(seed: int) -> Iterator[tuple[bytes, Event | None]]:
    """The shop's events as FraiseQL writes them, and now and then what cannot be read. An event's id is its offset."""
    for number, event in enumerate(Shop(seed, per_day=1_000_000)):
        if number % BAD_EVERY == BAD_EVERY - 1:
            yield b'{"bad": %d' % number, None
        numbered = {
            **event,
            "id": str(number),
            "data": {**event["data"], "note": f"{number * 7919:0>{NOTE_CHARACTERS}}"},
        }
        yield dumps(numbered), numbered


def micros(timestamp: str) -> int:
    return (datetime.fromisoformat(timestamp) - EPOCH) // timedelta(microseconds=1)


class Publisher:
    """Publishes from `start` to `stop`, as fast as it is told and NATS lets it; again what was not acknowledged.

    A message's id for JetStream is its place, and the next ones are not sent before all are acknowledged: so the
    stream drops what came twice, and holds the rest in order.

    Attributes:
        sent: how many messages are in the stream.
        entity, moment: of each event that is in the stream, or on its way, the number of its entity type, and its time.
        dead: sequence and bytes of each message that is no event.
        progress: when how many events were in the stream.
        trouble: what must not happen.
    """

    def __init__(self, port: int, *, rate: int, seed: int) -> None:
        self._port = port
        self._batch = max(1, round(rate * TICK_SECONDS))
        self._source = messages(seed)
        self._stopping = threading.Event()
        self._connection: _Connection | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self.sent = 0
        self.entity = bytearray()
        self.moment = array("q")
        self.dead: list[tuple[int, bytes]] = []
        self.progress: list[tuple[float, int]] = []
        self.trouble: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set() and self.trouble is None:
            batch = list(islice(self._source, self._batch))
            for place, (payload, event) in enumerate(batch, self.sent + 1):
                if event is None:
                    self.dead.append((place, payload))
                else:
                    self.moment.append(micros(event["timestamp"]))
                    self.entity.append(ENTITIES.index(event["entity_type"]))
            self._publish([payload for payload, _ in batch])
            self.sent += len(batch)
            self.progress.append((time.monotonic(), len(self.entity)))
            due = max(due + TICK_SECONDS, time.monotonic() - 1)
            self._stopping.wait(max(0.0, due - time.monotonic()))

    def _publish(self, payloads: list[bytes]) -> None:
        """Until they are acknowledged, also when the publisher is stopped: what was begun is to be known."""
        while self.trouble is None:
            try:
                if self._connection is None:
                    self._connection = _Connection(self._port)
                sequences = self._connection.publish("entity.change.x.y", payloads, self.sent)
            except OSError:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                time.sleep(0.1)
                continue
            if sequences != list(range(self.sent + 1, self.sent + 1 + len(payloads))):
                self.trouble = f"NATS gave the messages from {self.sent + 1} on the sequences {sequences[:5]} …"
            return


class _Connection:
    """The little of the NATS protocol that a publisher needs, with nothing sent again behind its back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ACK_SECONDS)
        self._reader = self._socket.makefile("rb")
        self._inbox = "_INBOX.soak"
        self._socket.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        self._socket.sendall(b"SUB %s.* 1\r\n" % self._inbox.encode())

    def publish(self, subject: str, payloads: list[bytes], first: int) -> list[int]:
        """Sends messages, and returns the sequence that each got."""
        frames = []
        for number, payload in enumerate(payloads, first):
            header = b"NATS/1.0\r\nNats-Msg-Id: %d\r\n\r\n" % number
            words = f"HPUB {subject} {self._inbox}.{number} {len(header)} {len(header) + len(payload)}\r\n"
            frames.append(words.encode() + header + payload + b"\r\n")
        self._socket.sendall(b"".join(frames))
        found: dict[int, int] = {}
        while len(found) < len(payloads):
            number, answer = self._answer()
            if number >= first:
                if "seq" not in answer:
                    raise OSError(f"refused: {answer}")
                found[number] = answer["seq"]
        return [found[number] for number in range(first, first + len(payloads))]

    def _answer(self) -> tuple[int, dict[str, Any]]:
        while True:
            words = self._line().split()
            if words[0] == b"PING":
                self._socket.sendall(b"PONG\r\n")
            elif words[0] in (b"MSG", b"HMSG"):
                body = self._reader.read(int(words[-1]) + 2)
                if words[0] == b"HMSG":
                    raise OSError("there is no stream: its server is starting")
                return int(words[1].rpartition(b".")[2]), json.loads(body)

    def _line(self) -> bytes:
        line = self._reader.readline()
        if not line:
            raise OSError("the connection was ended")
        return line

    def close(self) -> None:
        self._reader.close()
        self._socket.close()
