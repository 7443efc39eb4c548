"""What R needs of fraiseql_events: every answer as values that reticulate hands over exactly.

Numbers cross as the bytes of R's own vectors, for neither whole numbers of 64 bits nor microseconds survive on another
way. Texts cross as lists, those that repeat as codes and levels.
"""

from __future__ import annotations

import collections
import functools
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events import EventClient, EventsError, EventStream, ServiceError, Ticket
from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.payload import path_of
from fraiseql_events.time_range import format_end, format_start
from fraiseql_events.token import TOKEN_VARIABLE

# R tells what there is to tell, in its own words
logging.getLogger("fraiseql_events").addHandler(logging.NullHandler())
logging.getLogger("fraiseql_events").propagate = False

#: R's missing whole number, and that of package bit64.
_NA_INTEGER: Final = -(2**31)
_NA_INTEGER64: Final = -(2**63)
#: Up to here R's doubles have every whole number.
_EXACT: Final = 2**53
#: So many texts of a column are looked at; where they are so few different ones, they are taken to repeat.
_LOOK: Final = 512
_FEW: Final = 64
_END_SECONDS: Final = 15
_PAYLOAD: Final = {
    "double": pa.float64(),
    "integer": pa.int32(),
    "integer64": pa.int64(),
    "character": pa.string(),
    "logical": pa.bool_(),
    "POSIXct": pa.timestamp("us", "UTC"),
    "Date": pa.date32(),
}


