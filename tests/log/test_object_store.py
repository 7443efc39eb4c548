"""A store that is no folder: the S3 protocol over the wire, from a server in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from fraiseql_events.errors import StoreInUse
from fraiseql_events.log import Filter, Log, LogOptions
from fraiseql_events.log.storage import join, local_path
from tests.log.stream import Feeder, found
from tests.waiting import until

SERVER = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        until(lambda: answers(port))
        urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
        yield "s3://bucket/shop"
        server.terminate()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_object_store_holds_a_log_like_a_folder(bucket: str) -> None:
    log = Log(bucket, LogOptions(commit_events=200, tail_bytes=0, compact_files=3))
    feeder = Feeder(log)
    for _ in range(6):
        feeder.feed_many(200)
        log.flush()
    feeder.feed([("a b/%", "A", 0)], bad=2)
    log.flush()
    until(lambda: all(len(files) < 4 for files in log.view().snapshot.files.values()))
    assert found(log, Filter()) == feeder.expected(Filter())
    assert found(log, Filter(entity="a b/%")) == feeder.expected(Filter(entity="a b/%"))
    log.close()
    log = Log(bucket)
    assert found(log, Filter()) == feeder.expected(Filter())
    assert sum(batch.num_rows for batch in log.dead_letters()) == 2
    log._history.events.maintain(vacuum_hours=1)
    log.close()


def test_of_two_writers_on_an_object_store_the_second_is_stopped(bucket: str) -> None:
    first, second = Log(bucket), Log(bucket)
    Feeder(first).feed_many(3)
    first.flush()
    Feeder(second).feed_many(5)
    with pytest.raises(StoreInUse, match="another process writes to the table s3://bucket/shop/events"):
        second.flush()
    with pytest.raises(StoreInUse):
        second.close()
    first.close()
    again = Log(bucket)
    assert again.status.offset == 3
    again.close()


@pytest.mark.parametrize(
    ("store", "inside"),
    [
        ("/a/b", "/a/b/events"),
        ("file:///a/b%20c", "/a/b c/events"),
        ("s3://bucket/x/", "s3://bucket/x/events"),
        ("az://container", "az://container/events"),
    ],
)
def test_a_store_is_a_folder_or_a_url(store: str, inside: str) -> None:
    assert join(store, "events") == inside
    assert (local_path(store) is None) == ("://" in inside)
