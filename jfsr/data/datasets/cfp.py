"""Celebrities in Frontal-Profile: 500 people, 10 frontal and 4 profile pictures each (Sengupta et al., WACV 2016).

``Protocol/Pair_list_F.txt`` and ``Pair_list_P.txt`` list the frontal and the profile pictures. Each line has a number,
from 1, and the path relative to ``Protocol``: ``1 ../Data/Images/001/frontal/01.jpg``. Splits: ``full``, ``frontal``,
``profile``. Faces are named ``001/frontal/01.jpg``, people ``001``.

``Protocol/Split/FP/01`` to ``10`` hold the folds of the pairs (:func:`pairs`). Each has a ``same.txt`` and a
``diff.txt`` with 350 lines ``i,j``: the numbers of a frontal and a profile picture. ``Split/FF`` has pairs of two
frontal pictures.

``Data/Fiducials`` (30 points per picture, one line ``x,y`` each) is not read, because no source that we have says which
point is which. Usual crops: ``center``, margin 1, the centre square of a picture that the authors cut around the head;
``lightcnn`` by MTCNN's five points, which ``jfsr data boxes cfp`` finds.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

from jfsr import files
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.pairs import Pair

LISTS = {"frontal": "Pair_list_F.txt", "profile": "Pair_list_P.txt"}
KINDS = {"FP": ("frontal", "profile"), "FF": ("frontal", "frontal")}
FOLDS = 10
IMAGES = "Data/Images"


def scan(root: pathlib.Path, split: str) -> Split:
    """The pictures of the lists, in their order."""
    views = list(LISTS) if split == "full" else [split]
    names = [name for view in views for name in read_list(root / "Protocol" / LISTS[view]).values()]
    entries = [Entry(name, f"{IMAGES}/{name}", name.split("/")[0]) for name in names]
    absent = {entry.name for entry in entries if not (root / entry.image).is_file()}
    kept = [entry for entry in entries if entry.name not in absent]
    return Split(kept, [(entry.name, "no such picture") for entry in entries if entry.name in absent])


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """No labels besides the identity."""
    return {}


def read_list(file: pathlib.Path) -> dict[int, str]:
    """Number -> name, from ``Pair_list_F.txt`` or ``Pair_list_P.txt``; ValueError names a malformed line."""
    out: dict[int, str] = {}
    for line, cells in _lines(file, None):
        _, marker, name = cells[-1].replace("\\", "/").rpartition(f"{IMAGES}/")
        if len(cells) != 2 or not cells[0].isdecimal() or not marker or name.count("/") != 2:
            raise ValueError(f"{file}, line {line}: {' '.join(cells)!r}; a line is 1 ../{IMAGES}/001/frontal/01.jpg")
        if out.setdefault(int(cells[0]), name) is not name:
            raise ValueError(f"{file}, line {line}: a second line for number {cells[0]}; keep one")
    return out


def pairs(root: os.PathLike | str, kind: str = "FP") -> list[Pair]:
    """The pairs of the ten folds (from 0); in each fold, pairs of one person come first.

    Args:
      root: CFP's folder.
      kind: 'FP', frontal with profile, or 'FF', frontal with frontal.

    Raises:
      ValueError: the kind is unknown; a list is missing, malformed or shorter than the others; the picture of a pair is
        missing or not listed; or a pair is in the wrong file. Names the line or the pair.
    """
    if kind not in KINDS:
        raise ValueError(f"cfp has no pairs of kind {kind!r}; kinds: {', '.join(KINDS)}")
    root = files.path(root)
    out: list[Pair] = []
    count = 0  # lines of the first file; every file must have as many
    try:
        left, right = (read_list(root / "Protocol" / LISTS[view]) for view in KINDS[kind])
        for fold in range(FOLDS):
            for same in (True, False):
                file = root / "Protocol/Split" / kind / f"{fold + 1:02}" / ("same.txt" if same else "diff.txt")
                listed = [_pair(file, line, cells, left, right, same, fold) for line, cells in _lines(file, ",")]
                count = count or len(listed)
                if len(listed) != count or not listed:
                    raise ValueError(f"{file}: {len(listed)} pairs, the first file has {count}; take complete files")
                out += listed
    except OSError as error:
        raise ValueError(f"cfp: {error}; {root} is expected to hold\n{SPEC.layout}") from error
    for pair in out:
        for name in (pair.a, pair.b):
            if not (root / IMAGES / name).is_file():
                where = f"cfp: the pair {pair.a}, {pair.b} of fold {pair.fold + 1}"
                raise ValueError(f"{where} wants {name}, which is missing in {root / IMAGES}")
    return out


def _lines(file: pathlib.Path, separator: str | None) -> list[tuple[int, list[str]]]:
    lines = files.read_text(file).splitlines()
    return [(number, line.split(separator)) for number, line in enumerate(lines, 1) if line.strip()]


def _pair(
    file: pathlib.Path, line: int, cells: list[str], left: dict[int, str], right: dict[int, str], same: bool, fold: int
) -> Pair:
    if len(cells) != 2 or not all(cell.strip().isdecimal() for cell in cells):
        raise ValueError(f"{file}, line {line}: {','.join(cells)!r}; a line is two numbers: 1,2")
    numbers = [int(cell) for cell in cells]
    for number, names in zip(numbers, (left, right), strict=True):
        if number not in names:
            raise ValueError(f"{file}, line {line}: no picture of number {number} is listed")
    a, b = left[numbers[0]], right[numbers[1]]
    if (a.split("/")[0] == b.split("/")[0]) != same or a == b:
        raise ValueError(f"{file}, line {line}: {a} and {b} are no pair of {'one person' if same else 'two people'}")
    return Pair(a, b, same, fold)


def pairs_of_split(root: pathlib.Path, split: str) -> list[Pair]:
    """The pairs of a split: FP for 'full', FF for 'frontal'; ValueError for 'profile', which has none."""
    if split == "profile":
        raise ValueError("cfp has no pairs of two profiles; take split 'full' (frontal, profile) or 'frontal'")
    return pairs(root, "FF" if split == "frontal" else "FP")


SPEC = Official(
    name="cfp",
    title="CFP (Sengupta et al., Frontal to Profile Face Verification in the Wild, WACV 2016)",
    home="http://www.cfpw.io/",
    layout=(
        "Data/Images/001/frontal/01.jpg … 10.jpg\nData/Images/001/profile/01.jpg … 04.jpg\n"
        "Protocol/Pair_list_F.txt\nProtocol/Pair_list_P.txt\nProtocol/Split/FP/01/same.txt, diff.txt …"
    ),
    release="1.0.0",
    counts={"full": 7000, "frontal": 5000, "profile": 2000},  # 500 people × (10 + 4)
    scan=scan,
    read=read,
    points=False,
    pairs=pairs_of_split,
)
