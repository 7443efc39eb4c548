"""A follower that keeps every row that it has seen, to be compared with the model."""

from __future__ import annotations

import threading

from fraiseql_events import EventClient, ServerUnavailable, StreamCut
from tests.faults.model import Row, Wanted, rows_of
from tests.proxy import Proxy


class Watcher:
    """Follows in a thread, through a proxy of its own, which is sent to each new server."""

    def __init__(self, wanted: Wanted, port: int) -> None:
        self.wanted = wanted
        self.proxy = Proxy(port)
        self.rows: list[Row] = []
        self.error: BaseException | None = None
        self._client = EventClient(f"grpc://127.0.0.1:{self.proxy.port}")
        self._ending = threading.Event()
        self._open()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> None:
        """Ends it; a second time does nothing."""
        self._ending.set()
        self.stream.close()
        self._thread.join(10)
        assert self.has_ended
        self._client.close()
        self.proxy.__exit__()

    def _open(self) -> None:
        self.stream = self._client.stream(**self.wanted.arguments(), follow=True, frames="arrow")

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                for batch in self.stream:
                    self.rows += rows_of(batch)
                return
            except (ServerUnavailable, StreamCut) as error:
                if self.stream.offset is not None:  # it had been answered: from then on it must never give up
                    self.error = error
                    return
                self._ending.wait(0.05)
                self._open()
            except BaseException as error:  # noqa: BLE001
                if not self._ending.is_set():
                    self.error = error
                return
