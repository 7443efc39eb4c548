"""What the history holds at one moment: an immutable list of data files, in offset order within an entity type."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fraiseql_events.log.filter import Filter, Span
from fraiseql_events.log.table import NewFile
from fraiseql_events.timestamps import micros_of_datetime


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of the history: events of one entity type, in offset order."""

    path: str
    entity: str
    rows: int
    size: int
    span: Span

    @classmethod
    def of_action(cls, action: Mapping[str, Any]) -> DataFile:
        """From a row of the Delta log."""
        span = Span(
            action["min.offset"],
            action["max.offset"],
            micros_of_datetime(action["min.timestamp"]),
            micros_of_datetime(action["max.timestamp"]),
        )
        entity = action["partition.entity_type"]
        return cls(action["path"], entity, action["num_records"], action["size_bytes"], span)

    @classmethod
    def of_new(cls, file: NewFile) -> DataFile:
        """From a file that was just committed."""
        low, high = file.minimum, file.maximum
        span = Span(low["offset"], high["offset"], low["timestamp"], high["timestamp"])
        return cls(file.path, file.partition["entity_type"], file.rows, file.size, span)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The history up to an offset.

    Attributes:
        files: each entity type's files, in offset order; their offsets do not overlap.
        end: the offset after the last event.
    """

    files: Mapping[str, tuple[DataFile, ...]] = field(default_factory=dict)
    end: int = 0

    def replace(self, added: Iterable[DataFile], removed: Collection[str] = (), end: int | None = None) -> Snapshot:
        """The snapshot after a commit."""
        files = dict(self.files)
        changed: dict[str, list[DataFile]] = {}
        for file in added:
            changed.setdefault(file.entity, []).append(file)
        for entity, new in changed.items():
            kept = [file for file in files.get(entity, ()) if file.path not in removed]
            files[entity] = tuple(sorted(kept + new, key=lambda file: file.span.first_offset))
        return Snapshot(files, self.end if end is None else end)

    def select(self, condition: Filter) -> dict[str, list[DataFile]]:
        """The files that may hold what passes, by entity type."""
        selected: dict[str, list[DataFile]] = {}
        for entity, files in self.files.items():
            if not condition.wants_entity(entity):
                continue
            wanted = [file for file in files if condition.may_hold(file.span)]
            if wanted:
                selected[entity] = wanted
        return selected

    def __iter__(self) -> Iterator[DataFile]:
        for files in self.files.values():
            yield from files
