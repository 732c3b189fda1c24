"""Named crop rules: each says which square of a picture is the face.

A rule gives a box (x0, y0, x1, y1) in pixel edges, [x0, x1) × [y0, y1). The box may reach outside the picture, where
the crop is black. The crop is the centre square of the box, resized to ``size``. The meaning of ``margin`` depends on
the rule:

| rule | box | margin |
|---|---|---|
| ``none`` | the picture; it must be square | not used |
| ``center`` | centre square | side as a fraction of the shorter side |
| ``landmark_box`` | square around the centre of the 68 landmarks' box | side in units of the box's longer side |
| ``eyes_mouth`` | the same square, estimated from 5 landmarks | as ``landmark_box`` |
| ``box`` | square around the centre of the detector's box | side in units of the box's longer side |
| ``mtcnn`` | ``box``; without a box, ``eyes_mouth`` on MTCNN's five points | as ``box`` |
| ``celeba_aligned`` | the 178×178 centre square of CelebA's aligned 178×218 | not used |
| ``hopenet_300wlp`` | Hopenet's training box with its factor k, 0.2 to 0.4 | k; 0 = drawn at random in training |
| ``hopenet_aflw2000`` | Hopenet's test box for AFLW2000, k = 0.2 | not used |
| ``hopenet_biwi`` | Hopenet's test box for BIWI around the detector's box, k = 0.35 | not used |

Hopenet moves one edge of the box after the other, each by a fraction of the box's current width or height, truncates
the corners to whole pixels, resizes the shorter side and keeps the centre: here, the centre square of the box.
DEVIATES: on AFLW2000 Hopenet's code takes the box of the 21 points of ``pt2d``, including absent ones at
(-1, height + 2); ours is the box of ``pt3d_68``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from jfsr.config import nearest
from jfsr.data.records import Pictures, Record
from jfsr.geometry import HR_SIZE

Box = tuple[float, float, float, float]

# Medians over the 2,009 training faces of HELEN, LFPW and AFW with 68 landmarks: the longer side of the landmarks' box
# in units of the eye-mouth distance (std .22), and the position of the box's centre on the line from the eyes' middle
# to the mouth's middle, as a fraction of that line (std .09).
BOX_PER_EYE_MOUTH, BOX_CENTRE = 2.22, 0.65
MAX_ENLARGE = 8  # a square of more than this many picture sides comes from broken labels


def crop_record(
    record: Record,
    *,
    rule: str,
    margin: float = 1.0,
    size: int = HR_SIZE,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Record:
    """The face cut out and resized by PIL's antialiased bicubic; the landmarks and the box move with it.

    Args:
      record: a record of any size.
      rule: name of a rule.
      margin: its meaning depends on the rule, see the module.
      size: side of the result in pixels.
      jitter: the crop is a random square inside the rule's square; its side is at least 1 - 2 * jitter of that one.
      rng: random numbers for the jitter; None = no jitter.

    Raises:
      ValueError: unknown rule, or a record without the labels that the rule needs.
    """
    if rule not in RULES:
        raise ValueError(f"unknown crop rule {rule!r}{nearest(rule, RULES)}; rules: {', '.join(RULES)}")
    if rule == "hopenet_300wlp" and margin == 0 and rng is not None:
        margin = rng.uniform(0.2, 0.4)
    x0, y0, side = square(RULES[rule](record, margin))
    if jitter and rng is not None:
        shrink, dx, dy = rng.uniform(size=3)
        slack = 2.0 * jitter * shrink * side
        x0, y0, side = x0 + dx * slack, y0 + dy * slack, side - slack
    height, width = record["image"].shape[:2]
    outside = x0 >= width or y0 >= height or x0 + side <= 0 or y0 + side <= 0
    if outside or side > MAX_ENLARGE * max(height, width):
        raise ValueError(
            f"{record['name']} is {width}×{height}, and crop {rule!r} gives the square of {side:.0f} px at "
            f"({x0:.0f}, {y0:.0f}); check its labels and the margin"
        )
    scale = size / side
    move = lambda p: ((p + 0.5 - np.array([x0, y0], np.float32)) * scale - 0.5).astype(np.float32)
    return {
        **record,
        "image": cut(record["image"], x0, y0, side, size),
        "landmarks_px": move(record["landmarks_px"]),
        "landmarks5_px": move(record["landmarks5_px"]),
        "box_px": ((record["box_px"] - np.array([x0, y0, x0, y0])) * scale).astype(np.float32),
    }


def cut(image: np.ndarray, x0: float, y0: float, side: float, size: int) -> np.ndarray:
    """The square [x0, x0 + side) × [y0, y0 + side) of an image, resized to ``size``; black outside the image."""
    height, width = image.shape[:2]
    if (x0, y0, side) == (0, 0, size) and height == width == size:
        return image
    # PIL resizes a box with sub-pixel corners only if the box lies inside the image. So first cut out all pixels that
    # the filter reaches, with black where there are none.
    reach = int(np.ceil(2 * max(1.0, side / size))) + 1

    def span(low: float, length: int) -> tuple[int, int]:
        # Black is added only on sides where the square leaves the picture; elsewhere the filter ends at the edge.
        first, last = int(np.floor(low)) - reach, int(np.ceil(low + side)) + reach
        return first if low < 0 else max(first, 0), last if low + side > length else min(last, length)

    (left, right), (top, bottom) = span(x0, width), span(y0, height)
    part = Image.fromarray(image).crop((left, top, right, bottom))
    box = (x0 - left, y0 - top, x0 - left + side, y0 - top + side)
    return np.asarray(part.resize((size, size), Image.Resampling.BICUBIC, box=box))


def square(box: Box) -> tuple[float, float, float]:
    """The centre square of a box: (x0, y0, side)."""
    x0, y0, x1, y1 = box
    side = min(x1 - x0, y1 - y0)
    if side < 2:
        raise ValueError(f"the crop {box} is under 2 pixels wide; the landmarks are degenerate")
    return (x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side


def _none(record: Record, margin: float) -> Box:
    height, width = record["image"].shape[:2]
    if height != width:
        raise ValueError(
            f"{record['name']} is {width}×{height}, and crop 'none' takes square pictures; "
            "use 'center' or 'landmark_box'"
        )
    return 0.0, 0.0, float(width), float(height)


def _center(record: Record, margin: float) -> Box:
    height, width = record["image"].shape[:2]
    side = margin * min(height, width)
    return _around(width / 2, height / 2, side)


def _landmark_box(record: Record, margin: float) -> Box:
    x0, y0, x1, y1 = landmark_bounds(record)
    # Landmarks are in pixel centres, boxes in pixel edges: the difference is half a pixel.
    return _around((x0 + x1) / 2 + 0.5, (y0 + y1) / 2 + 0.5, margin * max(x1 - x0, y1 - y0))


def _eyes_mouth(record: Record, margin: float) -> Box:
    points = record["landmarks5_px"]
    if not np.isfinite(points).all():
        raise ValueError(f"{record['name']} has no 5 landmarks, which crop 'eyes_mouth' needs; use another crop")
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    x, y = eyes + BOX_CENTRE * (mouth - eyes) + 0.5
    return _around(float(x), float(y), margin * BOX_PER_EYE_MOUTH * float(np.linalg.norm(mouth - eyes)))


def _box(record: Record, margin: float) -> Box:
    x0, y0, x1, y1 = detected(record)
    return _around((x0 + x1) / 2, (y0 + y1) / 2, margin * max(x1 - x0, y1 - y0))


def _mtcnn(record: Record, margin: float) -> Box:
    return (_box if np.isfinite(record["box_px"]).all() else _eyes_mouth)(record, margin)


def _celeba_aligned(record: Record, margin: float) -> Box:
    height, width = record["image"].shape[:2]
    if (width, height) != (178, 218):
        raise ValueError(f"{record['name']} is {width}×{height}, and crop 'celeba_aligned' takes CelebA's 178×218")
    return 0.0, 20.0, 178.0, 198.0


def _hopenet_300wlp(record: Record, margin: float) -> Box:
    if margin <= 0:
        raise ValueError("crop 'hopenet_300wlp' draws its k only in training; give k as the margin, 0.2 to 0.4")
    side = 0.6 * margin
    return hopenet_box(landmark_bounds(record), left=side, top=2 * margin, right=side, bottom=side)


def _hopenet_aflw2000(record: Record, margin: float) -> Box:
    return hopenet_box(landmark_bounds(record), left=0.4, top=0.4, right=0.4, bottom=0.12)


def _hopenet_biwi(record: Record, margin: float) -> Box:
    return hopenet_box(detected(record), left=0.21, top=0.35, right=0.21, bottom=0.21)


def hopenet_box(bounds: Box, *, left: float, top: float, right: float, bottom: float) -> Box:
    """Hopenet's enlarged box (deep-head-pose, datasets.py): each edge in turn moves by a part of the current size."""
    x0, y0, x1, y1 = bounds
    x0, y0 = x0 - left * abs(x1 - x0), y0 - top * abs(y1 - y0)
    x1, y1 = x1 + right * abs(x1 - x0), y1 + bottom * abs(y1 - y0)
    x0, y0, x1, y1 = (float(int(v)) for v in (x0, y0, x1, y1))  # towards zero, like Hopenet's int()
    return x0, y0, x1, y1


