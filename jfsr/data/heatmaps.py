"""Heatmaps of landmarks and facial components, which MTUN and JASRNet learn to estimate. Pure, for use inside a step.

A map of ``size``×``size`` cells covers the image of ``image_size``×``image_size`` pixels. Cell and pixel centres are at
integers, so the landmark (x, y) of the image lies at ((x + .5) · size / image_size - .5, …) on the map. Sigmas are in
pixels of the image: one sigma gives the same blob on the face at every map size.

A mirror swaps the two sides of a face; :data:`jfsr.geometry.FLIP_68` is the permutation of the 68 maps. The components
are symmetric and need none.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jfsr.geometry import FLIP_68, HR_SIZE

# iBUG 68.
# DEVIATES: MTUN names its components but not their points; here the chin is the jaw line, and the brows are in none.
COMPONENTS = {
    "eyes": tuple(range(36, 48)),
    "nose": tuple(range(27, 36)),
    "mouth": tuple(range(48, 68)),
    "chin": tuple(range(17)),
}
# The landmarks of the half on the viewer's left; those of the other half are their mirror images.
LEFT = (*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67)


def landmark_heatmaps(
    landmarks_px: Float[Array, "b n 2"],
    visible: Bool[Array, "b n"],
    *,
    size: int,
    image_size: int = HR_SIZE,
    sigma_px: float,
    floor: float = 0.0,
) -> Float[Array, "b size size n"]:
    """One Gaussian per landmark, not normalised: 1 at the landmark, exp(-d² / 2σ²) at a distance of d image pixels.

    A landmark that is not visible, unknown (NaN) or outside the image has a map of zeros.

    Args:
      landmarks_px: (x, y) in pixels of the image.
      visible: True for the landmarks to draw.
      size: side of the maps in cells.
      image_size: side of the image in pixels.
      sigma_px: standard deviation in pixels of the image, > 0.
      floor: smaller values become 0; JASRNet's code uses 0.01.
    """
    cells = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (image_size / size) - 0.5
    drawn = visible & inside(landmarks_px, image_size)
    where = jnp.where(drawn[..., None], landmarks_px, 0.0)  # without this, NaN would survive the product
    along = jnp.exp(-0.5 * ((cells[None, :, None, None] - where[:, None]) / sigma_px) ** 2)  # [b, size, n, (x, y)]
    maps = along[:, :, None, :, 1] * along[:, None, :, :, 0]
    return jnp.where(drawn[:, None, None, :] & (maps >= floor), maps, 0.0)


def inside(landmarks_px: Float[Array, "b n 2"], image_size: int = HR_SIZE) -> Bool[Array, "b n"]:
    """True where a landmark is known and lies on the image, whose pixels reach from -0.5 to image_size - 0.5."""
    return jnp.all((landmarks_px >= -0.5) & (landmarks_px <= image_size - 0.5), axis=-1)  # NaN compares False


def component_heatmaps(
    landmarks_px: Float[Array, "b 68 2"],
    visible: Bool[Array, "b 68"],
    *,
    size: int,
    image_size: int = HR_SIZE,
    sigma_px: float,
) -> Float[Array, "b size size 4"]:
    """One map each for eyes, nose, mouth and chin (:data:`COMPONENTS`): the maximum of the component's Gaussians.

    Arguments as in :func:`landmark_heatmaps`. Values are in [0, 1]. A component without a visible point has a map of
    zeros (MTUN, sec. 3.1).
    """
    maps = landmark_heatmaps(landmarks_px, visible, size=size, image_size=image_size, sigma_px=sigma_px)
    # DEVIATES: MTUN does not say how it joins overlapping Gaussians; the maximum keeps peaks at 1.
    return jnp.stack([maps[..., np.array(points)].max(-1) for points in COMPONENTS.values()], axis=-1)


def with_background(maps: Float[Array, "b h w n"]) -> Float[Array, "b h w n_plus_1"]:
    """The maps with the background 1 - max(maps) appended, which is JASRNet's last channel."""
    return jnp.concatenate([maps, 1.0 - maps.max(-1, keepdims=True)], axis=-1)


def self_occluded(
    visible: Bool[Array, "b 68"], pose_deg: Float[Array, "b 3"], *, limit_deg: float = 45.0
) -> Bool[Array, "b 68"]:
    """Visibility in which a face turned by more than ``limit_deg`` hides its far half.

    This is for data whose labels do not say which points are hidden: a face with any hidden point, or with an unknown
    yaw, keeps its visibility. A face turned to the viewer's left (yaw > 0) hides its half on the viewer's left; points
    on the midline stay visible.
    """
    left = np.isin(np.arange(68), LEFT)[None]
    yaw = pose_deg[:, :1]
    far = ((yaw > limit_deg) & left) | ((yaw < -limit_deg) & left[:, FLIP_68])
    return visible & ~(far & visible.all(-1, keepdims=True))
