"""What a power cut can leave of a table's last commit, and how the table opens all the same."""

from __future__ import annotations

import json
import logging
import re
from typing import Final

from fraiseql_events.log.storage import Storage

log: Final = logging.getLogger(__name__)

_COMMIT: Final = re.compile(r"\d{20}\.json")


def set_torn_commit_aside(storage: Storage) -> bool:
    """Renames a local table's last commit if it is half written, and whether it was.

    Such a commit blocks the table. It was never acknowledged to anybody: its events are read again from JetStream, and
    its data files are nobody's. Only the last one is looked at: those before it were forced to the disk.
    """
    if storage.local is None:
        return False
    commits = sorted(path for path in (storage.local / "_delta_log").glob("*.json") if _COMMIT.fullmatch(path.name))
    if not commits or _is_whole(commits[-1].read_bytes()):
        return False
    torn = commits[-1]
    torn.rename(torn.with_name(f"{torn.name}.torn"))
    storage.sync(f"_delta_log/{torn.name}.torn")
    log.warning("the last commit of %s was half written, and is set aside as %s.torn", storage.url, torn.name)
    return True


def _is_whole(commit: bytes) -> bool:
    try:
        for line in commit.splitlines():
            json.loads(line)
    except ValueError:
        return False
    return True
