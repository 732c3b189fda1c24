"""Labeled Faces in the Wild: one folder per person, ``AJ_Cook/AJ_Cook_0001.jpg``, 250×250 (Huang et al., 2007).

The pictures are read from ``lfw-deepfunneled`` (Huang et al., 2012), or else from ``lfw_funneled``, ``lfw`` or the root
itself. A face is named ``AJ_Cook/AJ_Cook_0001.jpg`` in each of them.

The lists lie in the root or beside it:

* ``peopleDevTrain.txt``, ``peopleDevTest.txt``: line 1 is the number of people, then lines ``name<tab>pictures``. These
  are the people of View 1, splits ``view1_train`` and ``view1_test``. ``lfw-names.txt``, for split ``full``, has the
  same lines without the first; without that list, split ``full`` is what the folders hold.
* ``pairs.txt``, View 2 (:func:`pairs`): line 1 is ``10<tab>300``; then for each fold 300 lines ``name i j`` for one
  person and 300 lines ``name1 i name2 j`` for two. ``pairsDevTrain.txt``, ``pairsDevTest.txt``, View 1: line 1 is
  ``n``, then n lines for one person and n for two.

LFW has no boxes and no landmarks. Usual crops: ``center``, margin 144/250, of deep-funneled pictures, whose eyes are
level already; ``lightcnn`` by MTCNN's five points, which ``jfsr data boxes lfw`` finds.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

from jfsr import files
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.images import read_size
from jfsr.data.pairs import Pair, deal
from jfsr.data.records import BadRecord

SIDE = 250  # of every picture, in pixels
PLACES = ("lfw-deepfunneled/lfw-deepfunneled", "lfw-deepfunneled", "lfw_funneled", "lfw", ".")
PEOPLE = {"full": "lfw-names.txt", "view1_train": "peopleDevTrain.txt", "view1_test": "peopleDevTest.txt"}
PAIRS = {"full": "pairs.txt", "view1_train": "pairsDevTrain.txt", "view1_test": "pairsDevTest.txt"}


def scan(root: pathlib.Path, split: str) -> Split:
    """The pictures of a split, person by person in the order of the list, each person's by their numbers."""
    images = find_pictures(root)
    notes = []
    if "deepfunneled" not in images.resolve().name:
        notes.append(f"the folder {images.resolve().name} does not say deep-funneled, which the usual crop is made for")
    try:
        people = read_people(find_list(root, PEOPLE[split]), header=split != "full")
    except FileNotFoundError:
        if split != "full":
            raise
        people = dict.fromkeys(sorted(item.name for item in os.scandir(images) if item.is_dir()), 0)
    prefix = "" if images == root else f"{images.relative_to(root).as_posix()}/"
    entries, dropped, unlisted = [], [], 0
    for person, count in people.items():
        present, misnamed = _pictures_of(images, person)
        wanted = {name_of(person, i) for i in range(1, count + 1)} if count else present
        entries += [Entry(name, prefix + name, person) for name in sorted(wanted & present)]
        dropped += [(name, "no such picture") for name in sorted(wanted - present)]
        dropped += [(name, "not named as NAME_0001.jpg in the folder NAME") for name in misnamed]
        unlisted += len(present - wanted)
    if unlisted:
        notes.append(f"{unlisted} pictures are beyond what {PEOPLE[split]} says of a person, and left out")
    return Split(entries, dropped, notes)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """No labels besides the identity. A picture of another size is not one of LFW's: it was cropped or resized."""
    if read_size(root / entry.image) != (SIDE, SIDE):
        raise BadRecord(f"{root / entry.image}: not LFW's {SIDE}×{SIDE}")
    return {}


def name_of(person: str, number: int) -> str:
    """Name of a person's picture; the first has number 1: ``AJ_Cook/AJ_Cook_0001.jpg``."""
    return f"{person}/{person}_{number:04}.jpg"


def find_pictures(root: pathlib.Path) -> pathlib.Path:
    """The folder that holds one folder per person; FileNotFoundError if there is none."""
    for place in PLACES:
        path = root / place
        if path.is_dir() and any((item / f"{item.name}_0001.jpg").is_file() for item in path.iterdir()):
            return path
    raise FileNotFoundError(f"no NAME/NAME_0001.jpg in {root}, nor in {', '.join(PLACES[:-1])} there")


def find_list(root: pathlib.Path, name: str) -> pathlib.Path:
    """The path of a list, in the root or beside it; FileNotFoundError names a list that is missing."""
    for place in (root, root.absolute().parent):
        if (place / name).is_file():
            return place / name
    csv = " (the .csv of Kaggle's copy is not read)" if list(root.glob("*pairs*.csv")) else ""
    raise FileNotFoundError(f"no {name} in {root} or beside it{csv}; it is on {SPEC.home}")


