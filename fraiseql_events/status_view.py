"""A server's status for people: as text, and as a card in a notebook; docs/status.md explains each value."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from fraiseql_events.html import card, table

#: A sink that runs says so every second.
SILENT_SECONDS: Final = 10.0


def in_words(status: dict[str, Any]) -> str:
    """The state, and why, where it is not simply well."""
    return f"{status['state']} ({status['reason']})" if status["reason"] else str(status["state"])


def status_text(url: str, status: dict[str, Any]) -> str:
    """The status in a few lines."""
    uptime = timedelta(seconds=int(status["uptime_seconds"]))
    lines = [
        in_words(status),
        f"{url}, up {uptime}, reading {status['stream']} at {status['nats']} into {status['store']}",
        _events(status),
        _behind(status),
    ]
    for name, found in status["entities"].items():
        lines.append(f"  {name}: {count(found['events'], 'event')} from {found['first']} to {found['last']}")
    lines += [f"sink {name}: {how}" for name, how in _sinks(status)]
    if status["missed"]:
        lines.append(_missed(status))
    return "\n".join(lines)


def status_card(title: str, url: str, status: dict[str, Any]) -> str:
    """The status as HTML."""
    facts = [
        ("state", in_words(status)),
        ("address", url),
        ("events", _events(status)),
        ("stream", f"{status['stream']} at {status['nats']}, {_behind(status)}"),
        ("store", status["store"]),
    ]
    facts += [("sink", f"{name}: {how}") for name, how in _sinks(status)]
    if status["missed"]:
        facts.append(("missed", _missed(status)))
    rows = [(name, found["events"], found["first"], found["last"]) for name, found in status["entities"].items()]
    return card(title, facts, table(("entity type", "events", "first", "last"), rows)) if rows else card(title, facts)


def count(number: int, thing: str) -> str:
    """So many of a thing."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _events(status: dict[str, Any]) -> str:
    committed, rate = status["committed"], status["events_per_second"]
    return f"{count(status['offset'], 'event')} ({committed:,} committed), {rate:,.0f} a second"


def _behind(status: dict[str, Any]) -> str:
    replayed = f" ({status['dead_letters_replayed']:,} replayed)" if status["dead_letters_replayed"] else ""
    letters = count(status["dead_letters"], "dead letter")
    return f"{count(status['lag'], 'message')} behind the stream, {letters}{replayed}"


def _sinks(status: dict[str, Any]) -> list[tuple[str, str]]:
    """Each sink, and how it is doing."""
    return [(sink["name"], _sink(sink)) for sink in status.get("sinks", ())]


def _sink(sink: dict[str, Any]) -> str:
    trouble = f" ({sink['last_error']})" if sink["last_error"] and sink["state"] in ("asking again", "failed") else ""
    silent = f", not heard of for {timedelta(seconds=int(sink['seen_seconds']))}" if _is_silent(sink) else ""
    behind = "" if sink["lag"] is None else f", {count(sink['lag'], 'event')} behind"
    return f"{sink['state']}{trouble}{behind}{silent}"


def _is_silent(sink: dict[str, Any]) -> bool:
    """Whether a sink that has not said that it ends is not heard of any more."""
    return sink["seen_seconds"] > SILENT_SECONDS and sink["state"] not in ("stopped", "failed")


def _missed(status: dict[str, Any]) -> str:
    return f"{status['missed']:,} messages were removed from the stream before they were read"
