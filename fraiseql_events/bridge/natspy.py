"""nats-py's connection with a bulk reader in it: the one module that leans on nats-py's private names.

nats-py gives every message an object, a queue entry and a task switch: 20 000 to 30 000 messages a second. Here its
read loop takes what the socket has, and the frames of chosen subscriptions are cut out of those bytes as they are,
a consumer's messages many at once (`frames`); every other frame goes to nats-py's own parser. Connecting,
authentication, TLS, pings, reconnecting and requests stay nats-py's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol.parser import Parser

from fraiseql_events.advice import where_read
from fraiseql_events.bridge.frames import CRLF, LEAST_RUN_BYTES, Frames, FrameSink, cut_run
from fraiseql_events.bridge.receiver import READ_BYTES, Receiver
from fraiseql_events.errors import InvalidArgument, NatsUnavailable
from fraiseql_events.served import with_password
from fraiseql_events.wording import HIDDEN, shown, without_password

log: Final = logging.getLogger(__name__)

MAX_CONTROL_LINE: Final = 64 * 1024
_SCHEMES: Final = ("nats", "tls", "ws", "wss")
#: A run of fewer frames has cost more than it saved: the next so many frames are cut one by one, at first.
_SHORT_RUN: Final = 32
_MOST_SKIPPED: Final = 4096

#: What this module uses of nats-py without its promise; `missing_names` looks for them.
PRIVATE_NAMES: Final = {
    Client: (
        "_error_cb",
        "_flush_pending",
        "_pings_outstanding",
        "_process_msg",
        "_process_op_err",
        "_ps",
        "_read_loop",
        "_send_command",
        "_transport",
    ),
    Parser: ("parse", "reset", "buf"),
    Subscription: ("_id",),
    TcpTransport: ("_io_reader", "_io_writer"),
}


def missing_names() -> list[str]:
    """Those of `PRIVATE_NAMES` that the installed nats-py no longer has."""
    client = Client()
    subscription = Subscription(client, 1, "subject")
    instances: dict[type, object] = {Client: client, Parser: Parser(client), Subscription: subscription}
    instances[TcpTransport] = TcpTransport()  # type: ignore[no-untyped-call]
    return [
        f"{kind.__module__}.{kind.__name__}.{name}"
        for kind, names in PRIVATE_NAMES.items()
        for name in names
        if not hasattr(instances[kind], name)
    ]


class _BulkParser(Parser):
    """Cuts the frames of bulk subscriptions out of the bytes; hands one whole foreign frame at a time to nats-py."""

    def __init__(self, client: Client) -> None:
        self.sinks: dict[bytes, FrameSink] = {}
        self._generation = 0
        self._skip = 0
        self._pause = 1
        super().__init__(client)

    def reset(self) -> None:
        super().reset()
        self._generation += 1

    async def cut(self, buffer: bytearray, stop: int) -> int:
        """Deals with the whole frames before `stop`; where the first begins that is not whole."""
        generation = self._generation
        received: dict[bytes, Frames] = {}
        start = 0
        try:
            while (end := self._cut_run(buffer, start, stop, received)) > start or (
                end := await self._cut_frame(buffer, start, stop, received)
            ) > start:
                if generation != self._generation:
                    return stop  # the connection was reset from within: these bytes are the old one's
                start = end
        finally:
            self._hand_over(received)
        return start

    def _hand_over(self, received: dict[bytes, Frames]) -> None:
        for sid, frames in received.items():
            if sid in self.sinks:
                self.sinks[sid].receive(frames)
        received.clear()

    def _cut_run(self, buffer: bytearray, start: int, stop: int, received: dict[bytes, Frames]) -> int:
        """Where a run of a consumer's messages ends that starts here, once it is handed over; `start` without one."""
        if stop - start < LEAST_RUN_BYTES:
            return start
        if self._skip:
            self._skip -= 1
            return start
        found = cut_run(buffer, start, stop)
        if found is None or len(found[0]) < _SHORT_RUN:
            self._skip = self._pause = min(4 * self._pause, _MOST_SKIPPED)
        else:
            self._pause = 1  # a lone frame between two runs says nothing of what comes
        if found is None or found[1] not in self.sinks:
            return start
        run, sid, end = found
        self._hand_over(received)  # what came before it
        self.sinks[sid].receive_run(run)
        return end

    async def _cut_frame(self, buffer: bytearray, start: int, stop: int, received: dict[bytes, Frames]) -> int:
        """Where the frame at `start` ends, once it is dealt with; `start` itself when it is not whole yet."""
        line_end = buffer.find(CRLF, start, stop)
        if line_end < 0:
            if stop - start > MAX_CONTROL_LINE:
                raise nats.errors.ProtocolError("nats: control line too long")
            return start
        words = bytes(buffer[start:line_end]).split(b" ")  # a subject may hold other white space
        if not words or words[0] not in (b"MSG", b"HMSG"):
            await super().parse(bytes(buffer[start : line_end + 2]))
            return line_end + 2
        try:
            body_end = line_end + 2 + int(words[-1])
        except ValueError:
            raise nats.errors.ProtocolError("nats: malformed MSG") from None
        if body_end + 2 > stop:
            return start
        sid = words[2]
        if sid not in self.sinks:
            await super().parse(bytes(buffer[start : body_end + 2]))
            return body_end + 2
        frames = received.setdefault(sid, Frames())
        if words[0] == b"MSG":
            frames.add(words, None, bytes(buffer[line_end + 2 : body_end]))
        else:
            head_end = line_end + 2 + int(words[-2])
            frames.add(words, bytes(buffer[line_end + 2 : head_end]), bytes(buffer[head_end:body_end]))
        return body_end + 2


