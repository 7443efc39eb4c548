"""A Flight reader whose batches have typed columns: they are made in the thread that reads."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from fraiseql_events.caller import caller_level
from fraiseql_events.flight_reader import FlightReader
from fraiseql_events.payload import TypedPayload


@dataclass(frozen=True, slots=True)
class TypedChunk:
    """A chunk as Flight's, and of each typed field how many values did not fit."""

    data: pa.RecordBatch
    app_metadata: pa.Buffer | None
    misfits: dict[str, int]


class TypedReader:
    """Reads as the reader does that it is given, which it takes over."""

    def __init__(self, reader: FlightReader, payload: TypedPayload) -> None:
        self._reader = reader
        self._payload = payload

    def read_chunk(self) -> TypedChunk:
        """The next chunk; raises as the reader does."""
        chunk = self._reader.read_chunk()
        data, misfits = (chunk.data, {}) if not chunk.data.num_rows else self._payload.add(chunk.data)
        return TypedChunk(data, chunk.app_metadata, misfits)

    def cancel(self) -> None:
        """Ends the reading soon; from any thread."""
        self._reader.cancel()

    def close(self) -> None:
        """Ends the connection."""
        self._reader.close()


def warn_of_misfits(misfits: Mapping[str, int], schema: pa.Schema) -> None:
    """Warns of the columns that have nulls for values that did not fit."""
    for name, count in misfits.items():
        if count:
            text = f"of {name!r} {count:,} values do not fit its type, {schema.field(name).type}: they are null"
            warnings.warn(text, UserWarning, stacklevel=caller_level())
