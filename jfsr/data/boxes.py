"""MTCNN's boxes and five points of a set's faces: a CSV beside the set, made once by ``jfsr data boxes``.

The file has a header line and one line per face, in the order of the set::

    file            the face's name, as its record has it
    width height    of the picture as jfsr reads it, in pixels; another size later is an error
    score           of the detector, 0 to 1
    x0 y0 x1 y1     the box in pixel edges; it may reach outside the picture
    px0 py0 … px4 py4       left eye, right eye, nose, mouth corners in pixels from 0; the viewer's left first

A face that was not found has its name and size, and empty cells. Pixels are those of the record's picture: of AFLW and
WIDER FACE, the region that is kept.

:func:`place` says where a file is looked for: ``mtcnn_SPLIT.csv`` in the set's folder (``mtcnn.csv`` in a folder of
images), then ``jfsr_boxes/SET_SPLIT.csv`` in TFDS's data folder. :func:`attach` gives the pictures of a source their
boxes where its crop rule needs them. Such a rule reads nothing else: without the file there is an error that names the
command, and a face that was not found is left out by name. Its label is never taken instead.

:mod:`jfsr.data.detection` makes the file.
"""

from __future__ import annotations

import csv
import io
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jfsr import files
from jfsr.data.csvfile import read_csv
from jfsr.data.records import BadRecord, Pictures, Record

DETECTOR = "mtcnn"
BY_BOX = ("mtcnn", "hopenet_mtcnn")  # crop rules around MTCNN's box
BY_POINTS = ("eyes_mouth", "lightcnn")  # crop rules by five points, which some sets do not label

COLUMNS = (
    *("file", "width", "height", "score", "x0", "y0", "x1", "y1"),
    *(f"p{axis}{i}" for i in range(5) for axis in "xy"),
)


class Face(NamedTuple):
    """A detected face, in pixels of its picture.

    Attributes:
      box_px: (x0, y0, x1, y1), pixel edges.
      points_px: eyes, nose, mouth corners, pixels from 0; the viewer's left first.
      score: 0 to 1.
    """

    box_px: Float[np.ndarray, "4"]
    points_px: Float[np.ndarray, "5 2"]
    score: float


class Line(NamedTuple):
    """One line of a boxes file: the picture's size, and its face or None."""

    width: int
    height: int
    face: Face | None


# ---- Where a file is, and what reads it


def place(dataset: str, dir: os.PathLike | str, split: str) -> list[pathlib.Path]:
    """Where the boxes file of a source is looked for, in this order.

    Args:
      dataset: its name, or 'folder'.
      dir: the source's folder; '' = the built set.
      split: its name; '' for a folder of images.
    """
    beside = [files.path(dir) / ("_".join([DETECTOR, *([split] if split else [])]) + ".csv")]
    if dataset == "folder":
        return beside
    data = files.path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    return [*(beside if dir else []), data / "jfsr_boxes" / f"{dataset}_{split}.csv"]


def find(dataset: str, dir: os.PathLike | str, split: str) -> pathlib.Path | None:
    """The boxes file of a source; None if there is none."""
    return next((file for file in place(dataset, dir, split) if file.is_file()), None)


def needed(rule: str, *, points: bool) -> bool:
    """Whether a crop rule reads the boxes file, of a source whose labels have five points or not."""
    return rule in BY_BOX or (rule in BY_POINTS and not points)


def lacks(dataset: str, dir: os.PathLike | str, split: str, *, rule: str, points: bool) -> str:
    """'' if a source has the boxes that its crop needs, or needs none; else what to do."""
    if not needed(rule, points=points) or find(dataset, dir, split):
        return ""
    places = place(dataset, dir, split)
    name = str(dir) if dataset == "folder" else f"{dataset} --from {dir or 'FOLDER'} --split {split}"
    return (
        f"crop {rule!r} reads MTCNN's boxes, and there is no {' or '.join(map(str, places))}: "
        f"jfsr data boxes {name} -o {places[0]}"
    )


def attach(
    pictures: Pictures, *, rule: str, dataset: str, dir: os.PathLike | str, split: str, points: bool
) -> Pictures:
    """The pictures with MTCNN's boxes where the crop rule needs them, else as they are.

    Args:
      pictures: of the source.
      rule: of its crop.
      dataset, dir, split: of the source, see :func:`place`.
      points: whether its labels have five points. If so, they stay.

    Raises:
      ValueError: the file is missing (says how to make it) or has a fault (names the line).
    """
    if missing := lacks(dataset, dir, split, rule=rule, points=points):
        raise ValueError(missing)
    if not needed(rule, points=points):
        return pictures
    file = find(dataset, dir, split)
    assert file is not None
    return Boxed(pictures, file, points=points)


