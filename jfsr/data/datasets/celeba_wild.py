"""CelebA in its original pictures, with the authors' face boxes (Liu et al., ICCV 2015).

The pictures are in ``img_celeba/``. ``list_landmarks_celeba.txt`` and ``list_bbox_celeba.txt`` (line 1 is the number of
faces, line 2 the columns, then name and x_1 y_1 width height) are in pixels of these pictures. The other lists, the
splits and Kaggle's ``.csv`` are as in :mod:`jfsr.data.datasets.celeba`. Only one face of a picture is labelled, even if
the picture shows several.

Some boxes have no width or no height: those faces are dropped. Users report other boxes that miss the face, so the
usual crop uses the five points: ``eyes_mouth``, margin 1.2 (48 of 128 pixels between eyes and mouth).
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from jfsr.data.datasets import celeba
from jfsr.data.datasets.official import Entry, Official, Split


def scan(root: pathlib.Path, split: str) -> Split:
    """The faces of a split in the order of the lists."""
    tables = {"list_landmarks_celeba": celeba.POINTS, "list_bbox_celeba": celeba.BOX}
    listed = celeba.listed(root, split, pictures="img_celeba", tables=tables)
    boxed = [entry for entry in listed.entries if min(entry.data[-2:]) > 0]
    empty = [(entry.name, "box without width or height") for entry in listed.entries if min(entry.data[-2:]) <= 0]
    return Split(boxed, listed.dropped + empty, listed.notes)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """The five points and the box."""
    *points, x, y, width, height = entry.data
    return {
        "landmarks5_px": np.array(points, np.float32).reshape(5, 2),
        "box_px": np.array([x, y, x + width, y + height], np.float32),
    }


SPEC = Official(
    name="celeba_wild",
    title="CelebA, original pictures (Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015)",
    home=celeba.SPEC.home,
    layout=(
        "img_celeba/000001.jpg …\nAnno/list_landmarks_celeba.txt\nAnno/list_bbox_celeba.txt\nAnno/identity_CelebA.txt\n"
        "Eval/list_eval_partition.txt"
    ),
    release="1.0.0",
    counts=celeba.COUNTS,
    scan=scan,
    read=read,
)
