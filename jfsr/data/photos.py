"""From a photograph to the squares of its faces, at the size at which the photograph has them.

MTCNN looks for faces of 20 px and more, and takes long for a large picture. So a photograph is looked at at several
sizes: enlarged until the smallest face wanted has 24 px, and from there in steps of a quarter, each in tiles that
overlap by more than a face of the next step has, down to the size at which all of it is one tile.

A face's square is that of the crop rule ``eyes_mouth`` around its five points, with the margin that the small networks
for real faces are trained with. Where only a box is known, it is a square of about its longer side, a little lower:
what the rule gives in the median where MTCNN's box is known too.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jfsr import files
from jfsr.data import crops
from jfsr.data.boxes import Face
from jfsr.data.csvfile import read_csv
from jfsr.data.detection import Detect
from jfsr.data.records import BadRecord, new_record

SMALLEST_PX = 10.0  # of a face's box, its longer side: MTCNN finds faces of 8×10 px in a sharp photograph
SEEN_PX = 24  # what the smallest face is enlarged to
# A face of one step has under STEP × NEARLY × SEEN_PX there, or is seen in the next one too: tiles overlap by more.
STEP, NEARLY, TILE_PX, OVERLAP_PX = 4, 1.5, 1024, 160
MIN_SCORE = 0.9  # MTCNN's own threshold of .7 finds faces in the folds of a sleeve
MARGIN = 1.2
# Of MTCNN's boxes of 60 training faces of HELEN, in units of their longer side: the square's side (std .06), and how
# far its centre is below the box's (std .03).
BOX_SIDE, BOX_DOWN = 1.01, 0.08
SAME = 0.5  # of the smaller of two boxes: if they share more, they are one face
MIN_NATIVE_PX = 6  # of a face's square: under it there is nothing to go by


class Square(NamedTuple):
    """The square of a face in a photograph: its corner and side in pixel edges."""

    x0: float
    y0: float
    side: float


def find(
    photo: UInt8[np.ndarray, "h w 3"],
    detect: Detect,
    *,
    smallest_px: float = SMALLEST_PX,
    min_score: float = MIN_SCORE,
) -> list[Face]:
    """The faces of a photograph, the largest first.

    Args:
      photo: of any size.
      detect: finds the faces of a picture, see :func:`jfsr.data.detection.load_mtcnn`.
      smallest_px: the longer side of the smallest face wanted. Time grows as its inverse square.
      min_score: of the detector.
    """
    found: list[Face] = []
    for scale in scales(photo.shape[:2], smallest_px):
        for left, top, tile in tiles(photo, scale):
            for face in detect(tile):
                corner = np.array([left, top])
                found.append(
                    Face(
                        (face.box_px / scale + np.tile(corner, 2)),
                        (face.points_px + 0.5) / scale + corner - 0.5,
                        face.score,
                    )
                )
    return distinct([face for face in found if face.score >= min_score])


def scales(size: tuple[int, ...], smallest_px: float = SMALLEST_PX) -> list[float]:
    """The sizes at which a photograph is looked at, as factors; the last one makes a single tile of it."""
    out, longest = [SEEN_PX / smallest_px], max(size)
    while out[-1] * longest > TILE_PX:
        scale = out[-1] / STEP
        # What is nearly one tile becomes one, and so does what would be much less than one.
        out.append(TILE_PX / longest if scale * longest < NEARLY * TILE_PX else scale)
    return out


def tiles(photo: UInt8[np.ndarray, "h w 3"], scale: float) -> Iterable[tuple[float, float, UInt8[np.ndarray, "_ _ 3"]]]:
    """(x, y) in the photograph and pixels of each tile at a scale."""
    height, width = photo.shape[:2]
    image = Image.fromarray(photo)
    for y0, y1 in spans(height, scale):
        for x0, x1 in spans(width, scale):
            size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
            tile = image.resize(size, Image.Resampling.BICUBIC, box=(x0, y0, x1, y1), reducing_gap=3.0)
            yield x0, y0, np.asarray(tile)


def spans(length: int, scale: float) -> list[tuple[int, int]]:
    """How a side of a photograph is cut into tiles that overlap, in its own pixels."""
    tile, overlap = TILE_PX / scale, OVERLAP_PX / scale
    count = max(1, math.ceil((length - overlap) / (tile - overlap)))
    starts = np.linspace(0, max(length - tile, 0), count)
    return [(int(s), min(length, math.ceil(s + tile))) for s in starts]


def distinct(faces: Sequence[Face]) -> list[Face]:
    """Each face once, the largest first: of boxes that cover each other by half, the one with the best score."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_shared(face.box_px, other.box_px) <= SAME for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -float(np.prod(face.box_px[2:] - face.box_px[:2])))


