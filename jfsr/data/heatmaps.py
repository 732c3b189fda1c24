"""Heatmaps of landmarks and of facial components: what MTUN and JASRNet learn to estimate. Pure, for use inside a step.

A map of ``size``×``size`` covers the image of ``image_size``×``image_size`` pixels. Pixel centres stand at integers in
both, so the landmark (x, y) of the image stands at ((x + .5) · size / image_size - .5, …) of the map. Sigmas are in
pixels of the image, so that one number means the same blob at every map size.

The two sides of a face swap in a mirror; :data:`jfsr.geometry.FLIP_68` is the permutation of the 68 maps. The
components have no sides.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jfsr.geometry import FLIP_68

# iBUG 68.
# DEVIATES: MTUN names its components and not their points; here the chin is the jaw line, the brows belong to none.
COMPONENTS = {
    "eyes": tuple(range(36, 48)),
    "nose": tuple(range(27, 36)),
    "mouth": tuple(range(48, 68)),
    "chin": tuple(range(17)),
}
# The landmarks of the viewer's left half; the other half is their mirror image.
LEFT = (*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67)


def landmark_heatmaps(
    landmarks_px: Float[Array, "b n 2"],
    visible: Bool[Array, "b n"],
    *,
    size: int,
    image_size: int = 128,
    sigma_px: float,
    floor: float = 0.0,
) -> Float[Array, "b size size n"]:
    """One Gaussian per landmark, not normalised: 1 at the landmark, exp(-d² / 2σ²) at a distance of d image pixels.

    The map of a landmark that is not visible, unknown (NaN) or outside the image is zero.

    Args:
      landmarks_px: (x, y) in pixels of the image.
      visible: which of them to draw.
      size: side of the maps.
      image_size: side of the image that the landmarks are measured in.
      sigma_px: standard deviation in pixels of the image, > 0.
      floor: values below are 0. JASRNet's code has 0.01.
    """
    cells = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (image_size / size) - 0.5
    drawn = visible & inside(landmarks_px, image_size)
    where = jnp.where(drawn[..., None], landmarks_px, 0.0)  # NaN would pass through the product below
    along = jnp.exp(-0.5 * ((cells[None, :, None, None] - where[:, None]) / sigma_px) ** 2)  # [b, size, n, (x, y)]
    maps = along[:, :, None, :, 1] * along[:, None, :, :, 0]
    return jnp.where(drawn[:, None, None, :] & (maps >= floor), maps, 0.0)


def inside(landmarks_px: Float[Array, "b n 2"], image_size: int = 128) -> Bool[Array, "b n"]:
    """True where a landmark is known and lies on the image, whose pixels reach from -0.5 to image_size - 0.5."""
    return jnp.all((landmarks_px >= -0.5) & (landmarks_px <= image_size - 0.5), axis=-1)  # NaN compares False


def component_heatmaps(
    landmarks_px: Float[Array, "b 68 2"],
    visible: Bool[Array, "b 68"],
    *,
    size: int,
    image_size: int = 128,
    sigma_px: float,
) -> Float[Array, "b size size 4"]:
    """Eyes, nose, mouth, chin (:data:`COMPONENTS`): the largest of the component's Gaussians, in [0, 1].

    Arguments as in :func:`landmark_heatmaps`. A component without a visible point is a zero map (MTUN, sec. 3.1).
    """
    maps = landmark_heatmaps(landmarks_px, visible, size=size, image_size=image_size, sigma_px=sigma_px)
    # DEVIATES: MTUN does not say how Gaussians that overlap are joined; the maximum keeps peaks at 1.
    return jnp.stack([maps[..., np.array(points)].max(-1) for points in COMPONENTS.values()], axis=-1)


def with_background(maps: Float[Array, "b h w n"]) -> Float[Array, "b h w n_plus_1"]:
    """Appends the background 1 - max(maps), JASRNet's last channel."""
    return jnp.concatenate([maps, 1.0 - maps.max(-1, keepdims=True)], axis=-1)


def self_occluded(
    visible: Bool[Array, "b 68"], pose_deg: Float[Array, "b 3"], *, limit_deg: float = 45.0
) -> Bool[Array, "b 68"]:
    """Visibility without the far half of a face that is turned by more than ``limit_deg``.

    For data whose labels do not say what is hidden: a face with any hidden point, or without a known yaw, is returned
    as it is. A face turned to the viewer's left (yaw > 0) hides its half on the viewer's left; the midline stays.
    """
    left = np.isin(np.arange(68), LEFT)[None]
    yaw = pose_deg[:, :1]
    far = ((yaw > limit_deg) & left) | ((yaw < -limit_deg) & left[:, FLIP_68])
    return visible & ~(far & visible.all(-1, keepdims=True))
