"""A service in a process of its own that can really be killed: it obeys commands on a pipe, and answers each.

The children are forked off a process that has imported everything and has used none of it: neither delta-rs nor gRPC
has begun, and its only threads beside the first are jemalloc's, which know of forks. So a start costs what the service
costs, and not what the imports do.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fraiseql_events.errors import EventsError
from fraiseql_events.log.maintenance import plan
from fraiseql_events.service import Service, ServiceOptions

ANSWER_SECONDS = 60
_NUMPY_THREADS = "OPENBLAS_NUM_THREADS"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


class Refused(Exception):
    """The child could not do as it was told; the message is the service's own."""


class Child:
    """A service in a child process; it is starting when this is made.

    Args:
        options: the service's.
        words: the file that gets what the child logs.
    """

    def __init__(self, options: ServiceOptions, words: Path) -> None:
        _run_the_parent()
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_drive, args=(options, str(words), theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.url = ""

    def wait_until_ready(self) -> None:
        """Waits until it answers; raises `Refused` with what hinders it."""
        self.url = self._answer()["url"]

    def ask(self, command: str) -> dict[str, Any]:
        """Tells it to ``flush``, ``compact`` or give its ``status``, and waits for the answer."""
        self.tell(command)
        return self._answer()

    def tell(self, command: str) -> None:
        """The same without waiting."""
        self._pipe.send(command)

    def kill(self) -> None:
        """Ends it as `kill -9` does, and waits until nothing is left of it."""
        self._process.kill()
        self._process.join(ANSWER_SECONDS)
        assert self._process.exitcode is not None
        self._pipe.close()

    def close(self) -> None:
        """Ends it in good order."""
        self.ask("close")
        self._process.join(ANSWER_SECONDS)
        assert self._process.exitcode == 0
        self._pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self._pipe.poll(ANSWER_SECONDS), "the child does not answer"
        answer: dict[str, Any] = self._pipe.recv()
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer


def _run_the_parent() -> None:
    before = os.environ.get(_NUMPY_THREADS)
    os.environ[_NUMPY_THREADS] = "1"  # numpy's own would be started when it is imported
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop(_NUMPY_THREADS) if before is None else os.environ.update({_NUMPY_THREADS: before})


def _own_threads(process: int) -> list[str]:
    """The names of a process's threads but jemalloc's."""
    names = [(task / "comm").read_text().strip() for task in Path(f"/proc/{process}/task").iterdir()]
    return [name for name in names if name != "jemalloc_bg_thd"]


def _drive(options: ServiceOptions, words: str, pipe: Connection) -> None:
    """The child's life."""
    with open(words, "a", encoding="utf-8") as sink:
        os.dup2(sink.fileno(), sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO)
    assert len(threads := _own_threads(os.getppid())) == 1, f"its parent has threads: {threads}"
    try:
        service = Service(options)
    except EventsError as error:
        pipe.send({"refused": f"{type(error).__name__}: {error}"})
        return
    with service:
        pipe.send({"url": service.url})
        command = ""
        while command != "close":
            try:
                command = pipe.recv()
            except EOFError:
                return  # the test has ended
            try:
                pipe.send(_obey(service, command))
            except EventsError as error:
                pipe.send({"refused": f"{type(error).__name__}: {error}"})


def _obey(service: Service, command: str) -> dict[str, Any]:
    if command == "flush":
        service.log.flush()
    elif command == "compact":
        return {"merged": _compact(service)}
    elif command == "close":
        service.close()
    else:
        reached = service.log._history.reached.stream
        consumer = f"fraiseql-events-{service.log.id[:8]}"
        return {**service.status(), "consumer": consumer, "committed_seq": reached.sequence if reached else 0}
    return {}


def _compact(service: Service) -> int:
    """Merges every pair of neighbouring small files, again and again; how often. The log's own merging must be off."""
    assert service.log.options.compact_files == 0
    history = service.log._history
    merged = 0
    while runs := [run for files in history.snapshot.files.values() for run in plan(files, count=2)]:
        for run in runs:
            history.merge(run)
        merged += len(runs)
    return merged
