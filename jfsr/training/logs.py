"""The log of a run: metrics, sample pictures, a progress bar; TensorBoard through clu if TensorFlow is installed.

    WORKDIR/metrics.jsonl       one JSON object per line: step, seconds since the epoch, the metrics
    WORKDIR/samples/STEP.png    the sample faces at that step
    WORKDIR/tensorboard/        the same for TensorBoard

Only process 0 writes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from jfsr import files
from jfsr.methods import OF_NETS


class Writer:
    """Metrics and pictures of one run.

    Args:
      workdir: the run's folder.
      start_step: the step that the run resumes from; metrics.jsonl loses its later lines, since the run takes those
        steps again.
      tensorboard: also write TensorBoard events; by default if clu and TensorFlow are installed.
    """

    def __init__(self, workdir: os.PathLike | str, *, start_step: int = 0, tensorboard: bool | None = None):
        self.workdir, self.active = pathlib.Path(workdir), jax.process_index() == 0
        self._bar: tqdm | None = None
        self._total, self._clock = 0, (start_step, 0.0)
        self._board: Any = None
        if not self.active:
            return
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.file = self.workdir / "metrics.jsonl"
        if self.file.exists():
            _drop_after(self.file, start_step)
        if tensorboard is None:
            tensorboard = all(importlib.util.find_spec(name) for name in ("clu", "tensorflow", "tensorboard"))
        if tensorboard:
            from clu.metric_writers import AsyncWriter, SummaryWriter  # imports TensorFlow

            self._board = AsyncWriter(SummaryWriter(str(self.workdir / "tensorboard")))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Records numbers of one step and prints them; without a bar, also the pace and the remaining time."""
        if not self.active:
            return
        row = {"step": step, "time": round(time.time(), 3), **{k: float(v) for k, v in values.items()}}
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(files.finite(row), allow_nan=False) + "\n")
        if self._board is not None:
            self._board.write_scalars(step, dict(values))
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items() if k.split("/", 1)[0] not in OF_NETS)
        self.say(f"[{step}] {shown}{self._pace(step)}")

    def image(self, step: int, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Saves one uint8 [h, w, 3] picture as a PNG and for TensorBoard."""
        if not self.active:
            return
        folder = self.workdir / name
        folder.mkdir(exist_ok=True)
        with files.draft(folder / f"{step:07d}.png") as unfinished:
            Image.fromarray(picture).save(unfinished, "PNG")
        if self._board is not None:
            self._board.write_images(step, {name: picture[None]})

    def say(self, line: str) -> None:
        """Prints a line without breaking the progress bar."""
        if self.active:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    @contextlib.contextmanager
    def progress(self, first: int, total: int) -> Iterator[Writer]:
        """Shows a bar with the pace and the remaining time on a terminal; elsewhere, the lines say both.

        Args:
          first: the step that the run starts or resumes at.
          total: its last step.
        """
        self._total = total
        hide = not (self.active and sys.stderr.isatty())
        with tqdm(total=total, initial=first, unit="step", dynamic_ncols=True, disable=hide) as self._bar:
            yield self
        self._bar = None

    def advance(self, stage: str) -> None:
        """Moves the bar by one step."""
        if self._bar is not None:
            self._bar.set_description(stage, refresh=False)
            self._bar.update()

    def close(self) -> None:
        """Waits until everything is on disk."""
        if self._board is not None:
            self._board.close()

    def _pace(self, step: int) -> str:
        """Steps per second since the first line, which leaves the compilation out, and the remaining time."""
        first, since = self._clock
        if not since:
            self._clock = (step, time.monotonic())
        if self._bar is None or not self._bar.disable or not since or step <= first:
            return ""
        pace = (step - first) / max(time.monotonic() - since, 1e-9)
        return f"  ({pace:.3g} steps/s, {tqdm.format_interval((self._total - step) / pace)} left)"


class GracefulExit:
    """Turns the first SIGTERM or Ctrl-C into a request that the loop reads: ``with GracefulExit() as stop``.

    A second signal has its usual effect. The old handlers are restored after the first signal or at the end. Inside
    ``with stop.at_once()`` either signal ends the process at once: Python's handlers wait for what is compiled.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.requested, self.told = False, False  # told: the other processes, see train.py
        self._old: dict[int, Any] = {}

    def __enter__(self) -> GracefulExit:
        self._old = {s: signal.signal(s, self._ask) for s in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """For what takes long and would be lost anyway: a signal ends the process, as if there were no handler."""
        ours = {s: signal.signal(s, signal.SIG_DFL) for s in self.SIGNALS}
        try:
            yield
        finally:
            for number, handler in ours.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        while self._old:
            signal.signal(*self._old.popitem())


def _drop_after(file: pathlib.Path, step: int) -> None:
    """Keeps the lines up to a step; also drops a last line that a crash cut off."""
    kept = []
    for line in files.read_text(file).splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("step", step + 1) <= step:
            kept.append(line + "\n")
    files.write_text(file, "".join(kept))
