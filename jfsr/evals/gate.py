"""What a quality gate costs and saves: the rows of MSGAN's Table 3 in which it decides.

| method | input | what the pose network reads |
|---|---|---|
| ``original+gate`` | the original | it, or ours (of the original, down-sampled for it) where the gate asks for it |
| ``ours+gate`` | the low resolution | ours where the gate asks for it, else the bicubic enlargement |

The other rows are those of :mod:`jfsr.evals.pose`: nothing restored, or everything, as it is known to be needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr.evals import pose
from jfsr.evals.faces import Faces, in_chunks
from jfsr.evals.pose import Read
from jfsr.methods import gate

Decide = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, " n"]]
METHODS = {"original+gate": "original", "ours+gate": "bicubic"}  # and what the gate is shown


def decider(config: Any, variables: Any, frozen: dict[str, Any]) -> Decide:
    """A function that gives the probability that each 8-bit face, enlarged if it was small, needs super-resolution.

    Args:
      config: of a run of method 'gate'.
      variables: its parameters and statistics, as of :func:`jfsr.training.runs.load_variables`.
      frozen: ``pose``, the variables of the pose network that ``config.frozen.pose`` names.

    Raises:
      ValueError: a run of another method.
    """
    if config.method != "gate":
        raise ValueError(f"a run of {config.method} decides nothing; give a gate (configs/gate.py)")
    program = jax.jit(functools.partial(gate.decide, config))

    def decide(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, " n"]:
        return in_chunks(lambda full: program(variables, frozen, full), images, width=())

    return decide


def run(faces: Iterable[Faces], read: Read, decide: Decide) -> list[dict[str, Any]]:
    """Lets the gate decide of every original and every bicubic enlargement, and reads the pose off what it chose.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      read: the pose network, from :func:`jfsr.evals.pose.estimator`.
      decide: from :func:`decider`.

    Returns:
      The rows of :func:`score`.
    """
    rows: list[dict[str, Any]] = []
    for some in faces:
        readings = {version: read(some.images[version]) for version in ("original", "bicubic", "ours")}
        rows += score(some, readings, {version: decide(some.images[version]) for version in METHODS.values()})
    return rows


def score(
    some: Faces, readings: Mapping[str, Float[np.ndarray, "n 3"]], needs: Mapping[str, Float[np.ndarray, " n"]]
) -> list[dict[str, Any]]:
    """Rows of poses that are read and decisions that are made already.

    Args:
      some: the faces.
      readings: (yaw, pitch, roll) in degrees off 'original', 'bicubic' and 'ours'.
      needs: the gate's probability that super-resolution is needed, of 'original' and 'bicubic'; above 0.5 it is used.

    Returns:
      One row per face and method with the columns of :func:`jfsr.evals.pose.run` and ``used``, the version that was
      read; ``needs_sr``, the gate's probability; ``right``, 1 where it decided rightly, else 0.
    """
    rows: list[dict[str, Any]] = []
    for method, version in METHODS.items():
        restored = needs[version] > 0.5
        reading = np.where(restored[:, None], readings["ours"], readings[version])
        for row, probability, ours in zip(
            pose.score(some, {method: reading}, original=readings["original"]), needs[version], restored, strict=True
        ):
            right = float(ours == (version == "bicubic"))
            rows.append(row | {"used": "ours" if ours else version, "needs_sr": float(probability), "right": right})
    return rows
