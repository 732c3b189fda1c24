"""AFLW2000-3D in its official layout: ``image00002.jpg`` beside ``image00002.mat`` (Zhu et al., CVPR 2016).

From each ``.mat``: ``Pose_Para`` (pitch, yaw, roll in radians) and ``pt3d_68`` [3, 68], x and y in pixels of the image,
Matlab's, so counted from 1. The points come from a fitted 3-D face: hidden ones have a place too, and count as visible.
Angles stand as the authors give them, beyond ±99° too (:func:`jfsr.geometry.pose_in_range` is the papers' filter: 1,969
of the 2,000 faces pass it).
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from jfsr.data import records
from jfsr.data.datasets.matfile import points_of, pose_of, read_mat
from jfsr.data.datasets.official import Entry, Official, Split


def scan(root: pathlib.Path, split: str) -> Split:
    """Every image; one without its ``.mat`` is dropped."""
    images = sorted(p for p in root.iterdir() if p.suffix.lower() == ".jpg")
    dropped = [(p.name, "no .mat beside it") for p in images if not p.with_suffix(".mat").exists()]
    lost = {name for name, _ in dropped}
    return Split([Entry(p.name, p.name) for p in images if p.name not in lost], dropped)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """Pose and landmarks of one ``.mat``."""
    file = (root / entry.image).with_suffix(".mat")
    mat = read_mat(file, "Pose_Para", "pt3d_68")
    points = points_of(mat["pt3d_68"][:2].T, file)
    return {
        "pose_deg": pose_of(mat["Pose_Para"], file),
        "landmarks_px": points,
        "landmarks5_px": records.five_points(points),
        "visible": np.isfinite(points).all(-1),
    }


SPEC = Official(
    name="aflw2000",
    title="AFLW2000-3D (Zhu et al., Face Alignment Across Large Poses, CVPR 2016)",
    home="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
    layout="image00002.jpg\nimage00002.mat\n…",
    release="1.0.0",
    counts={"test": 2000},
    scan=scan,
    read=read,
)
