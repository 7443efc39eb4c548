"""What a batch says of its place in the log."""

from __future__ import annotations

import json
import re
from typing import Any

from pyarrow import flight


def place_of(chunk: flight.FlightStreamChunk) -> dict[str, Any]:
    """A chunk's app_metadata, without the history that it names, which is another in every test."""
    place: dict[str, Any] = json.loads(chunk.app_metadata.to_pybytes())
    assert re.fullmatch(r"[0-9a-f]{8}(\.[0-9a-f]{16}\.\d+)?", place.pop("history"))
    return place
