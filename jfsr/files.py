"""Reading and writing files: text is UTF-8, and a file appears complete or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def draft(file: os.PathLike | str) -> Iterator[pathlib.Path]:
    """A path to write to; it replaces ``file`` when the block ends without an error.

    A program that reads ``file`` meanwhile gets the complete old content or the complete new content. After an error,
    the old content stays.
    """
    file = pathlib.Path(file)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(file: os.PathLike | str, data: bytes) -> None:
    """Writes a file, see :func:`draft`."""
    with draft(file) as unfinished:
        unfinished.write_bytes(data)


def write_text(file: os.PathLike | str, text: str) -> None:
    """Writes a text file as UTF-8, line ends as they are, see :func:`draft`."""
    write_bytes(file, text.encode("utf-8"))


def write_json(file: os.PathLike | str, value: Any) -> None:
    """Writes a JSON file, see :func:`draft`; NaN and infinities, which JSON cannot express, become null."""
    write_text(file, json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(file: os.PathLike | str) -> str:
    """The text of a UTF-8 file."""
    return pathlib.Path(file).read_text(encoding="utf-8")


def sha256(file: os.PathLike | str) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def finite(value: Any) -> Any:
    """The value with None for every float that is NaN or infinite, also inside dicts, lists and tuples."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
