"""iBUG's ``.pts`` files: landmarks in a text file beside the picture, used by 300W and Menpo.

A file has the lines ``version: 1``, ``n_points: 68``, ``{``, one line ``x y`` per point, and ``}``; a file with only
the lines ``x y`` is read too. Pixels are Matlab's, counted from 1 (iBUG's own loader, ``menpo.io``, says so and
subtracts 1, as we do). Hidden points have coordinates too, so every point counts as visible; a line ``-1 -1`` is an
unknown point.
"""

from __future__ import annotations

import pathlib

import numpy as np
from jaxtyping import Float

from jfsr import files
from jfsr.data.datasets.official import Entry
from jfsr.data.images import SUFFIXES
from jfsr.data.records import BadRecord


def read_pts(file: pathlib.Path, *, counts: tuple[int, ...] = (68,)) -> Float[np.ndarray, "n 2"]:
    """The points of a file, in pixels counted from 0; NaN = unknown.

    Args:
      file: a ``.pts``.
      counts: the numbers of points that are allowed.

    Raises:
      BadRecord: names the file and the rule that it breaks.
    """
    declared, rows = -1, []
    try:
        for line in files.read_text(file).splitlines():
            key, colon, value = line.partition(":")
            if colon:
                declared = int(value) if key.strip() == "n_points" else declared
            elif line.strip() not in ("", "{", "}"):
                x, y = line.split()
                rows.append((float(x), float(y)))
    except (OSError, ValueError) as error:
        raise BadRecord(f"{file}: not a .pts, lines of x y") from error
    points = np.array(rows, np.float64).reshape(-1, 2)
    if declared not in (-1, len(points)):
        raise BadRecord(f"{file}: n_points is not the number of its points")
    if len(points) not in counts:
        raise BadRecord(f"{file}: landmarks are not {' or '.join(map(str, counts))} points")
    if not np.isfinite(points).all():
        raise BadRecord(f"{file}: not a .pts, lines of x y")
    unknown = (points == -1).all(-1, keepdims=True)
    return np.where(unknown, np.nan, points - 1.0).astype(np.float32)


def listed(root: pathlib.Path, files: list[pathlib.Path]) -> tuple[list[Entry], list[tuple[str, str]], list[str]]:
    """The pictures that have a ``.pts`` beside them.

    Mirrored copies (``NAME_mirror.jpg``), which people make for training, are left out with a note: the pipeline makes
    its own, and the published counts do not include them.

    Args:
      root: names are relative to it.
      files: every file in the folders to read.

    Returns:
      Entries, in the order of their names, with the path of the ``.pts`` as their data; (name, rule) of each file that
      is dropped; notes.
    """
    relative = lambda file: file.relative_to(root).as_posix()
    own = [file for file in sorted(files) if not file.stem.endswith("_mirror")]
    labels = {file.with_suffix(""): file for file in own if file.suffix.lower() == ".pts"}
    pictures = [file for file in own if file.suffix.lower() in SUFFIXES]
    entries, dropped, seen = [], [], set()
    for picture in pictures:
        stem = picture.with_suffix("")
        if stem not in labels:
            dropped.append((relative(picture), "no .pts beside it"))
        elif stem in seen:
            dropped.append((relative(picture), "a second picture beside one .pts"))
        else:
            entries.append(Entry(relative(picture), relative(picture), data=(relative(labels[stem]),)))
        seen.add(stem)
    dropped += [(relative(labels[stem]), "no picture beside it") for stem in labels if stem not in seen]
    mirrored = sum(f.stem.endswith("_mirror") and f.suffix.lower() in SUFFIXES for f in files)
    return entries, dropped, [f"{mirrored:,} mirrored copies (_mirror) are left out"] if mirrored else []
