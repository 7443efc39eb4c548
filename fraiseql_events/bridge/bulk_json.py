"""JSON events in bulk: DuckDB takes their fields, and a comparison proves that it took them for what they are.

DuckDB reads JSON four times as fast as Python can make objects of it, and without the interpreter's lock; but it is
lax (NaN, a comma too many, the first of two equal keys) and respells numbers. So the fields that it found are put
together again, in the order of keys of the events at hand (their `Layout`), and only what gives back the very bytes of
the payload counts as read: then no field was misread, none is there twice, and nothing was respelled. All else is left
to `json_payload`, which decides by every rule of the contract.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fraiseql_events.arrays import integers, truths
from fraiseql_events.bridge.messages import Integers
from fraiseql_events.duck import ChangingTable, connect

log: Final = logging.getLogger(__name__)

#: For fewer, the fixed cost of a query is more than it saves.
LEAST_EVENTS: Final = 1500
#: More may be nested too deeply for `json_payload`, which decides.
MOST_BRACKETS: Final = 500
_LARGE: Final = 2 * MOST_BRACKETS
_MOST_FIELDS: Final = 64
_MOST_LAYOUTS: Final = 4
_MOST_PAUSE: Final = 63
_LOWER: Final = 0x20
#: What is looked at in one go stays in the processor's cache.
_BLOCK: Final = 64 << 10
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_REQUIRED: Final = ("event_type", "entity_type", "entity_id", "timestamp")
_OPTIONAL: Final = ("user_id", "org_id", "tenant_id")


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of events in their order.

    Attributes:
        fields: each key, and whether its value is a string (or null); any other JSON value otherwise.
    """

    fields: tuple[tuple[str, bool], ...]

    @classmethod
    def of(cls, payload: bytes) -> Layout | None:
        """The layout of an event; None when it has none that can be asked for."""
        try:
            pairs = json.loads(payload, object_pairs_hook=list)
            values = dict(pairs)
        except (ValueError, TypeError, RecursionError):
            return None
        if len(values) != len(pairs) or len(values) > _MOST_FIELDS or not all(map(_KEY.fullmatch, values)):
            return None
        layout = cls(tuple((name, name in _OPTIONAL or isinstance(value, str)) for name, value in pairs))
        if "data" not in values or not all(isinstance(values.get(name), str) for name in layout.required):
            return None
        return layout

    @property
    def names(self) -> list[str]:
        """The keys."""
        return [name for name, _ in self.fields]

    @property
    def required(self) -> tuple[str, ...]:
        """Those of the keys that must have a string for a value."""
        return ("id" if "id" in self.names else "event_id", *_REQUIRED)

    def query(self) -> str:
        """SQL for the fields of each ``text`` in ``texts``, and whether they are all that is in it."""
        names = self.names
        org_ids = [self._value(name) for name in ("org_id", "tenant_id") if name in names]
        columns = {
            **dict(zip(("event_id", *_REQUIRED), map(self._value, self.required), strict=True)),
            "data": self._spelled("data"),
            "user_id": self._value("user_id") if "user_id" in names else "NULL::VARCHAR",
            "org_id": f"coalesce({', '.join(org_ids)})" if org_ids else "NULL::VARCHAR",
        }
        selected = ", ".join(f"{value} AS {name}" for name, value in columns.items())
        paths = ", ".join(f"'$.{name}'" for name in names)
        return (
            f"SELECT {selected}, {self._put_together()} = text AS is_whole "  # noqa: S608
            f"FROM (SELECT text, try(json_extract_string(text, [{paths}])) AS found FROM texts)"
        )

    def _value(self, name: str) -> str:
        """A field as DuckDB found it: a string without its quotes, any other value as JSON text, NULL for null."""
        return f"found[{self.names.index(name) + 1}]"

    def _spelled(self, name: str) -> str:
        """A field as JSON text."""
        value = self._value(name)
        if dict(self.fields)[name]:
            return f"CASE WHEN {value} IS NULL THEN 'null' ELSE concat('\"', {value}, '\"') END"
        return f"coalesce({value}, 'null')"

    def _put_together(self) -> str:
        """The whole event as it must have been spelled. `concat` takes NULL for nothing."""
        literal, parts = "{", []
        for name in self.names:
            literal += f'"{name}":'
            if name in self.required:
                parts += [f"""'{literal}"'""", self._value(name)]
                literal = '",'
            else:
                parts += [f"'{literal}'", self._spelled(name)]
                literal = ","
        return f"concat({', '.join(parts)}, '{literal[:-1]}}}')"


