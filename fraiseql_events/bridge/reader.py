"""Reads a JetStream stream in bulk: pulls kept in flight, frames turned into `Messages`, in order and without a gap."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import nats.errors
import nats.js.errors
import numpy as np
from nats.aio.subscription import Subscription
from nats.js.api import StreamInfo

from fraiseql_events.bridge.consumer import StreamOptions, create_stream, find_stream, open_consumer
from fraiseql_events.bridge.frames import ACK, Frames, Run
from fraiseql_events.bridge.identity import (
    REQUEST_SECONDS,
    adopt,
    check_readable,
    created_micros,
    find_difference,
    mismatch,
)
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.bridge.missed import Missed
from fraiseql_events.bridge.natspy import BulkClient
from fraiseql_events.bridge.position import StreamPosition, digest
from fraiseql_events.bridge.pulls import HEARTBEAT_SECONDS, Pulls
from fraiseql_events.bridge.subjects import covers, overlap
from fraiseql_events.errors import NatsUnavailable

log: Final = logging.getLogger(__name__)

SILENCE_SECONDS: Final = 3 * HEARTBEAT_SECONDS
#: So long may messages wait in the stream, and there be room for them, before the consumer is made anew.
STUCK_SECONDS: Final = 10
POLL_SECONDS: Final = 1.0

_HEARTBEAT: Final = b"100"


class StreamReader:
    """Delivers the stream after a position, message by message in its order, until stopped.

    Whatever happens to the consumer or the connection, reading goes on at the message after the last one delivered;
    what cannot be delivered in order is never delivered.

    Args:
        client: a connected client.
        options: what is read.
        start: the last message that is already kept; None for a new history.
        deliver: takes each piece, in the event loop; must not block.
        has_room: whether more may be asked for.
    """

    def __init__(
        self,
        client: BulkClient,
        options: StreamOptions,
        start: StreamPosition | None,
        *,
        deliver: Callable[[Messages, StreamPosition], None],
        has_room: Callable[[], bool],
    ) -> None:
        self._client = client
        self._options = options
        self._deliver = deliver
        self._has_room = has_room
        self._pulls = Pulls(client.max_payload)
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._consumer_sequence = 0
        self._broken: str | None = None
        self._said: str | None = None
        self._missed = Missed()
        self._unanswered = False
        self._heard = self._progressed = time.monotonic()
        self._reconnects = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self.position = start or StreamPosition(0, 0)
        self.pending = 0
        self.last_sequence = 0

    async def open(self) -> None:
        """Finds or creates the stream, makes sure that it is the known one, and creates the consumer.

        Raises:
            NatsUnavailable: no JetStream.
            StreamMismatch: another stream than the known one.
        """
        info = await find_stream(self._client, self._options) or await self._replace_missing()
        check_readable(info, self._options.stream)
        if self.position.created:
            await self._check_identity(info)
        else:
            self.position = StreamPosition(self.position.sequence, created_micros(info))
        self._missed.reads_all = self._reads_all(info)
        if self.position.is_first and not self._inbox:
            self._missed.begin_history(info.state.first_seq)
            self.position = replace(self.position, began=info.state.last_seq)
        self._missed.doubt(self.position.began)
        self._give_up(info.state.first_seq)
        self.last_sequence = info.state.last_seq
        await self._open_consumer(created_micros(info))

    def _reads_all(self, info: StreamInfo) -> bool:
        wanted, subjects = self._options.subject, info.config.subjects or ()
        if subjects and not self._inbox and not any(overlap(wanted, subject) for subject in subjects):
            log.warning("the stream %s has no subject that %s means: it has %s", info.config.name, wanted, subjects)
        return wanted == ">" or (bool(subjects) and all(covers(wanted, subject) for subject in subjects))

    async def _replace_missing(self) -> StreamInfo:
        """Makes a stream that does not exist, where nothing can be lost by that."""
        name, known = self._options.stream, self.position
        if not known.is_first and not self._options.accept_stream:
            raise mismatch(name, "it no longer exists", known)
        if self._inbox:  # it was there: whoever took it away may make it anew, as he wants it
            self._broken = f"the stream {name} no longer exists: waiting for it to be made anew"
            raise NatsUnavailable(self._broken)
        return await create_stream(self._client, self._options)

    async def _check_identity(self, info: StreamInfo) -> None:
        """Refuses another stream than the one that was read, or goes on with it where that is wanted."""
        name, known = self._options.stream, self.position
        what = await find_difference(self._client, info, name, known)
        if what is None:
            self._note_missed(self.last_sequence - max(known.sequence, info.state.last_seq, self._missed.floor))
            return
        if not known.is_first and not self._options.accept_stream:
            raise mismatch(name, what, known)
        self._note_missed(self.last_sequence - max(known.sequence, self._missed.floor))
        self.position = await adopt(self._client, info, name, self.position)
        after = self.position.sequence
        log.warning("the stream %s is another one: %s. Reading goes on after its message %d", name, what, after)
        self._missed.begin_stream(after)
        self._deliver(Messages.of([], [], [], []), self.position)

    def _give_up(self, first: int) -> None:
        """What the stream no longer holds, and was not read, is missed."""
        self._note_missed(self._missed.give_up(self.position.sequence, first))

    def _note_missed(self, count: int) -> None:
        if count > 0 and self._missed.reads_all:
            self.position = replace(self.position, missed=self.position.missed + count)
            log.error("%d messages of %s were removed before they were read", count, self._options.stream)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be read just now; None while all is well."""
        if not self._client.is_connected:
            return "the NATS server does not answer"
        if self._unanswered and self._broken is None:
            return "the NATS server does not answer, and nothing comes from it"
        return self._broken

    @property
    def waiting(self) -> float:
        """How long messages have been waiting in the stream without one of them coming, in seconds."""
        return time.monotonic() - self._progressed if self.pending else 0.0

    @property
    def lag(self) -> int:
        """Messages of the stream that have not been delivered."""
        return self.pending if self.trouble is None else max(self.pending, self.last_sequence - self.position.sequence)

    async def run(self) -> None:
        """Reads until `stop`; call `open` first."""
        polled = time.monotonic()
        while not self._stopping:
            try:
                await self._keep_reading()
                if self._missed.is_in_doubt or time.monotonic() - polled >= POLL_SECONDS:
                    polled = time.monotonic()
                    await self._poll()
            except (nats.errors.Error, OSError) as error:
                self._note_error(error)
                await asyncio.sleep(0.25)
            await self._wait(0.25)

    def _note_error(self, error: Exception) -> None:
        """What the server answers is a better reason than that nothing came."""
        log.debug("NATS: %s", error)
        cause = error.__cause__ or error
        if isinstance(cause, nats.js.errors.APIError):
            self._broken = f"JetStream does not serve us: {cause.description or 'the NATS server has none'}"
        self._broken = self._broken or f"the NATS server does not answer ({error})"

    def wake(self) -> None:
        """Looks again whether there is room. Call it in the event loop."""
        self._wake.set()

    def stop(self) -> None:
        """Ends `run` soon. Call it in the event loop."""
        self._stopping = True
        self._wake.set()

    def receive(self, frames: Frames) -> None:
        """Takes frames of our subscription: messages of the stream, and what the server says of our pulls."""
        self._hear()
        start = 0
        for index, reply in enumerate(frames.replies):
            if not reply.startswith(ACK):
                self._take(frames, start, index)
                self._receive_status(frames.subjects[index], frames.headers[index])
                start = index + 1
        self._take(frames, start, len(frames))
        self._wake.set()

    def receive_run(self, run: Run) -> None:
        """Takes a run of messages of the stream."""
        self._hear()
        self._take_run(run)
        self._wake.set()

    def _hear(self) -> None:
        self._heard = time.monotonic()
        self._unanswered = False

    def _take(self, frames: Frames, start: int, stop: int) -> None:
        if start < stop:
            self._take_run(frames.run(start, stop))

    def _take_run(self, run: Run) -> None:
        """Hands over the messages, as far as none is missing and none comes twice."""
        if self._broken is not None:
            return
        count, jumped = self._count_in_order(run)
        self._consumer_sequence += count
        self._pulls.count_down(count)
        if count < len(run):
            came = int(run.in_consumer[count])
            self._broken = f"message {came} of the consumer came after {self._consumer_sequence}"
        if count:
            self._note_missed(jumped)
            self._hand_over(run.messages(count))

    def _count_in_order(self, run: Run) -> tuple[int, int]:
        """How many of a run's messages follow what has come, and each other; how many were missed between them."""
        last, expected = self.position.sequence, self._consumer_sequence + 1
        if len(run) == 1 and run.in_consumer[0] == expected and run.sequences[0] == last + 1:
            return 1, 0  # live, one by one
        before = np.concatenate(([last], run.sequences[:-1]))
        wrong = np.flatnonzero((run.in_consumer != expected + np.arange(len(run))) | (run.sequences <= before))
        count = int(wrong[0]) if len(wrong) else len(run)
        gaps = np.flatnonzero(run.sequences[:count] != before[:count] + 1).tolist()
        return count, sum(self._missed.pass_over(int(before[gap]), int(run.sequences[gap])) for gap in gaps)

    def _hand_over(self, messages: Messages) -> None:
        last = int(messages.sequences[-1])
        self.last_sequence = max(self.last_sequence, last)
        self.position = replace(
            self.position,
            sequence=last,
            published=int(messages.published[-1]),
            digest=digest(messages.payloads[-1].as_py()),
            missed=self.position.missed - self._missed.come_late(messages.sequences),
        )
        self._deliver(messages, self.position)
        self._progressed = self._heard
        self.pending = messages.pending  # after the delivery, so that the sum of both never misses a message

    def _receive_status(self, subject: bytes, header: bytes | None) -> None:
        status, _, description = (header or b"").partition(b"\r\n")[0].partition(b" ")[2].partition(b" ")
        if status == _HEARTBEAT:
            return
        self._broken = self._broken or self._pulls.end(subject, status, description)

    async def _keep_reading(self) -> None:
        if self._client.stats["reconnects"] != self._reconnects:
            self._broken = self._broken or "the connection was made anew"
            self._pulls.shrink()
        elif self._pulls and self._client.is_connected and time.monotonic() - self._last_sign() > SILENCE_SECONDS:
            self._broken = self._broken or f"nothing was heard of the NATS server for {SILENCE_SECONDS} seconds"
        if self._broken is not None:
            if self._broken != self._said:  # once, however long it lasts
                log.warning("reading is interrupted after message %d: %s", self.position.sequence, self._broken)
            self._said = self._broken
            if not self._client.is_connected:
                return
            await self.open()
            self._said = None
            log.warning("reading goes on after message %d", self.position.sequence)
        while self._pulls.are_few and self._has_room():
            await self._pull()

    def _last_sign(self) -> float:
        """When something came from the server for us last; a large message may take long over a slow link."""
        return max(self._heard, self._client.mid_frame_since or 0.0)

    async def _open_consumer(self, created: int) -> None:
        self._reconnects = self._client.stats["reconnects"]
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._client.unsubscribe_bulk(subscription)
        self._pulls.clear()
        self._consumer_sequence = 0
        self._inbox = self._client.new_inbox()
        self.pending = await open_consumer(self._client, self._options, self.position.sequence + 1)
        again = await find_stream(self._client, self._options)
        if again is None or created_micros(again) != created:  # the consumer may be another stream's than was looked at
            raise NatsUnavailable(f"the stream {self._options.stream} was made anew just now")
        self._subscription = await self._client.subscribe_bulk(f"{self._inbox}.*", self)
        self._broken = None
        self._unanswered = False
        self._heard = self._progressed = time.monotonic()

    async def _pull(self) -> None:
        if not self._pulls:
            self._heard = time.monotonic()
        reply, request = self._pulls.add(self._inbox)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._options.stream}.{self._options.consumer}"
        await self._client.publish(subject, request, reply=reply)

    async def _poll(self) -> None:
        """Asks how far the stream is ahead, for status; what comes in says it only while something comes in."""
        if not self._client.is_connected or self._broken is not None:
            return
        manager = self._client.jsm(timeout=REQUEST_SECONDS)
        asked = time.monotonic()
        try:
            stream = await manager.stream_info(self._options.stream)
            info = await manager.consumer_info(self._options.stream, self._options.consumer)
        except (nats.errors.Error, OSError) as error:
            log.debug("NATS: %s", error)  # over a slow link the answer waits behind much data; silence is watched for
            self._unanswered = self._client.read_at < asked
            return
        self._unanswered = False
        self._missed.reads_all = self._reads_all(stream)
        self._give_up(stream.state.first_seq)
        self.last_sequence = max(self.last_sequence, stream.state.last_seq)
        if info.delivered is not None and info.delivered.consumer_seq == self._consumer_sequence:
            self.pending = info.num_pending or 0
            if not self.pending:
                self._note_missed(self._missed.reach_end(self.position.sequence, stream.state.last_seq))
        self._watch_progress()

    def _watch_progress(self) -> None:
        """Messages that wait although there is room for them, and do not come: no stall is silent."""
        now, coming = time.monotonic(), self._client.mid_frame_since
        if self.pending == 0 or not self._has_room() or (coming is not None and now - coming < SILENCE_SECONDS):
            self._progressed = now
        elif now - self._progressed > STUCK_SECONDS:
            self._broken = f"{self.pending} messages wait in the stream, and none came for {STUCK_SECONDS} seconds"

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            pass
        self._wake.clear()
