"""``%fraiseql``: one magic, a command behind it."""

from __future__ import annotations

import re
import shlex
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable
from inspect import cleandoc
from keyword import iskeyword
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments

from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish as send
from fraiseql_events.client import EventClient
from fraiseql_events.errors import InvalidArgument, NatsUnavailable, ServiceError
from fraiseql_events.jupyter.following import follow
from fraiseql_events.jupyter.running import Running, Wanted, kernel
from fraiseql_events.jupyter.sinking import Filling, sinks
from fraiseql_events.live_shop import DAY_SECONDS, DEFAULT_RATE, LiveShop
from fraiseql_events.progress import bar
from fraiseql_events.publishing import frame_messages
from fraiseql_events.service import DEFAULT_STORE
from fraiseql_events.sinks import ClickHouseSink, Loaded
from fraiseql_events.sinks.clickhouse import DATABASE, TABLE
from fraiseql_events.status_view import count
from fraiseql_events.wording import near

_serve_options: Final = (
    argument("--nats", metavar="URL", help="the NATS server to read from; without it one is started in the notebook"),
    argument("--store", metavar="PATH", help=f"where history is kept ({DEFAULT_STORE})"),
    argument("--listen", metavar="HOST:PORT", help="where to answer (127.0.0.1:50051, or a free port if it is taken)"),
    argument("--token", metavar="TEXT", help="what every client outside must bring (FRAISEQL_EVENTS_TOKEN)"),
    argument("--subprocess", action="store_true", help="in a process beside the kernel, instead of in its threads"),
)


class _Listed(Action):
    """Names with commas or spaces between them."""

    def __call__(self, parser: ArgumentParser, options: Namespace, words: Any, name: str | None = None) -> None:
        setattr(options, self.dest, [each for word in words for each in word.split(",") if each])


def _serving(function: Callable[[Namespace], Any]) -> Callable[[Namespace], Any]:
    for option in reversed(_serve_options):
        function = option(function)
    return function


@magic_arguments("fraiseql serve")
@_serving
@argument(
    "--demo", action="store_true", help="with a shop whose orders, users and products change: see %%fraiseql demo"
)
def serve(options: Namespace) -> Running:
    """Starts bridge and Flight server in this notebook; `EventClient()` finds them.

    A second time it shows what runs.
    """
    running = kernel.serve(Wanted(**_given(options)))
    if options.demo:
        kernel.demo()
    return running


@magic_arguments("fraiseql demo")
@argument("--rate", type=float, metavar="N", help=f"events a second, on an average ({DEFAULT_RATE})")
@argument("--seed", type=int, metavar="N", help="another one makes another shop (1)")
@argument("--day", type=float, metavar="SECONDS", help=f"how long its days take ({DAY_SECONDS:g})")
@argument("--stop", action="store_true", help="close the shop; the service goes on")
def demo(options: Namespace) -> LiveShop | None:
    """Opens a shop whose days pass in two minutes, with a sale at noon and a carrier that fails.

    Orders, users and products change as in a database: the same for the same seed. If nothing serves yet, this does.
    With other options the shop that is open closes, and another opens in its place.
    """
    if options.stop:
        print("the shop is closed" if kernel.close_shop() else "no shop is open in this notebook")
        return None
    before = kernel.shop
    shop = kernel.demo(rate=options.rate, seed=options.seed, day=options.day)
    if before not in (None, shop):
        print("the shop that was open has closed: this one has other options")
    return shop


@magic_arguments("fraiseql restart")
@_serving
def restart(options: Namespace) -> Running:
    """Stops the service and starts it again: as it was, but for the options that are given."""
    running = kernel.restart(**_given(options))
    sinks.go_with_the_service()
    return running


@magic_arguments("fraiseql stop")
def stop(options: Namespace) -> None:
    """Stops the service, and the shop and the sinks; what was read is kept."""
    ended = sinks.stop()
    print("stopped" if kernel.stop() or ended else "nothing runs in this notebook")


@magic_arguments("fraiseql status")
def status(options: Namespace) -> Running | EventClient:
    """Shows how the service of this notebook is doing, or else the server that `EventClient()` finds."""
    kernel.let_go_of_what_has_died()
    return kernel.running or EventClient()


