"""The command line: ``fraiseql-events``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from fraiseql_events import __version__
from fraiseql_events.errors import EventsError, InvalidArgument
from fraiseql_events.own_process import choose_allocator, do_without_pandas, keep_freed_memory
from fraiseql_events.wording import near

STREAM: Final = "fraiseql-entity-changes"
SUBJECT: Final = "entity.change.>"
DEFAULT_LISTEN: Final = "127.0.0.1:50051"
DEFAULT_STORE: Final = "fraiseql-data"
_FORMATS: Final = ("table", "ndjson", "csv", "parquet", "arrow")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and ends the program: 0 when it is done, 1 when it failed, 2 when it was asked wrongly."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code."""
    options = _parse(arguments)
    if options.command in ("serve", "ingest", "sink"):
        choose_allocator()  # before anything loads pyarrow
        do_without_pandas()
    if options.command == "sink":
        keep_freed_memory()
    from fraiseql_events import commands

    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        code: int = getattr(commands, options.command.replace("-", "_"))(options)
    except InvalidArgument as error:
        return _complain(error, 2)
    except EventsError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _complain(error, 1)
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; an unknown one is told by its command, with a suggestion."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        command: argparse.ArgumentParser = options.parser
        known = [option for action in command._actions for option in action.option_strings]
        command.error(f"there is no {unknown[0]} for `{options.command}`{near(unknown[0], known)}")
    return options


