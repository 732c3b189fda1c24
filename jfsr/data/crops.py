"""Named crop rules: each says which square of a picture is the face.

A rule gives a box (x0, y0, x1, y1) in pixel edges, [x0, x1) × [y0, y1). The box may reach outside the picture, where
the crop is black. The crop is the centre square of the box, resized to ``size``. The meaning of ``margin`` depends on
the rule:

| rule | box | margin |
|---|---|---|
| ``none`` | the picture; it must be square | not used |
| ``center`` | centre square | side as a fraction of the shorter side |
| ``landmark_box`` | square around the centre of the landmarks' box | side in units of the box's longer side |
| ``eyes_mouth`` | the same square, estimated from 5 landmarks | as ``landmark_box`` |
| ``box`` | square around the centre of the detector's box | side in units of the box's longer side |
| ``mtcnn`` | as ``box``, around MTCNN's box alone (:mod:`jfsr.data.boxes`) | as ``box`` |
| ``lightcnn`` | LightCNN's alignment by 5 landmarks, below | not used |
| ``celeba_aligned`` | the 178×178 centre square of CelebA's aligned 178×218 | not used |
| ``hopenet_300wlp`` | Hopenet's training box with its factor k, 0.2 to 0.4 | k; 0 = drawn at random in training |
| ``hopenet_aflw2000`` | Hopenet's test box for AFLW2000, k = 0.2 | not used |
| ``hopenet_biwi`` | Hopenet's test box for BIWI around the set's box, k = 0.35 | not used |
| ``hopenet_mtcnn`` | the same around MTCNN's box | not used |

Hopenet moves one edge of the box after the other, each by a fraction of the box's current width or height, truncates
the corners to whole pixels, resizes the shorter side and keeps the centre: here, the centre square of the box. It
takes the points as the ``.mat`` files have them, counted from 1, for Pillow's corners, counted from 0. Landmarks are
counted from 0 here, so the box gets ``LABELLED_FROM`` back.
DEVIATES: on AFLW2000 Hopenet's code takes the box of the 21 points of ``pt2d``, including absent ones at
(-1, height + 2), so that most boxes reach to a corner of the picture; ours is the box of ``pt3d_68``.

**LightCNN's alignment** (the authors' readme, and the Matlab function ``align`` that it goes with): the face is turned
until its eyes are level, and scaled until the mouth's middle is 48 of 128 px below the eyes' middle, which lies in row
40 of the middle column. All of a picture that the square needs is turned, by bicubic interpolation, before the square
is cut out and resized. DEVIATES: ``align`` rounds both middles to whole pixels before and after it resizes; we do not.

**Native low resolution.** ``low`` also cuts the same square out of the picture at a second, small size, straight from
its own pixels: the input of a face that is small in its picture, of which there is no HR (MSGAN, Figs. 10 and 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from jfsr.config import nearest
from jfsr.data import misalign
from jfsr.data.records import LANDMARKS, Pictures, Record
from jfsr.geometry import HR_SIZE

Box = tuple[float, float, float, float]

# Medians over the 2,009 training faces of HELEN, LFPW and AFW with 68 landmarks: the longer side of the landmarks' box
# in units of the eye-mouth distance (std .22), and the position of the box's centre on the line from the eyes' middle
# to the mouth's middle, as a fraction of that line (std .09).
BOX_PER_EYE_MOUTH, BOX_CENTRE = 2.22, 0.65
LABELLED_FROM = 1  # Matlab's first pixel, in the .mat files of 300W-LP and AFLW2000-3D
EYE_MOUTH, EYE_ROW = 48 / HR_SIZE, (40 + 0.5) / HR_SIZE  # LightCNN's, in units of the square's side
DRAWN = (0.2, 0.4)  # from where to where Hopenet draws its k
MAX_ENLARGE = 8  # a square of more than this many picture sides comes from broken labels


def crop_record(
    record: Record,
    *,
    rule: str,
    margin: float = 1.0,
    size: int = HR_SIZE,
    low: int = 0,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Record:
    """The face cut out and resized by PIL's antialiased bicubic; the landmarks and the box move with it.

    Args:
      record: a record of any size.
      rule: name of a rule.
      margin: its meaning depends on the rule, see the module.
      size: side of the result in pixels.
      low: side of ``lr``, the native low resolution; 0 = the record has no ``lr``.
      jitter: the crop is a random square inside the rule's square; its side is at least 1 - 2 * jitter of that one.
      rng: random numbers for the jitter; None = no jitter.

    Raises:
      ValueError: unknown rule, or a record without the labels that the rule needs.
    """
    check_rule(rule)
    if drawn(rule, margin) and rng is not None:
        margin = rng.uniform(*DRAWN)
    if rule in TURNED:
        record = TURNED[rule](record)
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
    native = {"lr": cut(record["image"], x0, y0, side, low)} if low else {}
    return {
        **record,
        **native,
        "image": cut(record["image"], x0, y0, side, size),
        "landmarks_px": move(record["landmarks_px"]),
        "landmarks5_px": move(record["landmarks5_px"]),
        "box_px": ((record["box_px"] - np.array([x0, y0, x0, y0])) * scale).astype(np.float32),
    }


def check_rule(rule: str) -> None:
    """ValueError for the name of no rule; says the nearest."""
    if rule not in RULES:
        raise ValueError(f"unknown crop rule {rule!r}{nearest(rule, RULES)}; rules: {', '.join(RULES)}")


def cut(image: np.ndarray, x0: float, y0: float, side: float, size: int) -> np.ndarray:
    """The square [x0, x0 + side) × [y0, y0 + side) of an image, resized to ``size``; black outside the image."""
    height, width = image.shape[:2]
    if (x0, y0, side) == (0, 0, size) and height == width == size:
        return image
    # PIL resizes a box with sub-pixel corners only if the box lies inside the image. So first cut out all pixels that
    # the filter reaches, with black where there are none.
    reach = filter_reach(side, size)

    def span(low: float, length: int) -> tuple[int, int]:
        # Black is added only on sides where the square leaves the picture; elsewhere the filter ends at the edge.
        first, last = int(np.floor(low)) - reach, int(np.ceil(low + side)) + reach
        return first if low < 0 else max(first, 0), last if low + side > length else min(last, length)

    (left, right), (top, bottom) = span(x0, width), span(y0, height)
    part = Image.fromarray(image).crop((left, top, right, bottom))
    box = (x0 - left, y0 - top, x0 - left + side, y0 - top + side)
    return np.asarray(part.resize((size, size), Image.Resampling.BICUBIC, box=box))


def filter_reach(side: float, size: int) -> int:
    """How many pixels beyond a square of ``side`` its resize to ``size`` may read, rounded up."""
    return int(np.ceil(2 * max(1.0, side / size))) + 1


def drawn(rule: str, margin: float) -> bool:
    """Whether the crop of training has a factor k that is drawn anew at every look."""
    return rule == "hopenet_300wlp" and margin == 0


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
    eyes, mouth = _eyes_and_mouth(record, "eyes_mouth")
    x, y = eyes + BOX_CENTRE * (mouth - eyes) + 0.5
    return _around(float(x), float(y), margin * BOX_PER_EYE_MOUTH * float(np.linalg.norm(mouth - eyes)))


def _eyes_and_mouth(record: Record, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """The eyes' middle and the mouth's middle, (x, y); ValueError without the five points."""
    points = record["landmarks5_px"]
    if not np.isfinite(points[[0, 1, 3, 4]]).all():
        raise ValueError(f"{record['name']} has no 5 landmarks, which crop {rule!r} needs; use another crop")
    return points[:2].mean(0), points[3:].mean(0)


def _box(record: Record, margin: float) -> Box:
    x0, y0, x1, y1 = detected(record)
    return _around((x0 + x1) / 2, (y0 + y1) / 2, margin * max(x1 - x0, y1 - y0))


def _mtcnn(record: Record, margin: float) -> Box:
    x0, y0, x1, y1 = detected_by_mtcnn(record)
    return _around((x0 + x1) / 2, (y0 + y1) / 2, margin * max(x1 - x0, y1 - y0))


def _lightcnn(record: Record, margin: float) -> Box:
    eyes, mouth = _eyes_and_mouth(record, "lightcnn")
    side = float(mouth[1] - eyes[1]) / EYE_MOUTH
    if side <= 0:
        raise ValueError(f"{record['name']} has its mouth above its level eyes; crop 'lightcnn' takes no such face")
    return _around(float(eyes[0]) + 0.5, float(eyes[1]) + 0.5 + (0.5 - EYE_ROW) * side, side)


def _level(record: Record) -> Record:
    """The record turned until the line between its eyes is level: a part of the picture, black outside it."""
    eyes, mouth = _eyes_and_mouth(record, "lightcnn")
    left, right = record["landmarks5_px"][:2]
    tilt = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
    # No corner of the square is farther from the eyes than this; the filter reaches a few pixels more.
    half = int(np.ceil(np.hypot(0.5, 1 - EYE_ROW) * np.linalg.norm(mouth - eyes) / EYE_MOUTH)) + 8
    height, width = record["image"].shape[:2]
    if half > MAX_ENLARGE * max(height, width):
        raise ValueError(f"{record['name']} is {width}×{height}, with {half} px around its eyes; check its labels")
    x0, y0 = (int(v) - half for v in np.floor(eyes))
    part = Image.fromarray(record["image"]).crop((x0, y0, x0 + 2 * half + 1, y0 + 2 * half + 1))
    around = {
        **record,
        "image": np.asarray(part),
        "landmarks_px": (record["landmarks_px"] - [x0, y0]).astype(np.float32),
        "landmarks5_px": (record["landmarks5_px"] - [x0, y0]).astype(np.float32),
    }
    return misalign.rotated(around, -tilt, eyes - [x0, y0])


def _celeba_aligned(record: Record, margin: float) -> Box:
    height, width = record["image"].shape[:2]
    if (width, height) != (178, 218):
        raise ValueError(f"{record['name']} is {width}×{height}, and crop 'celeba_aligned' takes CelebA's 178×218")
    return 0.0, 20.0, 178.0, 198.0


def _hopenet_300wlp(record: Record, margin: float) -> Box:
    if margin <= 0:
        raise ValueError("crop 'hopenet_300wlp' draws its k only in training; give k as the margin, 0.2 to 0.4")
    side = 0.6 * margin
    return hopenet_box(matlab_bounds(record), left=side, top=2 * margin, right=side, bottom=side)


def _hopenet_aflw2000(record: Record, margin: float) -> Box:
    return hopenet_box(matlab_bounds(record), left=0.4, top=0.4, right=0.4, bottom=0.12)


def _hopenet_biwi(record: Record, margin: float) -> Box:
    return _hopenet_of_detector(detected(record))


def _hopenet_mtcnn(record: Record, margin: float) -> Box:
    # DEVIATES: MSGAN has MTCNN "instead of the Dockerface detector recommended by Hopenet" and does not say how its
    # boxes are enlarged; this is what Hopenet does with Dockerface's.
    return _hopenet_of_detector(detected_by_mtcnn(record))


def _hopenet_of_detector(box: Box) -> Box:
    return hopenet_box(box, left=0.21, top=0.35, right=0.21, bottom=0.21)


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


def detected_by_mtcnn(record: Record) -> Box:
    """MTCNN's box out of the boxes file; ValueError for a record of a source that was opened without it."""
    if record["detector"] != "mtcnn":
        raise ValueError(f"{record['name']} has no box of MTCNN; its source needs the file of 'jfsr data boxes'")
    return detected(record)


