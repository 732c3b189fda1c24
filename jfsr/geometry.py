"""Head pose and landmarks: the one place that knows the sign convention.

Angles are in degrees, in the order (yaw, pitch, roll), with the signs of 300W-LP's ``Pose_Para``:

* yaw > 0: the face is turned to the viewer's left;
* pitch > 0: the face looks up;
* roll > 0: the head is tilted clockwise as the viewer sees it.

Coordinates are the image's: x to the viewer's right, y down, z towards the viewer. A head at zero pose looks along +z.
The head's rotation moves a point to ``R @ point`` with ``R = Rx(pitch) Ry(-yaw) Rz(roll)``. The columns of R are the
axes that Hopenet's ``draw_axis`` paints: x red, y green, z blue; z points out of the face.

Landmarks are (x, y) in pixels; pixel centres are integers. A face has 68 landmarks in iBUG order, or AFLW's 19, or
HELEN's 194; and 5: eyes, nose, mouth corners, the one on the viewer's left first.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

AnyArray = Array | np.ndarray  # JAX's or NumPy's; the result is of the same kind

HR_SIZE = 128  # side in pixels of a high-resolution face

POSE_NAMES = ("yaw", "pitch", "roll")
# Hopenet's bins, which every pose network here uses: 66 bins of 3° over [-99°, 99°]. Both ends belong to the range; 99°
# itself is in the last bin. A face with an angle outside has no bin: `pose_in_range` is the rule that leaves it out.
POSE_BINS, POSE_BIN_DEG, POSE_LIMIT_DEG = 66, 3.0, 99.0

# FLIP_68[i] is the landmark (iBUG order) that a mirror puts in place i; so for 5, AFLW's 19 and HELEN's 194 landmarks.
FLIP_68 = np.concatenate(
    [
        [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31],
        [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40],
        [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65],
    ]
)
FLIP_5 = np.array([1, 0, 2, 4, 3])
# Brows, eyes, nose and mouth from the viewer's left to right, three points each or six, then the chin.
FLIP_19 = np.array([*range(5, -1, -1), *range(11, 5, -1), 14, 13, 12, 17, 16, 15, 18])
# The face's outline, the nose, the upper and lower lines of the lips' outside and of their inside, each from one side
# to the other; then eyes and brows, of 20 points each, numbered alike on both sides.
FLIP_194 = np.concatenate(
    [
        [*range(40, -1, -1), *range(57, 40, -1)],
        [*range(70, 57, -1), *range(85, 70, -1), *range(99, 85, -1), *range(113, 99, -1)],
        [*range(134, 154), *range(114, 134), *range(174, 194), *range(154, 174)],
    ]
)
FLIPS = {len(flip): flip for flip in (FLIP_68, FLIP_5, FLIP_19, FLIP_194)}


def rotation_from_pose(pose_deg: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """Rotation matrices of poses.

    Args:
      pose_deg: (yaw, pitch, roll) in degrees.

    Returns:
      R = Rx(pitch) Ry(-yaw) Rz(roll), acting on column vectors (x right, y down, z towards the viewer).
    """
    yaw, pitch, roll = jnp.moveaxis(jnp.deg2rad(pose_deg), -1, 0)
    cy, sy = jnp.cos(-yaw), jnp.sin(-yaw)
    cp, sp = jnp.cos(pitch), jnp.sin(pitch)
    cr, sr = jnp.cos(roll), jnp.sin(roll)
    rows = [
        [cy * cr, -cy * sr, sy],
        [cp * sr + sp * sy * cr, cp * cr - sp * sy * sr, -sp * cy],
        [sp * sr - cp * sy * cr, sp * cr + cp * sy * sr, cp * cy],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def pose_from_para(pose_para: Float[np.ndarray, "*b n"]) -> Float[np.ndarray, "*b 3"]:
    """(yaw, pitch, roll) in degrees from a ``Pose_Para`` of 300W-LP or AFLW2000-3D.

    Args:
      pose_para: starts with pitch, yaw, roll in radians; the rest (translation, scale) is not read. It has the signs of
        this module, so no sign changes.
    """
    return np.rad2deg(pose_para[..., [1, 0, 2]])


def pose_from_biwi(R: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b 3"]:
    """(yaw, pitch, roll) in degrees from a rotation matrix of BIWI's ``_pose.txt``, the labels of Hopenet's protocol.

    The axes of BIWI's camera and head are x to the viewer's right, y down, z away from the viewer. With the z axis of
    both reversed, this is the inverse of :func:`rotation_from_pose`. It equals deep-head-pose's datasets.py, which
    transposes R and changes the signs instead. It is NumPy because the data set calls it face by face.

    Args:
      R: rotates the head's axes into the camera's, as in the file: one row of the matrix per line.

    Returns:
      Angles with |yaw| <= 90.
    """
    yaw = np.arctan2(R[..., 0, 2], np.hypot(R[..., 0, 0], R[..., 0, 1]))
    pitch = np.arctan2(R[..., 1, 2], R[..., 2, 2])
    roll = np.arctan2(-R[..., 0, 1], R[..., 0, 0])
    return np.rad2deg(np.stack([yaw, pitch, roll], -1))


def pose_from_pointing04(tilt_deg: int, pan_deg: int) -> Float[np.ndarray, "3"]:
    """(yaw, pitch, roll) in degrees from a pose of Pointing'04; roll is NaN, because the data set does not give it.

    Args:
      tilt_deg: > 0 looks up.
      pan_deg: > 0 is read as a face turned to the viewer's left: see jfsr.data.datasets.pointing04.
    """
    return np.array([pan_deg, tilt_deg, np.nan])


def wrap_deg(angle_deg: Float[AnyArray, "*b"]) -> Float[AnyArray, "*b"]:
    """Wraps angles in degrees, such as differences of two angles, into [-180, 180); NaN stays NaN."""
    return (angle_deg + 180.0) % 360.0 - 180.0


def geodesic_deg(a_deg: Float[Array, "*b 3"], b_deg: Float[Array, "*b 3"]) -> Float[Array, "*b"]:
    """Angle in degrees of the rotation from pose a to pose b, in [0, 180]."""
    rel = jnp.einsum("...ji,...jk->...ik", rotation_from_pose(a_deg), rotation_from_pose(b_deg))
    # atan2 of the angle's sine and cosine stays accurate near 0 and 180, where acos of the trace does not.
    axis = jnp.stack(
        [rel[..., 2, 1] - rel[..., 1, 2], rel[..., 0, 2] - rel[..., 2, 0], rel[..., 1, 0] - rel[..., 0, 1]], -1
    )
    return jnp.rad2deg(jnp.arctan2(jnp.linalg.norm(axis, axis=-1), jnp.trace(rel, axis1=-2, axis2=-1) - 1.0))


def mirror_pose(pose_deg: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Pose of the mirrored face: yaw and roll change sign; NaN stays NaN."""
    return pose_deg * np.array([-1.0, 1.0, -1.0], dtype=pose_deg.dtype)


