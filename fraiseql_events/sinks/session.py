"""One run of a sink from its start to an error: opens the tables, completes the last block, and goes on behind it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from fraiseql_events.client import EventClient
from fraiseql_events.errors import EventsError, InvalidArgument, ServerUnavailable, SinkError
from fraiseql_events.event import SCHEMA
from fraiseql_events.sinks.blocks import Block, Collector
from fraiseql_events.sinks.engine import Engine
from fraiseql_events.sinks.opening import Opened, open_tables
from fraiseql_events.sinks.position import Position
from fraiseql_events.sinks.recovery import complete
from fraiseql_events.sinks.schema import Tables
from fraiseql_events.stream import EventStream

log: Final = logging.getLogger(__name__)

_COLUMNS: Final[list[str]] = [*SCHEMA.names, "offset"]
#: So long the stream is waited for at a time, and a block that is being inserted.
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Work:
    """What a session is to do.

    Attributes:
        client: reads the events.
        tables: where they go.
        entity: which events, as in a ticket.
        sink: which sink this is.
        follow: whether it goes on with what arrives.
        stopped: whether it should end.
        opened: is told that both sides have answered.
        note: is told how many events more are in ClickHouse, and the offset that they reach.
        cut: is told why the server of the events is asked again, as long as it is.
    """

    client: EventClient
    tables: Tables
    entity: str
    sink: str
    follow: bool
    stopped: Callable[[], bool]
    opened: Callable[[], None]
    note: Callable[[int, int], None]
    cut: Callable[[str], None]


class Session:
    """Reads and inserts until the work is done, or stopped, or something goes wrong.

    Args:
        engine: the ClickHouse.
        work: what is to be done.

    Raises:
        EventsError: from `run`: something went wrong. Another session goes on where this one was.
    """

    def __init__(self, engine: Engine, work: Work) -> None:
        self._engine = engine
        self._work = work
        self._insert: _Insert | None = None
        self._unknown = ""

    def run(self) -> None:
        """Does it."""
        work = self._work
        self._opened = open_tables(self._engine, work.tables, work.entity, work.sink)
        self._position = before = self._opened.position or Position(0, work.entity, "", -1, -1, 0)
        try:
            with (
                self._stream(before.offset, before.history, follow=work.follow) as stream,
                Collector(before.offset, self._engine.compression) as collector,
            ):
                self._wait_for_answer(stream, collector)
                work.opened()
                added = self._complete(before) if before.events and not work.stopped() else 0
                if added or not work.stopped():
                    work.note(added, before.offset)
                self._pump(stream, collector)
        except InvalidArgument as error:  # the server knows no such place
            raise SinkError(f"{work.tables.events} cannot be filled from this server: {error}") from error
        except BaseException as error:
            self._leave(error)
            raise
        self._finish()
        if self._position.events and (self._position is not before):
            self._say_complete()

    def _wait_for_answer(self, stream: EventStream[pa.RecordBatch], collector: Collector) -> None:
        """Until the server has looked whether it knows the place: before that nothing is inserted."""
        while stream.offset is None and not stream.ended and not self._work.stopped():
            self._read(stream, collector)

    def _complete(self, position: Position) -> int:
        """The last block, of which nobody knows whether all of it is there; how many of its events were not."""
        history, _, _ = position.history.partition(".")
        with (
            self._stream(position.after_offset, history, follow=self._work.follow, limit=position.events) as stream,
            Collector(position.after_offset, self._engine.compression, in_one=True) as wanted,
        ):
            while not stream.ended and not self._work.stopped():
                self._read(stream, wanted)
            if self._work.stopped():
                return 0
            if wanted.rows < position.events:
                raise ServerUnavailable(f"the server has not come to offset {position.offset} again, as it had before")
            block = wanted.take()
        with block.spool:
            if (block.offset, block.events) != (position.offset, position.events):
                raise SinkError(
                    f"the server has other events up to offset {position.offset} than {self._work.tables.events} was "
                    "filled with: name another table"
                )
            self._position = self._opened.positions.write(position)
            return complete(self._engine, self._work.tables, self._opened, self._position, block)

    def _stream(
        self, after: int, history: str, *, follow: bool, limit: int | None = None
    ) -> EventStream[pa.RecordBatch]:
        known = after >= 0
        stream = self._work.client.stream(
            self._work.entity,
            columns=_COLUMNS,
            limit=limit,
            after_offset=after if known else None,
            history=history if known else None,
            follow=follow,
            progress=False,
            frames="arrow",
        )
        stream.warns = False
        return stream

    @staticmethod
    def _read(stream: EventStream[pa.RecordBatch], collector: Collector) -> None:
        if (batch := stream.poll(_LOOK_SECONDS)) is not None:
            collector.add(batch, stream.history or "")

    def _pump(self, stream: EventStream[pa.RecordBatch], collector: Collector) -> None:
        """Reads while the block before is being inserted."""
        while not self._work.stopped():
            self._look()
            self._tell_of_names(stream)
            if self._insert is None and collector.is_due(ended=stream.ended):
                self._begin(collector.take())
            elif stream.trouble is not None:
                self._work.cut(stream.trouble)
            elif self._insert is None and not collector.rows:
                if stream.offset is not None:
                    self._work.note(0, max(stream.offset, self._position.offset))
                if stream.ended:
                    return
            if stream.ended or collector.is_full:
                self._wait()
            else:
                self._read(stream, collector)

    def _tell_of_names(self, stream: EventStream[pa.RecordBatch]) -> None:
        """Of an entity type that no event has, a slip of the pen may be the reason."""
        if stream.unknown not in ("", self._unknown):
            self._unknown = stream.unknown
            log.warning(self._unknown)

    def _begin(self, block: Block) -> None:
        """Begins to insert a block, in a thread of its own."""
        planned = replace(
            self._position,
            history=block.history,
            after_offset=block.after_offset,
            offset=block.offset,
            events=block.events,
        )
        self._insert = _Insert(self._engine, self._work.tables, self._opened, planned, block)

    def _look(self) -> None:
        """Takes notice of a block that has been inserted; its error is raised."""
        if self._insert is not None and not self._insert.is_alive():
            insert, self._insert = self._insert, None
            if insert.error is not None:
                raise insert.error
            self._position = insert.position
            self._work.note(insert.position.events, insert.position.offset)

    def _wait(self) -> None:
        if self._insert is not None:
            self._insert.join(_LOOK_SECONDS)

    def _finish(self) -> None:
        """Lets a block that is being inserted be inserted: half of it would have to be completed later."""
        if self._insert is not None:
            self._insert.join()
            self._look()

    def _leave(self, why: BaseException) -> None:
        """The same when something has gone wrong, which is what is told, and not what goes wrong now."""
        if isinstance(why, KeyboardInterrupt):
            self._engine.hurry()
        with contextlib.suppress(EventsError):
            self._finish()

    def _say_complete(self) -> None:
        position = self._position
        self._position = self._opened.positions.write(replace(position, after_offset=position.offset, events=0))


class _Insert(threading.Thread):
    """A block that is being inserted: first the row of the position, then the block."""

    def __init__(self, engine: Engine, tables: Tables, opened: Opened, planned: Position, block: Block) -> None:
        super().__init__(name="fraiseql-events-sink", daemon=True)
        self._engine = engine
        self._table = tables.events
        self._positions = opened.positions
        self._block = block
        self.position = planned
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Inserts it, and drops it: what is not in the table then is asked of the server again."""
        try:
            with self._block.spool as spool:
                self.position = self._positions.write(self.position)
                self._engine.insert(self._table, spool, self.position.token)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self.error = error
