"""JSON events: from bytes to typed fields, and from many of those to columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.bridge.messages import Integers
from fraiseql_events.bridge.unreadable import NotJson, Unreadable
from fraiseql_events.event import MAX_ENTITY_TYPE_BYTES, SCHEMA, check_entity_type
from fraiseql_events.timestamps import parse_times

#: Arrays of one length, by name.
Columns = Mapping[str, pa.Array]

#: What decoding raises for bytes that are not the JSON it expects.
DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class JsonEvent(msgspec.Struct, gc=False):
    """An event all of whose fields have the JSON type that the contract names."""

    event_type: str
    entity_type: str
    entity_id: str
    timestamp: str
    data: msgspec.Raw
    id: str | None = None
    event_id: str | None = None
    user_id: str | None = None
    org_id: str | None = None
    tenant_id: str | None = None


_SPACE: Final = " \t\n\r\v\f"
_REQUIRED: Final = ("event_type", "entity_type", "entity_id", "timestamp")
_SPELLINGS: Final = {"id": "id (or event_id)"}
_MISSING: Final = msgspec.Raw(b"")
_Fields: Final = msgspec.defstruct(
    "_Fields", [(name, msgspec.Raw, _MISSING) for name in JsonEvent.__struct_fields__], gc=False
)

#: Reads an event of the usual types straight from its bytes; raises `DECODE_ERRORS` for any other.
read_usual: Final[Callable[[bytes], JsonEvent]] = msgspec.json.Decoder(JsonEvent).decode
_read_fields: Final[Callable[[bytes], Any]] = msgspec.json.Decoder(_Fields).decode
_read_text: Final[Callable[[bytes], str]] = msgspec.json.Decoder(str).decode
_KINDS: Final = {b"{": "an object", b"[": "an array", b'"': "a string", b"n": "null", b"t": "true", b"f": "false"}


def read_event(payload: bytes) -> JsonEvent:
    """Reads an event by every rule of the contract.

    Raises:
        NotJson: it is not one JSON value.
        Unreadable: it is, but not an event.
    """
    fields = _fields_of(payload)
    event_id = _text(fields, "id")
    if event_id is None:
        event_id = _text(fields, "event_id")
    required = {name: _text(fields, name) for name in _REQUIRED}
    data: msgspec.Raw = fields.data
    missing = [name for name, value in required.items() if value is None]
    missing = ["id"] * (event_id is None) + missing + ["data"] * (not bytes(data))
    if missing:
        raise Unreadable(_say_missing(fields, missing))
    org_id = _text(fields, "org_id")
    if org_id is None:
        org_id = _text(fields, "tenant_id")
    return JsonEvent(
        **cast("dict[str, str]", required), data=data, id=event_id, user_id=_text(fields, "user_id"), org_id=org_id
    )


def split_lines(payload: bytes) -> tuple[pa.BinaryArray, Integers]:
    """The lines of newline-delimited JSON that hold something, and their numbers from 1.

    None when fewer than half of them look like objects: a single object, broken and written over several lines, is
    one bad payload and not many.
    """
    lines = pc.split_pattern(pa.array([payload], pa.binary()), b"\n").values
    stripped = pc.ascii_trim(lines.view(pa.string()), _SPACE)
    filled = pc.greater(pc.binary_length(stripped), 0)
    whole = pc.and_(pc.starts_with(stripped, "{"), pc.ends_with(stripped, "}"))
    count = pc.sum(filled, min_count=0).as_py()
    if 2 * pc.sum(whole, min_count=0).as_py() < count:
        count = 0
    return lines.filter(filled)[:count], (pc.indices_nonzero(filled).to_numpy().astype(np.int64) + 1)[:count]


def all_utf8(texts: pa.BinaryArray) -> bool:
    """Whether all of these bytes are UTF-8, each for itself."""
    try:
        texts.view(pa.string()).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def to_columns(events: Sequence[JsonEvent]) -> Columns:
    """Events as `SCHEMA`'s columns, all text (the time too); an id that is missing is null."""
    text = pa.string()
    return {
        "event_id": pa.array([event.event_id if event.id is None else event.id for event in events], text),
        "event_type": pa.array([event.event_type for event in events], text),
        "entity_type": pa.array([event.entity_type for event in events], text),
        "entity_id": pa.array([event.entity_id for event in events], text),
        "timestamp": pa.array([event.timestamp for event in events], text),
        "data": pa.array([bytes(event.data) for event in events], pa.binary()).view(text),
        "user_id": pa.array([event.user_id for event in events], text),
        "org_id": pa.array([event.tenant_id if event.org_id is None else event.org_id for event in events], text),
    }


