"""Files: text is UTF-8, and a file appears complete or not at all; locks; the cache's folder.

Names of files that are no UTF-8 survive: their bytes are kept (``surrogateescape``) in what is read and written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pathlib
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]


def path(text: os.PathLike | str) -> pathlib.Path:
    """A path that a user gives: ``~`` is the home.

    Raises:
      ValueError: it begins with ``~``, and that home is not known.
    """
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{text}: there is no such home ({error}); give the whole path") from error


def make_data_folder(folder: pathlib.Path) -> None:
    """Makes TFDS's data folder; ValueError if it cannot be written, or is in the home of a user who has none."""
    if folder.parts[:1] == ("~",):
        raise ValueError(f"data sets go to {folder}, and this user has no home: set TFDS_DATA_DIR to a folder for them")
    if why := unwritable(folder):
        raise ValueError(
            f"data sets go to {folder}, which cannot be written ({why}): set TFDS_DATA_DIR to another folder"
        )


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
    write_bytes(file, text.encode("utf-8", "surrogateescape"))


def write_json(file: os.PathLike | str, value: Any) -> None:
    """Writes a JSON file, see :func:`draft`; NaN and infinities, which JSON cannot express, become null."""
    write_text(file, json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(file: os.PathLike | str) -> str:
    """The text of a UTF-8 file, without its byte order mark; every kind of line end becomes a newline."""
    return pathlib.Path(file).read_text(encoding="utf-8-sig", errors="surrogateescape")


def not_utf8(text: str) -> bool:
    """Whether a text that :func:`read_text` gave was no UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def printable(text: str) -> str:
    """A text for people: bytes that are no UTF-8 as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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


class InUse(ValueError):  # noqa: N818 - it is the folder that is in use
    """A folder that another program has: names its host, its process and since when."""


@contextlib.contextmanager
def locked(file: os.PathLike | str, *, what: str, remedy: str = "") -> Iterator[None]:
    """Holds a lock, of which one program on any host that shares the file system can have one.

    The system gives it back when the program ends, however it ends: a file that is left behind locks nothing. Where the
    file system has no locks, nothing is locked.

    Args:
      file: the lock; it names its holder. Its folder must exist.
      what: is locked, for messages.
      remedy: what to do if another program has it: then this is an error at once. '': waits for the other's end.

    Raises:
      InUse: another program has it, and there is a ``remedy``.
    """
    try:
        stream = open(file, "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        folder = pathlib.Path(file).parent
        raise ValueError(f"{folder} cannot be written ({error.strerror}); give another folder") from error
    with stream:
        if _lock(stream, wait=False) is False:
            stream.seek(0)
            holder = stream.read().strip() or "another program"
            if remedy:
                raise InUse(f"{what} is in use by {holder}; {remedy}")
            print(f"waits for {holder}, which has {what}", file=sys.stderr, flush=True)
            _lock(stream, wait=True)
        stream.truncate(0)
        stream.write(f"{socket.gethostname()}, pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        stream.flush()
        yield


def _lock(stream: Any, *, wait: bool) -> bool | None:
    """True: the lock is ours. False: another has it. None: the file system has none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def unwritable(folder: pathlib.Path) -> str:
    """Why nothing can be written to a folder, which is made if it is not there; '' if it can."""
    file = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()
        file.unlink(missing_ok=True)  # a process of that number on another host may have been faster
    except OSError as error:
        return error.strerror or str(error)
    return ""


def cache(*parts: str) -> pathlib.Path:
    """A folder of jfsr's cache: ``~/.cache/jfsr/…``; for a user without a home, in the folder of temporary files."""
    try:
        base = path("~/.cache")
    except ValueError:  # no home
        base = pathlib.Path(tempfile.gettempdir()) / f"cache-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    return base.joinpath("jfsr", *parts)
