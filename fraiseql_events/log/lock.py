"""One writer on a store: a lock on a local folder, which the operating system drops when its holder dies.

Stores elsewhere have no such lock; there the commits' fence stops the second writer (`table.Table`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path
from typing import Final

import filelock

from fraiseql_events.errors import StoreError, StoreInUse
from fraiseql_events.log.storage import local_path

LOCK: Final = ".lock"
OWNER: Final = ".owner"


class StoreLock:
    """Held from the moment that it is made until `release`.

    Args:
        store: the folder or URL of the store; a folder is made when it is missing.

    Raises:
        StoreInUse: another process, or another log of this one, holds it.
        StoreError: the folder cannot be made or written.
    """

    def __init__(self, store: str) -> None:
        self._lock: filelock.BaseFileLock | None = None
        folder = local_path(store)
        if folder is None:
            return
        owner = folder / OWNER
        try:
            #: What a start that fails has to remove.
            self._made = None if folder.exists() else folder.absolute()
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(folder / LOCK, timeout=0, thread_local=False)
            self._lock.acquire()
        except filelock.Timeout:
            holder = (owner.read_text(encoding="utf-8") if owner.is_file() else "") or "another process"
            if holder == _this_process():
                raise StoreInUse(f"this process uses the store {store} already: close the first service") from None
            raise StoreInUse(f"the store {store} is in use by {holder}: stop that, or name another --store") from None
        except OSError as error:
            raise StoreError(f"the store {store} cannot be opened: {_reason(folder, error)}") from error
        with contextlib.suppress(OSError):  # a full disk keeps nobody from reading
            owner.write_text(_this_process(), encoding="utf-8")

    def release(self, *, discard: bool = False) -> None:
        """Lets others in; again does nothing.

        Args:
            discard: remove the folder, with all that is in it, if it was made here.
        """
        if self._lock is None:
            return
        if discard and self._made is not None and self._lock.is_locked:  # not later: it may be another's then
            shutil.rmtree(self._made, ignore_errors=True)
        self._lock.release()


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _reason(folder: Path, error: OSError) -> str:
    """Why a folder cannot be made or written; where a file is in its place, which."""
    found = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if not found.is_dir():
        return f"{found} is a file: name a folder, or one that is still to be made"
    return error.strerror or str(error)
