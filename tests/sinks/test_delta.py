"""ClickHouse reads our history by itself, without us: `deltaLakeLocal` over the Delta table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fraiseql_events import EventClient, Service
from tests.mixed import Mixer
from tests.sinks.conftest import Ask
from tests.waiting import until

KINDS = "entity_type, event_type, count() AS n, max(offset), min(toUnixTimestamp64Micro(timestamp))"


@pytest.mark.parametrize("compact_files", [0, 3])
def test_clickhouse_counts_in_the_history_what_we_read(
    start: Callable[..., Service],
    send: Callable[..., int],
    tmp_path: Path,
    ask: Ask,
    compact_files: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # chdb reads what is below the current folder
    cases = list(Mixer(11).cases(3_000))
    service = start(compact_files=compact_files, tail_bytes=0)
    for first in range(0, len(cases), 500):
        some = cases[first : first + 500]
        send(*[case.payload for case in some])
        last = first + len(some)
        until(lambda last=last: service.status()["stream_seq"] == last)
        service.log.flush()
    written = -(-len(cases) // 500)
    if compact_files:
        until(lambda: all(len(files) < written for files in service.log.view().snapshot.files.values()))
    else:
        assert {len(files) for files in service.log.view().snapshot.files.values()} == {written}
    with EventClient(service.url) as client:
        expected = client.sql(
            'SELECT entity_type, event_type, count(*) AS n, max("offset"), min(epoch_us(timestamp)) FROM events '
            "GROUP BY ALL ORDER BY ALL"
        ).rows()
        texts = client.read("*", columns=["data", "user_id", "offset"]).rows()
    table = f"deltaLakeLocal('{tmp_path}/store/events')"
    assert ask(f"SELECT {KINDS} FROM {table} GROUP BY ALL ORDER BY ALL") == expected
    assert ask(f"SELECT data, user_id, offset FROM {table} ORDER BY offset") == texts
