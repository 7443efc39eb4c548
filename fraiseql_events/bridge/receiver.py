"""The bytes of a connection, read by the socket into one piece of memory, and cut out of it there."""

from __future__ import annotations

import asyncio
from typing import Final, cast

READ_BYTES: Final = 2 << 20


class Receiver(asyncio.BufferedProtocol):
    """Takes over an asyncio connection: what comes lies in `buffer` up to `stop`, until `drop`.

    asyncio's own StreamReader copies each byte four times, every time into fresh memory.

    Attributes:
        buffer: the memory; another one, larger, after a `drop` that left it full.
        stop: so far it is filled.
        ended: whether nothing comes any more.
    """

    def __init__(self) -> None:
        self.buffer = bytearray(READ_BYTES)
        self.stop = 0
        self.ended = False
        self._arrived = asyncio.Event()
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._before: asyncio.Protocol | None = None

    async def take_over(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads from now on in the place of `reader`, which may have read something already."""
        self._transport = cast("asyncio.Transport", writer.transport)
        reader.feed_eof()  # so that it gives what it has, and waits for no more
        self.append(await reader.read())
        self._before = cast("asyncio.Protocol", self._transport.get_protocol())
        self._transport.set_protocol(self)
        if self._transport.is_closing():
            self._end()

    async def wait(self) -> None:
        """Waits until something has come, or nothing comes any more."""
        await self._arrived.wait()
        if not self.ended:
            self._arrived.clear()

    def append(self, data: bytes) -> None:
        """Adds bytes that came on another way."""
        if self.stop + len(data) > len(self.buffer):
            self._enlarge(self.stop + len(data))
        self.buffer[self.stop : self.stop + len(data)] = data
        self.stop += len(data)
        if data:
            self._arrived.set()

    def drop(self, count: int) -> None:
        """Forgets so many bytes at the front."""
        rest = self.stop - count
        if count and rest:
            self.buffer[:rest] = self.buffer[count : self.stop]
        self.stop = rest
        if rest == len(self.buffer):
            self._enlarge(2 * rest)
        elif rest == 0 and len(self.buffer) > READ_BYTES:
            self.buffer = bytearray(READ_BYTES)
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return memoryview(self.buffer)[self.stop :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self.stop += nbytes
        if self.stop == len(self.buffer) and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._arrived.set()

    def eof_received(self) -> bool | None:
        """Nothing comes any more."""
        self._end()
        return self._before.eof_received() if self._before is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more, and nothing can be sent."""
        self._end()
        if self._before is not None:
            self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        """For who writes."""
        if self._before is not None:
            self._before.pause_writing()

    def resume_writing(self) -> None:
        """For who writes."""
        if self._before is not None:
            self._before.resume_writing()

    def _end(self) -> None:
        self.ended = True
        self._arrived.set()

    def _enlarge(self, size: int) -> None:
        larger = bytearray(size)
        larger[: self.stop] = memoryview(self.buffer)[: self.stop]
        self.buffer = larger
