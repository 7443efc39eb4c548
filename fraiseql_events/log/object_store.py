"""Files on an object store, through obstore: the library under delta-rs, which lets other threads run meanwhile.

delta-rs's own file system for pyarrow holds Python's lock while it waits for the network: a store that hangs would
stop the whole process.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import obstore
import pyarrow as pa
from obstore.exceptions import BaseError, UnknownConfigurationKeyError
from obstore.store import from_url

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: Options that delta-rs mixes with the store's own, and obstore takes apart.
_CLIENT: Final = (
    "allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type", "http1_only", "http2_only",
    "pool_idle_timeout", "pool_max_idle_per_host", "proxy_url", "proxy_ca_certificate", "proxy_excludes", "timeout",
    "user_agent",
)  # fmt: skip
_PREFIXES: Final = ("aws_", "azure_", "google_")
_BOOLEANS: Final = ("allow_http", "allow_invalid_certificates", "http1_only", "http2_only")


class ObjectStoreError(OSError):
    """The store refused, or did not answer."""


class Objects:
    """The objects under a URL.

    Args:
        url: as delta-rs takes it.
        options: delta-rs's storage options; what only delta-rs understands is passed over.
    """

    def __init__(self, url: str, options: dict[str, str]) -> None:
        config, client = split_options(options)
        self._store = _open(url, config, client)

    def open_input(self, path: str) -> pa.NativeFile:
        """Opens an object for reading at any place."""
        return pa.PythonFile(_Input(self._store, path, self.size(path)), mode="r")

    def open_output(self, path: str) -> pa.NativeFile:
        """Opens a new object, which is there once it is closed."""
        return pa.PythonFile(_Output(self._store, path), mode="w")

    def size(self, path: str) -> int:
        """An object's bytes."""
        try:
            return int(obstore.head(self._store, path)["size"])
        except (BaseError, FileNotFoundError) as error:
            raise ObjectStoreError(str(error)) from error


class _Input(io.RawIOBase):
    """Every read is a request for just those bytes."""

    def __init__(self, store: ObjectStore, path: str, size: int) -> None:
        self._store, self._path, self._size = store, path, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        length = left if size < 0 else min(size, left)
        if length == 0:
            return b""
        try:
            found = obstore.get_range(self._store, self._path, start=self._at, length=length)
        except (BaseError, FileNotFoundError) as error:
            raise ObjectStoreError(str(error)) from error
        self._at += length
        return bytes(found)


class _Output(io.RawIOBase):
    def __init__(self, store: ObjectStore, path: str) -> None:
        self._writer = obstore.open_writer(store, path)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            return int(self._writer.write(bytes(data)))
        except BaseError as error:
            raise ObjectStoreError(str(error)) from error

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        try:
            self._writer.close()
        except BaseError as error:
            raise ObjectStoreError(str(error)) from error


def split_options(options: dict[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """delta-rs's storage options as obstore wants them: those of the store, and those of the HTTP client."""
    config: dict[str, str] = {}
    client: dict[str, Any] = {}
    for key, value in options.items():
        name = key.lower()
        plain = next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)
        if plain in _CLIENT:
            client[plain] = str(value).lower() in ("true", "1", "yes", "on") if plain in _BOOLEANS else value
        else:
            config[name] = value
    return config, client


def _open(url: str, config: Any, client: Any) -> ObjectStore:
    while True:
        try:
            return from_url(url, config=config or None, client_options=client or None)
        except UnknownConfigurationKeyError as error:
            unknown = [key for key in config if f"'{key}'" in str(error)]
            if not unknown:
                raise ObjectStoreError(str(error)) from error
            del config[unknown[0]]  # delta-rs's alone
        except (BaseError, ValueError) as error:
            raise ObjectStoreError(f"{url}: {error}") from error
