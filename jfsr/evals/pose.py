"""What a frozen pose network reads off the original, the bicubic enlargement and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr import metrics
from jfsr.evals.faces import Faces, in_chunks
from jfsr.geometry import POSE_NAMES

Read = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n 3"]]


def estimator(network: Any, variables: Any) -> Read:
    """A function that reads (yaw, pitch, roll) in degrees off 8-bit faces of one size.

    The network runs on batches of one fixed size, the last one padded, so that it compiles once and the reading of a
    face does not depend on how many faces are given.

    Args:
      network: a pose :class:`jfsr.frozen.zoo.FrozenNetwork`.
      variables: its variables, an argument of the compiled program.
    """
    if network.kind != "pose":
        raise ValueError(f"{network.name} reads {network.kind}, not pose; give a pose network")
    program = jax.jit(lambda variables, images: network.decode(network.apply(variables, images).logits))

    def read(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 3"]:
        return in_chunks(lambda full: program(variables, full), images, width=(3,))

    return read


def run(faces: Iterable[Faces], read: Read) -> list[dict[str, Any]]:
    """Reads the pose of every version of every face and compares it with the label and with the original's reading.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      read: from :func:`estimator`.

    Returns:
      One row per face and method: position, name, method; yaw_true, … in degrees (NaN = unknown); yaw_deg, … as read;
      yaw_err, …, mae (mean of the three) and geodesic in degrees; shift, the geodesic between this reading and the
      original's, which needs no label; dropped, the rule that leaves the face out ('' = kept; else its errors are NaN).
    """
    rows: list[dict[str, Any]] = []
    for some in faces:
        readings = {method: read(images) for method, images in some.images.items()}
        rows += score(some, readings, original=readings["original"])
    return rows


def score(
    some: Faces, readings: Mapping[str, Float[np.ndarray, "n 3"]], *, original: Float[np.ndarray, "n 3"] | None
) -> list[dict[str, Any]]:
    """The rows of :func:`run` for poses that are read already.

    Args:
      some: the faces that they were read off.
      readings: (yaw, pitch, roll) in degrees of every face, by method.
      original: the same network's readings of the originals; None: it reads no originals, and ``shift`` is NaN.
    """
    rows: list[dict[str, Any]] = []
    dropped = metrics.pose_dropped_by(some.pose_deg)
    kept = np.array([not rule for rule in dropped], bool)
    true = np.where(kept[:, None], some.pose_deg, np.nan)
    for method, reading in readings.items():
        errors = metrics.pose_errors(reading, true)
        geodesic = metrics.pose_geodesic(reading, true)
        shift = np.full(len(reading), np.nan) if original is None else metrics.pose_geodesic(reading, original)
        for i, name in enumerate(some.names):
            row: dict[str, Any] = {"position": int(some.position[i]), "name": name, "method": method}
            for k, angle in enumerate(POSE_NAMES):
                row[f"{angle}_true"] = float(some.pose_deg[i, k])
                row[f"{angle}_deg"] = float(reading[i, k])
                row[f"{angle}_err"] = float(errors[i, k])
            row["mae"] = float(errors[i].mean())
            row |= {"geodesic": float(geodesic[i]), "shift": float(shift[i]), "dropped": dropped[i]}
            rows.append(row)
    return rows