def detected(record: Record) -> Box:
    """The detector's box; ValueError if there is none."""
    if not np.isfinite(record["box_px"]).all():
        raise ValueError(f"{record['name']} has no detector's box, which this crop needs; use 'landmark_box'")
    x0, y0, x1, y1 = record["box_px"].tolist()
    return x0, y0, x1, y1


def landmark_bounds(record: Record) -> Box:
    """(x_min, y_min, x_max, y_max) of the known ones among 68 landmarks; ValueError if fewer than 3 are known."""
    points = record["landmarks_px"]
    points = points[np.isfinite(points).all(-1)]
    if len(points) < 3:
        raise ValueError(f"{record['name']} has no 68 landmarks, which this crop needs; use 'eyes_mouth' or 'center'")
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def _around(x: float, y: float, side: float) -> Box:
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


RULES: dict[str, Callable[[Record, float], Box]] = {
    "none": _none,
    "center": _center,
    "landmark_box": _landmark_box,
    "eyes_mouth": _eyes_mouth,
    "box": _box,
    "mtcnn": _mtcnn,
    "celeba_aligned": _celeba_aligned,
    "hopenet_300wlp": _hopenet_300wlp,
    "hopenet_aflw2000": _hopenet_aflw2000,
    "hopenet_biwi": _hopenet_biwi,
}


class Cropped:
    """A source whose records are cropped faces of one size.

    Args:
      source: the pictures to crop.
      rule, margin, size: as in :func:`crop_record`.
    """

    def __init__(self, source: Pictures, *, rule: str, margin: float = 1.0, size: int = HR_SIZE):
        self.source, self.name = source, source.name
        self.rule, self.margin, self.size = rule, margin, size

    def __len__(self) -> int:
        """Number of records."""
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        """The cropped record."""
        return self.crop(self.source[index])

    def crop(self, record: Record, *, jitter: float = 0.0, rng: np.random.Generator | None = None) -> Record:
        """The record cropped, with jitter for training."""
        return crop_record(record, rule=self.rule, margin=self.margin, size=self.size, jitter=jitter, rng=rng)
