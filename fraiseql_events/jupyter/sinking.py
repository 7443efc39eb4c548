"""The sinks that a kernel runs, beside its service."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fraiseql_events.errors import InvalidArgument, ServiceError, brief_when_stopped
from fraiseql_events.jupyter.running import kernel
from fraiseql_events.log.storage import local_path
from fraiseql_events.progress import bar
from fraiseql_events.served import newest
from fraiseql_events.service import DEFAULT_STORE
from fraiseql_events.sinks import ClickHouseSink, Loaded
from fraiseql_events.sinks.clickhouse import DATABASE, TABLE

#: Where ClickHouse's own engine keeps its tables, in the folder of the store.
FOLDER: Final = "clickhouse"
#: A cell waits so long for a sink to say how it begins.
BEGIN_SECONDS: Final = 3.0
#: A block is in its table sooner, and a kernel that ends waits no longer: the next sink completes what is not in then.
END_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What ``%fraiseql sink`` was asked for.

    Attributes:
        url: the ClickHouse; None is its engine in this kernel, with a folder in that of the store.
        source: the Flight server; None is the one that `EventClient()` finds.
        token: what that server wants of its clients.
        entity: an entity type, or ``"*"`` for all.
        database: where the tables are.
        table: the table of the events.
        keep_days: have ClickHouse remove events that are older.
    """

    url: str | None = None
    source: str | None = None
    token: str | None = field(default=None, repr=False)
    entity: str = "*"
    database: str = DATABASE
    table: str = TABLE
    keep_days: int | None = None

    def open(self) -> ClickHouseSink:
        """The sink, which does nothing yet.

        Raises:
            InvalidArgument: one of them is wrong.
        """
        return ClickHouseSink(
            _folder() if self.url is None else self.url,
            source=self.source,
            token=self.token,
            entity=self.entity,
            database=self.database,
            table=self.table,
            keep_days=self.keep_days,
        )


@dataclass(frozen=True, slots=True)
class _Started:
    """A sink that was started, and the address at which it found the kernel's service."""

    wanted: Filling
    sink: ClickHouseSink
    address: str | None

    @property
    def lives(self) -> bool:
        return self.sink.status.state not in ("failed", "stopped")


class _Loading(threading.Thread):
    """Loads in a thread: what waits for ClickHouse does not see the stop button."""

    def __init__(self, sink: ClickHouseSink) -> None:
        super().__init__(name="fraiseql-events-load", daemon=True)
        self._sink = sink
        self._events = 0
        self._loaded: Loaded | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Loads."""
        try:
            self._loaded = self._sink.load(progress=self._add)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error

    def wait(self, progress: Any) -> Loaded:
        """What was loaded; an interrupt ends it, when the block that it inserts is in the table."""
        shown = 0
        try:
            while self.is_alive():
                self.join(_LOOK_SECONDS)
                events = self._events
                progress.update(events - shown)
                shown = events
        except BaseException:
            _end(self._sink)
            self.join(END_SECONDS)
            raise
        if self._error is not None:
            raise self._error
        assert self._loaded is not None
        return self._loaded

    def _add(self, events: int) -> None:
        self._events += events


class Sinks:
    """Starts, shows and ends a kernel's sinks: one at the most for each table."""

    def __init__(self) -> None:
        self._started: dict[str, _Started] = {}
        self._lock = threading.Lock()

    def start(self, wanted: Filling) -> ClickHouseSink:
        """A sink that fills a table with what arrives, in a thread of its own: the one that runs, if it is that one.

        Raises:
            EventsError: it cannot begin, or another one fills that table.
        """
        sink = wanted.open()
        with self._lock:
            before = self._started.get(sink.name)
            if before is not None and before.lives:
                sink.close()
                if before.wanted != wanted:
                    raise ServiceError(f"{sink.name} is filled with other options: {_how_to_end(wanted)}")
                return before.sink
            if before is not None:
                before.sink.close()
            _prepare(sink)
            self._started[sink.name] = _Started(wanted, sink.start(), None if wanted.source else newest())
        self._end_with_the_kernel()
        _wait_for_a_word(sink)
        if sink.failure is not None:
            sink.close()
            raise sink.failure
        return sink

    def load(self, wanted: Filling) -> Loaded:
        """Loads what is there, with a bar.

        Raises:
            EventsError: it cannot, or a sink that was started fills that table.
            KeyboardInterrupt: the stop button was pressed; what was on its way is in the table then.
        """
        interrupted, loading = brief_when_stopped(KeyboardInterrupt), bar("loading", unit="events")
        with interrupted, loading as progress, wanted.open() as sink:
            before = self._started.get(sink.name)
            if before is not None and before.lives:
                raise ServiceError(f"{sink.name} is being filled, nothing is left to load: {_how_to_end(wanted)}")
            return _Loading(sink).wait(progress)

    def stop(self, chosen: Callable[[Filling], bool] = lambda wanted: True) -> dict[str, bool]:
        """Ends those that run, when the block that each inserts is in its table.

        Returns:
            Their names, and whether each has ended: a ClickHouse that does not answer is not waited for long.
        """
        with self._lock:
            ending = {name: each for name, each in self._started.items() if chosen(each.wanted)}
            for name in ending:
                del self._started[name]
        living = [name for name, each in ending.items() if each.lives]
        closing = {name: _end(each.sink) for name, each in ending.items()}
        end = time.monotonic() + END_SECONDS
        for thread in closing.values():
            thread.join(max(0.0, end - time.monotonic()))
        return {name: not closing[name].is_alive() for name in living}

    def go_with_the_service(self) -> None:
        """Begins those anew that read the kernel's service, if that answers elsewhere now."""
        address = newest()
        with self._lock:
            started = list(self._started.values())
        moved = [each.wanted for each in started if each.lives and each.address not in (None, address)]
        self.stop(lambda wanted: wanted in moved)
        for wanted in moved:
            self.start(wanted)
        self._end_with_the_kernel()

    def _end_with_the_kernel(self) -> None:
        """What was registered last ends first: before the service, also one that was started later."""
        atexit.unregister(self.stop)
        if self._started:
            atexit.register(self.stop)


sinks: Final = Sinks()


def _folder() -> str:
    """A folder for ClickHouse's own engine, in that of the store."""
    store = DEFAULT_STORE if kernel.running is None else kernel.running.wanted.store
    folder = local_path(store)
    if folder is None:
        raise InvalidArgument(f"the store {store} is no folder of this machine: name a ClickHouse with --url")
    return f"chdb://{folder if '://' in store else Path(store).expanduser()}/{FOLDER}"


def _how_to_end(wanted: Filling) -> str:
    """What ends the sink of a table."""
    table = "" if wanted.table == TABLE else f" --table {wanted.table}"
    return f"`%fraiseql sink clickhouse{table} --stop` ends that"


def _end(sink: ClickHouseSink) -> threading.Thread:
    """Ends a sink in a thread, which lives until that has ended."""
    thread = threading.Thread(target=sink.close, name="fraiseql-events-end", daemon=True)
    thread.start()
    return thread


def _prepare(sink: ClickHouseSink) -> None:
    """What is wrong at the start is the cell's error; later it is waited for."""
    try:
        with brief_when_stopped(KeyboardInterrupt):
            sink.prepare()
    except BaseException:
        sink.close()
        raise


def _wait_for_a_word(sink: ClickHouseSink) -> None:
    """Its tables are open soon: a sink has more to say then than that it starts."""
    end = time.monotonic() + BEGIN_SECONDS
    while sink.status.state == "starting" and time.monotonic() < end:
        time.sleep(0.05)
