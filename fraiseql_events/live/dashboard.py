"""What happens now, read in a thread of its own: counted, shown in a notebook, and stopped when nobody looks."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.closing import Closing
from fraiseql_events.errors import EventsError
from fraiseql_events.live.picture import Caption, picture
from fraiseql_events.live.window import Look, Name, Own, Window
from fraiseql_events.progress import in_notebook
from fraiseql_events.stream import EventStream

if TYPE_CHECKING:
    import polars as pl

    from fraiseql_events.live.face import Face

#: Four pictures a second are enough for eyes, and few enough for a browser.
UPDATE_SECONDS: Final = 0.25
#: Where nothing happens the chart moves on so often.
_QUIET_SECONDS: Final = 1.0
#: A cell waits so long for the first events, so that what it leaves behind shows them.
_FIRST_SECONDS: Final = 1.0
_JOIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a dashboard was asked for.

    Attributes:
        entity: its title.
        value: the column that is summed, and what it is called.
        by: the column whose values are the groups.
        seconds: how much time the chart has.
        since: earlier events, in microseconds since the epoch, are not counted; None counts all that come.
        goal: the offset up to which the events were there when it began.
    """

    entity: str
    value: tuple[str, str] | None
    by: tuple[str, str]
    seconds: float
    since: int | None
    goal: int


