"""Dead letters in use: listed, saved, mended, and published again, each once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from fraiseql_events import EventClient, Service, ServiceError
from fraiseql_events.bridge import bridge
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.decode import decode
from fraiseql_events.bridge.messages import Messages, replayed_letter
from fraiseql_events.bridge.natspy import publish_frame
from fraiseql_events.replaying import replay as replay_letters
from tests.faults.nats import NatsServer
from tests.following import events
from tests.mixed import an_event
from tests.processes import COMMAND, Serve, run
from tests.waiting import until

BAD = [b"bad", b"\xff\x00", an_event(id="2", timestamp="yesterday"), b'{"id": "3"}\n' + an_event(id="4")]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def serving(nats: NatsServer, tmp_path: Path) -> Iterator[tuple[Serve, str]]:
    nats.publish([*events(0, 2), *BAD])
    with Serve("--nats", nats.url, "--store", tmp_path / "store") as server:
        url = server.wait_until_ready()
        until(lambda: server.status(url)["dead_letters"] == 4)
        yield server, url


def listed(url: str) -> list[dict[str, Any]]:
    with EventClient(url) as client:
        return list(client.dead_letters())


def ids(url: str) -> list[str]:
    with EventClient(url) as client:
        return client.read("*")["event_id"].to_list()


def save(url: str, path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def replay(url: str, *more: str | Path, code: int = 0) -> str:
    return run("dead-letters", "--url", url, *more, code=code)


def replay_in_part(url: str, *more: str | Path) -> tuple[Any, str]:
    """Publishes letters of which some cannot be read; what was done, and what was said of the others."""
    command = [*COMMAND, "dead-letters", "--url", url, *map(str, more)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=100, text=True)
    assert done.returncode == 1
    return json.loads(done.stdout), done.stderr


def test_letters_have_numbers_and_nothing_that_cannot_be_read_is_published(serving: tuple[Serve, str]) -> None:
    _, url = serving
    assert [(letter["number"], letter["line"], letter["replayed"]) for letter in listed(url)] == [
        (0, None, None), (1, None, None), (2, None, None), (3, 1, None),
    ]  # fmt: skip
    done, said = replay_in_part(url, "--replay")
    assert done == {"replayed": 0, "unreadable": 4}
    assert "4 of 4 dead letters cannot be read and stay where they are; the first is dead letter 0: " in said
    assert len(listed(url)) == 4


def test_what_was_mended_in_a_saved_file_is_published_once(serving: tuple[Serve, str], tmp_path: Path) -> None:
    _, url = serving
    saved = tmp_path / "letters.ndjson"
    replay(url, "-o", saved)
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    rows[0]["payload"] = an_event(id="mended 0").decode()
    rows[2]["payload"] = json.loads(an_event(id="mended 2"))  # the JSON value itself
    mended = save(url, tmp_path / "mended.ndjson", rows[0], rows[1], rows[2])
    done, said = replay_in_part(url, "--mended", mended)
    assert done == {"replayed": 2, "unreadable": 1}
    assert "1 of 3 dead letters cannot be read and stay where they are; the first is dead letter 1: " in said
    assert ids(url) == ["0", "1", "4", "mended 0", "mended 2"]
    assert [letter["replayed"] for letter in listed(url)] == [7, None, 8, None]
    assert "dead letter 0 was published again already" in replay(url, "--mended", mended, code=2)
    with EventClient(url) as client:
        assert client.status()["dead_letters_replayed"] == 2
        assert client.status()["dead_letters"] == 4


def test_letters_mended_in_parquet_are_read_too(serving: tuple[Serve, str], tmp_path: Path) -> None:
    _, url = serving
    saved, mended = tmp_path / "letters.parquet", tmp_path / "mended.parquet"
    replay(url, "-o", saved)
    frame = pl.read_parquet(saved).filter(pl.col("number") == 1)
    frame.with_columns(payload=pl.lit(an_event(id="9"))).write_parquet(mended)
    assert json.loads(replay(url, "--mended", mended))["replayed"] == 1
    assert ids(url)[-1] == "9"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"number": 7, "payload": "x"}, "there is no dead letter 7"),
        ({"number": "0", "payload": "x"}, "line 1: number is '0'"),
        ({"number": 0}, "line 1: dead letter 0 has no payload"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_a_wrong_file_is_one_sentence(serving: tuple[Serve, str], tmp_path: Path, row: Any, says: str) -> None:
    _, url = serving
    said = replay(url, "--mended", save(url, tmp_path / "mended.ndjson", row), code=2)
    assert says in said
    assert "Traceback" not in said
    assert len(ids(url)) == 3


def test_replay_and_output_are_two_things(serving: tuple[Serve, str], tmp_path: Path) -> None:
    assert "do one after the other" in replay(serving[1], "--replay", "-o", tmp_path / "a.csv", code=2)


def test_a_bridge_that_has_learnt_to_read_them_gets_them_again(
    start: Callable[..., Service], send: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def older(messages: Messages) -> object:
        """As if this kind of event were not known yet."""
        payloads = dict(zip(messages.sequences.tolist(), messages.payloads.to_pylist(), strict=True))
        unread = pa.array([payload.replace(b"New.Kind", b"") for payload in payloads.values()], pa.binary())
        decoded = decode(replace(messages, payloads=unread))
        for letter in decoded.dead:
            object.__setattr__(letter, "payload", payloads[letter.sequence])
        return decoded

    monkeypatch.setattr(bridge, "decode", older)
    service = start(commit_seconds=0.1)
    send(*events(0, 2), *events(2, 5, event_type="New.Kind"))
    until(lambda: service.status()["dead_letters"] == 3)
    service.close()
    monkeypatch.undo()
    for number in range(2):
        service = start()
        assert service.url is not None
        assert json.loads(replay(service.url, "--replay")) == {"replayed": 0 if number else 3, "unreadable": 0}
        assert ids(service.url) == list("01234")
        assert [letter["replayed"] for letter in listed(service.url)] == [6, 7, 8]
        service.close()


def test_a_kill_and_two_at_once_publish_none_twice(
    nats: NatsServer, serving: tuple[Serve, str], tmp_path: Path
) -> None:
    server, url = serving
    mended = save(
        url, tmp_path / "m.ndjson", *[{"number": n, "payload": json.loads(an_event(id=f"m{n}"))} for n in (0, 2)]
    )
    both = [subprocess.Popen([*COMMAND, "dead-letters", "--url", url, "--mended", str(mended)]) for _ in range(2)]
    until(lambda: server.status(url)["dead_letters_replayed"] == 2)
    server.kill()
    for process in both:
        process.kill()
        process.wait()
    with Serve("--nats", nats.url, "--store", tmp_path / "store") as server:
        url = server.wait_until_ready()
        until(lambda: server.status(url)["dead_letters_replayed"] == 2)
        assert ids(url) == ["0", "1", "4", "m0", "m2"]
        assert [letter["replayed"] for letter in listed(url)] == [7, None, 8, None]
        assert replay_in_part(url, "--replay")[0] == {"replayed": 0, "unreadable": 2}


def test_a_letter_that_there_is_not_cannot_be_marked(nats: NatsServer, serving: tuple[Serve, str]) -> None:
    server, url = serving
    for number in (4, 10**17):
        name = f"{server.status(url)['history']}.{number}"
        nats.manage(
            lambda js: js.publish("entity.change.Order.x", an_event(id="5"), headers={"Fraiseql-Dead-Letter": name})  # noqa: B023
        )
    nats.publish([b"the fifth"])
    until(lambda: len(listed(url)) == 5)
    assert [letter["replayed"] for letter in listed(url)] == [None] * 5


def test_a_replay_waits_for_a_bridge_that_is_behind(
    nats: NatsServer, serving: tuple[Serve, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = serving
    monkeypatch.setattr("fraiseql_events.replaying.ARRIVAL_SECONDS", 2.0)
    nats.pause_consumers()
    nats.publish(events(7, 9))
    with EventClient(url) as client:
        until(lambda: client.status()["lag"] == 2)
        with pytest.raises(ServiceError, match="the bridge is 2 messages behind the stream"):
            replay_letters(client, StreamOptions(nats=nats.url), {0: an_event(id="mended")})
        until(lambda: client.status()["lag"] == 0)
        assert replay_letters(client, StreamOptions(nats=nats.url), {0: an_event(id="mended")}).published == 1
    assert ids(url) == ["0", "1", "4", "7", "8", "mended"]


def test_a_replay_for_another_history_is_an_event_like_any_other(nats: NatsServer, serving: tuple[Serve, str]) -> None:
    _, url = serving
    nats.manage(
        lambda js: js.publish("entity.change.Order.x", an_event(id="5"), headers={"Fraiseql-Dead-Letter": "00000000.0"})
    )
    until(lambda: ids(url)[-1] == "5")
    assert [letter["replayed"] for letter in listed(url)] == [None] * 4


@pytest.mark.parametrize(
    ("header", "letter"),
    [
        (b"NATS/1.0\r\nFraiseql-Dead-Letter: 0a1b2c3d.17\r\n\r\n", "0a1b2c3d.17"),
        (b"NATS/1.0\r\nA: b\r\nfraiseql-dead-letter:00000000.0 \r\nC: d\r\n\r\n", "00000000.0"),
        (b"NATS/1.0\r\nX-Fraiseql-Dead-Letter: 0a1b2c3d.17\r\n\r\n", None),
        (b"NATS/1.0\r\nFraiseql-Dead-Letter: ../17\r\n\r\n", None),
        (b"NATS/1.0\r\nFraiseql-Dead-Letter: 0a1b2c3d.%s\r\n\r\n" % (b"9" * 20), None),
    ],
)
def test_the_header_names_a_letter(header: bytes, letter: str | None) -> None:
    assert replayed_letter(header) == letter


def test_a_frame_has_headers_where_they_are_wanted() -> None:
    assert publish_frame("s", "r", b"abc") == b"PUB s r 3\r\nabc\r\n"
    assert publish_frame("s", "r", b"abc", {"A": "b"}) == b"HPUB s r 18 21\r\nNATS/1.0\r\nA: b\r\n\r\nabc\r\n"
