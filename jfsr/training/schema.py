"""The schema of a run: every key that its config has, and its type.

The training loop, the data pipeline and the method each declare the keys that they read; a run's config has all of
these and no other.
"""

from __future__ import annotations

from typing import Any

from jfsr import methods
from jfsr.config import COUNT, STEPS, Within, merge
from jfsr.data import pipeline

# What the training loop itself reads (train.py, and checkpoint and validation beside it).
LOOP = {
    "method": str,
    "seed": Within(int, 0, 2**31 - 1),  # of NumPy, JAX and tf.data
    "parallel": str,
    "train": {"batch": COUNT, "max_bad_run": COUNT},
    "log": {"every": STEPS, "samples_every": STEPS, "samples": STEPS, "val_every": STEPS},
    "val": {"source": dict, "limit": STEPS, "batch": COUNT},
    "checkpoint": {"every": STEPS, "keep": COUNT, "best": str, "mode": str},
}


def run_schema(method: str) -> dict[str, Any]:
    """The schema of the runs of a method, by its name."""
    return merge(LOOP, pipeline.CONFIG, methods.find(method).CONFIG)
