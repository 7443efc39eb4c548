"""The one service that a kernel runs, in its own threads or in a process beside it."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from typing import IO, Any, Final, Protocol

import pyarrow as pa

from fraiseql_events.advice import NOTEBOOK_VARIABLE
from fraiseql_events.client import EventClient
from fraiseql_events.closing import Closing
from fraiseql_events.errors import ServiceError
from fraiseql_events.flight.server import check_free, parse_listen
from fraiseql_events.jupyter.beside import END_SECONDS
from fraiseql_events.lifeline import hold_alone
from fraiseql_events.live_shop import DAY_SECONDS, DEFAULT_RATE, LiveShop, check
from fraiseql_events.served import announce, withdraw
from fraiseql_events.service import DEFAULT_LISTEN, DEFAULT_STORE, Service, ServiceOptions
from fraiseql_events.status_view import status_card, status_text
from fraiseql_events.token import TOKEN_VARIABLE, check_token

START_SECONDS: Final = 60
#: A cell waits so long for a shop's first order.
FIRST_ORDER_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What ``%fraiseql serve`` was asked for.

    Attributes:
        nats: the NATS server's address; None embeds one.
        store: a local folder, or a URL that delta-rs takes.
        listen: ``HOST:PORT``; None is port 50051, or a free one where that is taken.
        token: what every client must bring; None is FRAISEQL_EVENTS_TOKEN, or nothing.
        beside: whether it runs in a process beside the kernel.
    """

    nats: str | None = None
    store: str = DEFAULT_STORE
    listen: str | None = None
    token: str | None = field(default=None, repr=False)
    beside: bool = False

    def options(self, address: str | None) -> ServiceOptions:
        """The same as a service takes it, at an address where none is wanted."""
        listen = self._listen(address)
        return ServiceOptions(
            nats=self.nats, embedded=self.nats is None, store=self.store, listen=listen, token=self.token
        )

    def _listen(self, address: str | None) -> str:
        """Where to answer: a free port is that of before, where there was one."""
        if self.listen is None:
            return address or _default_listen()
        host, port = parse_listen(self.listen)
        return address if port == 0 and address is not None and parse_listen(address)[0] == host else self.listen


