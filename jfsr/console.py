"""The terminal: what is printed may change characters there, but no print loses work.

A terminal of CP1252 or ASCII gets an escape for a character that it lacks. A pipe that is closed (``| head``), and a
redirection to a full disk, swallow the rest.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _Patient(io.RawIOBase):
    """Writes to a file descriptor, or nowhere once that fails."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._deaf = descriptor, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any, /) -> int:
        if not self._deaf:
            try:
                return os.write(self._descriptor, data)
            except OSError:
                self._deaf = True
        return len(data)


def prepare() -> None:
    """Makes ``print`` safe in this program; what a test or a notebook has put in place of a terminal is left alone."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__") or isinstance(stream.buffer, io.BytesIO):
            continue
        stream.flush()
        text = io.TextIOWrapper(
            io.BufferedWriter(_Patient(stream.fileno())),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, text)
