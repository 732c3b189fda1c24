"""Losses of the four papers: pure functions that return one value per image.

The caller (a method file) weights and masks the terms, takes their means over the batch and logs each by name. Images
are NHWC in [0, 1], features are [b, f], angles are (yaw, pitch, roll) in degrees. Equation numbers are MSGAN's unless a
docstring says otherwise. Pass float32: bfloat16 is too coarse for the exponentials here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jfsr.geometry import POSE_BIN_DEG, POSE_BINS, POSE_LIMIT_DEG, pose_in_range

Adversarial = Literal["bce", "hinge", "lsgan"]
NormClip = Literal["none", "soft", "hard"]
NORM_CLIPS: tuple[NormClip, ...] = ("none", "soft", "hard")


# --- adversarial ------------------------------------------------------------------------------------------------------


def adversarial_d(
    real_logits: Float[Array, "b ..."], fake_logits: Float[Array, "b ..."], *, kind: Adversarial = "bce"
) -> Float[Array, " b"]:
    """The loss that a discriminator minimises, per image: eq. (2) on images, eq. (3) on features.

    Args:
      real_logits: logits of the originals, one number or a map of patches per image.
      fake_logits: logits of the super-resolved images, or of their features.
      kind: 'bce', -log s(real) - log(1 - s(fake)) (the paper's); 'hinge' (Lim & Ye 2017); 'lsgan', with targets 0 and
        1 and the factor 1/2 (Mao et al. 2017).

    Returns:
      One value per image: the mean over its map.
    """
    if kind == "bce":
        real, fake = jax.nn.softplus(-real_logits), jax.nn.softplus(fake_logits)
    elif kind == "hinge":
        real, fake = jax.nn.relu(1.0 - real_logits), jax.nn.relu(1.0 + fake_logits)
    elif kind == "lsgan":
        real, fake = 0.5 * jnp.square(real_logits - 1.0), 0.5 * jnp.square(fake_logits)
    else:
        raise ValueError(_unknown_kind(kind))
    return _per_image(real) + _per_image(fake)


def adversarial_g(fake_logits: Float[Array, "b ..."], *, kind: Adversarial = "bce") -> Float[Array, " b"]:
    """The loss that the generator minimises against a discriminator, per image: its side of eq. (2) and (3).

    Args:
      fake_logits: logits of the super-resolved images (or of their features), one number or a map per image.
      kind: as in :func:`adversarial_d`; both sides must use the same.

    Returns:
      One value per image: the mean over its map. 'hinge' may be negative.
    """
    if kind == "bce":
        # DEVIATES: (2) has log(1 - s(fake)); this is the non-saturating -log s(fake), the usual way to train a GAN.
        loss = jax.nn.softplus(-fake_logits)
    elif kind == "hinge":
        loss = -fake_logits
    elif kind == "lsgan":
        loss = 0.5 * jnp.square(fake_logits - 1.0)
    else:
        raise ValueError(_unknown_kind(kind))
    return _per_image(loss)


def _per_image(x: Float[Array, "b ..."]) -> Float[Array, " b"]:
    return x.mean(axis=tuple(range(1, x.ndim)))


def _unknown_kind(kind: str) -> str:
    return f"adversarial loss {kind!r} is unknown; choose one of 'bce', 'hinge', 'lsgan'"


# --- head pose --------------------------------------------------------------------------------------------------------


def pose_estimation(
    logits: Float[Array, "b 3 bins"], pose_deg: Float[Array, "b 3"], decoded_deg: Float[Array, "b 3"]
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """The two terms of Hopenet's loss, eq. (5), each summed over yaw, pitch and roll; L_est = ce + beta_mse * mse.

    An image whose pose is not :func:`~jfsr.geometry.pose_in_range` (NaN included) gives 0 and no gradient: the caller
    divides by the number of images with a pose, not by the batch size.

    Args:
      logits: scores of 66 bins of 3 degrees over [-99, 99] for yaw, pitch and roll; 99 itself is in the last bin.
      pose_deg: true angles, NaN where unknown.
      decoded_deg: expected angles under the logits, eq. (4), as the pose network decodes them.

    Returns:
      (cross-entropy in nats, squared error in squared degrees).
    """
    known = pose_in_range(pose_deg)
    # Replace NaN labels before use: a NaN that is masked only afterwards reaches the gradient as 0 * NaN.
    safe_deg = jnp.where(known[:, None], pose_deg, 0.0)
    # The clip puts 99°, the right edge of the range, into the last bin.
    bins = jnp.clip(jnp.floor((safe_deg + POSE_LIMIT_DEG) / POSE_BIN_DEG).astype(jnp.int32), 0, POSE_BINS - 1)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    cross_entropy = -jnp.take_along_axis(log_p, bins[..., None], axis=-1)[..., 0].sum(-1)
    mse = jnp.square(decoded_deg - safe_deg).sum(-1)
    return jnp.where(known, cross_entropy, 0.0), jnp.where(known, mse, 0.0)


# --- features of frozen networks --------------------------------------------------------------------------------------


def cosine_distance(a: Float[Array, "b f"], b: Float[Array, "b f"]) -> Float[Array, " b"]:
    """1 - cosine of two feature vectors, in [0, 2]: eq. (6) on pose features, eq. (14) on identity embeddings.

    The vectors may have any length. A zero vector counts as orthogonal to every other, and its gradient is finite.
    """
    return 1.0 - jnp.sum(_unit(a) * _unit(b), axis=-1)


def _unit(x: Float[Array, "b f"]) -> Float[Array, "b f"]:
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-12))


def norm_gap(
    sr_norm: Float[Array, " b"],
    hr_norm: Float[Array, " b"],
    mu: Float[Array, ""],
    sigma: Float[Array, ""],
    *,
    h: float = 0.33,
    clip: NormClip = "none",
) -> Float[Array, " b"]:
    """Squared difference of the normalised feature norms of SR and HR, L_m of eq. (7) and (10), at least 0.

    Args:
      sr_norm: L2 norms of f(SR).
      hr_norm: L2 norms of f(HR).
      mu: running mean of HR norms, from :func:`running_moments`. SR and HR share one pair (mu, sigma), because
        normalising each by its own statistics would remove the gap. No gradient flows into mu and sigma.
      sigma: running standard deviation of HR norms; 0 (a batch of one face) makes the gap huge.
      h: scale of the z-score.
      clip: how h·z is kept in [-1, 1]. 'none': it is not, as in the paper. 'soft': x / sqrt(1 + x²), x near 0, whose
        gradient falls like 1 / x³ and is nowhere 0 (tanh's is 0 in float32 from x = 9 on). 'hard': cut off, as AdaFace
        does; **the gradient is 0 beyond 3 standard deviations**, where the norms differ most.
    """
    if clip not in NORM_CLIPS:
        raise ValueError(f"the clip of the norms is {clip!r}; choose one of {', '.join(map(repr, NORM_CLIPS))}")
    # DEVIATES: "we replace sigma with 0.33 sigma" would widen z; as in AdaFace, which the paper cites, h multiplies z.
    sr, hr = (h * norm_z(norm, mu, sigma) for norm in (sr_norm, hr_norm))
    if clip == "soft":
        sr, hr = (x * jax.lax.rsqrt(1.0 + jnp.square(x)) for x in (sr, hr))
    elif clip == "hard":
        sr, hr = (jnp.clip(x, -1.0, 1.0) for x in (sr, hr))
    return jnp.square(sr - hr)


def norm_z(norm: Float[Array, " b"], mu: Float[Array, ""], sigma: Float[Array, ""]) -> Float[Array, " b"]:
    """Feature norms in standard deviations from the running mean, eq. (7); no gradient flows into mu and sigma."""
    mu, sigma = jax.lax.stop_gradient(mu), jax.lax.stop_gradient(jnp.maximum(sigma, 1e-6))
    return (norm - mu) / sigma


def running_moments(
    mu: Float[Array, ""],
    sigma: Float[Array, ""],
    batch_mean: Float[Array, ""],
    batch_std: Float[Array, ""],
    *,
    alpha: float | Float[Array, ""] = 0.01,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(mu, sigma) after one batch of HR feature norms, eq. (8) and (9): alpha * batch + (1 - alpha) * old.

    ``batch_mean`` and ``batch_std`` must cover the whole batch: average them over the devices first.
    """
    return alpha * batch_mean + (1.0 - alpha) * mu, alpha * batch_std + (1.0 - alpha) * sigma


# --- pixels -----------------------------------------------------------------------------------------------------------


def l1(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean absolute difference over the pixels and channels of each image, eq. (12)."""
    return jnp.abs(a - b).mean(axis=(1, 2, 3))


@jax.custom_jvp
def as_stored(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """The image clipped to [0, 1], as it is stored and scored; its gradient is that of the image itself.

    A frozen network or a discriminator that reads SR during training then sees what it will see afterwards. A plain
    clip would give no gradient to pixels outside [0, 1], and nothing would bring them back but the pixel loss.
    """
    return jnp.clip(image, 0.0, 1.0)


@as_stored.defjvp
def _as_stored_jvp(primals, tangents):
    return as_stored(*primals), tangents[0]


def stage_targets(hr: Float[Array, "b n n c"], sizes: Sequence[int]) -> dict[int, Float[Array, "b _ _ c"]]:
    """Targets of a multi-stage generator: area averages of HR at each size (the paper does not name a filter).

    Args:
      hr: square images, n pixels wide.
      sizes: widths of the targets; each must divide n, so that a target pixel is the mean of whole HR pixels.

    Returns:
      {size: [b, size, size, c]}.

    Raises:
      ValueError: if a size does not divide n.
    """
    b, n, _, c = hr.shape
    targets = {}
    for size in sizes:
        if n % size:
            raise ValueError(f"stage size {size} does not divide the HR size {n}; an area average takes whole pixels")
        r = n // size
        targets[size] = hr if r == 1 else hr.reshape(b, size, r, size, r, c).mean(axis=(2, 4))
    return targets
