"""The schema of a run: every key that its config has, and its type.

The training loop, the data pipeline and the method each declare the keys that they read; a run's config has all of
these and no other.
"""

from __future__ import annotations

from typing import Any

from jfsr import methods
from jfsr.config import merge
from jfsr.data import pipeline

# What the training loop itself reads (train.py, and checkpoint and validation beside it).
LOOP = {
    "method": str,
    "seed": int,
    "parallel": str,
    "train": {"batch": int, "max_bad_run": int},
    "log": {"every": int, "samples_every": int, "samples": int, "val_every": int},
    "val": {"source": dict, "limit": int, "batch": int},
    "checkpoint": {"every": int, "keep": int, "best": str, "mode": str},
}


def run_schema(method: str) -> dict[str, Any]:
    """The schema of the runs of a method, by its name."""
    return merge(LOOP, pipeline.CONFIG, methods.find(method).CONFIG)
