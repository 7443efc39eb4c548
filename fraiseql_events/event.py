"""What an event is: its Arrow schema, its limits, and what is kept of a message that holds none.

The event contract is FraiseQL's: one JSON object for each change of an entity. `bridge.decode` reads it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from fraiseql_events.timestamps import TIMESTAMP

#: Every Flight stream has this schema unless the ticket asks for fewer columns.
SCHEMA: Final = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("entity_type", pa.string(), nullable=False),
        pa.field("entity_id", pa.string(), nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("data", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=True),
        pa.field("org_id", pa.string(), nullable=True),
    ]
)

OFFSET: Final = pa.field("offset", pa.int64(), nullable=False)

#: An event as the log keeps it: the eight columns and its offset.
LOG_SCHEMA: Final = SCHEMA.append(OFFSET)

#: Bytes of UTF-8 in an entity type. It names a folder, in which each byte may take three: 240 of the 255 that a
#: file system allows.
MAX_ENTITY_TYPE_BYTES: Final = 80


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is kept of an event that could not be read.

    Attributes:
        sequence: its message's sequence in the JetStream stream.
        line: which event of a payload of many it was, from 1; None where the whole payload is meant.
        subject: its message's subject.
        published: when JetStream stored the message, in microseconds since the epoch.
        reason: what is wrong with it, in a sentence.
        payload: its bytes as they came.
    """

    sequence: int
    line: int | None
    subject: str
    published: int
    reason: str
    payload: bytes


DEAD_LETTER_SCHEMA: Final = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("line", pa.int32(), nullable=True),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("published", TIMESTAMP, nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
    ]
)


#: A dead letter as readers see it: its number (0, 1, 2, … in the order they were read), and the sequence of the message
#: that published it again in readable form, if one has.
LISTED_LETTER_SCHEMA: Final = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),
        *DEAD_LETTER_SCHEMA,
        pa.field("replayed", pa.int64(), nullable=True),
    ]
)

#: That a dead letter was published again: the letter's number, and the sequence of the message that did it.
REPLAY_SCHEMA: Final = pa.schema(
    [pa.field("number", pa.int64(), nullable=False), pa.field("sequence", pa.int64(), nullable=False)]
)

#: The header by which such a message says so; its value is the history's id, a full stop, and the letter's number.
REPLAY_HEADER: Final = "Fraiseql-Dead-Letter"


def dead_letter_batch(letters: list[DeadLetter]) -> pa.RecordBatch:
    """Dead letters as a RecordBatch of `DEAD_LETTER_SCHEMA`."""
    columns = [
        pa.array([letter.sequence for letter in letters], pa.int64()),
        pa.array([letter.line for letter in letters], pa.int32()),
        pa.array([letter.subject for letter in letters], pa.string()),
        pa.array([letter.published for letter in letters], pa.int64()).view(TIMESTAMP),
        pa.array([letter.reason for letter in letters], pa.string()),
        pa.array([letter.payload for letter in letters], pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=DEAD_LETTER_SCHEMA)


def replay_batch(replays: Sequence[tuple[int, int]]) -> pa.RecordBatch:
    """Numbers of dead letters, each with the sequence of the message that published it again (`REPLAY_SCHEMA`)."""
    columns = [pa.array([pair[index] for pair in replays], pa.int64()) for index in (0, 1)]
    return pa.RecordBatch.from_arrays(columns, schema=REPLAY_SCHEMA)


def text_or_base64(payload: bytes) -> tuple[str | None, str | None]:
    """Bytes as JSON and CSV can hold them: as text where they are UTF-8, else in base64."""
    try:
        return payload.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(payload).decode()


def check_entity_type(name: str) -> str | None:
    """What is wrong with a name as an entity type, in a sentence; None when nothing is."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if size == 0:
        return "entity_type is empty"
    if size > MAX_ENTITY_TYPE_BYTES:
        return f"entity_type has {size} bytes; {MAX_ENTITY_TYPE_BYTES} are the most"
    return None
