"""A block on its way is a file without a name, in batches of one size."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fraiseql_events import SinkUnavailable
from fraiseql_events.sinks import spool
from fraiseql_events.sinks.spool import BATCH_ROWS, Files, Spool, Whole

ROWS = pa.table({"offset": pa.array(range(25_000), pa.int64()), "data": [f"é{number}" for number in range(25_000)]})


@pytest.fixture
def files() -> Iterator[Files]:
    with Files() as files:
        yield files


@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("size", [1, 7, 333, BATCH_ROWS, 25_000])
def test_the_same_rows_make_the_same_batches_however_they_came(
    files: Files, compression: str | None, size: int
) -> None:
    written = []
    for chunk in (size, BATCH_ROWS):
        with Spool(compression, files) as block:  # type: ignore[arg-type]
            for batch in ROWS.slice(0, 300 if size == 1 else 25_000).to_batches(max_chunksize=chunk):
                block.add(batch)
            block.finish()
            written.append(list(pa.ipc.open_stream(b"".join(block.pieces()))))
            assert block.table().num_rows == block.rows
    assert written[0] == written[1]
    assert {batch.num_rows for batch in written[0][:-1]} <= {BATCH_ROWS}


def test_its_path_is_read_by_this_process_alone_and_it_leaves_nothing(tmp_path: Path) -> None:
    code = """
import os, sys, pyarrow as pa
from fraiseql_events.sinks.spool import Files, Spool
block = Spool(None, Files())
for batch in pa.table({"a": range(100_000)}).to_batches():
    block.add(batch)
block.finish()
print(pa.ipc.open_stream(open(block.path, "rb")).read_all().num_rows, os.listdir(sys.argv[1]), flush=True)
os.kill(os.getpid(), 9)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "100000 []\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_trouble_that_may_pass(files: Files) -> None:
    with Spool(None, files) as block:
        block._file.close()
        block._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - the spool closes it
        with pytest.raises(SinkUnavailable, match="cannot be written to .*: No space left on device"):
            block.add(ROWS.to_batches()[0])


def test_a_file_is_used_again_and_has_nothing_of_the_block_before(files: Files) -> None:
    with Spool(None, files) as long:
        for batch in ROWS.to_batches(max_chunksize=BATCH_ROWS):
            long.add(batch)
        long.finish()
        first = os.fstat(long._file.fileno())
    with Spool(None, files) as short, Spool(None, files) as other:
        short.add(ROWS.slice(7, 3).to_batches()[0])
        short.finish()
        assert os.fstat(short._file.fileno()).st_ino == first.st_ino != os.fstat(other._file.fileno()).st_ino
        assert pa.ipc.open_stream(Path(short.path).read_bytes()).read_all() == ROWS.slice(7, 3)
        assert os.fstat(short._file.fileno()).st_size < first.st_size / 100


def test_a_file_that_is_given_back_late_goes_too() -> None:
    files = Files()
    early, late = Spool(None, files), Spool(None, files)
    early.close()
    early.close()
    files.close()
    assert early._file.closed
    assert not late._file.closed
    late.close()
    assert late._file.closed


class _Part(io.FileIO):
    """What a disk does that is nearly full for a moment: it takes a part, and says how much."""

    def write(self, data: Any, /) -> int:
        return super().write(memoryview(data).cast("B")[:1_000])


class _WholeInParts(Whole, _Part):
    """Ours on such a disk."""


def test_a_disk_that_takes_a_part_is_given_the_rest(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "Whole", _WholeInParts)
    with Spool(None, files) as block:
        block.add(ROWS.combine_chunks().to_batches()[0])
        block.finish()
        assert block.table() == ROWS


def test_no_room_for_a_file_at_all_is_a_trouble_that_may_pass(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(SinkUnavailable, match="cannot be written to /nowhere/at/all: No such file or directory"):
        files.take()