class _Served(Protocol):
    """A service that runs.

    Attributes:
        url: the Flight server's address.
        where: in which process, in words.
    """

    url: str
    where: str

    @property
    def lives(self) -> bool: ...

    def status(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


class Running(Closing):
    """A service of this kernel, until it is stopped.

    Args:
        address: ``HOST:PORT`` where `wanted` names none.

    Attributes:
        wanted: what it was started with.
        url: the Flight server's address.
    """

    def __init__(self, wanted: Wanted, address: str | None = None) -> None:
        self.wanted = wanted
        options, start = wanted.options(address), _Beside if wanted.beside else _Inside
        try:
            served: _Served = start(options)
        except ServiceError:
            again = wanted.options(address)
            if again == options:
                raise
            served = start(again)  # another notebook has taken the usual address between our look and our start
        self._served: _Served | None = served
        self.url = served.url

    def status(self) -> dict[str, Any]:
        """The state of bridge and log, in JSON values; docs/status.md explains each."""
        if self._served is None:
            raise ServiceError("this service was stopped: `%fraiseql serve` starts one")
        return self._served.status()

    @property
    def lives(self) -> bool:
        """Whether it has neither been stopped nor ended otherwise."""
        return self._served is not None and self._served.lives

    def close(self) -> None:
        """Stops serving and reading, and commits what is in memory; again does nothing."""
        served, self._served = self._served, None
        if served is not None:
            served.close()

    def __repr__(self) -> str:
        if self._served is None:
            return "<fraiseql_events service, stopped>"
        text = status_text(self.url, self.status())
        return f"{text}\nruns {self._served.where}" if self.wanted.beside else text

    def _repr_html_(self) -> str | None:
        if self._served is None:
            return None
        return status_card(f"fraiseql_events {self._served.where}", self.url, self.status())


class _Inside:
    """A service in threads of the kernel."""

    where = "in this kernel"

    def __init__(self, options: ServiceOptions) -> None:
        _choose_pool()
        self._service = Service(options)
        assert self._service.url is not None
        self.url = self._service.url

    @property
    def lives(self) -> bool:
        return True

    def status(self) -> dict[str, Any]:
        return self._service.status()

    def close(self) -> None:
        self._service.close()


class _Beside:
    """`fraiseql-events serve` in a process of its own, that ends with the kernel."""

    def __init__(self, options: ServiceOptions) -> None:
        nats = ["--embedded"] if options.embedded else ["--nats", str(options.nats)]
        command = [sys.executable, "-m", "fraiseql_events.jupyter.beside", *nats]
        command += ["--store", options.store, "--listen", str(options.listen)]
        token = check_token(options.token)
        # in a session of its own: the stop button's signal goes to the kernel's whole group
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {NOTEBOOK_VARIABLE: "1"} | ({} if token is None else {TOKEN_VARIABLE: token}),
            start_new_session=True,
        )
        assert self._process.stdin is not None
        hold_alone(self._process.stdin)
        self.where = f"in process {self._process.pid}, beside this kernel"
        self.url = self._wait_until_ready()
        self._client = EventClient(self.url, token=token)
        announce(self.url, token)

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def status(self) -> dict[str, Any]:
        return self._client.status()

    def close(self) -> None:
        withdraw(self.url)
        self._client.close()
        self._end()

    def _wait_until_ready(self) -> str:
        """Its address; an error in its words when it ends before."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line.startswith("ready "):
            threading.Thread(
                target=_drain, args=[self._process.stderr], name="fraiseql-events-log", daemon=True
            ).start()
            return line.split()[1]
        with self._process.stderr as log:
            said = log.read().strip().splitlines() or ["it said nothing"]
        self._end()
        raise ServiceError(said[-1].removeprefix("fraiseql-events: "))

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def _drain(source: IO[str]) -> None:
    """Takes what the process logs, so that it never waits for a reader."""
    with source:
        for _ in source:
            pass


class Kernel:
    """Starts, shows and stops the kernel's service: there is one at the most."""

    def __init__(self) -> None:
        self.running: Running | None = None
        self.shop: LiveShop | None = None
        #: The one that ran last, so that it can be started again once it is stopped.
        self._last: Running | None = None
        self._lock = threading.Lock()

    def serve(self, wanted: Wanted, address: str | None = None) -> Running:
        """The service as wanted: the one that runs, if it is that one.

        Args:
            wanted: what is to run.
            address: ``HOST:PORT`` where `wanted` names none.

        Raises:
            EventsError: it cannot be started, or another one runs.
        """
        self.let_go_of_what_has_died()
        with self._lock:
            if self.running is None:
                self.running = Running(wanted, address)
                self._last = self.running
                atexit.register(self.stop)
            elif wanted not in (self.running.wanted, Wanted()):
                raise ServiceError(
                    f"a service with other options runs in this notebook at {self.running.url}: "
                    "`%fraiseql restart` with these starts it anew, `%fraiseql stop` ends it"
                )
            return self.running

    def demo(self, *, rate: float | None = None, seed: int | None = None, day: float | None = None) -> LiveShop:
        """Opens a shop that publishes to the service's NATS server; one that is as wanted goes on."""
        running = self.serve(Wanted())
        with self._lock:
            before = self.shop
            rate = (DEFAULT_RATE if before is None else before.rate) if rate is None else rate
            seed = (1 if before is None else before.seed) if seed is None else seed
            day = (DAY_SECONDS if before is None else before.day) if day is None else day
            if before is not None and (rate, seed, day) == (before.rate, before.seed, before.day):
                return before
            check(rate, day)
            if before is not None:
                before.close()  # the next one opens behind its last event
            self.shop = LiveShop(running.status()["nats"], rate=rate, seed=seed, day=day)
            self._wait_for_an_order(running)
            return self.shop

    def let_go_of_what_has_died(self) -> None:
        """A process beside the kernel may have been ended by others: then nothing runs any more."""
        if self.running is not None and not self.running.lives:
            self.stop()

    def close_shop(self) -> bool:
        """Closes the shop; whether one was open."""
        with self._lock:
            shop, self.shop = self.shop, None
        if shop is not None:
            shop.close()
        return shop is not None

    def stop(self) -> bool:
        """Ends the service, and the shop; whether there was one."""
        with self._lock:
            running, self.running = self.running, None
            shop, self.shop = self.shop, None
            atexit.unregister(self.stop)
        if shop is not None:
            shop.close()
        if running is None:
            return False
        running.close()
        return True

    def restart(self, **changes: Any) -> Running:
        """Ends the service, and starts it anew as it was but for these fields of `Wanted`, at the same address.

        One that is stopped already is the last that ran.
        """
        before, shop = self._last, self.shop
        self.stop()
        if before is None:
            return self.serve(Wanted(**changes))
        running = self.serve(replace(before.wanted, **changes), before.url.partition("://")[2])
        if shop is not None:
            self.demo(rate=shop.rate, seed=shop.seed, day=shop.day)
        return running

    @staticmethod
    def _wait_for_an_order(running: Running) -> None:
        """Of few events a second the first may be no order: the next cell may ask for one."""
        end = time.monotonic() + FIRST_ORDER_SECONDS
        while "Order" not in running.status()["entities"] and time.monotonic() < end:
            time.sleep(0.05)


kernel: Final = Kernel()


def _default_listen() -> str:
    """The usual address; a free port where something listens there already, such as another notebook's service."""
    host, port = parse_listen(DEFAULT_LISTEN)
    try:
        check_free(host, port)
    except ServiceError:
        return f"{host}:0"
    return DEFAULT_LISTEN


def _choose_pool() -> None:
    """Has Arrow take memory from jemalloc, as `serve` does: mimalloc keeps what one thread took and another frees."""
    if sys.platform == "linux":
        pa.set_memory_pool(pa.jemalloc_memory_pool())
