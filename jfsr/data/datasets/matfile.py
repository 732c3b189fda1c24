"""The label files of Zhu et al., Matlab 5 ``.mat``, which 300W-LP and AFLW2000-3D use."""

from __future__ import annotations

import pathlib

import numpy as np
from jaxtyping import Float, Num

from jfsr import geometry
from jfsr.data.records import BadRecord


def read_mat(file: pathlib.Path, *keys: str) -> dict[str, np.ndarray]:
    """The variables with these names; BadRecord names a file without them.

    Raises:
      ImportError: without SciPy, which reads the format.
    """
    try:
        import scipy.io
    except ImportError as error:
        raise ImportError("the labels are .mat files, which SciPy reads: pip install scipy") from error
    fault = f"{file}: not a .mat with {' and '.join(keys)}"
    try:
        mat = scipy.io.loadmat(file, variable_names=keys)
        return {key: np.asarray(mat[key], np.float64) for key in keys}
    except Exception as error:  # broken data can make SciPy raise nearly anything: zlib.error, struct.error, …
        raise BadRecord(fault) from error


def pose_of(pose_para: Num[np.ndarray, "..."], file: pathlib.Path) -> Float[np.ndarray, "3"]:
    """(yaw, pitch, roll) in degrees from a ``Pose_Para``; BadRecord if it does not start with three numbers."""
    para = pose_para.reshape(-1)
    if len(para) < 3 or not np.isfinite(para[:3]).all():
        raise BadRecord(f"{file}: Pose_Para does not begin with three angles")
    return geometry.pose_from_para(para).astype(np.float32)


def points_of(points: Num[np.ndarray, "..."], file: pathlib.Path) -> Float[np.ndarray, "68 2"]:
    """68 points [68, 2] from Matlab's pixels, counted from 1, to pixels counted from 0; (-1, -1) becomes NaN."""
    if points.shape != (68, 2):
        raise BadRecord(f"{file}: landmarks are not 68 points")
    unknown = (points == -1).all(-1, keepdims=True)
    return np.where(unknown, np.nan, points - 1.0).astype(np.float32)
