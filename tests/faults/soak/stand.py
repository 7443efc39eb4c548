"""What is tried: a nats-server, `fraiseql-events serve` in a process, and a proxy on each way that may break."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from tests.faults.nats import STREAM, NatsServer
from tests.processes import Serve
from tests.proxy import Proxy

START_SECONDS = 60
#: Room on the small disk beside what the history takes for each second, merged files included.
DISK_BYTES = 96 << 20
DISK_BYTES_PER_SECOND = 2 << 20


class Stand:
    """Everything that runs, in a folder.

    Attributes:
        violations: what must not happen, a sentence each.
        nats_way: between serve and NATS.
        follower_way: between one follower and serve.
        disturbed: while set, serve is not expected to answer.
        excused: while set, serve is not expected to start.
        has_small_disk: whether the store is on a disk that can be filled.
    """

    def __init__(self, folder: Path, *, seconds: int) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.store.mkdir(parents=True)
        self.has_small_disk = self._mount(DISK_BYTES + seconds * DISK_BYTES_PER_SECOND)
        self.violations: list[str] = []
        self.disturbed = threading.Event()
        self.excused = threading.Event()
        self.lives = 0
        #: Connections that have died without a word, and are to be buried: a kernel would, in its time.
        self.dead: list[tuple[Proxy, list[socket.socket]]] = []
        #: When a frozen serve was thawed, and a new one was ready.
        self.calm_moments: list[float] = []
        self.nats = NatsServer(folder / "nats")
        publish([], StreamOptions(nats=self.nats.url))  # makes the stream
        self.nats_way = Proxy(self.nats.port)
        self._words = (folder / "serve.log").open("ab")
        self.listen = "127.0.0.1:0"
        self.serve = self._new_serve()
        self.url = self.serve.wait_until_ready()
        self.calm_moments.append(time.monotonic())
        self.listen = self.url.removeprefix("grpc://")
        self.follower_way = Proxy(int(self.url.rpartition(":")[2]))

    def _mount(self, size: int) -> bool:
        if os.name != "posix" or os.geteuid() != 0:
            return False
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.store)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _new_serve(self) -> Serve:
        self.lives += 1
        return Serve(
            "--nats",
            f"nats://127.0.0.1:{self.nats_way.port}",
            "--store",
            self.store,
            "--commit-events",
            "5000",
            "--commit-seconds",
            "1",
            listen=self.listen,
            stderr=self._words,
        )

    def start_serve(self) -> None:
        """Starts it again, as a supervisor would: until it stays."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.serve = self._new_serve()
            excused = self.excused.is_set()
            try:
                self.serve.wait_until_ready()
            except AssertionError:
                if not excused and not self.excused.is_set():
                    self.violations.append(f"serve did not start: code {self.serve.process.returncode}, see serve.log")
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                self.serve_is_well()
                return

    def serve_is_well(self) -> None:
        self.calm_moments.append(time.monotonic())
        self.disturbed.clear()

    def look_after_serve(self) -> None:
        """It must not end by itself; if it did it is started again, so that the rest can be seen."""
        if (code := self.serve.process.poll()) is not None:
            self.violations.append(f"serve ended by itself: code {code}, see serve.log")
            self.start_serve()

    def bury_the_dead(self) -> None:
        """Ends what `deaden` has left, so that both sides have let go of it."""
        for proxy, connections in self.dead:
            proxy.cut(connections)
        self.dead.clear()

    def consumer(self) -> str | None:
        """The name of the bridge's consumer, if it has one just now."""
        found = self.nats.manage(lambda js: js.consumers_info(STREAM))
        return next((info.name for info in found if info.name.startswith("fraiseql-events-")), None)

    def fill_the_disk(self) -> None:
        with (self.store / "filler").open("ab") as filler:
            size = 64 << 20
            while size >= 4096:
                try:
                    os.posix_fallocate(filler.fileno(), filler.seek(0, os.SEEK_END), size)
                except OSError:
                    size //= 2

    def empty_the_disk(self) -> None:
        (self.store / "filler").unlink(missing_ok=True)

    def end(self, *, keep: bool) -> None:
        """Ends all of it; what is on the small disk is kept beside it if that is wanted."""
        self.serve.__exit__(None, None, None)
        self.follower_way.__exit__()
        self.nats_way.__exit__()
        self.nats.__exit__()
        self._words.close()
        if self.has_small_disk:
            if keep:
                with contextlib.suppress(OSError):
                    subprocess.run(["cp", "-a", str(self.store), str(self.folder / "store-kept")], check=False)
            subprocess.run(["umount", str(self.store)], check=False)
