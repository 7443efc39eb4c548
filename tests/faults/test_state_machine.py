"""Publish, commit, compact, crash, restart, read and follow in any order, compared with a plain list.

In the test run the examples are the same every time, and few. To look further, with other examples each time:

    FRAISEQL_EVENTS_MACHINE=500 python -m pytest tests/faults/test_state_machine.py
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from nats.js.errors import NotFoundError

from fraiseql_events import EventClient, LogOptions
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.service import ServiceOptions
from fraiseql_events.timestamps import parse_time
from tests.faults.drawing import draw_wanted, log_options, moments
from tests.faults.driver import Child, Refused
from tests.faults.model import Model, Row, Wanted, rows_of
from tests.faults.nats import NatsServer
from tests.faults.watching import Watcher
from tests.mixed import Mixer
from tests.test_mixed import dead
from tests.waiting import until

EXAMPLES = 22
STEPS = 40
MOST_WATCHERS = 3
#: A start takes longer than a commit: the moments within it are so many times as long.
KILLED_AT_THE_START = 5
MORE = os.environ.get("FRAISEQL_EVENTS_MACHINE")
SETTINGS = settings(
    max_examples=int(MORE or EXAMPLES),
    stateful_step_count=STEPS,
    derandomize=MORE is None,
    database=None,
    deadline=None,
    # a failure is shown as it is: with real processes, most shrunk ones would fail otherwise or not at all
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class Machine(RuleBasedStateMachine):
    """One example: a stream and a store of its own on a nats-server that all examples share."""

    def __init__(self, server: NatsServer, folder: Path) -> None:
        super().__init__()
        name = f"machine-{uuid.uuid4().hex[:12]}"
        self.server = server
        self.folder = folder / name
        self.folder.mkdir()
        self.source = StreamOptions(nats=server.url, stream=name, subject=f"{name}.>")
        self.model = Model()
        self.child: Child | None = None
        self.nats_is_up = True
        self.watchers: list[Watcher] = []

    # --- events come in

    @initialize(seed=st.integers(0, 1000), options=log_options)
    def begin(self, seed: int, options: LogOptions) -> None:
        self.mixer = Mixer(seed)
        self.start(options)

    @precondition(lambda self: self.nats_is_up)
    @rule(count=st.sampled_from([1, 5, 30, 120]))
    def publish(self, count: int) -> None:
        cases = list(self.mixer.cases(count))
        subject = self.source.subject.replace(">", "x")
        publish([(subject, case.payload) for case in cases], self.source)
        for case in cases:
            self.model.add(case)

    # --- the service commits, merges, dies and comes back

    @precondition(lambda self: self.child)
    @rule(settled=st.booleans())
    def commit(self, settled: bool) -> None:
        if settled and self.nats_is_up:
            self.settle()
        reached = self.status()["offset"]
        self.ask("flush")
        assert self.status()["committed"] >= reached

    @precondition(lambda self: self.child and self.options.compact_files == 0)
    @rule()
    def compact(self) -> None:
        before = self.status()["committed"]
        self.ask("compact")
        left = self.ask("compact")["merged"]
        assert left == 0 or self.status()["committed"] > before

    @precondition(lambda self: self.child)
    @rule(
        end=st.sampled_from(["close", "kill", "kill in a commit", "kill in a merge"]),
        arriving=st.sampled_from([0, 0, 120, 400]),
        after=moments,
        killed_again=st.lists(moments, max_size=2),
        options=log_options,
    )
    def end_and_start(
        self, end: str, arriving: int, after: float, killed_again: list[float], options: LogOptions
    ) -> None:
        assert self.child is not None
        if arriving and self.nats_is_up:
            self.publish(arriving)
        if end == "close":
            self.child.close()
        else:
            if end == "kill in a commit":
                self.child.tell("flush")
            elif end == "kill in a merge" and self.options.compact_files == 0:
                self.child.tell("compact")
            time.sleep(after)
            self.child.kill()
        self.child = None
        for moment in killed_again:
            child = self.new_child(options)
            time.sleep(moment * KILLED_AT_THE_START)
            child.kill()
        self.start(options)

    def start(self, options: LogOptions) -> None:
        child = self.new_child(options)
        if not self.nats_is_up:
            with pytest.raises(Refused, match="NatsUnavailable: no NATS server answers at"):
                child.wait_until_ready()
            child.kill()
            return
        child.wait_until_ready()
        self.child = child
        for watcher in self.watchers:
            watcher.proxy.retarget(self.port)

    # --- NATS dies, comes back, and forgets

    @precondition(lambda self: self.nats_is_up)
    @rule(hard=st.booleans())
    def nats_ends(self, hard: bool) -> None:
        self.server.kill() if hard else self.server.stop()
        self.nats_is_up = False

    @precondition(lambda self: not self.nats_is_up)
    @rule()
    def nats_returns(self) -> None:
        self.server.start()
        self.nats_is_up = True
        if self.child is None:
            self.start(self.options)

    @precondition(lambda self: self.child and self.nats_is_up)
    @rule()
    def delete_the_consumer(self) -> None:
        name = self.status()["consumer"]
        with contextlib.suppress(NotFoundError):  # it has been deleted, and is not made anew yet
            self.server.manage(lambda js: js.delete_consumer(self.source.stream, name))

    @precondition(lambda self: self.child and self.nats_is_up)
    @rule()
    def purge_what_is_in_the_history(self) -> None:
        if committed := self.status()["committed_seq"]:
            self.server.manage(lambda js: js.purge_stream(self.source.stream, seq=committed + 1))

    # --- readers

    @precondition(lambda self: self.child)
    @rule(data=st.data(), times=st.integers(1, 4))
    def read(self, data: st.DataObject, times: int) -> None:
        with EventClient(self.url) as client:
            for _ in range(times):
                wanted = draw_wanted(data, self.model.events, most=3)
                before = self.status()["offset"]
                found = rows_of(client.read(**wanted.arguments(), frames="arrow"))
                reached = self.status()["offset"]
                assert any(found == self.model.expected(wanted, upto) for upto in range(before, reached + 1)), wanted

    @precondition(lambda self: self.child)
    @rule()
    def read_dead_letters(self) -> None:
        before = self.status()["dead_letters"]
        found = list(dead(self.url))
        assert before <= len(found)
        assert found == self.model.letters[: len(found)]

    @precondition(lambda self: self.child and len(self.watchers) < MOST_WATCHERS)
    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        wanted = replace(
            draw_wanted(data, self.model.events, most=1), end=None
        )  # with an end that has passed, nothing more is waited for
        self.watchers.append(Watcher(wanted, self.port))

    @precondition(lambda self: self.watchers)
    @rule(which=st.integers(0, MOST_WATCHERS), after=moments)
    def cut_a_follower(self, which: int, after: float) -> None:
        if self.nats_is_up:
            self.publish(30)
        time.sleep(after)
        self.watchers[which % len(self.watchers)].proxy.cut()
        if self.nats_is_up:
            self.publish(5)

    @precondition(lambda self: self.watchers)
    @rule(which=st.integers(0, MOST_WATCHERS))
    def close_a_follower(self, which: int) -> None:
        watcher = self.watchers.pop(which % len(self.watchers))
        watcher.end()
        self.check_start_of(watcher)

    # --- what must always hold, and what must hold in the end

    @invariant()
    def status_counts_what_has_been_read(self) -> None:
        if self.child is None:
            return
        status = self.status()
        assert status["committed"] <= status["offset"]
        assert (status["offset"], status["dead_letters"]) == self.model.reach[status["stream_seq"]]
        assert status["missed"] == 0
        assert status["state"] != "failed", status["reason"]
        found = {
            name: (one["events"], parse_time(one["first"]), parse_time(one["last"]))
            for name, one in status["entities"].items()
        }
        assert found == self.model.entities(status["offset"])

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # else the first thing that was wrong is to be seen
                self.check_all()
        finally:
            for watcher in self.watchers:
                watcher.end()
            if self.child is not None:
                self.child.kill()
            if not self.nats_is_up:
                self.server.start()

    def check_all(self) -> None:
        if not self.nats_is_up:
            self.nats_returns()
        assert self.child is not None
        self.settle()
        for watcher in self.watchers:
            self.check_whole(watcher)
        self.ask("flush")
        wanted = Wanted(columns=tuple(LOG_SCHEMA.names))
        with EventClient(self.url) as client:
            assert rows_of(client.read(**wanted.arguments(), frames="arrow")) == self.model.expected(wanted)
        assert list(dead(self.url)) == self.model.letters
        status = self.status()
        assert (status["committed"], status["lag"]) == (len(self.model.events), 0)
        self.child.close()
        self.child = None
        assert self.on_disk(wanted) == self.model.expected(wanted)

    def check_start_of(self, watcher: Watcher) -> None:
        assert watcher.error is None
        assert watcher.rows == self.model.expected(watcher.wanted)[: len(watcher.rows)], watcher.wanted

    def check_whole(self, watcher: Watcher) -> None:
        """A follower has seen all that it is to see, and nothing else comes; one with a limit has ended."""
        expected = self.model.expected(watcher.wanted)
        until(lambda: watcher.error or len(watcher.rows) >= len(expected))
        assert watcher.error is None, watcher.wanted
        if watcher.wanted.limit is not None and len(expected) == watcher.wanted.limit:
            until(lambda: watcher.has_ended)
        else:
            assert not watcher.has_ended, watcher.wanted
        watcher.end()
        assert watcher.rows == expected, watcher.wanted

    # --- how

    @property
    def url(self) -> str:
        assert self.child is not None
        return self.child.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ask(self, command: str) -> dict[str, Any]:
        assert self.child is not None
        return self.child.ask(command)

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def settle(self) -> None:
        """Waits until the service has read all that was published."""
        until(lambda: self.status()["stream_seq"] == self.model.messages)

    def new_child(self, options: LogOptions) -> Child:
        self.options = options
        service = ServiceOptions(
            nats=self.source.nats,
            store=str(self.folder / "store"),
            listen="127.0.0.1:0",
            stream=self.source.stream,
            subject=self.source.subject,
            log=options,
        )
        return Child(service, self.folder / "words")

    def on_disk(self, wanted: Wanted) -> list[Row]:
        """The history as Delta Lake itself reads it, in offset order."""
        table = DeltaTable(self.folder / "store" / "events").to_pyarrow_table()
        return rows_of(table.select(wanted.columns).sort_by("offset"))


@pytest.mark.filterwarnings("ignore::fraiseql_events.UnknownName")  # it asks for what is not there, too
@pytest.mark.timeout(0 if MORE else 240)
@pytest.mark.usefixtures("undisturbed")
def test_whatever_happens_in_whatever_order_the_history_is_the_list(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        run_state_machine_as_test(lambda: Machine(server, tmp_path), settings=SETTINGS)
