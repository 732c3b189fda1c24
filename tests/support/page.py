"""The page of ``jfsr demo`` with a network that answers by arithmetic: python tests/support/page.py PORT [SECONDS]."""

from __future__ import annotations

import contextlib
import os
import sys
import time

import numpy as np

from jfsr import demo, photos
from jfsr.data.boxes import Face

POINTS = np.array([[38.0, 40], [46, 40], [42, 45], [39, 49], [45, 49]])


class Squares:
    """A network that turns every face into its negative: restored faces can be told from the photograph."""

    name, hr_size, scale = "squares", 128, 8

    def predict(self, lr):
        return np.repeat(np.repeat(1.0 - lr, 8, 1), 8, 2).astype(np.float32)


def pose(images):
    return np.tile(np.array([[10.0, -20.0, 30.0]], np.float32), (len(images), 1))


def find(photo):
    """A face of 16 px, in a wide picture one that is too large to restore, and in a tiny one none."""
    if photo.shape[1] < 60:
        return []
    big = Face(np.array([100.0, 20, 180, 100]), POINTS * 5 - 80, 0.8)
    return [Face(np.array([34.0, 34, 50, 52]), POINTS, 0.9), big][: 1 + (photo.shape[1] > 150)]


def gate(images):
    return np.full(len(images), 0.75, np.float32)


BY = photos.BySize([Squares()], pose=pose, gate=gate)

if __name__ == "__main__":
    port, seconds = int(sys.argv[1]), float(sys.argv[2])

    def slow(photo):
        time.sleep(seconds)
        return find(photo)

    with demo.own_folder():
        print(os.environ["GRADIO_TEMP_DIR"], flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            demo.serve(BY, slow, host="127.0.0.1", port=port)
