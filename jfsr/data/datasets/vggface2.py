"""VGGFace2: 3.3 million pictures of 9,131 people, loosely cropped (Cao et al., FG 2018).

Pictures are ``train/n000002/0001_01.jpg`` and ``test/…``. Labels are MTCNN's, in pixels of these pictures. They lie in
``bb_landmark/`` (or the root), in two files with one header line. Both have the same faces in the same order, grouped
by person, with names without ``.jpg``::

    loose_bb_train.csv         NAME_ID,X,Y,W,H              "n000002/0001_01",161,140,224,324
    loose_landmark_train.csv   NAME_ID,P1X,P1Y,…,P5X,P5Y    eyes, nose, mouth corners, the viewer's left first

Splits: ``train``, ``test``, and ``train22``, IAFSR's training set (sec. III): 22 pictures of each person of ``train``.
DEVIATES: IAFSR draws its 22 at random and does not say which; ours are those whose names have the smallest SHA-256.

A scan reads every line of both files and lists each person's folder once. For 300,000 faces it took 3.0 s and 350 bytes
per face; ``train`` needs half a minute and 1.1 GB. Pictures are not cut: they are crops already.

Usual crop: ``lightcnn``, LightCNN's alignment by these points.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from jfsr.data.datasets.official import Entry, Official, Split

PER_PERSON = 22
LABELS = struct.Struct("=14f")  # box and points of a face; tuples of Python floats would need 7 times the memory
COLUMNS = {"loose_bb": 5, "loose_landmark": 11}  # cells per line


def scan(root: pathlib.Path, split: str) -> Split:
    """The faces of a split in the order of the lists, person by person."""
    half = "test" if split == "test" else "train"
    if not (root / half).is_dir():
        raise FileNotFoundError(f"no folder {root / half}")
    boxes, points = (find_list(root, f"{stem}_{half}.csv") for stem in COLUMNS)
    entries: list[Entry] = []
    dropped: list[tuple[str, str]] = []
    unlisted, seen = 0, set[str]()
    for person, rows in itertools.groupby(_rows(boxes, points), lambda row: row[0].partition("/")[0]):
        if person in seen:
            raise ValueError(f"{boxes}: the faces of {person} are not together; sort both lists by NAME_ID")
        seen.add(person)
        present = set(os.listdir(root / half / person)) if (root / half / person).is_dir() else set()
        kept = []
        for name, labels in rows:
            image = f"{half}/{name}.jpg"
            file = image.rpartition("/")[2]
            if file not in present:
                dropped.append((image, "no such picture"))
            elif min(LABELS.unpack(labels)[2:4]) <= 0:
                dropped.append((image, "box without width or height"))
            else:
                kept.append(Entry(image, image, person, (labels,)))  # the same string twice saves memory
            present.discard(file)
        unlisted += sum(file.endswith(".jpg") for file in present)
        entries += chosen(kept) if split == "train22" else kept
    notes = [f"{unlisted} pictures are in no list, and left out"] if unlisted else []
    return Split(entries, dropped, notes)


def chosen(faces: list[Entry]) -> list[Entry]:
    """Those ``PER_PERSON`` of a person's faces whose names have the smallest SHA-256, in the order of the list."""
    order = sorted(faces, key=lambda face: hashlib.sha256(face.name.encode()).digest())
    names = {face.name for face in order[:PER_PERSON]}
    return [face for face in faces if face.name in names]


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """MTCNN's box and five points."""
    x, y, width, height, *points = LABELS.unpack(entry.data[0])
    return {
        "landmarks5_px": np.array(points, np.float32).reshape(5, 2),
        "box_px": np.array([x, y, x + width, y + height], np.float32),
    }


def find_list(root: pathlib.Path, name: str) -> pathlib.Path:
    """The path of a list, in its folder or in the root."""
    for place in ("bb_landmark", "."):
        if (root / place / name).is_file():
            return root / place / name
    raise FileNotFoundError(f"no {name} in {root / 'bb_landmark'} or {root}")


def _rows(boxes: pathlib.Path, points: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """Name and packed labels of each face; both lists are read side by side, line by line."""
    with boxes.open(encoding="utf-8-sig") as left, points.open(encoding="utf-8-sig") as right:
        for number, (one, other) in enumerate(itertools.zip_longest(left, right, fillvalue=""), 1):
            a, b = one.rstrip().split(","), other.rstrip().split(",")
            for file, cells, wanted in zip((boxes, points), (a, b), COLUMNS.values(), strict=True):
                if len(cells) != wanted:
                    raise ValueError(f"{file}, line {number}: {len(cells)} cells, not {wanted}; take a complete file")
            if number == 1:
                continue
            name = a[0].strip('"')
            if name != b[0].strip('"') or name.count("/") != 1:
                where = f"{boxes.name} and {points.name}, line {number}"
                raise ValueError(f"{where}: {a[0]} and {b[0]}; they must name one face, n000002/0001_01")
            try:
                labels = LABELS.pack(*map(float, a[1:]), *map(float, b[1:]))
            except ValueError as error:
                raise ValueError(f"{boxes.name} or {points.name}, line {number}: {error}") from error
            yield name, labels


SPEC = Official(
    name="vggface2",
    title="VGGFace2 (Cao et al., A dataset for recognising faces across pose and age, FG 2018)",
    home="https://www.robots.ox.ac.uk/~vgg/data/vgg_face2/",
    layout=(
        "train/n000002/0001_01.jpg …\ntest/n000001/0001_01.jpg …\n"
        "bb_landmark/loose_bb_train.csv, loose_landmark_train.csv, loose_bb_test.csv, loose_landmark_test.csv"
    ),
    release="1.0.0",
    # 8,631 and 500 people, by the authors' README; train22 has 8,631 × 22 faces.
    counts={"train": 3_141_890, "test": 169_396, "train22": 189_882},
    scan=scan,
    read=read,
)
