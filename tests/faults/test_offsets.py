"""An offset means what it meant, or it is refused: another history, or events that were shown and then lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fraiseql_events import EventClient, InvalidArgument, serve
from tests.faults.nats import STREAM, NatsServer
from tests.following import events, following
from tests.processes import Serve
from tests.proxy import Proxy
from tests.waiting import until


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def serving(nats: NatsServer, tmp_path: Path) -> Serve:
    """A bridge that commits when it is told to stop, so that a kill loses what it has shown."""
    return Serve("--nats", nats.url, "--store", tmp_path / "store", "--commit-seconds", "3600", "--accept-stream")


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


def lose_tail(nats: NatsServer) -> None:
    nats.stop()
    nats.forget("early")
    nats.start()


def purge(nats: NatsServer) -> None:
    nats.manage(lambda js: js.purge_stream(STREAM))


def delete_one(nats: NatsServer) -> None:
    nats.manage(lambda js: js.delete_msg(STREAM, 15))


def purge_for_the_same_ids(nats: NatsServer) -> None:
    """What comes instead has the ids of what was lost."""
    purge(nats)
    nats.publish(events(10, 20, event_type="Order.Paid"))


@pytest.mark.parametrize("lose", [lose_tail, purge, delete_one, purge_for_the_same_ids])
def test_events_that_were_shown_and_lost_are_told_to_whom_they_were_shown(
    nats: NatsServer, tmp_path: Path, lose: Callable[[NatsServer], None]
) -> None:
    nats.publish(events(0, 10))
    nats.stop()
    nats.copy("early")
    nats.start()
    with serving(nats, tmp_path) as server:
        until(lambda: server.status(server.wait_until_ready())["offset"] == 10)  # committed at its end
    server = serving(nats, tmp_path)
    with Proxy(port(server.wait_until_ready())) as proxy, following(f"grpc://127.0.0.1:{proxy.port}") as follower:
        nats.publish(events(10, 20))
        until(lambda: len(follower.ids) == 20)
        behind = EventClient(f"grpc://127.0.0.1:{proxy.port}").stream("*", limit=5, follow=True)
        assert len(behind.to_polars()) == 5
        server.kill()
        lose(nats)
        nats.publish(events(20, 45))
        for _ in range(2):
            with serving(nats, tmp_path) as server:
                proxy.retarget(port(server.wait_until_ready()))
                follower.thread.join(20)
                assert isinstance(follower.error, InvalidArgument)
                assert "the events from offset 10 to 19 were read before they were in the history" in str(
                    follower.error
                )
                assert "after_offset=9" in str(follower.error)
                with EventClient(f"grpc://127.0.0.1:{proxy.port}") as client:
                    place = {"after_offset": behind.offset, "history": behind.history}
                    until(lambda: client.status()["lag"] == 0)
                    assert client.read("*", **place)["event_id"][-1] == "44"  # type: ignore[arg-type]
                    with pytest.raises(InvalidArgument, match="offset 10 to 19"):
                        client.read("*", after_offset=19, history=follower.stream.history)
        assert follower.ids == list(range(20))


def test_events_that_were_shown_and_are_read_again_keep_their_offsets(nats: NatsServer, tmp_path: Path) -> None:
    nats.publish(events(0, 10))
    server = serving(nats, tmp_path)
    with Proxy(port(server.wait_until_ready())) as proxy, following(f"grpc://127.0.0.1:{proxy.port}") as follower:
        for round_ in range(1, 4):
            until(lambda: len(follower.ids) == round_ * 10)  # noqa: B023
            server.kill()
            nats.publish(events(round_ * 10, round_ * 10 + 10))
            server = serving(nats, tmp_path)
            proxy.retarget(port(server.wait_until_ready()))
        until(lambda: len(follower.ids) == 40)
        assert follower.ids == list(range(40))
        assert str(follower.stream.history).count(".") == 2, "its last event is not committed"
        server.end()


def test_messages_that_were_removed_while_a_bridge_was_away_fork_nothing_that_was_shown(
    nats: NatsServer, tmp_path: Path
) -> None:
    nats.publish(events(0, 10))
    with serving(nats, tmp_path) as server:
        url = server.wait_until_ready()
        until(lambda: server.status(url)["offset"] == 10)
        first = EventClient(url).stream("*", limit=10)
        assert len(first.to_polars()) == 10
    nats.publish(events(10, 20))
    purge(nats)
    nats.publish(events(20, 25))
    with serving(nats, tmp_path) as server:
        url = server.wait_until_ready()
        until(lambda: server.status(url)["offset"] == 15)
        assert server.status(url)["missed"] == 10
        rest = EventClient(url).read("*", after_offset=first.offset, history=first.history)
        assert rest["event_id"].to_list() == ["20", "21", "22", "23", "24"]


def test_a_store_put_back_from_a_backup_is_told(nats: NatsServer, tmp_path: Path) -> None:
    nats.publish(events(0, 10))
    store, backup = tmp_path / "store", tmp_path / "backup"
    for until_ in (10, 20):
        with serving(nats, tmp_path) as server:
            url = server.wait_until_ready()
            until(lambda: server.status(url)["offset"] == until_)  # noqa: B023
            stream = EventClient(url).stream("*")
            assert len(stream.to_polars()) == until_
        if until_ == 10:
            shutil.copytree(store, backup)
            nats.publish(events(10, 20))
    shutil.rmtree(store)
    shutil.copytree(backup, store)
    purge(nats)
    nats.publish(events(20, 45))
    with serving(nats, tmp_path) as server:
        url = server.wait_until_ready()
        until(lambda: server.status(url)["offset"] == 35)
        with EventClient(url) as client, pytest.raises(InvalidArgument, match="others have their offsets now"):
            client.read("*", after_offset=stream.offset, history=stream.history)


def test_another_history_is_not_taken_for_the_one_that_was_followed(nats: NatsServer, tmp_path: Path) -> None:
    nats.publish(events(0, 10))
    first = serve(nats=nats.url, store=tmp_path / "a", listen="127.0.0.1:0")
    second = serve(nats=nats.url, store=tmp_path / "b", listen="127.0.0.1:0")
    assert first.url is not None
    assert second.url is not None
    with Proxy(port(first.url)) as proxy, following(f"grpc://127.0.0.1:{proxy.port}") as follower:
        until(lambda: len(follower.ids) == 10)
        proxy.retarget(port(second.url))
        first.close()
        follower.thread.join(20)
        assert isinstance(follower.error, InvalidArgument)
        said = str(follower.error)
        assert said.startswith(f"offset 9 is one of the history {first.log.id[:8]}, and this server has")
        # no offset of the other history goes on here
        assert said.endswith("or read this one from its start; 10 events had come before")
    second.close()
