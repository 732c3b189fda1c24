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
from jfsr.data.datasets.official import Entry, Official, Split


def scan(root: pathlib.Path, split: str) -> Split:
    """Every image; one without its ``.mat`` is dropped."""
    images = sorted(p for p in root.iterdir() if p.suffix.lower() == ".jpg")
    dropped = [(p.name, "no .mat beside it") for p in images if not p.with_suffix(".mat").exists()]
    lost = {name for name, _ in dropped}
    return Split([Entry(p.name, p.name) for p in images if p.name not in lost], dropped)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """Pose and landmarks of one ``.mat``."""
    pose, points = read_mat((root / entry.image).with_suffix(".mat"))
    return {
        "pose_deg": pose,
        "landmarks_px": points,
        "landmarks5_px": records.five_points(points),
        "visible": np.isfinite(points).all(-1),
    }


def read_mat(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Pose in degrees (yaw, pitch, roll) [3] and landmarks in pixels [68, 2] of one ``.mat``."""
    try:
        import scipy.io
    except ImportError as error:
        raise ImportError("AFLW2000-3D's labels are .mat files, which SciPy reads: pip install scipy") from error
    try:
        mat = scipy.io.loadmat(path)
        pitch, yaw, roll = np.rad2deg(mat["Pose_Para"][0][:3])
        points = mat["pt3d_68"][:2].T.reshape(68, 2) - 1.0
    except (OSError, KeyError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise records.BadRecord(f"{path}: not a .mat of AFLW2000-3D with Pose_Para and pt3d_68 ({error})") from error
    return np.array([yaw, pitch, roll], np.float32), points.astype(np.float32)


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