class BulkReader:
    """Reads JSON events in bulk; remembers the layouts that it has met. For one thread."""

    def __init__(self) -> None:
        import duckdb  # it is loaded when there is much to read

        self._errors: tuple[type[Exception], ...] = (duckdb.Error,)
        self._connection = connect()  # its one thread is faster than JetStream alone can send
        self._texts = ChangingTable(pa.schema([("text", pa.string())]))
        self._connection.register("texts", self._texts)
        self._layouts: OrderedDict[Layout, duckdb.DuckDBPyRelation | None] = OrderedDict()
        self._skip = self._pause = 0

    def read(self, texts: pa.BinaryArray) -> list[tuple[pa.Table, Integers]]:
        """Reads what it can of JSON texts, one event each.

        Returns:
            Tables with the columns of `SCHEMA`, all text (the time too), each with the rows of `texts` that it holds,
            rising. What is in none is to be read otherwise.
        """
        found: list[tuple[pa.Table, Integers]] = []
        left = np.arange(len(texts))
        if self._skip:
            self._skip -= 1
            return found
        tried: set[Layout] = set()
        while len(left) >= LEAST_EVENTS and len(tried) < _MOST_LAYOUTS:
            layout = self._next_layout([texts[int(left[place])].as_py() for place in (0, len(left) // 2, -1)], tried)
            if layout is None:
                break
            tried.add(layout)
            part = texts if len(left) == len(texts) else texts.take(integers(left))
            table, whole = self._read(layout, part)
            if table is not None and table.num_rows:
                found.append((table, left[whole]))
                left = left[~whole]
        # of events that are spelled otherwise, such as with spaces, it reads none: it need not try each time
        self._pause = min(2 * self._pause + 1, _MOST_PAUSE) if 2 * len(left) > len(texts) else 0
        self._skip = self._pause
        return found

    def _next_layout(self, samples: list[bytes], tried: set[Layout]) -> Layout | None:
        """That of one of these texts, or another that may fit the rest."""
        layouts = [layout for layout in map(Layout.of, samples) if layout is not None and layout not in tried]
        if not layouts:
            return next((known for known in reversed(self._layouts) if known not in tried), None)
        layout = layouts[0]
        self._layouts.setdefault(layout)
        self._layouts.move_to_end(layout)
        if len(self._layouts) > _MOST_LAYOUTS:
            self._layouts.popitem(last=False)
        return layout

    def _read(self, layout: Layout, texts: pa.BinaryArray) -> tuple[pa.Table | None, Any]:
        """The events that have this layout, and for each text whether it is one of them."""
        try:
            query = self._layouts[layout] = self._layouts[layout] or self._connection.sql(layout.query())
            table = self._texts.answer(query, pa.table({"text": texts.view(pa.string())}))
        except self._errors as error:
            log.warning("JSON is read one event at a time: %s", str(error).splitlines()[0])
            return None, None
        whole = _truths(table["is_whole"]) & ~_may_differ(texts, table["data"])
        table = table.drop_columns("is_whole")
        return (table if whole.all() else table.filter(truths(whole))), whole


_readers: Final = threading.local()


def bulk_reader() -> BulkReader:
    """This thread's reader."""
    if not hasattr(_readers, "reader"):
        _readers.reader = BulkReader()
    reader: BulkReader = _readers.reader
    return reader


def _truths(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks().fill_null(False).to_numpy(zero_copy_only=False)


def _may_differ(texts: pa.BinaryArray, data: pa.ChunkedArray) -> Any:
    """For which texts DuckDB may be laxer than JSON, although it gave back their bytes."""
    differs = _names_no_number(data.combine_chunks())
    lengths = np.diff(_offsets(texts))
    for row in np.flatnonzero(lengths > _LARGE).tolist():
        text = texts[row].as_buffer().to_pybytes()
        differs[row] |= text.count(b"[") + text.count(b"{") > MOST_BRACKETS
    return differs


def _names_no_number(values: pa.StringArray) -> Any:
    """For which JSON texts of objects and arrays a value may be NaN or an infinity, in any spelling."""
    found = np.zeros(len(values), bool)
    offsets = _offsets(values)
    text = np.frombuffer(values.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    if len(text) == 0:
        return found
    places = np.concatenate([_values_with_n_or_i(text, start) for start in range(0, len(text), _BLOCK)])
    places = np.concatenate((places, offsets[:-1][np.diff(offsets) > 0]))
    first, second = text[places] | _LOWER, text[np.minimum(places + 1, len(text) - 1)] | _LOWER
    odd = ((first == ord("n")) & (second == ord("a"))) | ((first == ord("i")) & (second == ord("n")))
    found[np.searchsorted(offsets, places[odd], side="right") - 1] = True
    return found


def _values_with_n_or_i(text: Any, start: int) -> Any:
    """Where, in a block of JSON text, what may be a value begins with one of these letters."""
    block = text[start : start + _BLOCK + 1]
    before, letter = block[:-1], block[1:] | _LOWER
    behind = (before == ord(":")) | (before == ord("["))
    behind |= (before | 1) == ord("-")  # or a comma
    letters = letter == ord("n")
    letters |= letter == ord("i")
    letters &= behind
    return np.flatnonzero(letters) + start + 1


def _offsets(values: pa.Array) -> Any:
    return np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
