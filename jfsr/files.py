"""Files: text is UTF-8, and what is written appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def draft(file: os.PathLike | str) -> Iterator[pathlib.Path]:
    """A path to write to, which takes the place of ``file`` when the block ends without an error.

    A reader of ``file`` sees the old content or the new one, never half of it; after an error, the old one is there.
    """
    file = pathlib.Path(file)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(file: os.PathLike | str, data: bytes) -> None:
    """Writes a whole file, see :func:`draft`."""
    with draft(file) as unfinished:
        unfinished.write_bytes(data)


def write_text(file: os.PathLike | str, text: str) -> None:
    """Writes a whole text file as UTF-8 with Unix line ends, see :func:`draft`."""
    write_bytes(file, text.encode("utf-8"))


def write_json(file: os.PathLike | str, value: Any) -> None:
    """Writes a whole JSON file; NaN and infinities, for which JSON has no word, become null."""
    write_text(file, json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(file: os.PathLike | str) -> str:
    """A whole text file, read as UTF-8."""
    return pathlib.Path(file).read_text(encoding="utf-8")


def finite(value: Any) -> Any:
    """The value with every float that is NaN or infinite replaced by None, in dicts, lists and tuples too."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return None
    return value
