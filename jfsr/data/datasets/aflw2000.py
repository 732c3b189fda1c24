"""AFLW2000-3D in its official layout: ``image00002.jpg`` beside ``image00002.mat`` (Zhu et al., CVPR 2016).

From each ``.mat``: ``Pose_Para`` (pitch, yaw, roll in radians) and ``pt3d_68`` [3, 68], x and y in pixels of the image,
Matlab's, so counted from 1. The points come from a fitted 3-D face: hidden ones have a place too, and count as visible.
Angles stand as the authors give them, beyond ±99° too (:func:`jfsr.geometry.pose_in_range` is the papers' filter).
"""

from __future__ import annotations

import os
import pathlib

import numpy as np

from jfsr.data import records
from jfsr.data.datasets.folder import Folder
from jfsr.data.records import Record


class AFLW2000:
    """A source over the official folder.

    Args:
      dir: the folder with the ``.jpg`` and ``.mat`` files.

    Raises:
      ValueError: no folder, or images without their ``.mat`` (named).
    """

    def __init__(self, dir: os.PathLike | str):
        self.folder = Folder(dir)
        self.name, self.skipped, self.files = "aflw2000", self.folder.skipped, self.folder.files
        alone = [p.name for p in self.files if not p.with_suffix(".mat").exists()]
        if alone:
            raise ValueError(
                f"{dir}: {len(alone)} image(s) without a .mat beside them, e.g. {alone[0]}; AFLW2000-3D's official "
                "folder has one for each (for images with a labels.csv use the reader 'folder')"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> Record:
        """The record of one image; BadRecord names an image or a .mat that cannot be read."""
        pose, points = read_mat(self.files[index].with_suffix(".mat"))
        return self.folder[index] | {
            "pose_deg": pose,
            "landmarks_px": points,
            "landmarks5_px": records.five_points(points),
            "visible": np.isfinite(points).all(-1),
        }

    def report(self) -> str:
        """What was found and skipped."""
        return self.folder.report()


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
