"""A follow in a cell: a table that moves until it is stopped, and a frame of what it saw."""

from __future__ import annotations

import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import Any, Final, Self

import pyarrow as pa
from IPython.display import display

from fraiseql_events.errors import EventsError
from fraiseql_events.frames import Frames, converter
from fraiseql_events.html import card, lines
from fraiseql_events.progress import in_notebook
from fraiseql_events.status_view import count
from fraiseql_events.stream import EventStream

UPDATE_SECONDS: Final = 0.25
SHOWN: Final = 10
#: So many events are kept for the frame, the newest.
KEPT: Final = 100_000
#: Of a longer text not even the tooltip has more.
_LONGEST_TEXT: Final = 2_000


def follow(open_stream: Callable[[], EventStream[pa.RecordBatch]], frames: Frames) -> Any:
    """Shows the newest events until the stream ends or the stop button is pressed.

    Returns:
        A frame of all of them, or of the newest 100,000; also where the stream failed, which a warning says then.

    Raises:
        EventsError: the stream failed before any event came.
    """
    with _StopButton() as stop, open_stream() as stream, _Board(stream) as board:
        try:
            with stop.listening():
                for batch in stream.batches():
                    board.add(batch)
        except KeyboardInterrupt:
            board.end("stopped")
        except EventsError as error:
            board.end(f"failed: {error}")
            if not stream.rows:
                raise
            kept = f"the frame has what came before, up to offset {stream.offset}"
            warnings.warn(f"this follow failed: {error}; {kept}", UserWarning, stacklevel=3)
        else:
            board.end("ended")
        kept_rows: Any = board.kept()
        if frames == "arrow":
            return kept_rows
        return kept_rows.to_pandas() if frames == "pandas" else converter("polars")(kept_rows)


class _StopButton:
    """Lets an interrupt end the listening alone; one that comes before it ends it when it begins."""

    def __init__(self) -> None:
        self._pressed = self._listening = False
        self._before: Any = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Raises KeyboardInterrupt when the button is pressed, or has been."""
        self._listening = True
        try:
            if self._pressed:
                raise KeyboardInterrupt
            yield
        finally:
            self._listening = False

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        if self._listening:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


class _Board:
    """The table, which a thread keeps up to date, and the events that it keeps."""

    def __init__(self, stream: EventStream[pa.RecordBatch]) -> None:
        self._stream = stream
        self._state = ""
        self._batches: deque[pa.RecordBatch] = deque()
        self._rows = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_showing, name="fraiseql-events-table", daemon=True)
        self._shown = self._drawn()
        self._place: Any = display(self._shown, raw=True, display_id=True) if in_notebook() else None

    def add(self, batch: pa.RecordBatch) -> None:
        """Keeps a batch, and lets go of the oldest."""
        with self._lock:
            self._batches.append(batch)
            self._rows += batch.num_rows
            while self._rows - self._batches[0].num_rows >= KEPT:
                self._rows -= self._batches.popleft().num_rows

    def end(self, state: str) -> None:
        """Shows how it ended, and moves no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._state = state
        self._show()

    def kept(self) -> pa.Table:
        """The newest events, in order."""
        whole = pa.Table.from_batches(list(self._batches), self._stream.schema)
        return whole.slice(max(0, whole.num_rows - KEPT))

    def _keep_showing(self) -> None:
        while not self._ended.wait(UPDATE_SECONDS):
            self._show()

    def _show(self) -> None:
        drawn = self._drawn()
        if self._place is not None and drawn != self._shown:
            self._place.update(drawn, raw=True)
        self._shown = drawn

    def _drawn(self) -> dict[str, str]:
        with self._lock:
            newest = self._newest()
        trouble = self._stream.state if self._stream.state.startswith("asking again") else ""
        said = f"{count(self._stream.rows, 'event')}, {self._state or trouble or 'following'}"
        if self._stream.rows > KEPT:
            said += f"; the frame has the newest {KEPT:,}"
        rows = [tuple(map(_text, row.values())) for row in reversed(newest)]
        table = lines(self._stream.schema.names, rows)
        return {"text/html": card("EventStream", [("state", said)], table), "text/plain": said}

    def _newest(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for batch in reversed(self._batches):
            rows = batch.slice(max(0, batch.num_rows - SHOWN + len(rows))).to_pylist() + rows
            if len(rows) >= SHOWN:
                break
        return rows

    def __enter__(self) -> Self:
        if self._place is not None:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ", "milliseconds")
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