@magic_arguments("fraiseql stream")
@argument("entity", help="an entity type such as Order, or * for all")
@argument("--start", metavar="TIME", help="a date, or a time in RFC 3339; UTC if it has no zone")
@argument("--end", metavar="TIME", help="the same; a date includes that whole day")
@argument("--limit", type=int, metavar="N", help="the most events")
@argument("--columns", nargs="+", action=_Listed, metavar=("A", ",B"), help="only these columns, with commas or spaces")
@argument("--event-types", nargs="+", action=_Listed, metavar=("A", ",B"), help="only events of these types")
@argument("--frames", choices=("polars", "pandas", "arrow"), default="polars", help="what to return (polars)")
@argument("--follow", action="store_true", help="go on with what arrives, in a table that moves, until it is stopped")
@argument("--url", metavar="URL", help="another server's address")
@argument("--token", metavar="TEXT", help="what that server wants of its clients (FRAISEQL_EVENTS_TOKEN)")
def stream(options: Namespace) -> Any:
    """Events as a data frame: `df = %fraiseql stream Order --start 2026-01-01`.

    With `--follow` the stop button ends the cell well, and the frame has the newest 100,000 events at the most.
    """
    wanted = {name: getattr(options, name) for name in ("limit", "columns", "event_types")}
    with EventClient(options.url, token=options.token) as client:
        asked = (options.entity, options.start, options.end)
        if not options.follow:
            return client.read(*asked, frames=options.frames, **wanted)
        return follow(
            lambda: client.stream(*asked, follow=True, frames="arrow", progress=False, **wanted), options.frames
        )


@magic_arguments("fraiseql publish")
@argument("frame", help="the name of a frame whose columns are an event's fields")
@argument("--nats", metavar="URL", help="the NATS server to publish to; without it the one that the service reads")
def publish(options: Namespace, variables: dict[str, Any]) -> None:
    """Publishes a frame's rows as events: `%fraiseql publish df`."""
    if options.frame not in variables:
        raise InvalidArgument(f"there is no variable {options.frame!r}{near(options.frame, list(variables))}")
    messages = frame_messages(variables[options.frame])
    nats = options.nats
    if nats is None:
        if kernel.running is None:
            raise ServiceError("nothing runs in this notebook: `%fraiseql serve` first, or name a server with --nats")
        nats = kernel.running.status()["nats"]
    published = 0
    with bar("publishing", unit="events") as progress:

        def note(more: int) -> None:
            nonlocal published
            published += more
            progress.update(more)

        try:
            send(messages, StreamOptions(nats=nats), progress=note)
        except (KeyboardInterrupt, NatsUnavailable):
            if published:
                rest = f"rest = {options.frame}[{published}:]"
                print(f"{count(published, 'event')} published; to go on: `{rest}`, and `%fraiseql publish rest`")
            raise
    print(f"{count(published, 'event')} published")


@magic_arguments("fraiseql sink")
@argument("kind", choices=("clickhouse",), help="which: clickhouse")
@argument(
    "--url",
    metavar="URL",
    help="http://HOST:8123, or chdb:///FOLDER for the engine in this kernel (chdb://STORE/clickhouse)",
)
@argument("--from", metavar="URL", dest="source", help="another Flight server's address")
@argument("--token", metavar="TEXT", help="what that server wants of its clients (FRAISEQL_EVENTS_TOKEN)")
@argument("--database", metavar="NAME", help=f"where the tables are ({DATABASE})")
@argument("--table", metavar="NAME", help=f"the table of the events ({TABLE})")
@argument("--entity", metavar="ENTITY", help="an entity type such as Order, or * for all (*)")
@argument("--keep-days", type=int, metavar="N", help="have ClickHouse remove older events; for a new table")
@argument("--once", action="store_true", help="load what is there now, then end")
@argument("--stop", action="store_true", help="end the sink of these options, or all; the service goes on")
def sink(options: Namespace) -> ClickHouseSink | Loaded | None:
    """Fills a table of ClickHouse with events, each once: with what is there, and then with what arrives.

    Without `--url` ClickHouse's own engine runs in this kernel. A second time it shows the sink that runs.
    `pip install 'fraiseql-events[clickhouse]'` brings what it needs.
    """
    names = ("url", "source", "token", "database", "table", "entity", "keep_days")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if not options.stop:
        return sinks.load(Filling(**given)) if options.once else sinks.start(Filling(**given))
    ended = sinks.stop(lambda wanted: all(getattr(wanted, name) == value for name, value in given.items()))
    for name, has_ended in ended.items():
        print(f"{name} is no longer filled" if has_ended else f"{name} is filled no longer, once its last block is in")
    if not ended:
        print("no such sink runs in this notebook" if given else "no sink runs in this notebook")
    return None


#: A query in the magic's own line, whose quotes would be those of the magic.
_QUERY: Final = re.compile(r"\s*sql\s+(?:--\S+\s+\S+\s+)*(?:select|with|from|values|describe|show)\s", re.IGNORECASE)
_SQL_BELOW: Final = (
    "%fraiseql sql has no query in its line: begin the cell with %%fraiseql sql, and write it below, "
    "or in a line `client.sql('…')`"
)


