"""CelebA, aligned and cropped to 178×218 (Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015).

:mod:`jfsr.data.datasets.celeba_wild` reads the same faces in their original pictures. The authors' lists lie in
``Anno/``, ``Eval/`` or the root, with one line per face and white space between the cells:

* ``list_landmarks_align_celeba.txt``: line 1 is the number of faces, line 2 the columns; the other lines have the name
  and five points (x, y) in whole pixels: eyes, nose, mouth corners, the viewer's left first. Coordinates are used as
  they are; the authors do not say whether they count pixels from 0 or 1;
* ``list_eval_partition.txt``: name and 0 (train), 1 (validation) or 2 (test); no header; not read for split ``full``;
* ``identity_CelebA.txt``: name and the person's number; no header. Without it, identities are unknown.

Kaggle's copy can be read too: its lists are ``.csv`` with one header line ``image_id,…``, and it has no identities.

Usual crops: ``celeba_aligned``; ``lightcnn`` for IAFSR. IAFSR's identification uses split ``full``, which has 3,661
people with more than 25 pictures; ``test`` has only about 1,000.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from jfsr import files
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.images import read_size
from jfsr.data.records import BadRecord

ALIGNED_SIZE = (178, 218)  # (width, height) of the aligned pictures
SPLITS = {"train": 0, "validation": 1, "test": 2}
# Numbers of faces by the authors' README, of 10,177 people.
COUNTS = {"train": 162_770, "validation": 19_867, "test": 19_962, "full": 202_599}
POINTS = tuple(f"{part}_{axis}" for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy")
BOX = ("x_1", "y_1", "width", "height")

Table = dict[str, tuple[int, ...]]


def scan(root: pathlib.Path, split: str) -> Split:
    """The faces of a split in the order of the lists."""
    return listed(root, split, pictures="img_align_celeba", tables={"list_landmarks_align_celeba": POINTS})


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """The five points; BadRecord for a picture of another size, which is not from the aligned CelebA."""
    if read_size(root / entry.image) != ALIGNED_SIZE:
        width, height = ALIGNED_SIZE
        raise BadRecord(f"{root / entry.image}: not the {width}×{height} of the aligned pictures")
    return {"landmarks5_px": np.array(entry.data, np.float32).reshape(5, 2)}


def listed(root: pathlib.Path, split: str, *, pictures: str, tables: dict[str, tuple[str, ...]]) -> Split:
    """The faces of a split by the lists.

    Args:
      root: CelebA's folder.
      split: 'train', 'validation', 'test' or 'full'.
      pictures: name of the folder of pictures.
      tables: name of each list -> its columns. The numbers of all lists become each entry's data.

    Raises:
      FileNotFoundError: the folder of pictures or a list is missing.
      ValueError: a line is malformed; names its number.
    """
    images = find_pictures(root, pictures)
    with os.scandir(images) as items:
        present = {item.name for item in items}
    notes: list[str] = []
    labels = {stem: read_table(find_list(root, stem), columns, notes) for stem, columns in tables.items()}
    stem, labelled = next(iter(labels.items()))
    names = list(labelled)
    if split != "full":
        numbers = tuple(SPLITS.values())
        partition = read_table(find_list(root, "list_eval_partition"), ("partition",), notes, values=numbers)
        names = [name for name, (number,) in partition.items() if number == SPLITS[split]]
        _note(notes, labelled.keys() - partition.keys(), "faces are in no split")
    _note(notes, {name for name in present if name.endswith(".jpg")} - labelled.keys(), f"pictures are not in {stem}")
    try:
        people = read_table(find_list(root, "identity_CelebA"), ("identity",), notes)
    except FileNotFoundError:
        people = {}
        notes.append("there is no identity_CelebA.txt, so identities are unknown")
    prefix = images.relative_to(root).as_posix()
    entries, dropped = [], []
    for name in names:
        lacking = [stem for stem, table in labels.items() if name not in table]
        if name not in present:
            dropped.append((name, f"no picture in {pictures}"))
        elif lacking:
            dropped.append((name, f"not in {lacking[0]}"))
        else:
            # With leading zeros, the sorted order of the names is the order of the numbers.
            person = f"{people[name][0]:05}" if name in people else ""
            data = tuple(number for table in labels.values() for number in table[name])
            entries.append(Entry(name, f"{prefix}/{name}", person, data))
    if people:
        _note(notes, {entry.name for entry in entries if not entry.person}, "faces are not in identity_CelebA")
    return Split(entries, dropped, notes)


def _note(notes: list[str], names: set[str], what: str) -> None:
    if names:
        notes.append(f"{len(names)} {what}, e.g. {min(names)}")


def find_pictures(root: pathlib.Path, name: str) -> pathlib.Path:
    """The folder of pictures, in the authors' places or in Kaggle's, which is one level deeper."""
    places = [root / place for place in (f"{name}/{name}", name, f"Img/{name}")]
    for path in places:
        if path.is_dir():
            return path
    raise FileNotFoundError(f"no folder {name} in {root} or {root / 'Img'}")


def find_list(root: pathlib.Path, stem: str) -> pathlib.Path:
    """The path of a list in the authors' form (.txt) or in Kaggle's (.csv)."""
    for place in ("Anno", "Eval", "."):
        for suffix in (".txt", ".csv"):
            if (root / place / (stem + suffix)).is_file():
                return root / place / (stem + suffix)
    raise FileNotFoundError(f"no {stem}.txt (or .csv) in {root / 'Anno'}, {root / 'Eval'} or {root}")


def read_table(
    file: pathlib.Path, columns: tuple[str, ...], notes: list[str], *, values: tuple[int, ...] | None = None
) -> Table:
    """Name -> whole numbers, in the list's order.

    Args:
      file: the list.
      columns: the expected columns after the name. A ``.txt`` with one column has no header; a ``.txt`` with several
        starts with a line for the count and a line for the columns; a ``.csv`` starts with the columns.
      notes: gets a note if the list's count is wrong.
      values: the allowed numbers; None = all.

    Raises:
      ValueError: another header, a malformed line or a name given twice; names the line.
    """
    comma = file.suffix == ".csv"
    lines = files.read_text(file).splitlines()
    first = 1 if comma else 0 if len(columns) == 1 else 2
    header = lines[first - 1].replace(",", " ").split() if 0 < first <= len(lines) else []
    if first and header[-len(columns) :] != list(columns):
        raise ValueError(f"{file}, line {first}: {' '.join(header)!r}; its columns are {' '.join(columns)}")
    out: Table = {}
    for number, line in enumerate(lines[first:], first + 1):
        name, *cells = line.split(",") if comma else line.split() or [""]
        if not line.strip():
            continue
        try:
            row = tuple(int(cell) for cell in cells)
        except ValueError:
            row = ()
        if len(row) != len(columns) or (values and row[0] not in values):
            wanted = f"one of {', '.join(map(str, values))}" if values else f"{len(columns)} whole number(s)"
            raise ValueError(f"{file}, line {number}: {line.strip()!r}; a line is a picture's name and {wanted}")
        if out.setdefault(name, row) is not row:
            raise ValueError(f"{file}, line {number}: a second line for {name}; keep one")
    if first == 2 and lines[0].strip() != str(len(out)):
        notes.append(f"{file.name} says {lines[0].strip()} faces and lists {len(out)}")
    return out


SPEC = Official(
    name="celeba",
    title="CelebA, aligned (Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015)",
    home="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    layout=(
        "img_align_celeba/000001.jpg …\nAnno/list_landmarks_align_celeba.txt\nAnno/identity_CelebA.txt\n"
        "Eval/list_eval_partition.txt"
    ),
    release="1.0.0",
    counts=COUNTS,
    scan=scan,
    read=read,
)
