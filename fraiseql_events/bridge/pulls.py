"""Requests for messages that a JetStream server has not yet answered in full."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import msgspec

HEARTBEAT_SECONDS: Final = 2
PULL_MESSAGES: Final = 20_000
PULL_BYTES: Final = 8 << 20
#: A NATS server drops a client that does not take what it has sent within ten seconds: a slow link gets less at once.
LEAST_PULL_BYTES: Final = 256 << 10
PULLS_IN_FLIGHT: Final = 2
PULL_SECONDS: Final = 10
_NORMAL_ENDS: Final = (b"404", b"408")


@dataclass(slots=True)
class _Pull:
    reply: bytes
    wanted: int
    deadline: float


class Pulls:
    """The pulls in flight, and how much the next one may ask for.

    Args:
        max_payload: the most bytes that a message can have.
    """

    def __init__(self, max_payload: int) -> None:
        self._max_payload = max_payload
        self._pulls: deque[_Pull] = deque()
        self._number = 0
        self._bytes = PULL_BYTES

    def __len__(self) -> int:
        return len(self._pulls)

    def clear(self) -> None:
        """Forgets all of them: their consumer is another one now."""
        self._pulls.clear()

    @property
    def are_few(self) -> bool:
        """Whether another should be sent; those that the server has had time to answer do not count."""
        now = time.monotonic()
        while self._pulls and self._pulls[0].deadline < now:
            self._pulls.popleft()
        return len(self._pulls) < PULLS_IN_FLIGHT

    def add(self, inbox: str) -> tuple[str, bytes]:
        """One more: where its answers go, below the inbox, and what is to be sent."""
        self._number += 1
        reply = f"{inbox}.{self._number}"
        request = {
            "batch": PULL_MESSAGES,
            "max_bytes": self._bytes,
            "expires": PULL_SECONDS * 10**9,
            "idle_heartbeat": HEARTBEAT_SECONDS * 10**9,
        }
        deadline = time.monotonic() + PULL_SECONDS + HEARTBEAT_SECONDS
        self._pulls.append(_Pull(reply.encode(), PULL_MESSAGES, deadline))
        return reply, msgspec.json.encode(request)

    def count_down(self, count: int) -> None:
        """So many messages came: as many fewer are wanted of the oldest pulls."""
        while self._pulls and count:
            pull = self._pulls[0]
            taken = min(count, pull.wanted)
            pull.wanted, count = pull.wanted - taken, count - taken
            if pull.wanted == 0:
                self._pulls.popleft()
                self._grow()

    def end(self, reply: bytes, status: bytes, description: bytes) -> str | None:
        """The server has ended one; why, in words, where that is a fault."""
        self._pulls = deque(pull for pull in self._pulls if pull.reply != reply)
        if b"Exceeds MaxBytes" in description:  # one message alone is larger
            self._bytes = max(PULL_BYTES, 2 * self._max_payload)
            return None
        if status in _NORMAL_ENDS or b"MaxBytes" in description or b"Batch Completed" in description:
            self._grow()
            return None
        return f"the server ended a pull: {status.decode()} {description.decode('utf-8', 'replace')}"

    def shrink(self) -> None:
        """The connection was lost: perhaps it could not carry so much at once."""
        self._bytes = max(self._bytes // 4, LEAST_PULL_BYTES)

    def _grow(self) -> None:
        self._bytes = max(self._bytes, min(self._bytes + LEAST_PULL_BYTES, PULL_BYTES))