@magic_arguments("fraiseql sql")
@argument("out", nargs="?", help="the name that the answer gets; without one it is shown")
@argument("--url", metavar="URL", help="another server's address")
@argument("--token", metavar="TEXT", help="what that server wants of its clients (FRAISEQL_EVENTS_TOKEN)")
def sql(options: Namespace, variables: dict[str, Any], query: str | None) -> Any:
    """SQL over entity types as tables, in a cell of its own: `%%fraiseql sql`, and the query below."""
    if query is None:
        raise InvalidArgument(_SQL_BELOW)
    if options.out is not None and (not options.out.isidentifier() or iskeyword(options.out)):
        raise InvalidArgument(f"{options.out!r} is no name for a variable")
    with EventClient(options.url, token=options.token) as client:
        answer = client.sql(query)
    if options.out is None:
        return answer
    variables[options.out] = answer
    return None


COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    each.__name__: each for each in (serve, stop, restart, status, demo, stream, sql, publish, sink)
}
#: What a command is handed besides its options.
_MORE: Final = {"publish": ("variables",), "sql": ("variables", "cell")}


def parser_of(command: str) -> MagicArgumentParser:
    """What parses a command's options."""
    # as `magic_arguments` made it: since then the function's docstring is the whole help
    parser: MagicArgumentParser = vars(COMMANDS[command])["parser"]
    parser.allow_abbrev = False
    return parser


def run(line: str, variables: dict[str, Any], cell: str | None = None) -> Any:
    """Does what a line says, with the cell below it.

    Raises:
        EventsError: one sentence.
    """
    if _QUERY.match(line):
        raise InvalidArgument(_SQL_BELOW)
    words = _split(line)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    command = words[0] if words else "--help"
    if command in ("--help", "-h"):
        print(overview())
        return None
    if command not in COMMANDS:
        commands = ", ".join(COMMANDS)
        raise InvalidArgument(
            f"%fraiseql has no command {command!r}{near(command, list(COMMANDS))}: there are {commands}"
        )
    if cell is not None and command != "sql":
        raise InvalidArgument(f"%%fraiseql {command}: only %%fraiseql sql takes a cell; write %fraiseql {command}")
    parser = parser_of(command)
    if {"--help", "-h"} & set(words[1:]):
        print(help_of(command))
        return None
    options = _parse(parser, command, words[1:])
    more = {"variables": variables, "cell": cell}
    return COMMANDS[command](options, *(more[name] for name in _MORE.get(command, ())))


def overview() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  %fraiseql {name:{width}}  {description_of(name).splitlines()[0]}" for name in COMMANDS]
    return "\n".join([*lines, "", "%fraiseql COMMAND --help tells the options of each, and %fraiseql help this."])


def help_of(command: str) -> str:
    """A command's options."""
    return str(parser_of(command).format_help()).removeprefix("::\n\n")


def description_of(command: str) -> str:
    """What a command does, in its docstring's words."""
    return cleandoc(parser_of(command).description or "")


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InvalidArgument(f"%fraiseql {line}: {str(error).lower()}") from None


def _parse(parser: MagicArgumentParser, command: str, words: list[str]) -> Namespace:
    more = f"`%fraiseql {command} --help` tells what it takes"
    try:
        options, unknown = parser.parse_known_args(words)
    except UsageError as error:
        said = str(error).splitlines()[0]
        raise InvalidArgument(
            f"%fraiseql {command}: {said}; `%fraiseql {command} --help` tells what it takes"
        ) from None
    if unknown:
        names = [name for action in parser._actions for name in action.option_strings]
        raise InvalidArgument(f"%fraiseql {command} does not take {unknown[0]!r}{near(unknown[0], names)}; {more}")
    return options


def _given(options: Namespace) -> dict[str, Any]:
    """The fields of `Wanted` that were named."""
    found: dict[str, Any] = {name: getattr(options, name) for name in ("nats", "store", "listen", "token")}
    return {name: value for name, value in found.items() if value is not None} | (
        {"beside": True} if options.subprocess else {}
    )


@magics_class
class FraiseqlMagics(Magics):
    """The magic, as IPython takes it."""

    @line_cell_magic
    def fraiseql(self, line: str, cell: str | None = None) -> Any:
        """Events of a FraiseQL database as data frames; `%fraiseql` alone tells the commands."""
        assert self.shell is not None
        return run(line, self.shell.user_ns, cell)


FraiseqlMagics.fraiseql.__doc__ = f"Events of a FraiseQL database as data frames.\n\n{overview()}"
