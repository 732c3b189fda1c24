"""Finding the faces of a set by MTCNN, once: what ``jfsr data boxes`` does. The file is :mod:`jfsr.data.boxes`'s.

Only :func:`load_mtcnn` imports the package ``mtcnn`` (extra ``detect``).
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from tqdm import tqdm

from jfsr import files
from jfsr.data import boxes
from jfsr.data.boxes import Face, Line
from jfsr.data.records import BadRecord, Pictures, Record

# Where the label says how large the face is, it is brought to FACE_PX; else the picture to SIDE_PX. MTCNN looks at 12
# to 48 px of a face, and misses faces that fill a small picture.
FACE_PX, SIDE_PX, MAX_SIDE_PX = 128, 320, 1024
PAD = 0.25  # of the side, on each side: the second try's grey frame, for faces that fill their picture
# P-Net, R-Net, O-Net: those of the authors' code. The package's own are .6, .7, .8.
THRESHOLDS = {"threshold_pnet": 0.6, "threshold_rnet": 0.7, "threshold_onet": 0.7}

Detect = Callable[[UInt8[np.ndarray, "h w 3"]], Sequence[Face]]


@dataclasses.dataclass(frozen=True)
class Made:
    """What :func:`make` did.

    Attributes:
      found: number of faces with a box.
      absent: names of the faces that were not found.
      unreadable: why each picture that cannot be read cannot.
    """

    found: int
    absent: list[str]
    unreadable: list[str]


def make(pictures: Pictures, file: os.PathLike | str, *, detect: Detect, overwrite: bool = False) -> Made:
    """Finds the faces of a source and writes the boxes file, whole or not at all.

    The faces that are done are kept in a journal beside it, so that the next call goes on after an interruption.

    Args:
      pictures: of the source.
      file: to write.
      detect: finds the faces of a picture, see :func:`load_mtcnn`.
      overwrite: replace a file, and begin anew.

    Raises:
      ValueError: the file exists and is not to be replaced, or no face was found.
    """
    file = pathlib.Path(file)
    check_target(file, overwrite=overwrite)
    journal = file.with_name(f".{file.name}.journal")
    if overwrite:
        journal.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps([pictures.name, str(getattr(pictures, "root", "")), THRESHOLDS])
    done = _load(journal, head)
    # Written anew: a line that was cut off must not swallow the next one.
    files.write_text(journal, "".join(f"{x}\n" for x in [head, *(_line(n, line) for n, line in done.items())]))
    lines: dict[str, Line] = {}
    unreadable: list[str] = []
    with journal.open("a", encoding="utf-8") as stream:
        for index in tqdm(range(len(pictures)), desc=pictures.name, unit="face", disable=not sys.stderr.isatty()):
            name = pictures.name_of(index)
            if name not in done:
                try:
                    record = pictures[index]
                except BadRecord as error:
                    unreadable.append(str(error))
                    continue
                height, width = record["image"].shape[:2]
                done[name] = Line(width, height, search(record, detect))
                stream.write(_line(name, done[name]) + "\n")
                stream.flush()
            lines[name] = done[name]
    absent = [name for name, line in lines.items() if line.face is None]
    if len(absent) == len(lines):
        raise ValueError(f"no face was found in the {len(lines)} pictures of {pictures.name}; {file} is not written")
    files.write_text(file, boxes.to_text(lines))
    journal.unlink()
    return Made(len(lines) - len(absent), absent, unreadable)


def check_target(file: pathlib.Path, *, overwrite: bool) -> None:
    """ValueError if the file exists and is not to be replaced."""
    if file.exists() and not overwrite:
        raise ValueError(f"{file} exists; give another file with -o, or --overwrite")


def _line(name: str, line: Line) -> str:
    face = line.face and [line.face.box_px.tolist(), line.face.points_px.tolist(), float(line.face.score)]
    return json.dumps([name, line.width, line.height, face])


def _load(journal: pathlib.Path, head: str) -> dict[str, Line]:
    """The finished faces of a journal with this head; a line that was cut off counts as not finished."""
    rows = files.read_text(journal).split("\n") if journal.exists() else []
    out: dict[str, Line] = {}
    for row in rows[1:] if rows[:1] == [head] else []:
        try:
            name, width, height, face = json.loads(row)
        except ValueError:
            continue
        out[name] = Line(width, height, face and Face(np.array(face[0]), np.array(face[1]), face[2]))
    return out


def search(record: Record, detect: Detect) -> Face | None:
    """The face of a record, in pixels of its picture; None if it is not found.

    The picture is brought to a size at which the detector works, see ``FACE_PX``. Where nothing is found, it is tried
    with a grey frame around it, then mirrored, then at twice the size. Of several faces, the one whose centre is
    nearest to the label's is taken, and only if its centre lies within the label's box: another person's face is not
    this one. Without labels, the one nearest to the picture's centre is taken, as in sets of one person a picture.

    Args:
      record: its landmarks or its box say where the face is.
      detect: finds the faces of a picture.
    """
    image = Image.fromarray(record["image"])
    label = _label(record)
    side = max(image.size)
    wanted = FACE_PX / max(label[2] - label[0], label[3] - label[1]) if label is not None else SIDE_PX / side
    for enlarge, pad, mirrored in ((1, 0.0, False), (1, PAD, False), (1, PAD, True), (2, PAD, False)):
        scale = min(enlarge * wanted, MAX_SIDE_PX / side)
        size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        small = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        frame = round(pad * max(size))
        small = np.pad(small, ((frame, frame), (frame, frame), (0, 0)), constant_values=128)
        if mirrored:
            small = np.ascontiguousarray(small[:, ::-1])
        faces = [_mirror(face, small.shape[1]) if mirrored else face for face in detect(small)]
        ratio = np.array(image.size) / np.array(size)
        chosen = nearest([_back(face, frame, ratio) for face in faces], label, image.size)
        if chosen is not None:
            return chosen
    return None


def nearest(faces: Sequence[Face], label: Float[np.ndarray, "4"] | None, size: tuple[int, int]) -> Face | None:
    """The face that a label, or without one the picture's centre, points at; None if there is none.

    Args:
      faces: in pixels of the picture.
      label: (x0, y0, x1, y1) of the labelled face, None = unknown.
      size: (width, height) of the picture.
    """
    target = np.array(size) / 2 if label is None else (label[:2] + label[2:]) / 2
    away = lambda face: float(np.linalg.norm((face.box_px[:2] + face.box_px[2:]) / 2 - target))
    best = min(faces, key=away, default=None)
    if best is None or label is None:
        return best
    centre = (best.box_px[:2] + best.box_px[2:]) / 2
    return best if ((centre >= label[:2]) & (centre <= label[2:])).all() else None


def _label(record: Record) -> Float[np.ndarray, "4"] | None:
    """The box that the labels give: of the landmarks, else the set's own, else around the five points."""
    points = record["landmarks_px"][np.isfinite(record["landmarks_px"]).all(-1)]
    five = record["landmarks5_px"][np.isfinite(record["landmarks5_px"]).all(-1)]
    if len(points) >= 3:
        return np.concatenate([points.min(0), points.max(0)]).astype(np.float64) + 0.5
    if np.isfinite(record["box_px"]).all():
        return record["box_px"].astype(np.float64)
    if len(five) >= 3:
        middle, half = five.mean(0), max(np.ptp(five, axis=0).max(), 1.0)  # a face is about twice as wide as its eyes
        return np.concatenate([middle - half, middle + half]).astype(np.float64)
    return None


