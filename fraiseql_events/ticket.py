"""How one asks for events: the ticket, in the two spellings that every Flight call accepts.

    events:<entity>[:<start>[:<end>[:<mode>]]]
    {"type": "ObserverEvents", "entity_type": "Order", "start_date": "2026-01-01", "limit": 100}

``tests/ticket_vectors.json`` holds this encoder, this decoder and R's encoder together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast
from urllib.parse import unquote_to_bytes

import msgspec

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import LOG_SCHEMA, check_entity_type
from fraiseql_events.time_range import end_micros, format_end, format_start, start_micros, take_time
from fraiseql_events.timestamps import MAX_MICROS, MIN_MICROS, format_time
from fraiseql_events.wording import near, shown

ALL: Final = "*"
MAX_TICKET_BYTES: Final = 256 * 1024
DEFAULT_BATCH_SIZE: Final = 10_000
MAX_BATCH_SIZE: Final = 1_000_000
MAX_INT: Final = 2**63 - 1

Mode = Literal["batch", "streaming"]
Compression = Literal["zstd", "lz4"]
_MODES: Final = ("batch", "streaming")
_COMPRESSIONS: Final = ("zstd", "lz4")
_TYPE: Final = "ObserverEvents"
_OTHER_TYPES: Final = ("GraphQLQuery", "OptimizedView", "BulkExport", "BatchedQueries", "HistoricalEvents")
_KEYS: Final = (
    "type",
    "entity_type",
    "start_date",
    "end_date",
    "mode",
    "limit",
    "after_offset",
    "history",
    "event_types",
    "columns",
    "batch_size",
    "compression",
)


_HISTORY: Final = re.compile(r"[0-9a-f]{8}(\.[0-9a-f]{16}\.\d{1,18})?", re.ASCII)


class NotATicket(InvalidArgument):
    """A descriptor path that is no ticket at all."""


class UnsupportedTicket(InvalidArgument):
    """A ticket of FraiseQL's for something other than events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a reader asks for.

    Attributes:
        entity: an entity type; None is all. Both spellings write all as ``*``; the type that is named so can be asked
            for as ``events:%2A``.
        start: the first moment wanted, in microseconds since the epoch (UTC); None is open.
        end: the first moment no longer wanted, likewise.
        mode: ``batch`` ends after what is there, ``streaming`` goes on with what arrives.
        limit: the most events wanted; None is all.
        after_offset: only events after this offset.
        history: what `after_offset` is an offset of, as the server has named it: another one is refused.
        event_types: only events of these types; None is all.
        columns: these columns, in this order (``offset`` may be one); None is the eight of `SCHEMA`.
        batch_size: the most rows in a batch.
        compression: of the batches on their way, ``zstd`` or ``lz4``: for slow networks; None is none.

    Raises:
        InvalidArgument: one sentence that says what is wrong and what would be right.

    >>> Ticket.decode(b"events:Order:2026-01-01:2026-01-31").encode()
    b'events:Order:2026-01-01:2026-01-31'
    """

    entity: str | None = None
    start: int | None = None
    end: int | None = None
    mode: Mode = "batch"
    limit: int | None = None
    after_offset: int | None = None
    history: str | None = None
    event_types: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    batch_size: int = DEFAULT_BATCH_SIZE
    compression: Compression | None = None

    def __post_init__(self) -> None:
        _check_entity(self.entity)
        _check_integer("start", self.start, MIN_MICROS, MAX_MICROS)
        _check_integer("end", self.end, MIN_MICROS, MAX_MICROS + 1)
        if self.start is not None and self.end is not None and self.start > self.end:
            raise InvalidArgument(f"start {format_time(self.start)} is after end {format_end(self.end)}")
        if self.mode not in _MODES:
            raise InvalidArgument(f"mode {shown(self.mode)} is unknown: batch or streaming{near(self.mode, _MODES)}")
        _check_integer("limit", self.limit, 0, MAX_INT)
        _check_integer("after_offset", self.after_offset, -1, MAX_INT)
        _check_history(self.history)
        _check_integer("batch_size", self.batch_size, 1, MAX_BATCH_SIZE)
        _check_compression(self.compression)
        _check_names("event_types", self.event_types)
        _check_columns(self.columns)

    @classmethod
    def decode(cls, raw: bytes | str) -> Ticket:
        """Reads either spelling.

        Raises:
            InvalidArgument: not a ticket, or a wrong one.
            UnsupportedTicket: FraiseQL's, but not for events.
            NotATicket: it is in neither spelling.
        """
        text = _text_of(raw)
        if text.startswith("events:"):
            return cls._decode_path(text)
        if text.lstrip().startswith("{"):
            return cls._decode_json(text)
        raise NotATicket(f'{shown(text)} is no ticket: write events:Order or {{"type": "{_TYPE}", …}}')

    def encode(self) -> bytes:
        """The shortest spelling that says all of it: the path form where it can, else JSON."""
        return (self.to_path() or self.to_json()).encode()

    def to_path(self) -> str | None:
        """The path form; None when the ticket asks for more than that form can say."""
        more = (self.limit, self.after_offset, self.history, self.event_types, self.columns, self.compression)
        if more != (None,) * 6 or self.batch_size != DEFAULT_BATCH_SIZE:
            return None
        start = "" if self.start is None else format_start(self.start)
        end = "" if self.end is None else format_end(self.end)
        mode = "" if self.mode == "batch" else self.mode
        return ":".join(["events", ALL if self.entity is None else quote_entity(self.entity), start, end, mode]).rstrip(
            ":"
        )

    def to_json(self) -> str:
        """The JSON form.

        Raises:
            InvalidArgument: it asks for the entity type named ``*``, which in JSON is all.
        """
        if self.entity == ALL:
            raise InvalidArgument("the entity type named * can be asked for by events:%2A only, with no other options")
        values: dict[str, Any] = {"type": _TYPE, "entity_type": ALL if self.entity is None else self.entity}
        if self.start is not None:
            values["start_date"] = format_start(self.start)
        if self.end is not None:
            values["end_date"] = format_end(self.end)
        for key in ("limit", "after_offset", "history", "event_types", "columns"):
            if (value := getattr(self, key)) is not None:
                values[key] = value
        if self.mode != "batch":
            values["mode"] = self.mode
        if self.batch_size != DEFAULT_BATCH_SIZE:
            values["batch_size"] = self.batch_size
        if self.compression is not None:
            values["compression"] = self.compression
        return msgspec.json.encode(values).decode()

    @classmethod
    def _decode_path(cls, text: str) -> Ticket:
        entity, _, rest = text.removeprefix("events:").partition(":")
        start, rest = take_time("start", rest)
        end, rest = take_time("end", rest)
        if ":" in rest:
            raise InvalidArgument(f"{shown(text)} has too many parts: events:<entity>:<start>:<end>:<mode>")
        return cls(
            entity=None if entity == ALL else _unquote_entity(entity),
            start=start_micros(start),
            end=end_micros(end),
            mode=cast("Mode", rest or "batch"),
        )

    @classmethod
    def _decode_json(cls, text: str) -> Ticket:
        values = _json_object(text)
        kind = values.get("type")
        if kind in _OTHER_TYPES:
            raise UnsupportedTicket(f'a ticket of type "{kind}" is not served here, only "{_TYPE}"')
        if kind != _TYPE:
            raise InvalidArgument(f'the ticket\'s type is {shown(kind)}: it must be "{_TYPE}"')
        for key in values:
            if key not in _KEYS:
                raise InvalidArgument(f"the ticket has an unknown key {shown(key)}{near(key, _KEYS)}")
        if values.get("entity_type") is None:
            raise InvalidArgument('the ticket has no entity_type: name one, or "*" for all')
        return cls(
            entity=entity_or_all(_string("entity_type", values["entity_type"])),
            start=start_micros(_optional_string("start_date", values.get("start_date"))),
            end=end_micros(_optional_string("end_date", values.get("end_date"))),
            mode=cast("Mode", _optional_string("mode", values.get("mode")) or "batch"),
            limit=values.get("limit"),
            after_offset=values.get("after_offset"),
            history=_optional_string("history", values.get("history")),
            event_types=_names(values.get("event_types"), "event_types"),
            columns=_names(values.get("columns"), "columns"),
            batch_size=DEFAULT_BATCH_SIZE if values.get("batch_size") is None else values["batch_size"],
            compression=cast("Compression | None", _optional_string("compression", values.get("compression"))),
        )


def entity_or_all(name: str) -> str | None:
    """An entity type as people and JSON write it, where ``*`` is all."""
    return None if name == ALL else name


def quote_entity(name: str) -> str:
    """An entity type as the path form carries it: percent signs and colons percent-encoded."""
    return "%2A" if name == ALL else name.replace("%", "%25").replace(":", "%3A")


def _unquote_entity(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise InvalidArgument(f"entity {shown(text)} has a lone percent sign: write it as %25, a colon as %3A")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"entity {shown(text)} is not UTF-8 once its percent-encoding is undone") from None


def _check_entity(entity: str | None) -> None:
    if entity is None:
        return
    if not isinstance(entity, str):
        raise InvalidArgument(f"entity is a {type(entity).__name__}: it must be an entity type such as 'Order', or '*'")
    if entity == "":
        raise InvalidArgument("the entity type is missing: write events:Order for one, events:* for all")
    _check_unicode("the entity type", entity)
    if wrong := check_entity_type(entity):
        raise InvalidArgument(wrong)


def _check_unicode(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{name} holds half of a surrogate pair, which is no character") from None


def _check_integer(name: str, value: object, least: int, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidArgument(f"{name} is {shown(value)}: it must be a whole number from {least} to {most}")


def _check_history(history: str | None) -> None:
    if history is not None and not (isinstance(history, str) and _HISTORY.fullmatch(history)):
        raise InvalidArgument(f"history is {shown(history)}: it must be one that a server has named, such as 1b671a64")


def _check_compression(compression: object) -> None:
    if compression is not None and compression not in _COMPRESSIONS:
        guess = near(compression, _COMPRESSIONS)
        raise InvalidArgument(f"compression {shown(compression)} is unknown: zstd or lz4{guess}")


def _check_names(name: str, values: tuple[str, ...] | None) -> None:
    if values is None:
        return
    if not values:
        raise InvalidArgument(f"{name} is empty: leave it out to get all")
    for value in values:
        _check_unicode(name, _string(f"each of {name}", value))


def _check_columns(columns: tuple[str, ...] | None) -> None:
    _check_names("columns", columns)
    for column in columns or ():
        if column not in LOG_SCHEMA.names:
            known, guess = ", ".join(LOG_SCHEMA.names), near(column, LOG_SCHEMA.names)
            raise InvalidArgument(f"there is no column {shown(column)}{guess}; there are {known}")
    if columns and len(set(columns)) < len(columns):
        raise InvalidArgument("columns names one column twice")


def _text_of(raw: bytes | str) -> str:
    size = len(raw)
    if size > MAX_TICKET_BYTES:
        raise InvalidArgument(f"the ticket has {size} bytes; {MAX_TICKET_BYTES} are the most")
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"the ticket is not UTF-8 (byte {error.start})") from None


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        values = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"the ticket is not valid JSON: {error}") from None
    return cast("Mapping[str, Any]", values)


def _names(values: object, name: str) -> tuple[str, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list):
        raise InvalidArgument(f"{name} is {shown(values)}: it must be a list of strings")
    return tuple(values)


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} is {shown(value)}: it must be a string")
    return value


def _optional_string(name: str, value: object) -> str | None:
    return None if value is None else _string(name, value)
