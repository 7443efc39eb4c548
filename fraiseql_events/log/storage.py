"""Where a Delta table's files lie, and how their bytes are made safe there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import pyarrow as pa

if TYPE_CHECKING:
    from fraiseql_events.log.object_store import Objects

_LOCAL_SCHEMES: Final = ("", "file")


class Storage:
    """A folder of a table, local or on any store that delta-rs reaches, addressed by paths relative to it.

    Args:
        url: a local path, a ``file://`` URL, or any other URL that delta-rs takes.
        options: delta-rs's storage options (credentials, regions, endpoints).
    """

    def __init__(self, url: str, options: dict[str, str] | None = None) -> None:
        self.url = url
        self.options = dict(options or {})
        self.local = local_path(url)
        self._remote: Objects | None = None

    def prepare(self) -> None:
        """Makes a local folder; a remote one needs no making."""
        if self.local is not None:
            self.local.mkdir(parents=True, exist_ok=True)

    def open_input(self, path: str) -> pa.NativeFile:
        """Opens a file for reading at any place."""
        if self.local is not None:
            return pa.OSFile(str(self.local / path), "r")
        return self._objects().open_input(path)

    def open_output(self, path: str) -> pa.NativeFile:
        """Opens a new file for writing."""
        if self.local is not None:
            target = self.local / path
            target.parent.mkdir(parents=True, exist_ok=True)
            return pa.OSFile(str(target), "wb")
        return self._objects().open_output(path)

    def size(self, path: str) -> int:
        """A file's bytes."""
        if self.local is not None:
            return (self.local / path).stat().st_size
        return self._objects().size(path)

    def discard(self, path: str) -> None:
        """Removes what there is of a local file that could not be written; vacuum removes a remote one."""
        if self.local is not None:
            with contextlib.suppress(OSError):
                (self.local / path).unlink()

    def sync(self, *paths: str) -> None:
        """Forces local files, and the folders that name them, to the disk. delta-rs does not."""
        if self.local is None:
            return
        folders = {(self.local / path).parent for path in paths}
        for target in [self.local / path for path in paths] + sorted(folders) + [self.local]:
            _sync(target)

    def _objects(self) -> Objects:
        if self._remote is None:
            from fraiseql_events.log.object_store import Objects

            self._remote = Objects(self.url, self.options)
        return self._remote


def local_path(url: str) -> Path | None:
    """The local folder that a path or a ``file://`` URL names; None for any other URL."""
    parts = urlsplit(url)
    if len(parts.scheme) == 1 or "://" not in url:
        return Path(url).expanduser().absolute()  # a Windows drive is no scheme
    if parts.scheme in _LOCAL_SCHEMES:
        return Path(url2pathname(unquote(parts.path) if os.name != "nt" else parts.path))
    return None


def join(url: str, name: str) -> str:
    """The address of something inside a store."""
    folder = local_path(url)
    return str(folder / name) if folder is not None else f"{url.rstrip('/')}/{name}"


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and needs not
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
