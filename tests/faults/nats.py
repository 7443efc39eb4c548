"""A nats-server of a test's own, that can be killed, frozen, and made to forget."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import nats

from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.embedded import find_server
from fraiseql_events.bridge.publisher import publish

STREAM = "fraiseql-entity-changes"
_CONFIG = """\
listen: "127.0.0.1:{port}"
ports_file_dir: {folder}
jetstream {{ store_dir: {store}, sync_interval: {sync} }}
max_payload: 8MB
accounts {{ A {{ jetstream: {jetstream}, users: [{{ user: a, password: a }}] }} }}
no_auth_user: a
"""


class NatsServer:
    """Runs from its making on; always at the same port, so that whoever was connected finds it again.

    Args:
        folder: its files.
        sync: its `sync_interval`.
    """

    def __init__(self, folder: Path, *, sync: str = "always") -> None:
        self._folder = folder
        self._sync = sync
        self._jetstream = "enabled"
        self._store = folder / "jetstream-store"
        self.port = -1
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it (again)."""
        for old in self._folder.glob("*.ports"):
            old.unlink()
        config = str(self._write_config())
        with (self._folder / "server.log").open("ab") as sink:
            self.process = subprocess.Popen([str(find_server()), "-c", config], stdout=sink, stderr=sink)
        deadline = time.monotonic() + 15
        while (port := self._found_port()) is None:
            assert self.process.poll() is None, "the nats-server ended: see its server.log"
            assert time.monotonic() < deadline, "the nats-server did not start"
            time.sleep(0.01)
        self.port = port

    def _write_config(self) -> Path:
        config = self._folder / "server.conf"
        quoted = {"folder": json.dumps(str(self._folder)), "store": json.dumps(str(self._store))}
        config.write_text(_CONFIG.format(port=self.port, sync=self._sync, jetstream=self._jetstream, **quoted))
        return config

    def _found_port(self) -> int | None:
        for path in self._folder.glob("*.ports"):
            try:
                return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])
            except (ValueError, KeyError, IndexError):
                pass  # half written
        return None

    def stop(self) -> None:
        """Stops it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as `kill -9` does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Its connections stay open, and nothing answers."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def allow_jetstream(self, allowed: bool) -> None:
        """Takes JetStream away from those that are connected, or gives it back; they stay connected."""
        self._jetstream = "enabled" if allowed else "disabled"
        self._write_config()
        self.process.send_signal(signal.SIGHUP)

    def copy(self, name: str) -> None:
        """Keeps what a stopped server has on its disk, under a name."""
        shutil.copytree(self._store, self._folder / name)

    def forget(self, name: str | None = None) -> None:
        """Gives a stopped server the disk of a copy; without a name an empty one."""
        shutil.rmtree(self._store)
        if name is not None:
            shutil.copytree(self._folder / name, self._store)

    def publish(self, payloads: Sequence[bytes], *, subject: str = "entity.change.Order.created") -> int:
        """Publishes to the stream, which is made when it is missing; each acknowledged."""
        return publish([(subject, payload) for payload in payloads], StreamOptions(nats=self.url))

    def manage(self, call: Callable[[Any], Any]) -> Any:
        """Calls the JetStream manager: `server.manage(lambda js: js.stream_info(STREAM))`."""

        async def run() -> Any:
            client = await nats.connect(self.url)
            try:
                return await call(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(run())

    def pause_consumers(self, seconds: float = 3600) -> None:
        """The stream's consumers deliver nothing for so long."""
        until = datetime.now(UTC) + timedelta(seconds=seconds)

        async def pause(js: Any) -> None:
            for info in await js.consumers_info(STREAM):
                await js.pause_consumer(STREAM, info.name, until.isoformat())

        self.manage(pause)

    def _end(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        self.process.wait(15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end(signal.SIGTERM)