def read_people(file: pathlib.Path, *, header: bool) -> dict[str, int]:
    """Person -> number of pictures; ValueError names the line that is malformed."""
    lines = files.read_text(file).splitlines()
    out: dict[str, int] = {}
    for number, line in enumerate(lines[header:], header + 1):
        cells = line.split()
        if len(cells) != 2 or not cells[1].isdecimal() or int(cells[1]) < 1:
            raise ValueError(f"{file}, line {number}: {line!r}; a line is a name and the number of pictures")
        if cells[0] in out:
            raise ValueError(f"{file}, line {number}: a second line for {cells[0]}; keep one")
        out[cells[0]] = int(cells[1])
    if header and lines[:1] != [str(len(out))]:
        raise ValueError(f"{file}, line 1: {''.join(lines[:1])!r} people, it lists {len(out)}; take a complete file")
    return out


def read_pairs(file: os.PathLike | str) -> list[Pair]:
    """The pairs of ``pairs.txt`` (folds from 0) or of one of View 1's lists (fold 0), in the order of the file.

    Raises:
      ValueError: the file is missing, has too few or too many lines, or a line is malformed (names its number).
    """
    file = pathlib.Path(file)
    if not file.is_file():
        raise ValueError(f"no file {file}; LFW's lists of pairs are on {SPEC.home}")
    lines = files.read_text(file).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    head = lines[0].split() if lines else []
    if len(head) not in (1, 2) or not all(cell.isdecimal() and int(cell) for cell in head):
        raise ValueError(f"{file}, line 1: {' '.join(head)!r}; it gives the folds and the pairs of a kind: 10 300")
    folds, count = int(head[0]) if len(head) == 2 else 1, int(head[-1])
    if len(lines) != 1 + folds * 2 * count:
        raise ValueError(
            f"{file}: line 1 promises {folds} × 2 × {count} pairs, there are {len(lines) - 1} lines after it; "
            "take a complete file"
        )
    return [_pair(file, i + 2, line, i // count % 2 == 0, i // (2 * count)) for i, line in enumerate(lines[1:])]


def pairs(root: os.PathLike | str, split: str = "full") -> list[Pair]:
    """The pairs of a split: View 2's for 'full', View 1's for the others, dealt to ten folds that share no person.

    Args:
      root: LFW's folder, with the list in it or beside it.
      split: '' = 'full'.

    Raises:
      ValueError: no pictures, no list, a malformed line, or a pair whose picture is missing (names the pair).
    """
    root = files.path(root)
    try:
        images, file = find_pictures(root), find_list(root, PAIRS[SPEC.split(split)])
    except OSError as error:
        raise ValueError(f"lfw: {error}") from error
    listed = read_pairs(file)
    people = {_person(name) for pair in listed for name in (pair.a, pair.b)}
    present = set().union(*(_pictures_of(images, person)[0] for person in people))
    for number, pair in enumerate(listed, 2):
        for name in (pair.a, pair.b):
            if name not in present:
                where = f"{file}, line {number}: the pair {pair.a}, {pair.b}"
                raise ValueError(f"{where} wants {name}, which is missing in {images}")
    return listed if split in ("", "full") else deal(listed, _person)[0]


def _person(name: str) -> str:
    return name.split("/")[0]


def _pair(file: pathlib.Path, number: int, line: str, same: bool, fold: int) -> Pair:
    cells = line.split()
    if len(cells) == 3 and same:
        cells = [cells[0], cells[1], cells[0], cells[2]]
    elif len(cells) != 4 or same:
        wanted = "one person: name i j" if same else "two people: name1 i name2 j"
        raise ValueError(f"{file}, line {number}: {line!r}; here belongs a pair of {wanted}")
    if not all(cells[i].isdecimal() and int(cells[i]) for i in (1, 3)):
        raise ValueError(f"{file}, line {number}: {line!r}; pictures are numbered from 1")
    if (cells[0] == cells[2]) != same or cells[:2] == cells[2:]:
        raise ValueError(f"{file}, line {number}: {line!r}; these are no two faces of {'one' if same else 'two'}")
    return Pair(name_of(cells[0], int(cells[1])), name_of(cells[2], int(cells[3])), same, fold)


def _pictures_of(images: pathlib.Path, person: str) -> tuple[set[str], list[str]]:
    """Names of a person's pictures, and names of the other ``.jpg`` files in the person's folder."""
    if not (images / person).is_dir():
        return set(), []
    names = [item.name for item in os.scandir(images / person) if item.name.lower().endswith(".jpg")]
    good = {name for name in names if re.fullmatch(re.escape(person) + r"_\d{4}\.jpg", name)}
    return {f"{person}/{name}" for name in good}, sorted(f"{person}/{name}" for name in names if name not in good)


SPEC = Official(
    name="lfw",
    title="Labeled Faces in the Wild (Huang et al., University of Massachusetts, TR 07-49, 2007)",
    home="http://vis-www.cs.umass.edu/lfw/",
    layout=(
        "lfw-deepfunneled/AJ_Cook/AJ_Cook_0001.jpg … (or lfw_funneled, lfw)\npairs.txt\n"
        "peopleDevTrain.txt\npeopleDevTest.txt (for View 1)"
    ),
    release="1.0.0",
    # View 1 splits the 5,749 people into 4,038, whose pictures we counted, and the other 1,711.
    counts={"full": 13_233, "view1_train": 9_525, "view1_test": 3_708},
    scan=scan,
    read=read,
    points=False,
    pairs=pairs,
)
