"""Files that others have made: regular ones only, and no more of them than is expected."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

LARGEST_JSON = 2**20
"""Bytes; the settings of a model take some thousands."""


def check_regular(path: Path) -> int:
    """The size of a regular file in bytes: opening a pipe waits for ever, and a device has no end.

    Raises:
        OSError: there is none, or it is something else.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "a folder, pipe or device, not a file", str(path))
    return found.st_size


def head(path: Path, size: int) -> bytes:
    """Up to `size` bytes from the beginning of a regular file. Raises OSError."""
    check_regular(path)
    with path.open("rb") as file:
        return file.read(size)


def read_json(path: Path) -> Any:
    """A JSON value. Raises OSError, and ValueError where it is none, too large or too deep."""
    text = head(path, LARGEST_JSON + 1)
    if len(text) > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON} bytes")
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
