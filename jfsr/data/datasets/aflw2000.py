"""AFLW2000-3D in its official layout: ``image00002.jpg`` beside ``image00002.mat`` (Zhu et al., CVPR 2016).

Each ``.mat`` has ``Pose_Para`` (pitch, yaw, roll in radians) and ``pt3d_68`` [3, 68] with x and y in pixels of the
image, counted from 1 as in Matlab; landmarks are counted from 0 here, and Hopenet's crop counts from 1 again, as its
code does. The points come from a fitted 3-D face: hidden ones have coordinates too and count
as visible. Angles are kept as the authors give them, also beyond ±99°. The papers filter them by
:func:`jfsr.geometry.pose_in_range`, which 1,969 of the 2,000 faces pass.
"""

from __future__ import annotations

import pathlib
from typing import Any

from jfsr.data import records
from jfsr.data.datasets.matfile import points_of, pose_of, read_mat
from jfsr.data.datasets.official import Entry, Official, Split


def scan(root: pathlib.Path, split: str) -> Split:
    """Every image; one without its ``.mat`` is dropped."""
    images = sorted(p for p in root.iterdir() if p.suffix.lower() == ".jpg")
    dropped = [(p.name, "no .mat beside it") for p in images if not p.with_suffix(".mat").exists()]
    unlabelled = {name for name, _ in dropped}
    return Split([Entry(p.name, p.name) for p in images if p.name not in unlabelled], dropped)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """Pose and landmarks of one ``.mat``."""
    file = (root / entry.image).with_suffix(".mat")
    mat = read_mat(file, "Pose_Para", "pt3d_68")
    labels = records.landmark_labels(points_of(mat["pt3d_68"][:2].T, file))
    return labels | {"pose_deg": pose_of(mat["Pose_Para"], file)}


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
