"""What each command of ``fraiseql-events`` does, given its parsed options; the exit code."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pyarrow as pa

from fraiseql_events.bridge.bridge import BridgeStatus
from fraiseql_events.client import EventClient
from fraiseql_events.errors import EventsError, InvalidArgument
from fraiseql_events.event import LISTED_LETTER_SCHEMA
from fraiseql_events.progress import bar
from fraiseql_events.status_view import count, status_text
from fraiseql_events.timestamps import EPOCH, parse_time
from fraiseql_events.wording import without_password

#: How long a thread of `serve` keeps the interpreter while another waits for it. An event passes through four threads,
#: and with Python's own 5 ms the slowest hundredth of them were twice as late at 50 000 events a second.
SWITCH_SECONDS: Final = 0.0005


def demo(options: Namespace) -> int:
    """Runs the demo."""
    from fraiseql_events.demo import run

    run(events=options.events, seed=options.seed, store=options.store)
    return 0


def serve(options: Namespace) -> int:
    """Runs a service until a signal, or until it fails."""
    from fraiseql_events.service import Service

    _check_demo(options)
    stopped = _stop_on_signals()
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    wanted = _service_options(options, listen=options.listen, max_streams=options.max_streams, token=options.token)
    try:
        service = Service(wanted, stopped=stopped)
    except EventsError:
        if stopped():
            return 0
        raise
    with service, _shop(options, service.nats_url):
        print(f"ready {service.url}", flush=True)
        while not stopped():
            time.sleep(0.1)
            if service.failed.is_set():
                assert service.failure is not None
                raise service.failure
    return 0


def _check_demo(options: Namespace) -> None:
    """A shop is for trying things out: it publishes to no server that others use."""
    if options.demo and not options.embedded:
        raise InvalidArgument("--demo opens a shop on an embedded NATS server: give --embedded with it")
    if not options.demo and options.rate is not None:
        raise InvalidArgument("--rate is that of the shop: give --demo with it")
    if options.demo:
        from fraiseql_events.live_shop import DAY_SECONDS, DEFAULT_RATE, check

        options.rate = DEFAULT_RATE if options.rate is None else options.rate
        check(options.rate, DAY_SECONDS)


def _shop(options: Namespace, nats: str) -> contextlib.AbstractContextManager[object]:
    """A shop that is open for as long as the service runs, where one is wanted."""
    if not options.demo:
        return contextlib.nullcontext()
    from fraiseql_events.live_shop import LiveShop

    return LiveShop(nats, rate=options.rate, seed=options.seed)


def ingest(options: Namespace) -> int:
    """Takes what the stream holds now into the history."""
    from fraiseql_events.service import Service

    started = time.monotonic()
    with Service(_service_options(options, listen=None)) as service:
        before = service.began
        with bar("ingesting", total=service.bridge.status.lag, unit="messages") as progress:

            def show(status: BridgeStatus) -> None:
                progress.update(max(0, (progress.total or 0) - status.lag - progress.n))

            service.bridge.wait_until_read(show)
        service.bridge.stop()
        service.log.flush()
        after = service.log.status
    _print_json(
        {
            "events": after.offset - before.offset,
            "dead_letters": after.dead_letters - before.dead_letters,
            "last_seq": after.stream.sequence if after.stream else 0,
            "seconds": round(time.monotonic() - started, 3),
        }
    )
    return 0


def stream(options: Namespace) -> int:
    """Shows or saves events."""
    from fraiseql_events.output import format_for, write

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was read is kept, as with Ctrl-C
    kind = format_for(options.format, options.output)
    with EventClient(options.url, token=options.token) as client:
        events = client.stream(
            options.entity,
            options.start,
            options.end,
            limit=options.limit,
            columns=options.columns,
            event_types=options.event_types,
            after_offset=options.after_offset,
            compression=options.compression,
            follow=options.follow,
            frames="arrow",
        )
        with events, bar("reading", unit="events") as progress, _warnings_in_a_line():
            batches = _shown(events.batches(), progress)
            write(batches, events.schema, kind, options.output, live=options.follow)
    _say_if_lines(kind, options.output)
    return 0


@contextlib.contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Says warnings as errors are said, without the line of our own that they come from."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: print(f"fraiseql-events: {message}", file=sys.stderr)
        yield


def publish(options: Namespace) -> int:
    """Puts events into the stream."""
    from fraiseql_events.bridge.consumer import StreamOptions
    from fraiseql_events.bridge.publisher import publish as send
    from fraiseql_events.publishing import read_messages, read_messages_once

    target = StreamOptions(nats=_nats_to_publish_to(options), stream=options.stream)
    published = 0
    with bar("publishing", unit="events") as progress:

        def note(more: int) -> None:
            nonlocal published
            published += more
            progress.update(more)

        if options.file == "-":
            messages = read_messages_once(sys.stdin.buffer, "standard input")
        else:
            messages = read_messages(Path(options.file))
        try:
            send(messages, target, progress=note)
        except KeyboardInterrupt:
            _say(f"stopped: {count(published, 'event')} published; go on with number {published + 1}")
            raise
    _print_json({"events": published})
    return 0


def _nats_to_publish_to(options: Namespace) -> str:
    """The NATS server that was named; else the one that the Flight server reads, if there is one; else the default."""
    from fraiseql_events.service import DEFAULT_NATS

    named = _named_nats(options)
    if named is None:
        try:
            with EventClient(options.url, token=options.token) as client:
                return str(client.status()["nats"])
        except EventsError:
            if options.url is not None:
                raise
    return named or DEFAULT_NATS


def _named_nats(options: Namespace) -> str | None:
    """The NATS server that was named, with --nats or by FRAISEQL_NATS_URL."""
    from fraiseql_events.service import NATS_VARIABLE, nats_url

    return nats_url(options.nats) if options.nats or os.environ.get(NATS_VARIABLE) else None


def sink(options: Namespace) -> int:
    """Fills ClickHouse with events, until a signal; or with what is there now."""
    from fraiseql_events.sinks import ClickHouseSink

    stopped = _stop_on_signals()
    sink = ClickHouseSink(
        options.url,
        source=options.source,
        token=options.token,
        entity=options.entity,
        database=options.database,
        table=options.table,
        keep_days=options.keep_days,
    )
    with sink:
        if not options.once:
            _say(f"filling {sink.name}; Ctrl-C ends it")
            sink.follow(stopped=stopped)
            _say(f"{sink.status.events:,} more events are in it")
            return 0
        with bar("loading", unit="events") as progress:
            loaded = sink.load(stopped=stopped, progress=progress.update)
    _print_json({"events": loaded.events, "seconds": loaded.seconds, "offset": loaded.offset})
    return 130 if stopped() else 0


def status(options: Namespace) -> int:
    """Says how a server is doing."""
    with EventClient(options.url, token=options.token) as client:
        found = client.status()
        if options.json:
            _print_json(found)
        else:
            print(status_text(without_password(client.url), found))
    return 0


def dead_letters(options: Namespace) -> int:
    """Shows or saves what could not be read, or publishes it again."""
    from fraiseql_events.output import format_for, write

    if options.replay or options.mended is not None:
        return _replay(options)
    kind = format_for(options.format, options.output)
    with EventClient(options.url, token=options.token) as client:
        write(_letter_batches(client.dead_letters()), LISTED_LETTER_SCHEMA, kind, options.output)
    _say_if_lines(kind, options.output)
    return 0


def _replay(options: Namespace) -> int:
    from fraiseql_events.publishing import stream_of
    from fraiseql_events.replaying import read_mended, replay

    if options.format is not None or options.output is not None:
        raise InvalidArgument("--replay publishes and --output shows: do one after the other")
    mended = None if options.mended is None else read_mended(options.mended)
    with EventClient(options.url, token=options.token) as client:
        done = replay(client, stream_of(client.status(), _named_nats(options)), mended)
    if done.example is not None:
        which = f"{done.unreadable:,} of {count(done.published + done.unreadable, 'dead letter')}"
        _say(f"{which} cannot be read and stay where they are; the first is {done.example}")
    if not done.arrived:
        _say("the bridge has not read them yet: `fraiseql-events status` says why")
    _print_json({"replayed": done.published, "unreadable": done.unreadable})
    return 1 if done.unreadable or not done.arrived else 0


def _service_options(options: Namespace, *, listen: str | None, **more: Any) -> Any:
    from fraiseql_events.log import LogOptions
    from fraiseql_events.service import ServiceOptions

    return ServiceOptions(
        nats=options.nats,
        embedded=getattr(options, "embedded", False),
        store=options.store,
        listen=listen,
        stream=options.stream,
        subject=options.subject,
        accept_stream=options.accept_stream,
        **more,
        log=LogOptions(commit_events=options.commit_events, commit_seconds=options.commit_seconds),
    )


def _stop_on_signals() -> Callable[[], bool]:
    """Whether SIGINT or SIGTERM has come; asked for before anything starts, so that none is missed.

    No event is set by them: a signal that comes while the event's lock is held would wait for that lock for ever.
    """
    signals: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return lambda: bool(signals)


def _raise_file_limit() -> None:
    """Lets this process open as many files as it may: a stream of all entity types holds one of each open."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _shown(batches: Iterable[pa.RecordBatch], progress: Any) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        progress.update(batch.num_rows)


def _letter_batches(letters: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while some := list(islice(letters, 1000)):
        yield pa.RecordBatch.from_pylist([letter_row(values) for values in some], schema=LISTED_LETTER_SCHEMA)


def letter_row(values: dict[str, Any]) -> dict[str, Any]:
    """A dead letter as the server tells it, as a row of `LISTED_LETTER_SCHEMA`."""
    text, encoded = values["payload"], values["payload_base64"]
    payload = base64.b64decode(encoded) if text is None else text.encode()
    return {**values, "published": EPOCH + timedelta(microseconds=parse_time(values["published"])), "payload": payload}


def _say_if_lines(kind: str, path: Path | None) -> None:
    """A file whose name promises one JSON value, and that has many."""
    if kind == "ndjson" and path is not None and path.suffix.lower() == ".json":
        _say(f"{path} has a JSON object on each line: read it with pl.read_ndjson or pd.read_json(…, lines=True)")


def _say(sentence: str) -> None:
    print(f"fraiseql-events: {sentence}", file=sys.stderr)


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)
