"""ClickHouse, as a sink uses it: a server or the engine in this process, and its errors as ours."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.errors import EventsError, SinkError, SinkUnavailable
from fraiseql_events.sinks.address import Address
from fraiseql_events.sinks.spool import Files, Spool
from fraiseql_events.sinks.trouble import no_clickhouse, trouble

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_Answer = TypeVar("_Answer")

CONNECT_SECONDS: Final = 10
#: A block takes a second or two; a server that takes so long for one is taken for dead.
ANSWER_SECONDS: Final = 120
#: When the sink is to end, an answer is waited for so long; what is not answered is completed at the next start.
STOP_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.05
_ASKING: Final = "fraiseql-events-ask"
_OTHER_FOLDER: Final = re.compile(r"already initialized with path '([^']*)'")
#: A block stays one block, whose parts are recognised by its token, and is in the table when the answer comes.
INSERT_SETTINGS: Final = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_insert_block_size": 4_000_000,
    "min_insert_block_size_bytes": 0,
    "min_insert_block_size_rows": 4_000_000,
    "max_partitions_per_insert_block": 0,
    "wait_end_of_query": 1,
}


class Engine(Closing):
    """A connection to ClickHouse, made when it is first used and anew after one that was lost.

    Args:
        address: where it is.
        stopped: whether nobody waits any longer.
    """

    def __init__(self, address: Address, stopped: Callable[[], bool] = lambda: False) -> None:
        self.address = address
        self._stopped = stopped
        self._client: Client | None = None
        #: When a server that has not answered is left alone; None while nobody hurries.
        self._end: float | None = None

    def run(self, statement: str, **parameters: object) -> None:
        """Runs a statement that answers nothing."""
        settings = {"wait_end_of_query": 1}
        said = self._answer(lambda client: client.command(statement, parameters=parameters or None, settings=settings))
        if isinstance(said, int | list) or (isinstance(said, str) and said):
            raise no_clickhouse(self.address.shown, "what it says is not understood")

    def ask(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        """The rows that a query answers; ``{name:Type}`` in it is a parameter."""

        def rows(client: Client) -> list[tuple[Any, ...]]:
            found = client.query(query, parameters=parameters or None)
            if not self.address.embedded and not found.summary.get("query_id"):
                raise no_clickhouse(self.address.shown, "it does not say which question it answers")
            return [tuple(row) for row in found.result_rows]

        return self._answer(rows)

    @property
    def compression(self) -> Literal["lz4"] | None:
        """How a block is compressed on its way."""
        return None if self.address.embedded else "lz4"

    def insert_rows(self, table: str, rows: pa.Table, token: str) -> None:
        """Inserts a few rows as one block, which a table that remembers its token takes once."""
        with Files() as files, Spool(self.compression, files) as spool:
            for batch in rows.to_batches():
                spool.add(batch)
            spool.finish()
            self.insert(table, spool, token)

    def insert(self, table: str, spool: Spool, token: str) -> None:
        """Inserts what is in a spool as one block, which a table that remembers its token takes once."""
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}

        def send(client: Client) -> None:
            if self.address.embedded:
                source = f"FROM INFILE '{spool.path}' FORMAT ArrowStream"
                client.command(f"INSERT INTO {table} ({', '.join(spool.names)}) {source}", settings=settings)
                return
            said = client.raw_insert(table, spool.names, spool.pieces(), settings=settings, fmt="ArrowStream")
            if not said.query_id():
                raise no_clickhouse(self.address.shown, "it does not say that it has taken a block")

        self._answer(send)

    def hurry(self) -> None:
        """From now on a server that does not answer is not waited for long."""
        if self._end is None:
            self._end = time.monotonic() + STOP_SECONDS

    def part(self) -> None:
        """Ends a connection, after a trouble; the engine in this process stays open, for it never gives all back."""
        if not self.address.embedded:
            self.close()

    def close(self) -> None:
        """Ends the connection; again does nothing."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _answer(self, ask: Callable[[Client], _Answer]) -> _Answer:
        """What is answered. A server is asked in a thread, which is left alone when nobody can wait any longer."""
        if self.address.embedded:
            return self._ask(ask)
        answer: Future[_Answer] = Future()

        def wait() -> None:
            try:
                answer.set_result(self._ask(ask))
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                answer.set_exception(error)

        threading.Thread(target=wait, name=_ASKING, daemon=True).start()
        while True:
            done = futures.wait((answer,), _LOOK_SECONDS).done
            if self._stopped():
                self.hurry()
            if self._end is not None and time.monotonic() > self._end:
                raise SinkUnavailable(f"ClickHouse at {self.address.shown} had not answered when the sink was stopped")
            if done:
                return answer.result()

    def _ask(self, ask: Callable[[Client], _Answer]) -> _Answer:
        """What the connection answers; its errors as ours."""
        driver = _driver()
        try:
            if self._client is None:
                self._client = self._connect(driver)
            return ask(self._client)
        except EventsError:
            raise
        except Exception as error:  # whatever comes up in the driver is mapped here
            raise trouble(error, self.address) from error

    def _connect(self, driver: ModuleType) -> Client:
        options = dict(self.address.options)
        if self.address.embedded:
            return self._open_folder(driver, options)
        options |= {"connect_timeout": CONNECT_SECONDS, "send_receive_timeout": ANSWER_SECONDS}
        options |= {"autogenerate_session_id": False, "client_name": "fraiseql-events", "compress": False}
        options["dedicated_pool"] = True
        client: Client = driver.get_client(**options)
        return client

    def _open_folder(self, driver: ModuleType, options: dict[str, Any]) -> Client:
        shown = self.address.shown
        try:
            Path(options["path"]).mkdir(parents=True, exist_ok=True)
            client: Client = driver.get_client(**options)
        except OSError as error:
            raise SinkError(f"the folder of {shown} cannot be made: {error.strerror}") from error
        except driver.driver.exceptions.Error as error:
            if found := _OTHER_FOLDER.search(str(error)):
                raise SinkError(
                    f"this process has ClickHouse's engine open at {found[1]}, and it opens one folder at a time: "
                    f"close what has it open, or take chdb://{found[1]}"
                ) from error
            why = "another process uses it, or what is in it is none of ClickHouse's"
            raise SinkError(f"the folder of {shown} cannot be opened: {why}") from error
        return client


def _driver() -> ModuleType:
    """clickhouse-connect, which is an extra."""
    try:
        import clickhouse_connect
        import clickhouse_connect.driver.exceptions
    except ImportError as error:
        raise SinkError("ClickHouse wants one more package: pip install 'fraiseql-events[clickhouse]'") from error
    for name in ("urllib3.connectionpool", "clickhouse_connect.driver._backend.http_sync"):
        logging.getLogger(name).addFilter(_is_not_ours)
    return clickhouse_connect


def _is_not_ours(record: logging.LogRecord) -> bool:
    """What goes wrong with a connection of ours we tell ourselves, in a sentence."""
    return record.threadName != _ASKING or record.levelno < logging.WARNING