def _shared(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"]) -> float:
    """The common part of two boxes as a share of the smaller."""
    common = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(common / max(min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])), 1e-9))


def square(photo: UInt8[np.ndarray, "h w 3"], face: Face) -> Square:
    """The square of a face, see the module.

    Raises:
      BadRecord: its box or points make no square in this photograph.
    """
    if np.isfinite(face.points_px).all():
        record = new_record(photo, "a face") | {"landmarks5_px": face.points_px.astype(np.float32)}
        try:
            found = Square(*crops.square(crops.RULES["eyes_mouth"](record, MARGIN)))
        except ValueError as error:  # its points are one
            raise BadRecord(str(error)) from error
    else:
        longer = float(max(face.box_px[2:] - face.box_px[:2]))
        x, y = (face.box_px[:2] + face.box_px[2:]) / 2
        side = BOX_SIDE * longer
        found = Square(float(x) - side / 2, float(y) + BOX_DOWN * longer - side / 2, side)
    height, width = photo.shape[:2]
    if found.x0 >= width or found.y0 >= height or min(found.x0, found.y0) + found.side <= 0:
        raise BadRecord(f"its square of {found.side:.0f} px at ({found.x0:.0f}, {found.y0:.0f}) is outside the picture")
    return found


def cut(photo: UInt8[np.ndarray, "h w 3"], place: Square, side: int) -> UInt8[np.ndarray, "s s 3"]:
    """The square resized to ``side`` by Pillow's bicubic; black outside the photograph."""
    return crops.cut(photo, place.x0, place.y0, place.side, side)


def read_faces(file: os.PathLike | str) -> dict[str, list[Face]]:
    """The faces of a CSV of boxes by their pictures' names, several lines for a picture with several.

    The columns ``file, x0, y0, x1, y1`` are needed, in pixel edges of the picture as it is shown, around brows, chin
    and ears; ``score`` and the five points of ``jfsr data boxes`` (``px0, py0, …``) are read where they are. A line
    without a box is a picture without a face.

    Raises:
      ValueError: names the line, the rule that it breaks and the remedy.
    """
    file = pathlib.Path(files.path(file))
    header, rows = read_csv(file)
    needed = ("file", "x0", "y0", "x1", "y1")
    if absent := [column for column in needed if column not in header]:
        raise ValueError(f"{file}, line 1: no column {', '.join(absent)}; it needs {', '.join(needed)}")
    points = [f"p{axis}{i}" for i in range(5) for axis in "xy"]
    out: dict[str, list[Face]] = {}
    for number, row in rows:
        where = f"{file}, line {number}"
        faces = out.setdefault(row["file"].strip(), [])
        cells = [row[column].strip() for column in needed[1:]]
        if not any(cells):
            continue
        try:
            box = np.array([float(cell) for cell in cells])
            score = float(row.get("score", "").strip() or "nan")
            given = [row.get(column, "").strip() for column in points]
            five = np.array([float(cell) for cell in given]) if all(given) else np.full(10, np.nan)
        except ValueError as error:
            raise ValueError(f"{where}: a cell is no number ({error})") from error
        if not np.isfinite(box).all() or not (box[2:] > box[:2]).all():
            raise ValueError(f"{where}: the box {', '.join(cells)} is none; x0 < x1 and y0 < y1, all four finite")
        faces.append(Face(box, five.reshape(5, 2), score))
    return out
