"""Publishes dead letters again, once they can be read: after the bridge has learnt to, or after they were mended.

The message says in a header which letter it is. The bridge notes that in the commit that takes the event in, so that no
letter is published twice, and within two minutes JetStream recognises a second one by its id.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.decode import decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.bridge.publisher import Message, publish
from fraiseql_events.client import EventClient
from fraiseql_events.errors import InvalidArgument, ServiceError
from fraiseql_events.event import REPLAY_HEADER, text_or_base64
from fraiseql_events.publishing import read_rows

ARRIVAL_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the letters.

    Attributes:
        published: how many were published.
        arrived: whether the bridge has read them.
        unreadable: how many were not published, because they would be dead letters again.
        example: of these the first one's number and reason, in words.
    """

    published: int
    arrived: bool
    unreadable: int
    example: str | None


def replay(client: EventClient, target: StreamOptions, mended: Mapping[int, bytes] | None = None) -> Replayed:
    """Publishes the dead letters that can be read now and have not been published again, each to its own subject.

    Args:
        client: of the Flight server that has the dead letters.
        target: the NATS server that it reads.
        mended: payloads to publish in the place of those that came, by number; then only these letters are meant.

    Raises:
        InvalidArgument: `mended` names a letter that there is not, or that has been published again already.
        ServiceError: the bridge is behind the stream, in which letters may have been published again already.
        EventsError: the servers.
    """
    _wait_until_read(client)
    history = client.status()["history"]
    letters = _chosen(client.dead_letters(), mended)
    before = client.status()["dead_letters_replayed"]
    unreadable, example = 0, None

    def messages() -> Iterator[Message]:
        nonlocal unreadable, example
        for letter in letters:
            payload = payload_of(letter)
            if (reason := _unreadable(payload)) is not None:
                unreadable, example = unreadable + 1, example or f"dead letter {letter['number']}: {reason}"
                continue
            name = f"{history}.{letter['number']}"
            headers = {REPLAY_HEADER: name, "Nats-Msg-Id": f"fraiseql-dead-letter-{name}"}
            yield letter["subject"], payload, headers

    published = publish(messages(), target)
    return Replayed(published, _wait(client, before + published), unreadable, example)


def read_mended(path: Path) -> dict[int, bytes]:
    """Payloads by the number of their dead letter, out of a file that `dead-letters -o` has written.

    Raises:
        InvalidArgument: it is no such file.
    """
    mended: dict[int, bytes] = {}
    for place, row in read_rows(path):
        number = row.get("number")
        if not isinstance(number, int) or isinstance(number, bool) or number in mended:
            raise InvalidArgument(f"{place}: number is {number!r}: each row has the number of a dead letter, once")
        if row.get("payload") is None and row.get("payload_base64") is None:
            raise InvalidArgument(f"{place}: dead letter {number} has no payload")
        mended[number] = payload_of(row)
    return mended


def payload_of(letter: Mapping[str, Any]) -> bytes:
    """The bytes of a dead letter, as text, in base64, or (mended by hand) as the JSON value itself."""
    payload = letter["payload"]
    if payload is None:
        return base64.b64decode(letter["payload_base64"])
    if isinstance(payload, bytes):
        return payload
    return payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)


def _chosen(letters: Iterator[dict[str, Any]], mended: Mapping[int, bytes] | None) -> Iterator[dict[str, Any]]:
    if mended is None:
        yield from (letter for letter in letters if letter["replayed"] is None)
        return
    found = {letter["number"]: letter for letter in letters if letter["number"] in mended}
    for number, payload in sorted(mended.items()):
        if number not in found:
            raise InvalidArgument(f"there is no dead letter {number}: `fraiseql-events dead-letters` lists them")
        if found[number]["replayed"] is not None:
            raise InvalidArgument(f"dead letter {number} was published again already: leave it out")
        text, encoded = text_or_base64(payload)
        yield {**found[number], "payload": text, "payload_base64": encoded}


def _unreadable(payload: bytes) -> str | None:
    """Why a payload would be a dead letter again; None when all of it can be read."""
    dead = decode(Messages.of([1], [b""], [0], [payload])).dead
    return dead[0].reason if dead else None


def _wait_until_read(client: EventClient) -> None:
    """Waits until the bridge has read what is in the stream: it may hold letters that were published again just now."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while (status := client.status())["lag"] or status["state"] in ("stalled", "failed"):
        if time.monotonic() > deadline:
            raise ServiceError(
                f"the bridge is {status['lag']} messages behind the stream ({status['state']}): replay when it has "
                "read them, for they may hold these dead letters already"
            )
        time.sleep(0.1)


def _wait(client: EventClient, replayed: int) -> bool:
    """Waits until the bridge has read so many in all."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while client.status()["dead_letters_replayed"] < replayed:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
