"""A follow in a cell: a table that moves until it is stopped, and a frame of what it saw."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import pyarrow as pa
from IPython.display import display

from fraiseql_events.frames import Frames, converter
from fraiseql_events.html import card, table
from fraiseql_events.progress import in_notebook
from fraiseql_events.status_view import count
from fraiseql_events.stream import EventStream

UPDATE_SECONDS: Final = 0.25
SHOWN: Final = 10
#: So many events are kept for the frame, the newest.
KEPT: Final = 100_000
_LONGEST_TEXT: Final = 80


def follow(stream: EventStream[pa.RecordBatch], frames: Frames) -> Any:
    """Shows the newest events until the stream ends or the stop button is pressed.

    Returns:
        A frame of all of them, or of the newest 100,000.
    """
    board = _Board(stream)
    with stream:
        try:
            for batch in stream.batches():
                board.add(batch)
        except KeyboardInterrupt:
            board.state = "stopped"
        else:
            board.state = "ended"
    board.show()
    kept: Any = board.kept()
    if frames == "arrow":
        return kept
    return kept.to_pandas() if frames == "pandas" else converter("polars")(kept)


class _Board:
    """The table, and the events that it keeps."""

    def __init__(self, stream: EventStream[pa.RecordBatch]) -> None:
        self.state = "following"
        self._stream = stream
        self._batches: deque[pa.RecordBatch] = deque()
        self._rows = 0
        self._shown = 0.0
        self._place: Any = display(self._drawn(), raw=True, display_id=True) if in_notebook() else None

    def add(self, batch: pa.RecordBatch) -> None:
        """Keeps a batch, and lets go of the oldest."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        while self._rows - self._batches[0].num_rows >= KEPT:
            self._rows -= self._batches.popleft().num_rows
        if time.monotonic() - self._shown >= UPDATE_SECONDS:
            self.show()

    def show(self) -> None:
        """Shows the table as it is now."""
        self._shown = time.monotonic()
        if self._place is not None:
            self._place.update(self._drawn(), raw=True)

    def kept(self) -> pa.Table:
        """The newest events, in order."""
        whole = pa.Table.from_batches(list(self._batches), self._stream.schema)
        return whole.slice(max(0, whole.num_rows - KEPT))

    def _drawn(self) -> dict[str, str]:
        said = f"{count(self._stream.rows, 'event')}, {self.state}"
        if self._stream.rows > KEPT:
            said += f"; the frame has the newest {KEPT:,}"
        rows = [tuple(map(_text, row.values())) for row in reversed(self._newest())]
        names = self._stream.schema.names
        return {"text/html": card("EventStream", [("state", said)], table(names, rows)), "text/plain": said}

    def _newest(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for batch in reversed(self._batches):
            rows = batch.slice(max(0, batch.num_rows - SHOWN + len(rows))).to_pylist() + rows
            if len(rows) >= SHOWN:
                break
        return rows


def _text(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
