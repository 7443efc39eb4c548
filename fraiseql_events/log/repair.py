"""What a power cut can leave of a table's last commit and checkpoint, and how the table opens all the same."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
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
    commits = _commits(storage.local / "_delta_log")
    if not commits or _is_whole(commits[-1].read_bytes()):
        return False
    _set_aside(storage, commits[-1])
    log.warning("the last commit of %s was half written, and is set aside as %s.torn", storage.url, commits[-1].name)
    return True


def set_checkpoints_aside(storage: Storage) -> bool:
    """Renames a local table's checkpoints, and the file that names the last one; whether there were any.

    They only make opening quick, and a damaged one blocks the table. Not where commits have been cleaned up.
    """
    if storage.local is None:
        return False
    folder = storage.local / "_delta_log"
    found = sorted([*folder.glob("*.checkpoint*.parquet"), *folder.glob("_last_checkpoint")])
    if not found or not _has_every_commit(folder):
        return False
    for path in found:
        _set_aside(storage, path)
    log.warning("the table %s did not open: its checkpoints are set aside as .torn, and its commits read", storage.url)
    return True


def _commits(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if _COMMIT.fullmatch(path.name))


def _has_every_commit(folder: Path) -> bool:
    commits = _commits(folder)
    return bool(commits) and int(commits[-1].stem) == len(commits) - 1


def _set_aside(storage: Storage, path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.torn"))
    storage.sync(f"_delta_log/{path.name}.torn")


def _is_whole(commit: bytes) -> bool:
    try:
        for line in commit.splitlines():
            json.loads(line)
    except ValueError:
        return False
    return True