def to_batch(columns: Columns) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Such columns as a RecordBatch of `SCHEMA`, without those rows that only their columns show to be wrong.

    Returns:
        The batch, and the reason for each row that is left out.
    """
    times, wrong = parse_times(columns["timestamp"])
    wrong = {row: f"timestamp {reason}" for row, reason in wrong.items()}
    wrong |= _wrong_names(columns["event_type"], columns["entity_type"])
    if columns["event_id"].null_count:
        missing = pc.indices_nonzero(columns["event_id"].is_null()).to_pylist()
        wrong |= dict.fromkeys(missing, "the field id (or event_id) is missing")
    arrays = [times if name == "timestamp" else columns[name] for name in SCHEMA.names]
    batch = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
    if wrong:
        batch = batch.filter(pa.array([row not in wrong for row in range(len(batch))], pa.bool_()))
    return batch, wrong


def _wrong_names(event_types: pa.StringArray, entity_types: pa.StringArray) -> dict[int, str]:
    sizes = pc.binary_length(entity_types)
    ends = pc.min_max(sizes).as_py()
    wrong: dict[int, str] = {}
    if ends["min"] == 0 or ends["max"] > MAX_ENTITY_TYPE_BYTES:
        names = enumerate(entity_types.to_pylist())
        wrong |= {row: reason for row, name in names if (reason := check_entity_type(name))}
    if pc.min(pc.binary_length(event_types)).as_py() == 0:
        wrong |= {row: "event_type is empty" for row, name in enumerate(event_types.to_pylist()) if not name}
    return wrong


def _fields_of(payload: bytes) -> Any:
    if (at := _invalid_byte(payload)) is not None:
        raise NotJson(f"invalid UTF-8 at byte {at}")
    if not payload.strip():
        raise NotJson("the payload is empty")
    try:
        return _read_fields(payload)
    except msgspec.ValidationError:
        kind = NotJson if b"\n" in payload.strip() else Unreadable  # there may be events in the lines that follow
        raise kind(f"the JSON is {_kind(payload.strip())}; an event is an object") from None
    except msgspec.DecodeError as error:
        raise NotJson(f"not valid JSON: {_explain(str(error))}") from None
    except RecursionError:
        kind = NotJson if b"\n" in payload.strip() else Unreadable
        raise kind("the JSON is nested too deeply to be read (about 1000 levels are the most)") from None


def _say_missing(fields: Any, names: list[str]) -> str:
    """Which fields are missing or null, all at once."""
    if len(names) == 1:
        state = "null" if bytes(getattr(fields, names[0])) else "missing"
        return f"the field {_SPELLINGS.get(names[0], names[0])} is {state}"
    return f"the fields {', '.join(_SPELLINGS.get(name, name) for name in names)} are missing or null"


def _text(fields: Any, name: str) -> str | None:
    """A field as text: a number or a boolean is taken as it is spelled; None when it is missing or null."""
    raw = bytes(getattr(fields, name))
    first = raw[:1]
    if first in (b"", b"n"):
        return None
    if first == b'"':
        return _read_text(raw)
    if first in (b"{", b"["):
        raise Unreadable(f"the field {name} is {_KINDS[first]}; a string is expected")
    return raw.decode()


def _kind(raw: bytes) -> str:
    return _KINDS.get(raw[:1], "a number")


def _invalid_byte(payload: bytes) -> int | None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def _explain(message: str) -> str:
    """Msgspec's sentence without its prefix, and with a better one where it misleads."""
    if "truncated" in message:
        return "it ends too early, or a \\u escape is half of a surrogate pair"
    if "end of hex escape" in message:
        return message.removeprefix("JSON is malformed: ").replace(
            "unexpected end of hex escape", "a \\u escape is half of a surrogate pair"
        )
    return re.sub(r"^JSON is malformed: ", "", message)