class Boxed:
    """Pictures whose boxes are MTCNN's, and their five points too if their labels have none.

    Args:
      source: the pictures.
      file: the boxes file.
      points: whether the labels have five points, which then stay.

    Attributes:
      file: the boxes file.
    """

    def __init__(self, source: Pictures, file: os.PathLike | str, *, points: bool):
        self.source, self.name, self.skipped = source, source.name, source.skipped
        self.file, self.points, self.lines = pathlib.Path(file), points, read_boxes(file)

    def __len__(self) -> int:
        """Number of records."""
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        """The record with its box; BadRecord if no face was found in its picture.

        Raises:
          ValueError: the file does not name the face, or was made of a picture of another size.
        """
        record = self.source[index]
        name, (height, width) = record["name"], record["image"].shape[:2]
        if name not in self.lines:
            raise ValueError(
                f"{self.file} has no line for {name}; make it again by 'jfsr data boxes', with --overwrite"
            )
        line = self.lines[name]
        if (line.width, line.height) != (width, height):
            raise ValueError(
                f"{self.file}: {name} was {line.width}×{line.height} and is {width}×{height} here; the file is of "
                "another copy: make it again by 'jfsr data boxes', with --overwrite"
            )
        if line.face is None:
            raise BadRecord(f"{name}: MTCNN found no face in it ({self.file.name})")
        points = {} if self.points else {"landmarks5_px": line.face.points_px.astype(np.float32)}
        return {**record, **points, "box_px": line.face.box_px.astype(np.float32), "detector": DETECTOR}

    @property
    def root(self) -> pathlib.Path:
        """The folder of the pictures, where they have one."""
        return self.source.root  # type: ignore[attr-defined]

    def name_of(self, index: int) -> str:
        """Name of a record, without decoding its picture."""
        return self.source.name_of(index)

    def pairs(self) -> list[Any]:
        """The official pairs of the pictures."""
        return self.source.pairs()  # type: ignore[attr-defined]

    def report(self) -> str:
        """What there is, what was skipped, and in how many pictures no face was found."""
        absent = sum(line.face is None for line in self.lines.values())
        return f"{self.source.report()}\n  boxes: {self.file}, {absent} of {len(self.lines)} faces not found"


# ---- The file


def read_boxes(file: os.PathLike | str) -> dict[str, Line]:
    """The lines of a boxes file by the faces' names.

    Raises:
      ValueError: names the line, the rule that it breaks and the remedy.
    """
    file = pathlib.Path(file)
    header, rows = read_csv(file)
    if tuple(header) != COLUMNS:
        raise ValueError(f"{file}, line 1: its columns are {', '.join(header)}; they must be {', '.join(COLUMNS)}")
    out: dict[str, Line] = {}
    for number, row in rows:
        where, name = f"{file}, line {number}", row["file"]
        if name in out:
            raise ValueError(f"{where}: a second line for {name!r}; keep one")
        cells = [row[column].strip() for column in COLUMNS[3:]]
        try:
            width, height = int(row["width"]), int(row["height"])
            numbers = np.array(cells, np.float64) if any(cells) else None
        except ValueError:
            raise ValueError(
                f"{where}: {list(row.values())[1:]}; cells hold numbers, or all after height are empty"
            ) from None
        if numbers is None:
            out[name] = Line(width, height, None)
            continue
        score, box, points = numbers[0], numbers[1:5], numbers[5:].reshape(5, 2)
        if not (np.isfinite(numbers).all() and box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"{where}: the box {box.tolist()} has no width or height; empty cells mean not found")
        out[name] = Line(width, height, Face(box, points, float(score)))
    return out


def to_text(lines: dict[str, Line]) -> str:
    """The content of a boxes file."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, line in lines.items():
        numbers = [] if line.face is None else [line.face.score, *line.face.box_px, *line.face.points_px.ravel()]
        cells = [f"{x:.2f}" if i else f"{x:.4f}" for i, x in enumerate(numbers)] or [""] * (len(COLUMNS) - 3)
        writer.writerow([name, line.width, line.height, *cells])
    return stream.getvalue()
