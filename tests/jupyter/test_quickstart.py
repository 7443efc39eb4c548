"""The cells of docs/quickstart.md, in a kernel, in their order."""

from __future__ import annotations

import re
from pathlib import Path

from tests.kernels import ROOT, Kernel

ENOUGH = """
import time
while "Order" not in client.entities(): time.sleep(0.1)
"""


def test_the_cells_of_the_quickstart_run(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    load, read, typed, sql, live = re.findall(r"```ipython3\n(.*?)```", page, re.DOTALL)
    with Kernel(tmp_path) as kernel:
        kernel.run(load)
        kernel.run(read)
        kernel.run(ENOUGH)  # a reader of the page is slower than the shop
        kernel.run(read)
        assert "Order.Created" in kernel.html
        kernel.run(typed)
        assert "currency" in kernel.html
        kernel.run(sql)
        assert "Order.Created" in kernel.html
        kernel.run(live)
        assert any("<svg" in message["content"].get("data", {}).get("image/svg+xml", "") for message in kernel.heard)
        kernel.run("%fraiseql stop")
