"""The JetStream side of the reader: the stream, its identity, and the consumer that we read it with."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig, StreamInfo
from nats.js.manager import JetStreamManager

from fraiseql_events.bridge.natspy import BulkClient, without_password
from fraiseql_events.bridge.position import StreamPosition, digest
from fraiseql_events.errors import NatsUnavailable, StreamMismatch
from fraiseql_events.timestamps import format_time, micros_of_datetime

log: Final = logging.getLogger(__name__)

#: FraiseQL's own defaults.
STREAM: Final = "fraiseql-entity-changes"
SUBJECT: Final = "entity.change.>"

#: A request may be lost with the connection of a server that is stopping: it is soon made again.
REQUEST_SECONDS: Final = 2.0
_INACTIVE_SECONDS: Final = 300
_OVERLAP: Final = 10065


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Which messages are read.

    Attributes:
        nats: the server's address, or several with commas.
        stream: the JetStream stream's name.
        subject: the subjects of it that are wanted.
        consumer: the name of our consumer, by which an operator recognises us.
        description: what an operator reads beside that name.
    """

    nats: str
    stream: str = STREAM
    subject: str = SUBJECT
    consumer: str = "fraiseql-events"
    description: str = "fraiseql_events"


async def find_stream(client: BulkClient, options: StreamOptions, *, known: bool) -> StreamInfo:
    """The stream as it is now; a missing one is created, unless it is `known` to have existed.

    Raises:
        NatsUnavailable: the server has no JetStream, or refuses the stream.
        StreamMismatch: the known stream is gone.
    """
    manager = client.jsm(timeout=REQUEST_SECONDS)
    try:
        return await manager.stream_info(options.stream)
    except nats.js.errors.NotFoundError:
        if known:
            raise _mismatch(options.stream, "it no longer exists") from None
        return await _create_stream(manager, options)
    except (nats.errors.Error, OSError) as error:
        raise _no_jetstream(options, error) from error


async def _create_stream(manager: JetStreamManager, options: StreamOptions) -> StreamInfo:
    subject = SUBJECT if options.subject.startswith(SUBJECT.rstrip(">")) else options.subject
    log.info("creating the stream %s with the subjects %s", options.stream, subject)
    try:
        return await manager.add_stream(
            StreamConfig(name=options.stream, subjects=[subject], description="FraiseQL entity changes")
        )
    except nats.js.errors.APIError as error:
        reason = error.description or str(error)
        if error.err_code == _OVERLAP:
            reason = f"another stream already has the subjects {subject}; name that stream with --stream"
        raise NatsUnavailable(f"the stream {options.stream} cannot be created: {reason}") from error
    except (nats.errors.Error, OSError) as error:
        raise _no_jetstream(options, error) from error


def _no_jetstream(options: StreamOptions, error: Exception) -> NatsUnavailable:
    reason = str(error) or type(error).__name__
    return NatsUnavailable(
        f"the NATS server at {without_password(options.nats)} does not answer for JetStream ({reason}): "
        "start it with `nats-server -js`"
    )


async def check_identity(client: BulkClient, info: StreamInfo, name: str, known: StreamPosition) -> None:
    """Refuses a stream that is not the one that the position was read from.

    A stream that was deleted and made anew, or a server that lost its tail and hands sequences out again, would
    otherwise be read past its new messages in silence.

    Raises:
        StreamMismatch: with what differs, and what to do.
    """
    created = micros_of_datetime(info.created or datetime.fromtimestamp(0, UTC))
    if created != known.created:
        what = f"it was created at {format_time(created)}, the one that was read at {format_time(known.created)}"
        raise _mismatch(name, what)
    if info.state.last_seq < known.sequence:
        what = f"it ends at sequence {info.state.last_seq}, and {known.sequence} has been read"
        raise _mismatch(name, what)
    if known.sequence < max(1, info.state.first_seq):
        return
    try:
        message = await client.jsm(timeout=REQUEST_SECONDS).get_msg(name, known.sequence)
    except nats.js.errors.NotFoundError:
        return  # removed by retention or by hand: there is nothing to compare
    if digest(message.data or b"") != known.digest:
        raise _mismatch(name, f"its message {known.sequence} is not the one that was read")


def _mismatch(name: str, what: str) -> StreamMismatch:
    return StreamMismatch(
        f"the stream {name} is not the one that this history was read from: {what}. Its messages would be skipped or "
        "doubled. Start with a new --store, or restore the stream from its backup"
    )


async def open_consumer(client: BulkClient, options: StreamOptions, start: int) -> int:
    """Creates our consumer anew, to deliver from the sequence `start` on; returns the messages that await it.

    It acknowledges nothing (the commit to the history does that), so the server keeps no state for it but a position,
    in memory. The server removes it when nobody has pulled for five minutes.
    """
    manager = client.jsm(timeout=REQUEST_SECONDS)
    try:
        await manager.delete_consumer(options.stream, options.consumer)
    except nats.js.errors.NotFoundError:
        pass
    config = ConsumerConfig(
        name=options.consumer,
        description=options.description,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=max(1, start),
        ack_policy=AckPolicy.NONE,
        filter_subject=options.subject,
        inactive_threshold=_INACTIVE_SECONDS,
        mem_storage=True,
        num_replicas=1,
    )
    info = await manager.add_consumer(options.stream, config)
    return info.num_pending or 0