def _answering(function: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Has an error of fraiseql_events, or an interrupt, come back as a value: R tells it in its own way."""

    @functools.wraps(function)
    def answer(*arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return {"value": function(*arguments, **options)}
        except EventsError as error:
            kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, EventsError)]
            return {"kinds": kinds, "message": str(error)}
        except KeyboardInterrupt:  # on its own way through reticulate it is lost at times, or ends R
            return {"interrupted": True}

    return answer


@_answering
def connect(url: str, token: str | None, tls_roots: str | None) -> EventClient:
    """A client, which connects when it is first used."""
    return EventClient(url, token=token, tls_roots=tls_roots)


@_answering
def status(client: EventClient) -> str:
    """The server's status as JSON text, which keeps its whole numbers."""
    return msgspec.json.encode(client.status()).decode()


@_answering
def entities(client: EventClient) -> dict[str, Any]:
    """What the server has of each entity type, as columns."""
    time = pa.timestamp("us", "UTC")
    schema = pa.schema([("entity_type", pa.string()), ("events", pa.int64()), ("first", time), ("last", time)])
    rows = [
        {"entity_type": name, "events": info.events, "first": info.first, "last": info.last}
        for name, info in client.entities().items()
    ]
    return {"rows": len(rows), "columns": _columns(pa.RecordBatch.from_pylist(rows, schema), "numeric")}


class Reading:
    """A stream that is read in short steps: between two of them R sees whether it was interrupted.

    What a step had found when it was interrupted is asked for again in the next one.

    Args:
        client: the client.
        ticket: what is asked for, in either spelling.
        payload: "infer", or the types of fields by their paths; None for none.
        bigint: as what whole numbers of 64 bits cross: "numeric", "integer64" or "character".
    """

    def __init__(self, client: EventClient, ticket: str, payload: str | dict[str, str] | None, bigint: str) -> None:
        self._client = client
        self._ticket = Ticket.decode(ticket)
        self._bigint = bigint
        self._payload: Any = _types(payload) if isinstance(payload, dict) else payload
        self._step = 0
        #: How many events there are up to a step, up to which offset, and of which history.
        self._places = {0: (0, self._ticket.after_offset, self._ticket.history)}
        self._gathered: list[pa.RecordBatch] = []
        self._stream: Any = self._ask(0)
        self.schema: pa.Schema = self._stream.schema
        if self._payload is not None:  # found once, they stay
            own = LOG_SCHEMA.names
            self._payload = {path_of(field.name): field.type for field in self.schema if field.name not in own}

    @_answering
    def take(self, step: int, rows: int, seconds: float) -> dict[str, Any]:
        """What comes within so many seconds, up to about so many events.

        Args:
            step: the number of the last step whose events R has.
            rows: how many are enough.
            seconds: how long the first of them is waited for.
        """
        if self._stream is None or step != self._step:
            self.close()
            self._stream = self._ask(step)
        place, found, had = self._places[step], [], 0
        try:
            while had < rows and not self._stream.ended:
                batch = self._stream.poll(seconds)
                if batch is None:
                    break
                found.append(batch)
                had += batch.num_rows
        except BaseException:
            self.close()
            raise
        stream = self._stream
        if stream.offset is not None:  # a stream that was asked anew has none before its first batch
            self._offset, self._history = stream.offset, stream.history
        self._step = step + 1
        self._places = {step: place, self._step: (place[0] + had, self._offset, self._history)}
        columns = _columns(_together(found, self.schema), self._bigint) if found else None
        return self._known(had) | {"step": self._step, "columns": columns}

    @_answering
    def gather(self, seconds: float) -> dict[str, Any]:
        """Keeps what comes within so many seconds, to be fetched column by column when all is there."""
        end = time.monotonic() + seconds
        while not self._stream.ended and (left := end - time.monotonic()) > 0:
            batch = self._stream.poll(left)
            if batch is not None:
                self._gathered.append(batch)
        self._offset, self._history = self._stream.offset, self._stream.history
        return self._known(self._stream.rows)

    @_answering
    def reader(self) -> pa.RecordBatchReader:
        """The whole stream for R's package arrow, which takes it over."""
        stream, self._stream = self._stream, None
        reader: pa.RecordBatchReader = stream.to_reader()
        return reader

    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.schema.names)

    def column(self, name: str) -> dict[str, Any]:
        """A column of what was gathered."""
        index = self.schema.get_field_index(name)
        chunks = [batch.column(index) for batch in self._gathered]
        return _column(_whole(pa.chunked_array(chunks, self.schema.field(index).type)), self._bigint)

    def _known(self, rows: int) -> dict[str, Any]:
        stream = self._stream
        return {
            "rows": rows,
            "ended": stream.ended,
            "offset": None if self._offset is None else str(self._offset),
            "history": self._history,
            "state": stream.state,
            "misfits": dict(stream.misfits),
            "unknown": stream.unknown,
        }

    def close(self) -> None:
        """Ends the stream, on the server too; again does nothing."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _ask(self, step: int) -> EventStream[pa.RecordBatch]:
        """A stream behind the events of a step."""
        ticket, (rows, self._offset, self._history) = self._ticket, self._places[step]
        self._step = step
        stream = self._client.stream(
            "*" if ticket.entity is None else ticket.entity,
            None if ticket.start is None else format_start(ticket.start),
            None if ticket.end is None else format_end(ticket.end),
            limit=None if ticket.limit is None else ticket.limit - rows,
            columns=ticket.columns,
            event_types=ticket.event_types,
            after_offset=self._offset,
            history=self._history,
            batch_size=ticket.batch_size,
            compression=ticket.compression,
            follow=ticket.mode == "streaming",
            payload=self._payload,
            frames="arrow",
            progress=False,
        )
        stream.warns = False  # R does it
        return stream


@_answering
def publish(client: EventClient, columns: list[dict[str, Any]], nats: str | None) -> int:
    """Publishes rows as events, to the stream that the server reads; how many there were."""
    from fraiseql_events.bridge.consumer import StreamOptions
    from fraiseql_events.bridge.publisher import publish as send
    from fraiseql_events.publishing import frame_messages

    table = pa.table({column["name"]: _from_r(**column) for column in columns})
    messages = frame_messages(table)
    status = client.status()
    return send(messages, StreamOptions(nats=nats or status["nats"], stream=status["stream"]))


def _from_r(name: str, kind: str, values: list[str], missing: list[int]) -> pa.Array:
    found: list[Any] = list(values)
    for place in missing:
        found[int(place)] = None
    if kind == "micros":
        return pa.array([None if each is None else int(each) for each in found], pa.timestamp("us", "UTC"))
    return pa.array(found, pa.string())


class Server:
    """`fraiseql-events serve` in a process of its own, which ends when R does, however that ends."""

    def __init__(self, arguments: list[str], token: str | None) -> None:
        # in a session of its own: an interrupt of R's is none of it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fraiseql_events.jupyter.beside", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment() | ({} if token is None else {TOKEN_VARIABLE: token}),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._log: collections.deque[str] = collections.deque(maxlen=20)
        self._reader = threading.Thread(target=self._drain, name="fraiseql-events-log", daemon=True)
        threading.Thread(target=self._listen, name="fraiseql-events-ready", daemon=True).start()
        self._reader.start()

    @_answering
    def ready(self, seconds: float) -> str | None:
        """Its address; None when it is not so far within so many seconds.

        Raises:
            ServiceError: it has ended, for the reason that it gave.
        """
        try:
            line = self._said.get(timeout=seconds)
        except queue.Empty:
            return None
        if line.startswith("ready "):
            return line.split()[1]
        self._reader.join(1)
        raise ServiceError((self._log or ["the server said nothing"])[-1].removeprefix("fraiseql-events: "))

    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """Ends it; again does nothing."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as out:
            for line in out:
                self._said.put(line)
        self._said.put("")

    def _drain(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as log:
            for line in log:
                if line.strip():
                    self._log.append(line.strip())


def _environment() -> dict[str, str]:
    """Without the folders of libraries that R puts first: another Python's library may lie there.

    They are R's own and the system's, which are found all the same.
    """
    found = dict(os.environ)
    folders = found.pop("LD_LIBRARY_PATH", "").split(":")
    first = ("/usr/lib", found.get("R_HOME", "/usr/lib"))
    kept = [each for each in folders if each and not each.startswith(first)]
    return found | ({"LD_LIBRARY_PATH": ":".join(kept)} if kept else {})


@_answering
def serve(arguments: list[str], token: str | None) -> Server:
    """A server that is on its way."""
    return Server(arguments, token)


@_answering
def read(client: EventClient, ticket: str, payload: str | dict[str, str] | None, bigint: str) -> Reading:
    """A stream that has asked for nothing yet."""
    return Reading(client, ticket, payload, bigint)


def _types(payload: dict[str, str]) -> dict[str, pa.DataType]:
    """The types that R has named, of lists where a path has several values."""
    return {path: pa.list_(_PAYLOAD[name]) if "[]" in path else _PAYLOAD[name] for path, name in payload.items()}


def _together(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches, schema).combine_chunks()


def _columns(table: pa.Table | pa.RecordBatch, bigint: str) -> dict[str, Any]:
    """A table, column by column, as R takes it; `r/R/columns.R` makes vectors of it."""
    arrays = (column if isinstance(column, pa.Array) else _whole(column) for column in table.columns)
    return {name: _column(array, bigint) for name, array in zip(table.schema.names, arrays, strict=True)}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([*column.chunks, pa.array([], column.type)])


def _column(values: pa.Array, bigint: str) -> dict[str, Any]:
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _texts(values)
    if pa.types.is_list(kind):
        lengths = _integers(pc.list_value_length(values))
        return {"kind": "list", "lengths": lengths, "values": _column(values.flatten(), bigint)}
    if pa.types.is_timestamp(kind):
        micros = values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        return _doubles(micros, "time") | {"scale": 1e6}
    if pa.types.is_date(kind):
        return _doubles(values.cast(pa.int32()), "date")
    if pa.types.is_boolean(kind):
        return {"kind": "logical", "bytes": _integers(values.cast(pa.int32()))}
    if pa.types.is_floating(kind) or pa.types.is_uint32(kind):
        return _doubles(values, "double")
    if pa.types.is_int64(kind) or pa.types.is_uint64(kind):
        return _big(values, bigint)
    if pa.types.is_integer(kind):
        low = pc.min(values).as_py()
        if low is not None and low <= _NA_INTEGER:  # R has one whole number less
            return _doubles(values, "double")
        return {"kind": "integer", "bytes": _integers(values)}
    return _texts(values.cast(pa.string()))


def _texts(values: pa.Array) -> dict[str, Any]:
    """Codes and levels where texts repeat, else a list. R's texts hold no NUL: it becomes U+FFFD, and is counted."""
    with_nul = int(pc.sum(pc.match_substring(values, "\0")).as_py() or 0)
    if with_nul:
        values = pc.replace_substring(values, "\0", "\ufffd")
    if len(values) > _LOOK and pc.count_distinct(values[:_LOOK]).as_py() <= _FEW:
        coded = values.dictionary_encode()
        codes = pc.add(coded.indices, 1)
        return {"kind": "coded", "bytes": _integers(codes), "levels": coded.dictionary.to_pylist(), "nul": with_nul}
    return {"kind": "text", "list": values.fill_null("").to_pylist(), "missing": _missing(values), "nul": with_nul}


def _big(values: pa.Array, bigint: str) -> dict[str, Any]:
    """Whole numbers of 64 bits, exactly: as doubles only where all of them have one."""
    ends = pc.min_max(values).as_py()
    if bigint == "integer64" and pa.types.is_int64(values.type) and ends["min"] != _NA_INTEGER64:
        filled = np.asarray(values.fill_null(_NA_INTEGER64))
        return {"kind": "integer64", "bytes": bytearray(filled.tobytes())}
    if bigint == "numeric" and (ends["min"] is None or (ends["min"] >= -_EXACT and ends["max"] <= _EXACT)):
        return _doubles(values, "double")
    return _texts(values.cast(pa.string())) | {"large": bigint != "character"}


def _doubles(values: pa.Array, kind: str) -> dict[str, Any]:
    """As R's doubles; what is missing is set there, where it is told from NaN."""
    filled = values.fill_null(0) if values.null_count else values
    numbers = filled.to_numpy(zero_copy_only=False).astype(np.float64)
    return {"kind": kind, "bytes": bytearray(numbers.tobytes()), "missing": _missing(values)}


def _integers(values: pa.Array) -> bytearray:
    """As R's whole numbers, its missing one among them."""
    return bytearray(np.asarray(values.cast(pa.int32()).fill_null(_NA_INTEGER)).tobytes())


def _missing(values: pa.Array) -> bytearray | None:
    """Where there is nothing, counted from one."""
    if values.null_count == 0:
        return None
    places = np.flatnonzero(np.asarray(values.is_null().cast(pa.uint8()))).astype(np.int32) + np.int32(1)
    return bytearray(places.tobytes())
