"""WIDER FACE: boxes of faces in pictures of 61 kinds of events (Yang et al., CVPR 2016).

Pictures are ``WIDER_train/images/0--Parade/NAME.jpg`` and ``WIDER_val/images/…``. The boxes are in
``wider_face_split/wider_face_train_bbx_gt.txt``: for each picture a line with its path below ``images``, a line with
the number of its faces, and for each face a line ``x y width height blur expression illumination invalid occlusion
pose``. A picture without faces has the number 0 and still one line, of ten zeros; there are four such pictures in train
and four in val. A note counts them, and they give no faces (whether the published counts include them is not known).
The test set has no boxes, so it is not a split here.

Every box is a face, ``0--Parade/NAME.jpg`` and ``…#2``, numbered as listed. A face is dropped if it is marked invalid,
has no width or height, or is under ``MIN_PX`` pixels wide or high. This drops more than half of the faces; below 16
pixels they are smaller than the 16×16 input of the networks. A square of ``REGION`` box sides around the face is kept.
Usual crop: ``box``, margin 1.3. Poses, landmarks and identities are not labelled.

Splits ``val_16px`` and ``val_8px`` are the small faces of ``val``: those whose box is 16 to 24, or 8 to 12 pixels on
its longer side, about as large as the 16×16 and 8×8 inputs. Their low resolution is real: it is cut from the picture as
it is (``low`` of :mod:`jfsr.data.crops`), not made from a larger face. Other boxes are not counted there.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from jfsr import files
from jfsr.data.datasets.official import Entry, Official, Split

MIN_PX = 16
SMALL_PX = {"val_16px": (16, 24), "val_8px": (8, 12)}  # the longer side of a box, both ends included
REGION = 3.0
NUMBERS = 10  # numbers in the line of a face: four of the box, six marks
INVALID = 7  # index of the mark "invalid"

Face = tuple[int, ...]


def scan(root: pathlib.Path, split: str) -> Split:
    """The boxes of a list, in its order."""
    half, small = split.partition("_")[0], SMALL_PX.get(split)
    file = next((p for p in (root / "wider_face_split", root) if (p / _list(half)).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"no {_list(half)} in {root / 'wider_face_split'} or {root}")
    images = root / f"WIDER_{half}" / "images"
    if not images.is_dir():
        raise FileNotFoundError(f"no folder {images}")
    present = {item.name: set(os.listdir(item)) for item in images.iterdir() if item.is_dir()}
    entries, dropped, empty = [], [], 0
    for picture, faces in read_boxes(file / _list(half)):
        event, _, name = picture.partition("/")
        missing = name not in present.get(event, ())
        empty += not faces
        for number, face in enumerate(faces, 1):
            if small and not small[0] <= max(face[2:4]) <= small[1]:
                continue
            label = picture if number == 1 else f"{picture}#{number}"
            rule = "no such picture" if missing else rule_of(face, min_px=1 if small else MIN_PX)
            if rule:
                dropped.append((label, rule))
            else:
                entries.append(Entry(label, f"WIDER_{half}/images/{picture}", data=face[:4]))
    return Split(entries, dropped, [f"{empty:,} pictures have no face"] if empty else [])


def rule_of(face: Face, *, min_px: int = MIN_PX) -> str:
    """The rule by which a face is dropped, '' for a face that is kept."""
    width, height = face[2:4]
    if face[INVALID]:
        return "marked invalid"
    if min(width, height) <= 0:
        return "box without width or height"
    return f"box under {min_px} pixels" if min(width, height) < min_px else ""


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """The box."""
    x, y, width, height = entry.data
    return {"box_px": np.array([x, y, x + width, y + height], np.float32)}


def read_boxes(file: pathlib.Path) -> Iterator[tuple[str, list[Face]]]:
    """Each picture of a list with its faces; ValueError names a malformed or missing line."""
    lines = enumerate(files.read_text(file).splitlines(), 1)
    for number, line in lines:
        picture = line.strip()
        if not picture.endswith(".jpg"):
            raise ValueError(f"{file}, line {number}: {picture!r}; expected a picture, 0--Parade/NAME.jpg")
        number, line = next(lines, (number + 1, ""))
        if not line.strip().isdecimal():
            raise ValueError(f"{file}, line {number}: {line!r}; expected the number of faces of {picture}")
        count = int(line)
        faces = []
        for _ in range(max(count, 1)):  # a picture without faces still has a line of zeros
            number, line = next(lines, (number + 1, ""))
            try:
                face = tuple(int(cell) for cell in line.split())
            except ValueError:
                face = ()
            if len(face) != NUMBERS:
                raise ValueError(f"{file}, line {number}: {line!r}; expected the {NUMBERS} numbers of a face")
            faces.append(face)
        yield picture, faces if count else []


def _list(half: str) -> str:
    return f"wider_face_{half}_bbx_gt.txt"


SPEC = Official(
    name="wider_face",
    title="WIDER FACE (Yang et al., WIDER FACE: A Face Detection Benchmark, CVPR 2016)",
    home="http://shuoyang1213.me/WIDERFACE/",
    layout=(
        "WIDER_train/images/0--Parade/NAME.jpg …\nWIDER_val/images/0--Parade/NAME.jpg …\n"
        "wider_face_split/wider_face_train_bbx_gt.txt, wider_face_val_bbx_gt.txt"
    ),
    release="1.0.0",
    # Numbers of boxes, in 12,880 and 3,226 pictures.
    counts={"train": 159_424, "val": 39_708, **dict.fromkeys(SMALL_PX, 0)},
    scan=scan,
    read=read,
    points=False,
    region=REGION,
)
