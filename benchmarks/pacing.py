"""A publisher with a steady pace, in a process of its own: events that carry the time at which they were sent.

It writes to the socket what is due at each tick of a millisecond, and waits for no acknowledgement.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.running import Numbers

TICK = 0.001
#: So long after it is ready the first event is sent.
PAUSE = 1.5
_EVENT = (
    b'{"id":"00000000-0000-4000-8000-%012x","event_type":"Order.Paid","entity_type":"Order",'
    b'"entity_id":"order-%d","timestamp":"%s","data":{"sent":%d,"status":"paid","total":112.5,"currency":"EUR",'
    b'"note":"Zo\xc3\xab M\xc3\xbcller, Caf\xc3\xa9 moulu"},"user_id":"user-%d","org_id":"org-02"}'
)
_FRAME = b"PUB entity.change.Order.paid %d\r\n%s\r\n"


@contextmanager
def publishing(nats: str, rate: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A publisher of so many events a second, for so long; its one line of output is `Numbers`."""
    command = [sys.executable, "-m", "benchmarks.pacing", nats, str(rate), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process


def publish(nats: str, rate: int, seconds: float) -> Numbers:
    """Publishes; how many, and by how much its ticks came late at the worst."""
    host, _, port = nats.removeprefix("nats://").rpartition(":")
    count, total, late = 0, int(rate * seconds), 0.0
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
        while b"PONG" not in connection.recv(1 << 16):
            pass
        time.sleep(PAUSE)
        used, started = time.process_time(), time.perf_counter()
        tick = 0
        while count < total:
            tick += 1
            time.sleep(max(0.0, started + tick * TICK - time.perf_counter()))
            late = max(late, time.perf_counter() - started - tick * TICK)
            due = min(total, int((time.perf_counter() - started) * rate))
            connection.sendall(b"".join([_frame(number) for number in range(count, due)]))
            count = due
        took = time.perf_counter() - started
        connection.sendall(b"PING\r\n")
        while b"PONG" not in connection.recv(1 << 16):
            pass
    return {"published": count, "rate": count / took, "busy": (time.process_time() - used) / took, "late": late}


def _frame(number: int) -> bytes:
    sent = time.time_ns()
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(sent // 10**9)).encode()
    event = _EVENT % (number, number // 5, moment, sent, number % 5000)
    return _FRAME % (len(event), event)


if __name__ == "__main__":
    print(json.dumps(publish(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
