"""What goes wrong in a store: the exceptions, and what they say in one line."""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa
from deltalake.exceptions import DeltaError

#: How pyarrow and delta-rs quote the operating system, the one behind "[errno 28]", the other before "(os error 28)".
_OF_SYSTEM: Final = re.compile(r"(?i).*\[errno \d+\] ([^\n]+)|([^\n↳ ][^\n↳]*) \(os error \d+\)")
_COLOUR: Final = re.compile(r"\x1b\[\d*m")
#: What delta-rs and the file systems under it raise.
STORE_ERRORS: Final = (DeltaError, OSError, pa.ArrowException, ValueError)


def first_line(error: BaseException) -> str:
    """An error in one short line: what the operating system said, where it was that, else its first line and causes."""
    plain = _COLOUR.sub("", str(error))
    said = _OF_SYSTEM.search(plain)
    text = said[1] or said[2] if said else ": ".join(filter(None, (line.strip(" ↳") for line in plain.splitlines())))
    return (text or type(error).__name__)[:300]