class BulkClient(Client):
    """A nats-py client some of whose subscriptions are read in bulk."""

    def __init__(self) -> None:
        super().__init__()
        self._bulk_parser = _BulkParser(self)
        self._ps = self._bulk_parser
        self._receiver: Receiver | None = None
        self._read_at = 0.0

    @property
    def mid_frame_since(self) -> float | None:
        """When the last bytes came (`time.monotonic`), if they end in the midst of a frame; else None."""
        return self._read_at if self._receiver is not None and self._receiver.stop else None

    @property
    def read_at(self) -> float:
        """When bytes came from the server last (`time.monotonic`)."""
        return self._read_at

    async def subscribe_bulk(self, subject: str, sink: FrameSink) -> Subscription:
        """Subscribes; the frames go to the sink, read by read, until `unsubscribe_bulk`."""
        subscription = await self.subscribe(subject)
        self._bulk_parser.sinks[b"%d" % subscription._id] = sink
        return subscription

    async def unsubscribe_bulk(self, subscription: Subscription) -> None:
        """Ends a bulk subscription; frames still under way are dropped."""
        self._bulk_parser.sinks.pop(b"%d" % subscription._id, None)
        await subscription.unsubscribe()

    async def publish_bulk(self, frames: bytes) -> None:
        """Sends frames that are already in the wire form, and waits until the socket has taken them."""
        await self._send_command(frames)
        await self._flush_pending(force_flush=True)

    async def _read_loop(self) -> None:
        """nats-py's read loop, reading as much as there is at once, into memory that is kept."""
        receiver = self._receiver = Receiver()
        try:
            transport = self._transport
            if isinstance(transport, TcpTransport):
                assert transport._io_reader is not None
                assert transport._io_writer is not None
                await receiver.take_over(transport._io_reader, transport._io_writer)
            while not (self.is_closed or self.is_reconnecting) and transport is not None:
                if isinstance(transport, TcpTransport):
                    await receiver.wait()
                else:  # over a web socket
                    receiver.append(await transport.read(READ_BYTES))
                    receiver.ended = transport.at_eof()
                if receiver.stop:
                    self._read_at = time.monotonic()
                    self._pings_outstanding = 0  # on a slow link the answer to a ping waits behind much data
                    receiver.drop(await self._bulk_parser.cut(receiver.buffer, receiver.stop))
                if receiver.ended and not (self.is_closed or self.is_reconnecting):
                    error = nats.errors.UnexpectedEOF()
                    await self._error_cb(error)
                    await self._process_op_err(error)
                    return
        except (nats.errors.ProtocolError, OSError) as error:
            await self._process_op_err(error)
        except asyncio.CancelledError:
            return
        except Exception as error:  # the supervised loop: whatever ends it is said, and the connection made anew
            log.exception("reading from the NATS server ended")
            await self._process_op_err(error)


def publish_frame(subject: str, reply: str, payload: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """One PUB frame in the wire form, or one HPUB frame with headers, which hold no line break."""
    to, back = subject.encode(), reply.encode()
    if not headers:
        return b"PUB %s %s %d\r\n%s\r\n" % (to, back, len(payload), payload)
    head = "NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    frame = head.encode() + payload
    return b"HPUB %s %s %d %d\r\n%s\r\n" % (to, back, len(head.encode()), len(frame), frame)


async def connect(url: str, *, name: str) -> BulkClient:
    """Connects, or gives up within seconds; once connected, the connection is mended for ever.

    A dead link is seen within 15 seconds.

    Raises:
        InvalidArgument: the address is none.
        NatsUnavailable: no server answers, or it refuses.
    """
    url = check_nats_url(with_password(url))
    client = BulkClient()
    failures: list[Exception] = []

    async def note(error: Exception) -> None:
        failures.append(error)
        del failures[:-10]
        log.debug("NATS: %s", error)

    try:
        await client.connect(
            [server.strip() for server in url.split(",")],
            name=name,
            error_cb=note,
            max_reconnect_attempts=1,
            reconnect_time_wait=cast("int", 0.25),  # it takes any number of seconds
            ping_interval=5,
            max_outstanding_pings=2,
            connect_timeout=5,
        )
    except (nats.errors.Error, OSError, ValueError) as error:
        reason = next((str(failure) for failure in reversed(failures) if str(failure)), str(error))
        raise NatsUnavailable(
            f"no NATS server answers at {without_password(url)} ({reason}): "
            + where_read(
                "start one with `nats-server -js`, or name another with --nats; `fraiseql-events serve --embedded` "
                "brings its own",
                "name another with --nats, or none: `%fraiseql serve` brings its own",
            )
        ) from error
    client.options["max_reconnect_attempts"] = -1
    return client


def check_nats_url(url: str) -> str:
    """The address, if it is one of a NATS server, or several with commas.

    Raises:
        InvalidArgument: it is none, or one whose password was left out to be shown.
    """
    if not isinstance(url, str) or not all(map(_is_address, url.split(","))):
        said = without_password(url) if isinstance(url, str) else url
        raise InvalidArgument(f"{shown(said)} is no address of a NATS server: write nats://HOST:PORT")
    if f"{HIDDEN}@" in url:
        raise InvalidArgument(f"the address {url} lacks its password, which is never shown: name it with --nats")
    return url


def _is_address(server: str) -> bool:
    scheme, found, host = server.strip().partition("://")
    try:
        urlsplit(server.strip() if found else f"nats://{server.strip()}").port  # noqa: B018 - it raises
    except ValueError:
        return False
    return scheme in _SCHEMES and bool(host) if found else bool(scheme)
