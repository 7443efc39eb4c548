"""Publishes many messages to JetStream, each acknowledged, without waiting for one before sending the next."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import chain
from typing import Any, Final

import nats.errors

from fraiseql_events.advice import where_read
from fraiseql_events.bridge.consumer import StreamOptions, create_stream, find_stream, find_stream_of
from fraiseql_events.bridge.frames import Frames, Run
from fraiseql_events.bridge.natspy import BulkClient, connect, publish_frame
from fraiseql_events.errors import EventsError, InvalidArgument, NatsUnavailable
from fraiseql_events.wording import without_password

#: Subject and payload, and perhaps headers.
Message = tuple[str, bytes] | tuple[str, bytes, Mapping[str, str]]

WINDOW_MESSAGES: Final = 8_000
MAX_TOKEN: Final = 80
CHUNK_MESSAGES: Final = 1_000
CHUNK_BYTES: Final = 4 << 20
SILENCE_SECONDS: Final = 15.0


def subject_of(entity_type: str, event_type: str) -> str:
    """FraiseQL's subject for an event: ``entity.change.{entity_type}.{operation}``.

    The operation is the last part of the event type, in lower case. What a subject cannot hold is percent-encoded.

    >>> subject_of("Order", "Order.Created")
    'entity.change.Order.created'
    """
    return f"entity.change.{_token(entity_type)}.{_token(event_type.rpartition('.')[2].lower())}"


def publish(
    messages: Iterable[Message], options: StreamOptions, *, progress: Callable[[int], None] = lambda count: None
) -> int:
    """Publishes messages and waits until JetStream has acknowledged every one; creates a missing stream.

    Args:
        messages: subjects and payloads, and perhaps headers.
        options: the server, and the stream to create when it is missing.
        progress: called with the number of messages newly acknowledged.

    Returns:
        How many were published.

    Raises:
        NatsUnavailable: no server, or one that does not take them; the sentence says how many it has taken, and where
            to go on.
        InvalidArgument: what the messages' own source raised, after those before it were published; or another stream
            has their subject, and nothing was made or sent.
    """
    work = _publish(messages, options, progress)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _run_beside(work)


def _run_beside(work: Coroutine[Any, Any, int]) -> int:
    """Runs it in a thread of its own: in a notebook's cell an event loop runs already. An interrupt ends it."""
    found: Future[int] = Future()
    tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None
        tasks.append((asyncio.get_running_loop(), task))
        return await work

    def target() -> None:
        try:
            found.set_result(asyncio.run(run()))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whom it concerns
            found.set_exception(error)

    thread = threading.Thread(target=target, name="fraiseql-events-publish", daemon=True)
    thread.start()
    try:
        return found.result()
    except KeyboardInterrupt:
        for loop, task in tasks:
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise


async def _publish(messages: Iterable[Message], options: StreamOptions, progress: Callable[[int], None]) -> int:
    client = await connect(options.nats, name="fraiseql-events publish")
    acks = _Acks(progress)
    try:
        inbox = client.new_inbox()
        subscription = await client.subscribe_bulk(inbox, acks)
        chunks = _chunks(messages, client.max_payload)
        try:
            first = next(chunks, ())
            await _prepare(client, options, first[0][0] if first else None)
            for chunk in chain([first], chunks) if first else ():
                await acks.wait_for_room(WINDOW_MESSAGES - len(chunk), options)
                await client.publish_bulk(b"".join([publish_frame(to, inbox, *rest) for to, *rest in chunk]))
                acks.sent += len(chunk)
        except InvalidArgument as error:
            await acks.wait_for_room(0, options)
            done = f"the {acks.sent} events before it were published" if acks.sent else "nothing was published"
            raise InvalidArgument(f"{error}; {done}") from error
        await acks.wait_for_room(0, options)
        await client.unsubscribe_bulk(subscription)
        return acks.sent
    except EventsError:
        raise
    except (nats.errors.Error, OSError) as error:
        where = without_password(options.nats)
        raise NatsUnavailable(f"publishing to {where} failed: {error}; {acks.taken}") from error
    finally:
        await client.close()


async def _prepare(client: BulkClient, options: StreamOptions, subject: str | None) -> None:
    """Makes a missing stream, unless the messages belong to another."""
    taker = None if subject is None else await find_stream_of(client, options, subject)
    if taker not in (None, options.stream):
        raise InvalidArgument(
            f"the subject {subject} belongs to the stream {taker}, and not to {options.stream}: "
            + where_read("name that with --stream", "name that with `fraiseql-events publish --stream` in a terminal")
        )
    if taker is None and await find_stream(client, options) is None:
        await create_stream(client, options)


class _Acks:
    """Counts acknowledgements, which come in the messages' order; after a refusal none counts."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._changed = asyncio.Event()
        self._refusal: str | None = None
        self.sent = 0
        self.acknowledged = 0

    def receive(self, frames: Frames) -> None:
        if self._refusal is not None:
            return
        answers = list(frames.payloads)
        taken = next((index for index, answer in enumerate(answers) if _is_refusal(answer)), len(answers))
        if taken < len(answers):
            self._refusal = _reason(answers[taken])
        self.acknowledged += taken
        self._progress(taken)
        self._changed.set()

    def receive_run(self, run: Run) -> None:
        """No acknowledgement comes from a consumer."""

    async def wait_for_room(self, unacknowledged: int, options: StreamOptions) -> None:
        """Waits until so many at the most are unacknowledged."""
        heard, known = time.monotonic(), self.acknowledged
        while self._refusal is None and self.sent - self.acknowledged > unacknowledged:
            if time.monotonic() - heard > SILENCE_SECONDS:
                self._refusal = f"nothing was acknowledged for {SILENCE_SECONDS:.0f} seconds"
                break
            try:
                await asyncio.wait_for(self._changed.wait(), 0.5)
            except TimeoutError:
                pass
            self._changed.clear()
            if self.acknowledged != known:
                heard, known = time.monotonic(), self.acknowledged
        if self._refusal is not None:
            raise NatsUnavailable(
                f"the stream {options.stream} at {without_password(options.nats)} takes no more: {self._refusal}; "
                f"{self.taken}"
            )

    @property
    def taken(self) -> str:
        """How far it came, and where to go on."""
        if not self.acknowledged:
            return "none was published"
        return f"the first {self.acknowledged} are published: go on with number {self.acknowledged + 1}"


def _chunks(messages: Iterable[Message], max_payload: int) -> Iterator[Sequence[Message]]:
    """Messages in pieces; those before a wrong one come before the error does."""
    chunk: list[Message] = []
    size = 0
    try:
        for message in messages:
            if len(message[1]) > max_payload:
                raise InvalidArgument(
                    f"an event has {len(message[1])} bytes, and the NATS server takes {max_payload} at the most: raise "
                    "its max_payload"
                )
            chunk.append(message)
            size += len(message[1])
            if len(chunk) == CHUNK_MESSAGES or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    except InvalidArgument:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _is_refusal(answer: bytes) -> bool:
    return not answer or b'"error"' in answer


def _reason(payload: bytes) -> str:
    if not payload:
        return "no stream has this subject"
    found = re.search(rb'"description":\s*"([^"]*)"', payload)
    return (found[1] if found else payload[:200]).decode("utf-8", "replace")


def _token(text: str) -> str:
    """A text as one token of a subject, cut where it is long: a subject only routes."""
    return re.sub(r"[\x00-\x20.*>%\x7f]", lambda found: f"%{ord(found[0]):02X}", text[:MAX_TOKEN]) or "_"