def _mirror(face: Face, width: int) -> Face:
    (x0, y0, x1, y1), points = face.box_px, face.points_px[[1, 0, 2, 4, 3]]
    return Face(
        np.array([width - x1, y0, width - x0, y1]), np.stack([width - 1 - points[:, 0], points[:, 1]], -1), face.score
    )


def _back(face: Face, frame: int, ratio: np.ndarray) -> Face:
    """A face of the enlarged and framed picture in pixels of the picture."""
    box = (face.box_px - frame) * np.tile(ratio, 2)
    return Face(box, (face.points_px + 0.5 - frame) * ratio - 0.5, face.score)


def load_mtcnn() -> Detect:
    """MTCNN (Zhang et al., 2016) by the package ``mtcnn``, on the CPU: a function that finds the faces of a picture.

    Raises:
      ImportError: without the package.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import mtcnn
    except ImportError as error:
        raise ImportError(
            "faces are found by the package mtcnn: pip install 'jfsr[detect]' "
            "(jfsr restore also takes --boxes, or --cropped)"
        ) from error
    network = mtcnn.MTCNN(device="CPU:0")

    def detect(image: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        # The package takes the mean over nothing, or stacks nothing, where no window of the picture passes a stage.
        try:
            found = network.detect_faces(
                image, fit_to_image=False, box_format="xyxy", output_type="numpy", **THRESHOLDS
            )
        except (ValueError, IndexError):
            return []
        # A row: picture, box, score, five x, five y. The package's points begin with the viewer's left eye.
        return [
            Face(row[1:5], np.stack([row[6:11], row[11:16]], -1), float(row[5]))
            for row in np.asarray(found, np.float64)
        ]

    return detect
