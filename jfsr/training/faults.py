"""How a process ends when something is wrong: exit codes, a run that stands still, JAX's aborts.

| exit code | means | start it again? |
|---|---|---|
| 0 | done, or stopped by a signal and saved | to go on |
| 1 | an error of the program | |
| :data:`INPUT` | a fault of the input: config, data, disk | not before it is mended |
| :data:`FAULT` | another process ended, or no step was made for too long | yes, all processes |
| 128 + number | ended by a signal: 137 killed, for instance for want of memory | yes, all processes |
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import pathlib
import re
import signal
import sys
import threading
import time
from typing import Any

INPUT = 2
FAULT = 3
ABORT_AFTER_S = 5.0  # how long an abort by JAX waits for our own word
_HANDLERS: list[Any] = []


class StallGuard:
    """Ends a process that makes no step for too long: clusters hang in a collective for hours without a word.

    Args:
      folder: where the stacks of all threads are written, ``stalled_PROCESS.txt``.
      timeout_s: since the last step; 0 = never. It counts from the first :meth:`beat` on.
      process: number of this process.
    """

    def __init__(self, folder: pathlib.Path, *, timeout_s: float, process: int = 0):
        self.file, self.timeout_s, self._last = folder / f"stalled_{process}.txt", timeout_s, 0.0
        if timeout_s:
            threading.Thread(target=self._watch, daemon=True, name="jfsr stall guard").start()

    def beat(self) -> None:
        """A step was made."""
        self._last = time.monotonic()

    def rest(self) -> None:
        """What follows is no step and may take long."""
        self._last = 0.0

    @property
    def resting(self) -> bool:
        """Whether no step was made since :meth:`rest`."""
        return not self._last

    def _watch(self) -> None:
        while True:
            time.sleep(min(5.0, self.timeout_s / 4))
            if self._last and time.monotonic() - self._last > self.timeout_s:
                with contextlib.suppress(OSError), self.file.open("w", encoding="utf-8") as stream:
                    faulthandler.dump_traceback(stream, all_threads=True)
                os.write(2, f"no step for {self.timeout_s:.0f} s: stacks in {self.file}; start it again\n".encode())
                os._exit(FAULT)


def of_a_partner(error: BaseException) -> bool:
    """Whether JAX's runtime says that a collective failed: a process is gone or late, or the network failed.

    JAX raises it as JaxRuntimeError, and in some places as ValueError.
    """
    return re.match(r"(UNKNOWN|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED): ", str(error)) is not None


def exit_code(error: BaseException) -> int:
    """With which exit code one of several processes ends after ``error``."""
    if of_a_partner(error):
        return FAULT
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        return error.code or 0
    return INPUT if isinstance(error, ValueError | OSError) else 130 if isinstance(error, KeyboardInterrupt) else 1


def leave(error: BaseException) -> None:
    """Ends this process as Python would after ``error``, but without what is registered for its exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code(error))


def outlive_aborts(process: int) -> None:
    """Makes JAX's abort of this process, when another is gone, wait until ``Cluster`` has said who.

    When process 0 ends, JAX's runtime aborts the others from a thread of its own (SIGABRT), often before our connection
    has told. A handler in Python would wait for the main thread; this one runs in the thread that aborts.
    """

    def wait(_: int) -> None:
        time.sleep(ABORT_AFTER_S)
        os.write(
            2, f"process {process} ends: JAX's runtime aborted it, see above; start all processes again\n".encode()
        )
        os._exit(FAULT)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(wait)
    _HANDLERS.append(handler)  # C keeps no reference
    with contextlib.suppress(OSError, AttributeError):  # not on Windows
        ctypes.CDLL(None).signal(signal.SIGABRT, handler)
