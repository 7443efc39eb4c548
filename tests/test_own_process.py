"""What a process of ours alone is set to."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import ctypes, resource
from fraiseql_events.own_process import keep_freed_memory
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    piece = libc.malloc(20_000_000)
    ctypes.memset(piece, 1, 20_000_000)
    libc.free(piece)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
ENGINE = """
from fraiseql_events.own_process import keep_freed_memory
keep_freed_memory()
import clickhouse_connect
with clickhouse_connect.get_client(interface="chdb", path={path!r}) as client:
    print(client.query("SELECT * FROM system.jemalloc_stats").result_rows[0][0])
"""


linux = pytest.mark.skipif(sys.platform != "linux", reason="these are settings of Linux' C library and allocators")


@linux
def test_what_a_sink_has_freed_it_takes_again() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True, text=True)
    first, second = map(int, done.stdout.split())
    assert first > 4_000 > 100 > second


@linux
def test_the_engine_understands_how_it_is_to_keep_memory(tmp_path: Path) -> None:
    code = ENGINE.format(path=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    used = dict(re.findall(r"opt\.(\w+): (\S+)", done.stdout))
    assert (used["narenas"], used["percpu_arena"], used["oversize_threshold"]) == ("1", '"disabled"', "0")
