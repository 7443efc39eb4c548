"""The JetStream side of the reader: the stream, and the consumer that we read it with."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import Final

import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig, StreamInfo

from fraiseql_events.advice import where_read
from fraiseql_events.bridge.identity import REQUEST_SECONDS
from fraiseql_events.bridge.natspy import BulkClient
from fraiseql_events.errors import InvalidArgument, NatsUnavailable
from fraiseql_events.wording import without_password

log: Final = logging.getLogger(__name__)

#: FraiseQL's own defaults.
STREAM: Final = "fraiseql-entity-changes"
SUBJECT: Final = "entity.change.>"

_INACTIVE_SECONDS: Final = 300
_STREAM_NAME: Final = re.compile(r"[^\s.*>/\\]+")
_FILTER: Final = re.compile(r"(?:[^\s.>]+\.)*(?:[^\s.>]+|>)")
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
        accept_stream: whether to go on with another stream than the one that was read before.
    """

    nats: str = field(repr=False)
    stream: str = STREAM
    subject: str = SUBJECT
    consumer: str = "fraiseql-events"
    description: str = "fraiseql_events"
    accept_stream: bool = False


def check_names(stream: str, subject: str) -> None:
    """Refuses what can be no stream's name, and no filter of subjects.

    Raises:
        InvalidArgument: with what is wrong.
    """
    if not (isinstance(stream, str) and _STREAM_NAME.fullmatch(stream)):
        raise InvalidArgument(f"{stream!r} is no name of a stream: no white space, and none of . * > / \\")
    if not (isinstance(subject, str) and _FILTER.fullmatch(subject)):
        raise InvalidArgument(
            f"{subject!r} is no filter of subjects: write tokens with dots between them, such as {SUBJECT}"
        )


async def find_stream(client: BulkClient, options: StreamOptions) -> StreamInfo | None:
    """The stream as it is now; None when there is none.

    Raises:
        NatsUnavailable: the server has no JetStream, or does not answer for it.
    """
    try:
        return await client.jsm(timeout=REQUEST_SECONDS).stream_info(options.stream)
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, OSError) as error:
        raise _no_jetstream(options, error) from error


async def find_stream_of(client: BulkClient, options: StreamOptions, subject: str) -> str | None:
    """The name of the stream that a message with this subject goes into; None when there is none.

    Raises:
        NatsUnavailable: the server has no JetStream, or does not answer for it.
    """
    try:
        return await client.jsm(timeout=REQUEST_SECONDS).find_stream_name_by_subject(subject)
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, OSError) as error:
        raise _no_jetstream(options, error) from error


async def create_stream(client: BulkClient, options: StreamOptions) -> StreamInfo:
    """Makes the stream, with FraiseQL's subjects, or those of the options where they are others.

    Raises:
        NatsUnavailable: the server refuses it.
    """
    subject = SUBJECT if options.subject.startswith(SUBJECT.rstrip(">")) else options.subject
    log.info("creating the stream %s with the subjects %s", options.stream, subject)
    try:
        return await client.jsm(timeout=REQUEST_SECONDS).add_stream(
            StreamConfig(name=options.stream, subjects=[subject], description="FraiseQL entity changes")
        )
    except nats.js.errors.APIError as error:
        reason = error.description or str(error)
        if error.err_code == _OVERLAP:
            how = where_read("name that stream with --stream", "`fraiseql-events serve --stream` reads it")
            reason = f"another stream already has some of the subjects {subject}; {how}"
        raise NatsUnavailable(f"the stream {options.stream} cannot be created: {reason}") from error
    except (nats.errors.Error, OSError) as error:
        raise _no_jetstream(options, error) from error


def _no_jetstream(options: StreamOptions, error: Exception) -> NatsUnavailable:
    reason = str(error) or type(error).__name__
    return NatsUnavailable(
        f"the NATS server at {without_password(options.nats)} does not answer for JetStream ({reason}): "
        "start it with `nats-server -js`" + where_read("", "; `%fraiseql serve` without --nats brings its own")
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
