"""HELEN with its own 194 landmarks (Le et al., Interactive Facial Feature Localization, ECCV 2012).

The annotations are ``annotation/1.txt`` to ``2330.txt``: line 1 is the picture's name without ``.jpg``, then follow 194
lines ``x , y``. The pictures lie in ``helen_1`` to ``helen_5``, or in ``train_1`` to ``train_4`` and ``test``, or
anywhere below the root.

Splits ``train`` and ``test`` follow ``trainnames.txt`` and ``testnames.txt`` (one name per line; in the root or beside
the annotations). ``fsrnet_train`` and ``fsrnet_test`` are the split that FSRNet and JASRNet report: all but the last
50, and the last 50. FSRNet's list has the numbers 2281 to 2330 instead of names. We number the pictures in the order of
their names, like the face parsing labels that FSRNet trains on: an assumption.

A face has 194 landmarks (300W has these pictures with 68). Besides,

* ``box_px`` is the box of the 194 points;
* ``landmarks5_px``: the eyes are the means of points 134 to 153 (the viewer's left) and 114 to 133; the mouth's corners
  are the points of the lips' outer line, 58 to 85, that lie farthest along the line between the eyes. Code for HELEN in
  public repositories agrees on these groups. The tip of the nose is not among the 194 points (NaN).

Coordinates are used as they are, counted from 0; no source says so. Usual crop: ``box``, margin 1.2. Identities are
unknown.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from jfsr import files
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.records import BadRecord

COUNT = 194
LEFT_EYE, RIGHT_EYE, LIPS = slice(134, 154), slice(114, 134), slice(58, 86)  # the viewer's left
LISTS = {"train": "trainnames.txt", "test": "testnames.txt"}
LAST = 50


def scan(root: pathlib.Path, split: str) -> Split:
    """The annotated pictures of a split, in the order of its list or of their names."""
    if not (root / "annotation").is_dir():
        raise FileNotFoundError(f"no folder {root / 'annotation'}")
    annotations, dropped = {}, []
    for file in sorted((root / "annotation").glob("[0-9]*.txt"), key=lambda file: (len(file.name), file.name)):
        name = _first_line(file)
        path = file.relative_to(root).as_posix()
        if not name or name in annotations:
            dropped.append((path, "a second annotation of one picture" if name else "no picture's name in its line 1"))
            continue
        annotations[name] = path
    pictures: dict[str, str] = {}
    for file in sorted(root.rglob("*.jpg")):
        pictures.setdefault(file.stem, file.relative_to(root).as_posix())
    if split in LISTS:
        names = read_names(_find_list(root, LISTS[split]))
    else:
        names = sorted(annotations)[-LAST:] if split == "fsrnet_test" else sorted(annotations)[:-LAST]
    entries = []
    for name in names:
        if name not in annotations:
            dropped.append((f"{name}.jpg", "no annotation of it"))
        elif name not in pictures:
            dropped.append((f"{name}.jpg", "no such picture"))
        else:
            entries.append(Entry(f"{name}.jpg", pictures[name], data=(annotations[name],)))
    return Split(entries, dropped)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """Landmarks, box, eyes and mouth corners from one annotation."""
    points = read_annotation(root / entry.data[0])
    box = np.concatenate([points.min(0), points.max(0)]) + 0.5  # from pixel centres to pixel edges
    visible = np.ones(COUNT, bool)
    labels = {"landmarks_px": points, "landmarks5_px": five_points(points), "visible": visible}
    return {**labels, "box_px": box.astype(np.float32)}


def read_annotation(file: pathlib.Path) -> Float[np.ndarray, "194 2"]:
    """The 194 points; BadRecord names the file and the rule that it breaks."""
    fault = f"{file}: not a name and {COUNT} lines x , y"
    try:
        lines = [line for line in files.read_text(file).splitlines()[1:] if line.strip()]
        points = np.array([[float(cell) for cell in line.split(",")] for line in lines], np.float32)
    except (OSError, ValueError) as error:
        raise BadRecord(fault) from error
    if points.shape != (COUNT, 2) or not np.isfinite(points).all():
        raise BadRecord(fault)
    return points


def five_points(points: Float[np.ndarray, "194 2"]) -> Float[np.ndarray, "5 2"]:
    """Eyes, nose (unknown) and mouth corners."""
    left, right = points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)
    along = points[LIPS] @ (right - left)
    nose = np.full(2, np.nan)
    corners = points[LIPS][[np.argmin(along), np.argmax(along)]]
    return np.stack([left, right, nose, *corners]).astype(np.float32)


def read_names(file: pathlib.Path) -> list[str]:
    """The names in a list; ValueError names the line of a repeated name."""
    names: dict[str, None] = {}
    for number, line in enumerate(files.read_text(file).splitlines(), 1):
        name = line.strip().removesuffix(".jpg")
        if name in names:
            raise ValueError(f"{file}, line {number}: a second line for {name}; keep one")
        if name:
            names[name] = None
    return list(names)


def _first_line(file: pathlib.Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().strip()


def _find_list(root: pathlib.Path, name: str) -> pathlib.Path:
    for place in (root, root / "annotation"):
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(f"no {name} in {root} or {root / 'annotation'}")


SPEC = Official(
    name="helen194",
    title="HELEN (Le et al., Interactive Facial Feature Localization, ECCV 2012)",
    home="http://www.ifp.illinois.edu/~vuongle2/helen/",
    layout=(
        "annotation/1.txt … 2330.txt\nhelen_1/100032540_1.jpg … helen_5 (or train_1 … train_4, test)\n"
        "trainnames.txt, testnames.txt (for splits train and test)"
    ),
    release="1.1.0",
    landmarks=COUNT,
    counts={"train": 2000, "test": 330, "fsrnet_train": 2330 - LAST, "fsrnet_test": LAST},
    scan=scan,
    read=read,
)