def _complain(error: Exception, code: int) -> int:
    print(f"fraiseql-events: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fraiseql-events",
        description="From a stream of database changes to a data frame: NATS JetStream to Arrow Flight.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_serve(commands)
    _add_ingest(commands)
    _add_stream(commands)
    _add_publish(commands)
    _add_sink(commands)
    _add_status(commands)
    _add_dead_letters(commands)
    for command in commands.choices.values():
        command.allow_abbrev = False
        command.set_defaults(parser=command)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser("demo", help="show the whole path on an embedded NATS server, then end")
    demo.add_argument("--events", type=_positive, default=50_000, help="how many events the shop makes (50000)")
    demo.add_argument("--store", metavar="PATH", help="a folder that keeps the shop; a temporary one without")
    demo.add_argument("--seed", type=int, default=1, help="another seed makes another shop (1)")


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser("serve", help="run bridge and Flight server until Ctrl-C or SIGTERM")
    source = serve.add_mutually_exclusive_group()
    _add_nats(source)
    source.add_argument(
        "--embedded", action="store_true", help="start a NATS server of our own, its files in the store"
    )
    _add_store(serve, required=False)
    serve.add_argument(
        "--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN,
        help=f"where to answer ({DEFAULT_LISTEN}); port 0 takes a free one",
    )  # fmt: skip
    serve.add_argument(
        "--max-streams", type=_positive, default=300, metavar="N", help="have N streams open at once at the most (300)"
    )
    serve.add_argument("--demo", action="store_true", help="open a shop whose changes are published; with --embedded")
    serve.add_argument("--rate", type=float, metavar="N", help="how many events a second that shop makes (20)")
    serve.add_argument("--seed", type=int, default=1, metavar="N", help="another seed makes another shop (1)")
    serve.add_argument(
        "--token", metavar="TEXT",
        help="what every client must bring; better FRAISEQL_EVENTS_TOKEN, which no list of processes shows",
    )  # fmt: skip
    _add_source(serve)
    _add_keeping(serve)


def _add_ingest(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    ingest = commands.add_parser("ingest", help="take what the stream holds now into the history, then end")
    _add_nats(ingest)
    _add_store(ingest, required=True)
    _add_source(ingest)
    _add_keeping(ingest)


def _add_stream(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    stream = commands.add_parser("stream", help="show or save events")
    stream.add_argument("entity", metavar="ENTITY", help="an entity type such as Order, or '*' for all")
    _add_url(stream)
    stream.add_argument("--start", metavar="T", help="the first moment: a date or an RFC 3339 time, UTC")
    stream.add_argument("--end", metavar="T", help="the last: a date includes that day, a time is exclusive")
    stream.add_argument("--limit", type=int, metavar="N", help="the most events")
    stream.add_argument("--columns", type=_list, metavar="A,B", help="only these columns")
    stream.add_argument("--event-types", type=_list, metavar="A,B", help="only events of these types")
    stream.add_argument("--after-offset", type=int, metavar="N", help="only events after this offset")
    stream.add_argument(
        "--compression", metavar="zstd|lz4", help="compress what is sent, for a slow network; zstd is the smaller"
    )
    stream.add_argument("--follow", action="store_true", help="go on with what arrives, until --end or Ctrl-C")
    _add_output(stream)


def _add_publish(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    publish = commands.add_parser("publish", help="put events into the stream")
    publish.add_argument("file", metavar="FILE", help="newline-delimited JSON, Parquet or Arrow IPC; - reads a pipe")
    _add_nats_of_server(publish)
    _add_url(publish)
    _add_source(publish, subject=False)


def _add_sink(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sink = commands.add_parser("sink", help="fill a database with events, each once, until Ctrl-C or SIGTERM")
    sink.add_argument("kind", choices=("clickhouse",), help="which: clickhouse")
    sink.add_argument(
        "--url", metavar="URL", required=True,
        help="http://HOST:8123, https://HOST:8443, or chdb:///FOLDER for ClickHouse's engine in this process; user and "
        "password better in CLICKHOUSE_USER and CLICKHOUSE_PASSWORD",
    )  # fmt: skip
    sink.add_argument(
        "--from", metavar="URL", dest="source", help="the Flight server (FRAISEQL_EVENTS_URL, else localhost:50051)"
    )
    sink.add_argument("--token", metavar="TEXT", help="what that server wants of its clients (FRAISEQL_EVENTS_TOKEN)")
    sink.add_argument("--database", metavar="NAME", default="default", help="where the tables are (default)")
    sink.add_argument(
        "--table", metavar="NAME", default="fraiseql_events", help="the table of the events (fraiseql_events)"
    )
    sink.add_argument("--entity", metavar="ENTITY", default="*", help="an entity type, or '*' for all (*)")
    sink.add_argument(
        "--keep-days", type=_positive, metavar="N", help="have ClickHouse remove older events; for a new table"
    )
    sink.add_argument("--once", action="store_true", help="load what is there now, then end")


def _add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = commands.add_parser("status", help="say how a server is doing")
    _add_url(status)
    status.add_argument("--json", action="store_true", help="as one JSON object")


def _add_dead_letters(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    letters = commands.add_parser("dead-letters", help="show or save what could not be read, or publish it again")
    _add_url(letters)
    _add_output(letters)
    again = letters.add_mutually_exclusive_group()
    again.add_argument("--replay", action="store_true", help="publish again those that can be read by now")
    again.add_argument(
        "--mended", metavar="FILE", type=Path, help="publish those of a file that -o has written, as mended there"
    )
    _add_nats_of_server(letters)


def _add_nats(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--nats", metavar="URL", help="the NATS server (FRAISEQL_NATS_URL, else nats://localhost:4222)")


def _add_nats_of_server(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--nats", metavar="URL", help="the NATS server (FRAISEQL_NATS_URL, else the one it reads from)")


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", metavar="URL", help="the Flight server (FRAISEQL_EVENTS_URL, else localhost:50051)")
    parser.add_argument("--token", metavar="TEXT", help="what that server wants of its clients (FRAISEQL_EVENTS_TOKEN)")


def _add_store(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--store", metavar="PATH|URL", required=required, default=DEFAULT_STORE,
        help="the folder or object-store URL of the history" + ("" if required else f" ({DEFAULT_STORE})"),
    )  # fmt: skip


def _add_source(parser: argparse.ArgumentParser, *, subject: bool = True) -> None:
    parser.add_argument("--stream", metavar="NAME", default=STREAM, help=f"the JetStream stream ({STREAM})")
    if subject:
        parser.add_argument("--subject", metavar="FILTER", default=SUBJECT, help=f"its subjects to read ({SUBJECT})")
        parser.add_argument(
            "--accept-stream", action="store_true",
            help="go on with another stream than the one that the store was filled from",
        )  # fmt: skip


def _add_keeping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--commit-events", type=_positive, default=100_000, metavar="N", help="commit when N events wait (100000),"
    )
    parser.add_argument(
        "--commit-seconds", type=float, default=5.0, metavar="S", help="or when the first has waited S seconds (5)"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=_FORMATS, help="a table by default, or what the file's ending says")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to a file")


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    main()
