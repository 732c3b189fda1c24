"""Random in-plane misalignment of the input face (MTUN, sec. 3.3 and 4.1), while the target stays upright.

A **similarity** is float32 (angle_deg, zoom, dx, dy): the face is turned about the image's centre by ``angle_deg``
(positive is clockwise as seen), enlarged by ``zoom``, and then moved by (dx, dy) pixels of the HR image. :func:`draw`
makes it from (seed, position) alone, so the host path, the device path and a resumed run use the same one. Three
functions apply it to an image: :func:`turn` (8-bit, Pillow: evaluation), ``degrade.misalign`` (JAX) and
``degrade_tf.misalign`` (TensorFlow). Pixels from outside the image are black.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jfsr.data.records import BadRecord, Pictures, Record
from jfsr.geometry import HR_SIZE

IDENTITY = (0.0, 1.0, 0.0, 0.0)
# Of each side of the face, among the 68 landmarks: the eye, and the corner of the mouth.
SIDES = ((range(36, 42), 48), (range(42, 48), 54))


@dataclasses.dataclass(frozen=True)
class Ranges:
    """The ranges that similarities are drawn from.

    Attributes:
      rotation_deg: largest angle, to either side.
      shift: largest move along each axis, to either side, as a fraction of the image's side.
      zoom: (smallest, largest).
      upright: turn the targets upright first, see :class:`Upright`.
    """

    rotation_deg: float = 0.0
    shift: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    upright: bool = False


# The config section data.misalign of a method that misaligns its input.
CONFIG = {"rotation_deg": float, "shift": float, "zoom": tuple[float, ...], "upright": bool}


def ranges(section: Any) -> Ranges | None:
    """The ranges in the config section ``data.misalign``; None for a config without it.

    Raises:
      ValueError: a range is impossible, or so wide that it would destroy the face.
    """
    if not section:
        return None
    out = Ranges(section.rotation_deg, section.shift, tuple(section.zoom), section.upright)
    low, high = out.zoom
    if not (0.1 <= low <= high <= 10 and 0 <= out.shift < 1 and 0 <= out.rotation_deg <= 180):
        raise ValueError(
            f"data.misalign has rotation_deg {out.rotation_deg}, shift {out.shift}, zoom {out.zoom}; it takes "
            "0 to 180 degrees, a shift of 0 to 1 side, and 0.1 <= zoom[0] <= zoom[1] <= 10"
        )
    return out


def draw(ranges: Ranges, *, seed: int, position: int, size: int = HR_SIZE) -> Float[np.ndarray, "4"]:
    """The similarity of the face at a position: uniform within the ranges; for the zoom, its logarithm is uniform."""
    u = np.random.default_rng([seed, 3, position]).uniform(-1.0, 1.0, 4)
    low, high = (math.log(z) for z in ranges.zoom)
    zoom = math.exp((low + high) / 2 + u[1] * (high - low) / 2)
    shift = ranges.shift * size
    return np.array([u[0] * ranges.rotation_deg, zoom, u[2] * shift, u[3] * shift], np.float32)


def inverse(similarity: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4"]:
    """The similarity that undoes one."""
    angle, zoom, dx, dy = (float(v) for v in similarity)
    cos, sin = math.cos(math.radians(angle)) / zoom, math.sin(math.radians(angle)) / zoom
    return np.array([-angle, 1 / zoom, -(cos * dx + sin * dy), sin * dx - cos * dy], np.float32)


def turn(image: UInt8[np.ndarray, "n n 3"], similarity: Float[np.ndarray, "4"]) -> UInt8[np.ndarray, "n n 3"]:
    """The 8-bit image misaligned by a similarity, with Pillow's bilinear interpolation."""
    if tuple(similarity) == IDENTITY:
        return image
    side = len(image)
    # Pillow takes the inverse transform (output to input), in coordinates whose pixel centres are at halves.
    angle, zoom, dx, dy = (float(v) for v in inverse(similarity))
    cos, sin = zoom * math.cos(math.radians(angle)), zoom * math.sin(math.radians(angle))
    c = side / 2
    back = (cos, -sin, c - cos * c + sin * c + dx, sin, cos, c - sin * c - cos * c + dy)
    turned = Image.fromarray(image).transform(
        (side, side), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR, fillcolor=(0, 0, 0)
    )
    return np.asarray(turned)