class Live(Closing):
    """A dashboard over what happens now; it reads in a thread of its own until it is stopped.

    In a notebook it shows itself at the end of a cell: rate, totals, a rolling chart, the newest events, and buttons.
    It stops, and ends the stream on the server, with its button, `stop`, the kernel, or when its output is closed, and
    where it was never shown when nobody has it any more. A picture stays behind.

    Attributes:
        rows: events read so far.
    """

    def __init__(
        self, open_stream: Callable[[], EventStream[pa.RecordBatch]], wanted: Wanted, newest: Callable[[], int]
    ) -> None:
        self._wanted = wanted
        self._newest = newest
        self._goal = wanted.goal
        self._behind = False
        self._window = Window(wanted.seconds, wanted.by[0], None if wanted.value is None else wanted.value[0])
        self._lock = threading.Lock()
        self._going = threading.Event()
        self._going.set()
        self._changed = threading.Event()
        self._caught_up = threading.Event()
        self._end: tuple[str, str] | None = None
        self._held: int | None = None
        self._faces: list[Face] = []
        self.rows = 0
        self._stream = open_stream()
        self._stream.warns = False  # a line in the picture tells it
        self._reconnects = 0
        self._shower: threading.Thread | None = None
        # one that was never shown, and that nobody has any more, ends as a stream does
        self._let_go = weakref.finalize(self, _let_go, self._stream, self._going)
        reading = (weakref.ref(self), self._stream, self._going)
        self._reader = threading.Thread(target=_read, args=reading, name="fraiseql-events-live", daemon=True)
        self._reader.start()

    @property
    def state(self) -> str:
        """In words: catching up, live, paused, asking again (and why), stopped, ended, or failed (and why)."""
        if self._end is not None:
            kind, why = self._end
            return f"{kind}: {why}" if why else kind
        if not self._going.is_set():
            return "paused"
        state = self._stream.state
        if state.startswith("asking again"):
            return state
        return "live" if self._is_live() else "catching up"

    def pause(self) -> None:
        """Holds the picture, and the reading; nothing is lost meanwhile."""
        if self._end is None:
            self._held = _now()
            self._behind = True
            self._going.clear()
            self._changed.set()

    def resume(self) -> None:
        """Goes on where it was paused, with all that has happened since."""
        if self._end is None:
            self._held = None
            self._going.set()
            self._changed.set()

    def stop(self) -> None:
        """Ends it, and the stream on the server; the picture stays. Again does nothing."""
        self._finish("stopped", "")
        if threading.current_thread() is not self._reader:
            self._reader.join(_JOIN_SECONDS)

    def close(self) -> None:
        """The same as `stop`."""
        self.stop()

    def totals(self) -> pl.DataFrame:
        """Of each group the events, and of `value` how many there were and their sum: the largest group first.

        The group of the events without the field is null. Those behind the 200 groups that came first are together
        ``"others"``, or ``"(others)"`` where a group is called so itself.
        """
        import polars as pl

        with self._lock:
            totals = self._window.totals()
        rest = Own.OTHERS.value if Own.OTHERS.value not in totals else f"({Own.OTHERS.value})"
        names: dict[Name, str | None] = {Own.NONE: None, Own.OTHERS: rest}
        rows = [(names.get(name, str(name)), each.events, each.values, each.total) for name, each in totals.items()]
        schema = {self._wanted.by[1]: pl.String, "events": pl.Int64, "values": pl.Int64, "sum": pl.Float64}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame if self._wanted.value is not None else frame.drop("values", "sum")

    def picture(self) -> str:
        """What it looks like now, as SVG."""
        return picture(self._look(), self._caption())

    def __repr__(self) -> str:
        look = self._look()
        return f"<Live {self._wanted.entity}: {self.state}, {look.sums.events:,} events, {look.rate:,.1f} a second>"

    def _ipython_display_(self) -> None:
        if not in_notebook():
            print(repr(self))  # noqa: T201
            return
        from fraiseql_events.live.face import Face

        try:
            self._caught_up.wait(_FIRST_SECONDS)
            face = Face(self, self._gone)
            face.show(self.picture(), self.state, repr(self))
        except KeyboardInterrupt:
            if not self._faces:  # nobody could stop it
                self._finish("stopped", "the cell was interrupted before it was shown")
            raise
        with self._lock:
            ended = self._end is not None
            if not ended:
                self._faces.append(face)
        if ended:
            face.end(self.picture(), repr(self))
        elif self._shower is None:
            atexit.register(self.stop)
            self._shower = threading.Thread(target=self._show, name="fraiseql-events-picture", daemon=True)
            self._shower.start()

    def _gone(self, face: Face) -> None:
        """An output was closed; the last one ends it."""
        with self._lock:
            if face in self._faces:
                self._faces.remove(face)
            seen = bool(self._faces)
        if not seen:
            self._finish("stopped", "its output was closed")

    def _is_live(self) -> bool:
        offset = self._stream.offset
        return self._goal < 0 or (offset is not None and offset >= self._goal)

    def _take(self, batch: pa.RecordBatch) -> bool:
        """Counts a batch; false when no more is wanted."""
        if self._end is not None:
            return False
        if self._behind or self._stream.reconnects > self._reconnects:
            self._behind, self._reconnects = False, self._stream.reconnects
            self._catch_up()
        self._count(batch)
        return True

    def _catch_up(self) -> None:
        """What is there by now has not just happened: it stands in the chart at its time, or not at all."""
        with suppress(EventsError):
            self._goal = max(self._goal, self._newest())

    def _count(self, batch: pa.RecordBatch) -> None:
        """Counts a batch: what was there at the beginning, if it is not too old, and what has happened since."""
        if self._wanted.since is not None:
            young = pc.greater_equal(batch.column("timestamp").cast(pa.int64()), self._wanted.since)
            batch = batch.filter(pc.or_(young, pc.greater(batch.column("offset"), self._wanted.goal)))
        there = pc.less_equal(batch.column("offset"), self._goal)
        before, since = batch.filter(there), batch.filter(pc.invert(there))
        with self._lock:
            self._window.add(before, now=_now(), live=False)
            self._window.add(since, now=_now(), live=True)
            self.rows += before.num_rows + since.num_rows
        if self._is_live():
            self._caught_up.set()
        self._changed.set()

    def _finish(self, kind: str, why: str) -> None:
        with self._lock:
            if self._end is not None:
                return
            self._end = (kind, why)
            self._held = self._held or _now()
        atexit.unregister(self.stop)
        self._let_go()
        self._caught_up.set()
        self._changed.set()
        self._leave_picture()

    def _show(self) -> None:
        """Shows a new picture when something has changed, and the passing of time."""
        while self._end is None:
            shown = time.monotonic()
            if self._going.is_set():
                self._changed.wait(_QUIET_SECONDS)
            else:
                self._changed.wait()
            self._changed.clear()
            self._update()
            time.sleep(max(0.0, shown + UPDATE_SECONDS - time.monotonic()))

    def _update(self) -> None:
        drawn, state = self.picture(), self.state
        for face in list(self._faces):
            face.update(drawn, state)

    def _leave_picture(self) -> None:
        with self._lock:
            faces, self._faces = self._faces, []
        if faces:
            drawn = self.picture()
            for face in faces:
                face.end(drawn, repr(self))

    def _look(self) -> Look:
        with self._lock:
            return self._window.look(self._held or _now())

    def _caption(self) -> Caption:
        wanted, state = self._wanted, self.state
        moods = (("live", "live"), ("catching up", "waiting"), ("asking again", "waiting"), ("failed", "failed"))
        mood = next((mood for start, mood in moods if state.startswith(start)), "still")
        value = None if wanted.value is None else wanted.value[1]
        misfits = sum(self._stream.misfits.values()) + self._window.misfits
        note = f"{misfits:,} values did not fit their type, and count as none" if misfits else self._stream.unknown
        return Caption(title=wanted.entity, state=state, mood=mood, value=value, by=wanted.by[1], note=note)


def _read(dashboard: weakref.ref[Live], stream: EventStream[pa.RecordBatch], going: threading.Event) -> None:
    """Reads for a dashboard as long as there is one; it is not held while nothing arrives."""
    kind, why = "ended", ""
    try:
        for batch in stream.batches():
            going.wait()
            live = dashboard()
            if live is None or not live._take(batch):
                break
            del live
    except EventsError as error:
        kind, why = "failed", str(error)
    except Exception as error:  # noqa: BLE001 - a thread has nobody to raise it to: the dashboard says it
        kind, why = "failed", f"{type(error).__name__}: {error}"
    if (live := dashboard()) is not None:
        live._finish(kind, why)


def _let_go(stream: EventStream[pa.RecordBatch], going: threading.Event) -> None:
    """Ends a reading, a paused one too."""
    stream.close()
    going.set()


def _now() -> int:
    return time.time_ns() // 1000
