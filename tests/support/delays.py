"""``python delays.py SECONDS PLACE,PLACE,… --config=…``: train.py, in which each place takes SECONDS longer, once."""

from __future__ import annotations

import functools
import importlib
import runpy
import sys
import time

# Where processes take unequally long: a barrier stands behind each of them, but for the last.
PLACES = {
    "data": ("jfsr.data.pipeline", "train_batches"),
    "checking": ("jfsr.training.checkpoint", "open_manager"),
    "loading": ("jfsr.training.checkpoint", "restore"),
    "compiling": ("jfsr.training.parallel:Parallel", "compile"),
    "drawing": ("jfsr.drawing.figures", "sample_grid"),
    "saving": ("jfsr.training.checkpoint", "save"),
    # A collective follows at once.
    "batch": ("jfsr.training.parallel:Parallel", "shard"),
}


def delay(place: str, seconds: float, *, calls: int = 1) -> None:
    """Makes a place take longer the ``calls``-th time."""
    (module, _, owner), name = PLACES[place][0].partition(":"), PLACES[place][1]
    holder = importlib.import_module(module)
    holder = getattr(holder, owner) if owner else holder
    real, called = getattr(holder, name), []

    @functools.wraps(real)
    def late(*args, **options):
        called.append(None)
        if len(called) == calls:
            print(f"late by {seconds} s: {place}", flush=True)
            time.sleep(seconds)
        return real(*args, **options)

    setattr(holder, name, late)


if __name__ == "__main__":
    _, text, places, *words = sys.argv
    for place in places.split(","):
        delay(place, float(text), calls=3 if place == "batch" else 1)
    sys.argv = ["train.py", *words]
    runpy.run_path("train.py", run_name="__main__")