class Upright:
    """Pictures turned so that the line from the mouth to the eyes is vertical; the middle of that line stays in place.

    The paper's HR faces are aligned. If a photograph kept its own tilt, no network could know which part of the tilt is
    the misalignment. So a face whose landmarks do not say how it is tilted is a :class:`BadRecord`: the pipeline leaves
    it out, names it and counts it. See :func:`upright_line` for what is needed.

    Args:
      source: uncropped faces; crop them after this.
    """

    def __init__(self, source: Pictures):
        self.source, self.name = source, source.name
        self.skipped = source.skipped

    def __len__(self) -> int:
        """Number of records."""
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        """The upright record."""
        record = self.source[index]
        line = upright_line(record)
        if line is None:
            raise BadRecord(
                f"{record['name']} has neither two eyes and mouth corners nor those of one side, so it cannot be "
                "turned upright"
            )
        eyes, mouth = line
        tilt = math.degrees(math.atan2(eyes[0] - mouth[0], mouth[1] - eyes[1]))
        return rotated(record, -tilt, (eyes + mouth) / 2)

    def name_of(self, index: int) -> str:
        """Name of a record, without decoding its picture."""
        return self.source.name_of(index)

    def report(self) -> str:
        """What there is and what was skipped."""
        return self.source.report()


def upright_line(record: Record) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]] | None:
    """Where the line from the eyes to the mouth of a face begins and ends, (x, y) in pixels; it is vertical if upright.

    Both are midpoints of the 5 landmarks. A profile, of whose 68 landmarks one side alone is known (Menpo's 39 points),
    has instead the middle of the visible eye and the corner of the mouth on that side: on a head they lie about below
    each other. None: one of them is unknown too.
    """
    points = record["landmarks5_px"]
    if np.isfinite(points).all():
        return points[:2].mean(0), points[3:].mean(0)
    for eye, corner in SIDES:
        ends = record["landmarks_px"][[*eye, corner]]
        if np.isfinite(ends).all():
            return ends[:-1].mean(0), ends[-1]
    return None


def rotated(record: Record, angle_deg: float, about: Float[np.ndarray, "2"]) -> Record:
    """The record turned clockwise about a point (x, y); the detector's box becomes unknown, as it would not fit."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    x, y = (float(v) + 0.5 for v in about)
    image = Image.fromarray(record["image"])
    back = (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)
    turned = image.transform(image.size, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC, fillcolor=(0, 0, 0))
    move = lambda p: ((p - about) @ np.array([[cos, sin], [-sin, cos]]) + about).astype(np.float32)
    return {
        **record,
        "image": np.asarray(turned),
        "pose_deg": _rolled(record["pose_deg"], angle_deg),
        "landmarks_px": move(record["landmarks_px"]),
        "landmarks5_px": move(record["landmarks5_px"]),
        "box_px": np.full(4, np.nan, np.float32),
    }


def _rolled(pose_deg: Float[np.ndarray, "3"], angle_deg: float) -> Float[np.ndarray, "3"]:
    """Pose of a head after its image is turned clockwise. In NumPy, because the pipeline's threads call it."""
    yaw, pitch, roll = np.radians(pose_deg.astype(np.float64))
    cy, sy, cp, sp, cr, sr = (f(a) for a in (-yaw, pitch, roll) for f in (np.cos, np.sin))
    # geometry.rotation_from_pose in NumPy. y points down, so a clockwise turn about the image's normal is positive.
    R = np.array(
        [
            [cy * cr, -cy * sr, sy],
            [cp * sr + sp * sy * cr, cp * cr - sp * sy * sr, -sp * cy],
            [sp * sr - cp * sy * cr, sp * cr + cp * sy * sr, cp * cy],
        ]
    )
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ R
    turned = [-np.arctan2(R[0, 2], np.hypot(R[0, 0], R[0, 1])), np.arctan2(-R[1, 2], R[2, 2])]
    return np.degrees([*turned, np.arctan2(-R[0, 1], R[0, 0])]).astype(np.float32)