def matlab_bounds(record: Record) -> Box:
    """:func:`landmark_bounds` of the points as 300W-LP and AFLW2000-3D publish them, counted from 1."""
    x0, y0, x1, y1 = (v + LABELLED_FROM for v in landmark_bounds(record))
    return x0, y0, x1, y1


def landmark_bounds(record: Record) -> Box:
    """(x_min, y_min, x_max, y_max) of the known landmarks; ValueError if fewer than 3 are known."""
    points = record["landmarks_px"]
    points = points[np.isfinite(points).all(-1)]
    if len(points) < 3:
        raise ValueError(f"{record['name']} has no landmarks, which this crop needs; use 'eyes_mouth' or 'center'")
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
    "lightcnn": _lightcnn,
    "celeba_aligned": _celeba_aligned,
    "hopenet_300wlp": _hopenet_300wlp,
    "hopenet_aflw2000": _hopenet_aflw2000,
    "hopenet_biwi": _hopenet_biwi,
    "hopenet_mtcnn": _hopenet_mtcnn,
}

# Rules that give another square than in an earlier version, and how often that changed: a part of a protocol's id.
REVISIONS = {"hopenet_aflw2000": 1, "hopenet_300wlp": 1, "mtcnn": 1}

# Rules that turn the picture first; their box is of the turned record.
TURNED: dict[str, Callable[[Record], Record]] = {"lightcnn": _level}


class Cropped:
    """A source whose records are cropped faces of one size.

    Args:
      source: the pictures to crop.
      rule, margin, size, low: as in :func:`crop_record`.
      landmarks: how many each record has.
    """

    def __init__(
        self,
        source: Pictures,
        *,
        rule: str,
        margin: float = 1.0,
        size: int = HR_SIZE,
        low: int = 0,
        landmarks: int = LANDMARKS,
    ):
        self.source, self.name, self.landmarks = source, source.name, landmarks
        self.rule, self.margin, self.size, self.low = rule, margin, size, low

    def __len__(self) -> int:
        """Number of records."""
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        """The cropped record."""
        return self.crop(self.source[index])

    def crop(self, record: Record, *, jitter: float = 0.0, rng: np.random.Generator | None = None) -> Record:
        """The record cropped, with jitter for training."""
        return crop_record(
            record, rule=self.rule, margin=self.margin, size=self.size, low=self.low, jitter=jitter, rng=rng
        )
