"""The baseline without super-resolution: a pose network that was trained on low-resolution faces reads them directly.

Such networks are ``configs/pose.py:lr16`` and ``lr8``. They see the low resolution enlarged to 128×128, in training by
the float operators of :mod:`jfsr.methods.pose`, here by Pillow's on 8-bit images, the very bicubic enlargement that the
other networks are given: the two differ by less than two grey levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jfsr.evals import pose
from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line, enlarge
from jfsr.evals.pose import PoseProgram
from jfsr.frozen import zoo
from jfsr.geometry import HR_SIZE

NETWORK = ""  # its network is a run of its own, by --direct
COLUMNS: Mapping[str, Column] = {}  # its lines have the columns of jfsr.evals.pose
ROW = "direct"


def program(config: Any, variables: Any) -> PoseProgram:
    """A function that reads (yaw, pitch, roll) in degrees off 8-bit *low-resolution* faces.

    Args:
      config: of a run of method 'pose' with ``scale`` > 1.
      variables: its parameters and statistics, as of :func:`jfsr.training.runs.load_variables`.

    Raises:
      ValueError: a run of another method, or a pose network that was trained on originals; and by the function, faces
        of another size than the network was trained on.
    """
    if config.method != "pose":
        raise ValueError(
            f"the direct baseline is a pose network (configs/pose.py:lr16 or lr8); this is a run of {config.method}"
        )
    if config.scale == 1:
        raise ValueError(
            "this pose network was trained on originals; the direct baseline is one that was trained on low-resolution "
            "faces (configs/pose.py:lr16 or lr8)"
        )
    read, side = pose.program(zoo.network(config.model.name), variables), HR_SIZE // config.scale

    def read_small(lr: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 3"]:
        if lr.shape[1:3] != (side, side):
            raise ValueError(
                f"this pose network was trained on {side}×{side}, these faces are {lr.shape[2]}×{lr.shape[1]}"
            )
        return read(enlarge(lr, size=HR_SIZE)) if len(lr) else read(np.empty((0, HR_SIZE, HR_SIZE, 3), np.uint8))

    return read_small


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """One line per face, of the row 'direct', with the columns of :func:`jfsr.evals.pose.score`.

    ``shift`` is NaN: this network has no reading of the original to compare with.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`; only ``lr`` and the labels are used.
      context: its program ``'direct'``; without it there are no lines.
    """
    read = context.programs.get("direct")
    return [line for x in (faces if read else ()) for line in pose.score(x, {ROW: read(x.lr)}, original=None)]


def facts(lines: list[Line], context: Context) -> list[str]:
    """Which run would give this row, where poses are scored without it."""
    if "pose" not in context.programs or "direct" in context.programs or not pose.labelled(lines):
        return []
    variant = f"configs/pose.py:lr{HR_SIZE // context.scale}"
    return [f"Not shown: a pose network trained on the low resolution itself (--direct=RUN, of {variant})"]
