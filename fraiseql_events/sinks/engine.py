"""ClickHouse, as a sink uses it: a server or the engine in this process, and its errors as ours."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.errors import SinkError, SinkUnavailable
from fraiseql_events.sinks.address import PASSWORD_VARIABLE, USER_VARIABLE, Address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CONNECT_SECONDS: Final = 10
#: What a block is sent in.
BATCH_ROWS: Final = 10_000
#: A block takes a second or two; a server that takes so long for one is taken for dead.
ANSWER_SECONDS: Final = 120
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
#: ClickHouse's names of what may pass: it is short of time, memory, disk, connections, or of its Keeper.
_PASSING: Final = frozenset(
    (
        "ABORTED",
        "ALL_CONNECTION_TRIES_FAILED",
        "ALL_REPLICAS_LOST",
        "CANNOT_ALLOCATE_MEMORY",
        "CANNOT_FSYNC",
        "CANNOT_OPEN_FILE",
        "CANNOT_READ_ALL_DATA",
        "CANNOT_READ_FROM_SOCKET",
        "CANNOT_SCHEDULE_TASK",
        "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
        "CANNOT_WRITE_TO_SOCKET",
        "KEEPER_EXCEPTION",
        "MEMORY_LIMIT_EXCEEDED",
        "NETWORK_ERROR",
        "NO_ZOOKEEPER",
        "NOT_ENOUGH_SPACE",
        "QUERY_WAS_CANCELLED",
        "SOCKET_TIMEOUT",
        "TABLE_IS_READ_ONLY",
        "TIMEOUT_EXCEEDED",
        "TOO_FEW_LIVE_REPLICAS",
        "TOO_MANY_PARTS",
        "TOO_MANY_SIMULTANEOUS_QUERIES",
        "UNEXPECTED_END_OF_FILE",
        "UNKNOWN_STATUS_OF_INSERT",
        "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    )
)
_REFUSED: Final = frozenset(("AUTHENTICATION_FAILED", "REQUIRED_PASSWORD", "UNKNOWN_USER", "WRONG_PASSWORD"))
_OTHER_FOLDER: Final = re.compile(r"already initialized with path '([^']*)'")
_STATUS: Final = re.compile(r"HTTP status (\d+)")
_SAID: Final = re.compile(r"Code: \d+\.\s*(?:DB::\w*Exception:)?\s*(.*)", re.DOTALL)


class Engine(Closing):
    """A connection to ClickHouse, made when it is first used and anew after one that was lost.

    Args:
        address: where it is.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client: Client | None = None

    def run(self, statement: str, **parameters: object) -> None:
        """Runs a statement that answers nothing."""
        with self._mapped() as client:
            client.command(statement, parameters=parameters or None)

    def ask(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        """The rows that a query answers; ``{name:Type}`` in it is a parameter."""
        with self._mapped() as client:
            return [tuple(row) for row in client.query(query, parameters=parameters or None).result_rows]

    def insert(self, table: str, batches: Sequence[pa.RecordBatch], token: str) -> None:
        """Inserts batches of one schema as one block, which a table that remembers its token takes once."""
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        names = batches[0].schema.names
        with self._mapped() as client:
            if self.address.embedded:
                with _arrow_file(batches) as path:
                    source = f"FROM INFILE '{path}' FORMAT ArrowStream"
                    client.command(f"INSERT INTO {table} ({', '.join(names)}) {source}", settings=settings)
            else:
                client.raw_insert(table, names, _arrow_stream(batches), settings=settings, fmt="ArrowStream")

    def close(self) -> None:
        """Ends the connection; again does nothing."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[Client]:
        """The connection, and its errors as ours."""
        driver = _driver()
        try:
            if self._client is None:
                self._client = self._connect(driver)
            yield self._client
        except driver.driver.exceptions.Error as error:
            raise self._error(error) from error
        except OSError as error:  # a temporary file of the driver's, on a full disk
            raise SinkUnavailable(f"ClickHouse at {self.address.shown} cannot be given a block: {error}") from error

    def _connect(self, driver: ModuleType) -> Client:
        options = dict(self.address.options)
        if self.address.embedded:
            return self._open_folder(driver, options)
        options |= {"connect_timeout": CONNECT_SECONDS, "send_receive_timeout": ANSWER_SECONDS}
        options |= {"autogenerate_session_id": False, "client_name": "fraiseql-events", "compress": False}
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

    def _error(self, error: Any) -> SinkError:
        """An error of the driver's, as one that may pass or one that does not."""
        where, said = f"ClickHouse at {self.address.shown}", _sentence(str(error))
        if error.name in _REFUSED:
            how = f"write {USER_VARIABLE} and {PASSWORD_VARIABLE}, or http://USER:PASSWORD@HOST:PORT"
            return SinkError(f"{where} does not take this user and password: {how}")
        if error.code is None:
            return self._without_code(error, where, said)
        if error.name in _PASSING:
            return SinkUnavailable(f"{where} cannot take it now: {said}")
        return SinkError(f"{where} refuses: {said}")

    def _without_code(self, error: Any, where: str, said: str) -> SinkError:
        """What is not ClickHouse's own error: the way to it, or somebody else who answers there."""
        status = _STATUS.search(str(error))
        if status is not None and int(status[1]) < 500 and status[1] != "429":
            return SinkError(f"{self.address.shown} answers, but as no ClickHouse does: HTTP status {status[1]}")
        if self.address.embedded:
            return SinkError(f"{where} refuses: {said}")
        if status is not None:
            return SinkUnavailable(f"{where} cannot take it now: HTTP status {status[1]}")
        return SinkUnavailable(f"no {where} answers: {said}")


def _driver() -> ModuleType:
    """clickhouse-connect, which is an extra."""
    try:
        import clickhouse_connect
        import clickhouse_connect.driver.exceptions
    except ImportError as error:
        raise SinkError("ClickHouse wants one more package: pip install 'fraiseql-events[clickhouse]'") from error
    return clickhouse_connect


@contextlib.contextmanager
def _arrow_file(batches: Sequence[pa.RecordBatch]) -> Iterator[str]:
    """A temporary file of batches in Arrow's format."""
    with tempfile.TemporaryDirectory(prefix="fraiseql-events-") as folder:
        path = f"{folder}/block.arrows"
        with pa.OSFile(path, "wb") as target, pa.ipc.new_stream(target, batches[0].schema) as writer:
            for batch in _cut(batches):
                writer.write_batch(batch)
        yield path


def _arrow_stream(batches: Sequence[pa.RecordBatch]) -> Generator[bytes, None, None]:
    """The same as pieces to be sent, compressed. They can be read once: nothing is sent twice behind our back."""
    piece = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(piece, batches[0].schema, options=options) as writer:
        for batch in _cut(batches):
            writer.write_batch(batch)
            yield piece.getvalue()
            piece.seek(0)
            piece.truncate()
    yield piece.getvalue()


def _cut(batches: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of one size, however they came.

    ClickHouse recognises a block by its batches: the same rows, cut otherwise, would be another one.
    """
    rows = pa.Table.from_batches(batches)
    for start in range(0, rows.num_rows, BATCH_ROWS):
        yield from rows.slice(start, BATCH_ROWS).combine_chunks().to_batches()


def _sentence(text: str) -> str:
    """The first thing that ClickHouse says, without codes, versions and stack traces."""
    found = _SAID.search(text)
    said = found[1] if found else text
    said = re.split(r"\s*(?:\(version |Stack trace:|\(for url |: While executing|\. \(?[A-Z]+_[A-Z_]+\)?)", said)[0]
    said = " ".join(said.split())
    return said if len(said) <= 300 else said[:299] + "…"
