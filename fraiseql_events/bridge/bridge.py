"""The bridge: a thread that reads the stream, a thread that decodes it, and room for so much between them."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import nats.errors

from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.decode import Decoded, decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.bridge.natspy import connect
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.bridge.reader import StreamReader
from fraiseql_events.errors import EventsError, NatsUnavailable, ServiceError

log: Final = logging.getLogger(__name__)

MAX_QUEUED_BYTES: Final = 32 << 20
MAX_QUEUED_MESSAGES: Final = 100_000
MAX_DECODED_BYTES: Final = 16 << 20
MAX_DECODED_MESSAGES: Final = 40_000
#: When so many are there, more are on their way: the fixed cost of a piece is worth waiting for them a moment.
MANY_MESSAGES: Final = 5_000
GATHER_SECONDS: Final = 0.03
OPEN_SECONDS: Final = 30
HAND_OVER_SECONDS: Final = 3
POLL_SECONDS: Final = 0.1


class Sink(Protocol):
    """Where decoded pieces of the stream go."""

    def append(self, decoded: Decoded, position: StreamPosition) -> None:
        """Takes a piece, and the position that it reaches; blocks while there is no room for it."""

    def refuse(self) -> None:
        """Makes `append` raise from now on, where it waits too."""


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """Where the bridge is.

    Attributes:
        sequence: the last message handed to the sink.
        last_sequence: the last message that the stream is known to hold.
        lag: messages of the stream that the sink does not have yet.
        missed: messages that were removed from the stream before they could be read.
        trouble: why nothing can be read just now.
        waiting: for how many seconds messages have been in the stream, and room for them here, and none came.
        failure: why it stopped, if it did.
    """

    sequence: int
    last_sequence: int
    lag: int
    missed: int
    trouble: str | None
    waiting: float
    failure: EventsError | None


@dataclass(slots=True)
class _Piece:
    messages: list[Messages]
    position: StreamPosition
    size: int
    count: int

    def extend(self, following: _Piece) -> None:
        self.messages += following.messages
        self.position = following.position
        self.size, self.count = self.size + following.size, self.count + following.count


class Bridge:
    """Reads JetStream into a sink from a position on, in threads of its own.

    Args:
        options: what is read.
        sink: takes the decoded events, in the stream's order.
        start: the last message that the sink already has.
        on_failure: called once, from a thread of the bridge, when it cannot go on.
    """

    def __init__(
        self,
        options: StreamOptions,
        sink: Sink,
        *,
        start: StreamPosition | None = None,
        on_failure: Callable[[EventsError], None] | None = None,
    ) -> None:
        self._options = options
        self._sink = sink
        self._start = start
        self._on_failure = on_failure
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._queued_bytes = 0
        self._queued_messages = 0
        self._held: _Piece | None = None
        self._opened = threading.Event()
        self._stopping = threading.Event()
        self._failure: EventsError | None = None
        self._sequence = start.sequence if start else 0
        self._reader: StreamReader | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._reading = threading.Thread(target=self._read, name="fraiseql-events-nats", daemon=True)
        self._decoding = threading.Thread(target=self._decode, name="fraiseql-events-decode", daemon=True)

    def start(self, *, stopped: Callable[[], bool] = lambda: False) -> None:
        """Connects and begins to read.

        Args:
            stopped: whether to give up; asked ten times a second.

        Raises:
            ServiceError: it was given up.
            NatsUnavailable: no server, or no JetStream.
            StreamMismatch: the stream is not the one that the position is from.
        """
        self._reading.start()
        self._decoding.start()
        deadline = time.monotonic() + OPEN_SECONDS
        while not self._opened.wait(0.1) and time.monotonic() < deadline:
            if stopped():
                self.stop()
                raise ServiceError("it was stopped during its start")
        if not self._opened.is_set():
            self.stop()
            raise NatsUnavailable(f"the NATS server did not answer within {OPEN_SECONDS} seconds")
        if self._failure is not None:
            self.stop()
            raise self._failure

    def stop(self) -> None:
        """Stops reading, hands over what has been read, and ends the threads."""
        self._stopping.set()
        loop, reader, task = self._loop, self._reader, self._task
        if loop is not None and task is not None:
            try:
                loop.call_soon_threadsafe(reader.stop if reader is not None else task.cancel)
            except RuntimeError:
                pass  # the loop has ended by itself
        if self._reading.is_alive():
            self._reading.join()
        if self._decoding.is_alive():
            self._queue.put(None)
            self._decoding.join(HAND_OVER_SECONDS)
            if self._decoding.is_alive():  # the sink takes nothing: what it lacks is in JetStream still
                self._sink.refuse()
                self._decoding.join()

    @property
    def status(self) -> BridgeStatus:
        """Where the bridge is now."""
        reader = self._reader
        with self._lock:
            queued = self._queued_messages
        if reader is None:
            return BridgeStatus(self._sequence, 0, 0, 0, None, 0.0, self._failure)
        return BridgeStatus(
            sequence=self._sequence,
            last_sequence=reader.last_sequence,
            lag=reader.lag + queued,
            missed=reader.position.missed,
            trouble=reader.trouble,
            waiting=reader.waiting,
            failure=self._failure,
        )

    def wait_until_read(self, poll: Callable[[BridgeStatus], None] = lambda status: None) -> None:
        """Waits until the sink has all that the stream held when the bridge started.

        Args:
            poll: called with the status, ten times a second.

        Raises:
            EventsError: the bridge failed.
        """
        reader = self._reader
        assert reader is not None, "start the bridge first"
        goal = reader.last_sequence
        polled = 0.0
        while (status := self.status).sequence < goal and status.lag:
            if status.failure is not None:
                raise status.failure
            if time.monotonic() - polled >= POLL_SECONDS:
                polled = time.monotonic()
                poll(status)
            time.sleep(0.02)
        poll(status)

    def _read(self) -> None:
        try:
            asyncio.run(self._connect_and_read())
        except asyncio.CancelledError:
            pass  # stopped before it was connected
        except EventsError as error:
            self._fail(error)
        except nats.errors.Error as error:
            said = getattr(error, "description", None) or str(error)
            self._fail(
                NatsUnavailable(f"the stream {self._options.stream} cannot be read: the NATS server says: {said}")
            )
        except Exception as error:  # the supervised loop: whatever ends it is said, by `status` and to the log
            log.exception("the NATS reader ended")
            self._fail(ServiceError(f"the NATS reader ended: {type(error).__name__}: {error}"))
        finally:
            self._opened.set()

    async def _connect_and_read(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._stopping.is_set():
            return
        client = await connect(self._options.nats, name=f"{self._options.consumer} bridge")
        try:
            reader = StreamReader(client, self._options, self._start, deliver=self._take, has_room=self._has_room)
            await reader.open()
            self._reader = reader
            self._opened.set()
            if not self._stopping.is_set():
                await reader.run()
        finally:
            await client.close()

    def _take(self, messages: Messages, position: StreamPosition) -> None:
        piece = _Piece([messages], position, messages.size, len(messages))
        with self._lock:
            self._queued_bytes += piece.size
            self._queued_messages += piece.count
        self._queue.put(piece)

    def _has_room(self) -> bool:
        with self._lock:
            return self._queued_bytes < MAX_QUEUED_BYTES and self._queued_messages < MAX_QUEUED_MESSAGES

    def _decode(self) -> None:
        try:
            while (piece := self._next_piece()) is not None:
                self._sink.append(decode(Messages.joined(piece.messages)), piece.position)
                self._sequence = piece.position.sequence
                self._release(piece)
        except EventsError as error:
            self._fail(error)
        except Exception as error:  # the supervised loop, as above
            log.exception("the decoder ended")
            self._fail(ServiceError(f"the decoder ended: {type(error).__name__}: {error}"))

    def _next_piece(self) -> _Piece | None:
        """The next piece, and what comes in behind it meanwhile, up to a size; of one epoch."""
        piece, self._held = self._held or self._queue.get(), None
        until = time.monotonic() + GATHER_SECONDS
        while piece is not None and piece.size < MAX_DECODED_BYTES and piece.count < MAX_DECODED_MESSAGES:
            seconds = until - time.monotonic() if piece.count >= MANY_MESSAGES else 0
            try:
                following = self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._queue.put(None)
                break
            if following.position.epoch != piece.position.epoch:
                self._held = following
                break
            piece.extend(following)
        return piece

    def _release(self, piece: _Piece) -> None:
        with self._lock:
            self._queued_bytes -= piece.size
            self._queued_messages -= piece.count
        loop, reader = self._loop, self._reader
        if loop is not None and reader is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(reader.wake)
            except RuntimeError:
                pass  # the loop ended between the two lines

    def _fail(self, error: EventsError) -> None:
        with self._lock:
            first, self._failure = self._failure is None, self._failure or error
        if first and self._opened.is_set() and not self._stopping.is_set():
            log.error("the bridge stopped: %s", error)
            if self._on_failure is not None:
                self._on_failure(error)