def mirror_landmarks(landmarks_px: Float[np.ndarray, "n 2"], width: int) -> Float[np.ndarray, "n 2"]:
    """Landmarks of the mirrored image: x -> width - 1 - x and the left-right permutation of the points.

    Raises:
      ValueError: a number of points that is not in :data:`FLIPS`; its permutation is unknown.
    """
    if len(landmarks_px) not in FLIPS:
        raise ValueError(
            f"the mirror permutation of {len(landmarks_px)} landmarks is unknown; give 68 (iBUG), 5, 19 (AFLW) or 194 "
            "(HELEN)"
        )
    out = landmarks_px[FLIPS[len(landmarks_px)]].copy()
    out[:, 0] = width - 1 - out[:, 0]
    return out


def pose_in_range(pose_deg: Float[AnyArray, "b 3"]) -> Bool[AnyArray, " b"]:
    """True where all three angles are known (not NaN) and in [-99, 99], the range of the pose bins.

    The one rule of training (a JAX array) and of evaluation (a NumPy one): other faces give no pose loss and no score.
    """
    inside: Any = (pose_deg >= -POSE_LIMIT_DEG) & (pose_deg <= POSE_LIMIT_DEG)
    return inside.all(-1)


def decode_heatmaps(
    maps: Float[Array, "b h w n"], *, image_size: int = HR_SIZE, soft: bool = False, window: int = 4
) -> Float[Array, "b n 2"]:
    """Landmarks (x, y) in pixels of the image, one from each heatmap: the inverse of ``landmark_heatmaps``.

    Args:
      maps: one channel per landmark, no background channel.
      image_size: side of the image that the maps cover; cell i has its centre at (i + .5) · image_size / w - .5.
      soft: False: the centre of the largest cell (JASRNet, sec. 3.3). With cells 8 px wide the average error is 3 px.
        True: the centre of mass of the positive values within ``window`` cells of it, as in the authors' code. A
        landmark in an outermost cell then lands up to 1 px too far inside, because the border cuts its blob.
      window: cells on each side of the largest cell.
    """
    b, h, w, n = maps.shape
    best = jnp.argmax(maps.reshape(b, h * w, n), axis=1)
    x, y = (best % w).astype(jnp.float32), (best // w).astype(jnp.float32)
    if soft:
        row, column = jnp.arange(h, dtype=jnp.float32), jnp.arange(w, dtype=jnp.float32)
        near_row = jnp.abs(row[None, :, None] - y[:, None]) <= window
        near_column = jnp.abs(column[None, :, None] - x[:, None]) <= window
        positive = jnp.maximum(maps, 1e-6)  # not 0: a map without a positive value needs some mass
        mass = positive * near_row[:, :, None] * near_column[:, None]
        total = mass.sum((1, 2))
        x = (mass.sum(1) * column[None, :, None]).sum(1) / total
        y = (mass.sum(2) * row[None, :, None]).sum(1) / total
    cells = jnp.array([image_size / w, image_size / h], jnp.float32)[None, None]
    return (jnp.stack([x, y], axis=-1) + 0.5) * cells - 0.5
