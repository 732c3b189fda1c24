"""Named crop rules: which square of a picture is the face, in one place.

A rule gives a box (x0, y0, x1, y1) in pixel edges, [x0, x1) × [y0, y1), maybe outside the picture (black there); the
crop is the box, made square, resized to ``size``. ``margin`` means, by rule:

| rule | box | margin |
|---|---|---|
| ``none`` | the picture; it must be square | not used |
| ``center`` | centre square | side as a fraction of the shorter side |
| ``landmark_box`` | square on the centre of the 68 landmarks' box | side in units of the box's longer side |
| ``eyes_mouth`` | the same square, estimated from 5 landmarks | as ``landmark_box`` |
| ``box`` | square on the centre of the detector's box | side in units of the box's longer side |
| ``mtcnn`` | ``box``; where there is none, ``eyes_mouth`` on MTCNN's five points | as ``box`` |
| ``celeba_aligned`` | the 178×178 centre square of CelebA's aligned 178×218 | not used |
| ``hopenet_300wlp`` | Hopenet's training box, its random k as the margin, 0.2 to 0.4 | k; 0 = drawn in training |
| ``hopenet_aflw2000`` | Hopenet's test box for AFLW2000, k = 0.2 | not used |
| ``hopenet_biwi`` | Hopenet's test box for BIWI around the detector's box, k = 0.35 | not used |

Hopenet enlarges one edge after the other, each by the width or height that the box has by then, cuts its corners to
whole pixels, resizes the shorter side and keeps the centre: here the box becomes its centre square.
DEVIATES: on AFLW2000 Hopenet's code boxes the 21 points of ``pt2d``, absent ones at (-1, height + 2) included; we box
``pt3d_68``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import numpy as np
from PIL import Image

from jfsr.data import records
from jfsr.data.records import Record

Box = tuple[float, float, float, float]

# Medians over the 2,009 faces of HELEN, LFPW and AFW (training) with 68 landmarks: the longer side of their box in
# eye-mouth distances (std .22), and where its centre lies on the line from the eyes' middle to the mouth's (std .09).
BOX_PER_EYE_MOUTH, BOX_CENTRE = 2.22, 0.65
MAX_ENLARGE = 8  # a square of more picture sides than this comes from broken labels


def crop_record(
    record: Record,
    *,
    rule: str,
    margin: float = 1.0,
    size: int = 128,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Record:
    """Cuts the face out, resizes it by PIL's antialiased bicubic, and moves the landmarks with it.

    Args:
      record: a record of any size.
      rule: name of a rule.
      margin: what the rule makes of it, see the module.
      size: side of the result in pixels.
      jitter: the crop is a random square inside the box, its side at least 1 - 2 * jitter of it.
      rng: where jitter draws from.

    Raises:
      ValueError: unknown rule, or a record without the labels that the rule needs.
    """
    if rule not in RULES:
        close = difflib.get_close_matches(rule, RULES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown crop rule {rule!r}{hint}; rules: {', '.join(RULES)}")
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
    # PIL resizes a box with sub-pixel corners if the box lies inside: cut out first what the filter reaches.
    reach = int(np.ceil(2 * max(1.0, side / size))) + 1

    def span(low: float, length: int) -> tuple[int, int]:
        # Black is added only where the square leaves the picture; elsewhere the filter ends at the picture's edge.
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
    # Landmarks are pixel centres; the box is in edges, half a pixel further.
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
    """Hopenet's enlargement (deep-head-pose, datasets.py): each edge in turn, by the size that the box has by then."""
    x0, y0, x1, y1 = bounds
    x0, y0 = x0 - left * abs(x1 - x0), y0 - top * abs(y1 - y0)
    x1, y1 = x1 + right * abs(x1 - x0), y1 + bottom * abs(y1 - y0)
    x0, y0, x1, y1 = (float(int(v)) for v in (x0, y0, x1, y1))  # towards zero, as Hopenet's int() cuts
    return x0, y0, x1, y1


def detected(record: Record) -> Box:
    """The detector's box; ValueError where there is none."""
    if not np.isfinite(record["box_px"]).all():
        raise ValueError(f"{record['name']} has no detector's box, which this crop needs; use 'landmark_box'")
    x0, y0, x1, y1 = record["box_px"].tolist()
    return x0, y0, x1, y1


def landmark_bounds(record: Record) -> Box:
    """(x_min, y_min, x_max, y_max) of the known ones of 68 landmarks; ValueError where there are fewer than 3."""
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
      source: what to crop.
      rule, margin, size: as in :func:`crop_record`.
    """

    def __init__(self, source: records.Source, *, rule: str, margin: float = 1.0, size: int = 128):
        self.source, self.name = source, source.name
        self.rule, self.margin, self.size = rule, margin, size

    def __len__(self) -> int:
        """Number of records."""
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        """The cropped record."""
        return self.crop(self.source[index])

    def crop(self, record: Record, *, jitter: float = 0.0, rng: np.random.Generator | None = None) -> Record:
        """Crops one record, with jitter where training wants it."""
        return crop_record(record, rule=self.rule, margin=self.margin, size=self.size, jitter=jitter, rng=rng)
