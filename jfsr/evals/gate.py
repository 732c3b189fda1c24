"""What a quality gate costs and saves: the rows of MSGAN's Table 3 in which it decides.

| row | input | what the pose network reads |
|---|---|---|
| ``original+gate`` | the original | it, or ours (of the original, down-sampled for it) where the gate asks for it |
| ``ours+gate`` | the low resolution | ours where the gate asks for it, else the bicubic enlargement |

The other rows are those of :mod:`jfsr.evals.pose`: nothing restored, or everything, as it is known to be needed.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr.evals import pose
from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line, in_chunks
from jfsr.methods import gate

NETWORK = ""  # its classifier is a run of its own, by --gate
COLUMNS: Mapping[str, Column] = {}  # its lines have the columns of jfsr.evals.pose

Decide = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, " n"]]
SHOWN = {"original+gate": "original", "ours+gate": "bicubic"}  # row -> what the gate is shown


def program(config: Any, variables: Any, frozen: dict[str, Any]) -> Decide:
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
    compiled = jax.jit(functools.partial(gate.decide, config))

    def decide(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, " n"]:
        return in_chunks(lambda full: compiled(variables, frozen, full), images, width=())

    return decide


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """Lets the gate decide for every original and every bicubic enlargement, and reads the pose off what it chose.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      context: its programs ``'pose'`` and ``'gate'``; without both, and for faces that no system restored, there are
        no lines.

    Returns:
      The lines of :func:`score`.
    """
    lines: list[Line] = []
    if not {"pose", "gate"} <= context.programs.keys():
        return lines
    read, decide = context.programs["pose"], context.programs["gate"]
    for batch in faces:
        if "ours" not in batch.images:
            continue
        readings = {version: read(batch.images[version]) for version in ("original", "bicubic", "ours")}
        lines += score(batch, readings, {version: decide(batch.images[version]) for version in SHOWN.values()})
    return lines


def score(
    faces: Faces, readings: Mapping[str, Float[np.ndarray, "n 3"]], needs: Mapping[str, Float[np.ndarray, " n"]]
) -> list[Line]:
    """The lines of poses that have been read and decisions that have been made.

    Args:
      faces: the faces.
      readings: (yaw, pitch, roll) in degrees off 'original', 'bicubic' and 'ours'.
      needs: the gate's probability that super-resolution is needed, for 'original' and 'bicubic'; above 0.5 it is used.

    Returns:
      One line per face and row with the columns of :func:`jfsr.evals.pose.score` and ``used``, the version that was
      read; ``needs_sr``, the gate's probability; ``right``, 1 where it decided rightly, else 0.
    """
    lines: list[Line] = []
    for row, version in SHOWN.items():
        restored = needs[version] > 0.5
        reading = np.where(restored[:, None], readings["ours"], readings[version])
        for line, probability, ours in zip(
            pose.score(faces, {row: reading}, original=readings["original"]), needs[version], restored, strict=True
        ):
            right = float(ours == (version == "bicubic"))
            lines.append(line | {"used": "ours" if ours else version, "needs_sr": float(probability), "right": right})
    return lines


def facts(lines: list[Line], context: Context) -> list[str]:
    """How often the gate decided rightly."""
    right = {shown: [line["right"] for line in lines if line["row"] == row] for row, shown in SHOWN.items()}
    if not all(right.values()):
        return []
    shares = ", ".join(f"{100.0 * statistics.mean(values):.1f} % of {shown}" for shown, values in right.items())
    return [f"The gate decides rightly: {shares}"]
