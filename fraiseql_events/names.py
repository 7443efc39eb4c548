"""Names that no event has: of an answer without rows, or a column of nulls, a slip of the pen may be the reason."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.caller import caller_level
from fraiseql_events.connection import LOOK_SECONDS, Connection
from fraiseql_events.errors import EventsError
from fraiseql_events.flight_reader import FlightReader
from fraiseql_events.payload import SAMPLE, Field, paths_in
from fraiseql_events.ticket import Ticket
from fraiseql_events.wording import near, near_end, shown

#: So many names are told.
_TOLD: Final = 10


class UnknownName(UserWarning):
    """A name that no event has: of an entity type, an event type, or a field of `data`.

    It is no error, for such an event may come yet.
    """


# each time, not once a line: in a notebook, a cell that is run again would be silent
warnings.simplefilter("always", UnknownName, append=True)


#: A follow to which so long nothing came, or only nulls, may have a wrong name in its question.
_DOUBT_SECONDS: Final = 1.5


class Names:
    """Watches an answer, and finds out which of the names in its question no event has.

    Args:
        ticket: the question.
        fields: the typed columns that a person has named.
        server: who is asked when there is a doubt, and only then; nobody is when it is None.
        read: reads all that a ticket asks for.
    """

    def __init__(
        self,
        ticket: Ticket,
        fields: Iterable[Field],
        server: Connection | None,
        read: Callable[[Callable[[Ticket], FlightReader], Ticket], pa.Table],
    ) -> None:
        self._ticket = ticket
        self._server = server
        self._read = read
        self._rows = 0
        self._began: float | None = None
        #: The fields without a value so far.
        self._empty = {field.name: field for field in fields}
        #: Whether it was asked while there was no event, and while there was one.
        self._asked: set[bool] = set()
        self._sentence = ""
        self._said = ""
        self._told: set[str] = set()

    @property
    def sentence(self) -> str:
        """What was found, as long as it holds; else nothing."""
        holds = bool(self._told & self._empty.keys()) if self._told else not self._rows
        return self._sentence if holds else ""

    def note(self, batch: pa.RecordBatch, misfits: Mapping[str, int]) -> None:
        """Takes notice of a batch, and of which fields have values that did not fit."""
        self._began = self._began or time.monotonic()
        if batch.num_rows == 0:
            self._began = -math.inf  # it is quiet
        self._rows += batch.num_rows
        for name in list(self._empty) if batch.num_rows else ():
            if misfits.get(name) or _has_value(batch.column(name)):
                del self._empty[name]

    def are_due(self, *, ended: bool) -> bool:
        """Whether it is time to look for what is wrong: an answer has ended, or a follow has gone on for a while."""
        nothing = not self._rows
        in_doubt = self._ticket.limit != 0 if nothing else bool(self._empty)
        if self._server is None or self._began is None or not in_doubt or nothing in self._asked:
            return False
        waited = self._ticket.mode == "streaming" and time.monotonic() - self._began > _DOUBT_SECONDS
        return ended or waited

    def find(self) -> None:
        """Asks the server what there is."""
        nothing = not self._rows
        self._asked.add(nothing)
        if self._server is not None:
            with suppress(EventsError):  # then it is not known
                server = self._server
                self._sentence = self._unknown_type(server) if nothing else self._unknown_fields(server)

    def look(self, *, ended: bool, warns: bool) -> None:
        """Finds what is wrong, when it is time, and warns of it."""
        if self.are_due(ended=ended):
            self.find()
            self.warn(warns=warns)

    def warn(self, *, warns: bool) -> None:
        """Warns of what was found, once."""
        if warns and self.sentence and not self._said:
            self._said = self.sentence
            warnings.warn(self._said, UnknownName, stacklevel=caller_level())

    def _unknown_type(self, server: Connection) -> str:
        ticket, there = self._ticket, server.entities(LOOK_SECONDS)
        if ticket.entity is not None and ticket.entity not in there:
            if not there and ticket.mode == "streaming":
                return ""  # nothing has happened yet, and it is waited for
            return no_entity(ticket.entity, list(there))
        return self._unknown_event_type(server) if ticket.event_types is not None and there else ""

    def _unknown_event_type(self, server: Connection) -> str:
        ticket = self._ticket
        wanted = ticket.event_types or ()
        sample = self._read(server.open, Ticket(entity=ticket.entity, columns=("event_type",), limit=SAMPLE))
        there = pc.unique(sample.column("event_type")).to_pylist()
        if not set(wanted).isdisjoint(there):
            return ""
        # a follow may be reading what is there still, and a range is not all
        all_read = (ticket.start, ticket.end, ticket.after_offset, ticket.mode) == (None, None, None, "batch")
        if not all_read and sample.num_rows == SAMPLE:
            anywhere = Ticket(entity=ticket.entity, event_types=wanted)
            if server.count(anywhere) != 0:
                return ""
        of = "" if ticket.entity is None else f" of {shown(ticket.entity)}"
        return f"no events{of} have the event type {_either(wanted, there)}; {_there_are(there)}"

    def _unknown_fields(self, server: Connection) -> str:
        sample = self._read(server.open, Ticket(entity=self._ticket.entity, columns=("data",), limit=SAMPLE))
        there = paths_in(sample)
        known = {Field(path, pa.null()).json_path for path in there}
        unknown = [field for field in self._empty.values() if field.json_path not in known]
        self._told = {field.name for field in unknown}
        if not unknown:
            return ""
        found = _either([field.path for field in unknown], there)
        return f"no events that were read have the field {found} in data; {_there_are(there)}"


def no_entity(entity: str, there: Sequence[str]) -> str:
    """That there is no event of an entity type."""
    known = _there_are(there) if there else "there are no events yet"
    return f"no events of {shown(entity)}{near(entity, there)}; {known}"


def _either(names: Sequence[str], there: Sequence[str]) -> str:
    return " or ".join(f"{shown(name)}{near_end(name, there)}" for name in names)


def _there_are(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD:,} more" if len(names) > _TOLD else ""
    return f"there are {', '.join(names[:_TOLD])}{more}" if names else "there are none"


def _has_value(column: pa.Array) -> bool:
    """Whether it has one, or a list with an element."""
    values = column.flatten() if pa.types.is_list(column.type) else column
    return bool(values.null_count < len(values))
