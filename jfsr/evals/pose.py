"""What a frozen pose network reads off the original, the enlargements and ours: pose errors in degrees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr import metrics
from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line, in_chunks
from jfsr.geometry import POSE_NAMES

NETWORK = "pose"
COLUMNS = {
    "yaw_err": Column(title="yaw °", digits=2),
    "pitch_err": Column(title="pitch °", digits=2),
    "roll_err": Column(title="roll °", digits=2),
    "mae": Column(title="MAE °", digits=2, legend="MAE: mean of the three wrapped angle errors."),
    "geodesic": Column(title="geodesic °", digits=2),
    "shift": Column(title="moved °", digits=2, legend="Moved: rotation between this reading and that of the original."),
}

# 8-bit faces of one size -> (yaw, pitch, roll) in degrees.
PoseProgram = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n 3"]]


def program(network: Any, variables: Any) -> PoseProgram:
    """A compiled function that reads (yaw, pitch, roll) in degrees off 8-bit faces of one size.

    The network runs on batches of one fixed size, the last one padded, so that it compiles once and the reading of a
    face does not depend on how many faces are given.

    Args:
      network: a pose :class:`jfsr.frozen.network.FrozenNetwork`.
      variables: its variables, an argument of the compiled program.

    Raises:
      ValueError: a network of another kind.
    """
    if network.kind != "pose":
        raise ValueError(f"{network.name} reads {network.kind}, not pose; give a pose network")
    compiled = jax.jit(lambda variables, images: network.decode(network.apply(variables, images).logits))

    def read(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 3"]:
        return in_chunks(lambda full: compiled(variables, full), images, width=(3,))

    return read


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """Reads the pose of every version of every face and compares it with the label and with the original's reading.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      context: its program ``'pose'``; without it there are no lines.

    Returns:
      The lines of :func:`score`.
    """
    read = context.programs.get("pose")
    lines: list[Line] = []
    for batch in faces if read else ():
        readings = {row: read(images) for row, images in batch.images.items()}
        lines += score(batch, readings, original=readings["original"])
    return lines


def score(
    faces: Faces, readings: Mapping[str, Float[np.ndarray, "n 3"]], *, original: Float[np.ndarray, "n 3"] | None
) -> list[Line]:
    """The lines of poses that have been read.

    Args:
      faces: the faces that they were read off.
      readings: (yaw, pitch, roll) in degrees of every face, by row.
      original: the same network's readings of the originals; None: it reads no originals, and ``shift`` is NaN.

    Returns:
      One line per face and row: yaw_true, … in degrees (NaN = unknown); yaw_deg, … as read; yaw_err, …, mae (mean of
      the three) and geodesic in degrees; shift, the geodesic between this reading and the original's, which needs no
      label; dropped, the rule that leaves the face out ('' = kept; else its errors are NaN).
    """
    lines: list[Line] = []
    dropped = metrics.pose_dropped_by(faces.pose_deg)
    kept = np.array([not rule for rule in dropped], bool)
    true = np.where(kept[:, None], faces.pose_deg, np.nan)
    for row, reading in readings.items():
        errors = metrics.pose_errors(reading, true)
        scores: dict[str, Any] = {}
        for k, angle in enumerate(POSE_NAMES):
            scores[f"{angle}_true"] = faces.pose_deg[:, k]
            scores[f"{angle}_deg"] = reading[:, k]
            scores[f"{angle}_err"] = errors[:, k]
        scores["mae"] = [float(e.mean()) for e in errors]
        scores["geodesic"] = metrics.pose_geodesic(reading, true)
        moved = np.full(len(reading), np.nan) if original is None else metrics.pose_geodesic(reading, original)
        lines += faces.lines(row, {**scores, "shift": moved, "dropped": dropped})
    return lines


def facts(lines: list[Line], context: Context) -> list[str]:
    """That no face has a label, where it is so."""
    if "pose" in context.programs and not labelled(lines):
        return [f"Pose errors not scored: no pose labels in {context.source}"]
    return []


def labelled(lines: list[Line]) -> bool:
    """Whether some face has a pose label."""
    return any(line.get("dropped", "no pose label") != "no pose label" for line in lines)
