"""The degradation of MSGAN in TensorFlow operations, for ``Dataset.map``: the twin of ``degrade.py``.

The same recipe gives the same image to 1e-4 in both files (a test draws 200). ``degrade.py`` documents the decisions on
borders, filters, kernel cuts and clipping. TensorFlow's stateless generator draws the recipes from the same
distributions, but the same seed gives other recipes than in JAX.

This is the only module that imports TensorFlow at its top: import it where a tf.data pipeline is built, not before.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from jfsr.data import motion_blur
from jfsr.data.degrade import (
    CLEAN,
    DOWN,
    GAUSS_SIGMA,
    GAUSS_SIZES,
    KINDS,
    MIN_CUT_MASS,
    NOISE,
    NOISE_LEVELS,
    PROBABILITY,
    RADII,
    fast_length,
    low_res_size,
    mirror_shifts,
    odd_fit,
    resize_matrix,
    shrink_matrix,
)
from jfsr.data.operators import CV2_BITS, cubic_taps
from jfsr.geometry import HR_SIZE

Recipe = dict[str, tf.Tensor]


def sample_recipe(seed: tf.Tensor, *, size: int = HR_SIZE, scale: int) -> Recipe:
    """The degradation of one HR image of ``size`` pixels (MSGAN, IV-D), a pure function of the seed, int32 [2].

    Returns:
      The fields of ``degrade.Recipe`` by name. A motion kernel that is off is not drawn and is a single point; the
      noise field is zero where nothing uses it.

    Raises:
      ValueError: the scale does not divide the size.
    """
    small = low_res_size(size, scale)
    seeds = tf.unstack(tf.random.split(seed, 3))
    u = tf.random.stateless_uniform([11], seeds[0])
    low, high = GAUSS_SIGMA
    order = tf.argsort(u[:4])
    motion_on, noise_on = u[7] < PROBABILITY, u[9] < PROBABILITY
    first = _position(order, NOISE) < _position(order, DOWN)
    fields = [
        lambda: tf.zeros([size, size, 3]),
        lambda: tf.pad(tf.random.stateless_normal([small, small, 3], seeds[2]), [[0, size - small]] * 2 + [[0, 0]]),
        lambda: tf.random.stateless_normal([size, size, 3], seeds[2]),
    ]
    reach = motion_blur.psf_reach(size)
    return {
        "order": order,
        "gauss_on": u[4] < PROBABILITY,
        "gauss_size": GAUSS_SIZES[0] + 2 * tf.cast(u[5] * len(GAUSS_SIZES), tf.int32),
        "gauss_sigma": low + (high - low) * u[6],
        "motion_on": motion_on,
        "motion_psf": tf.cond(motion_on, lambda: sample_psf(seeds[1], size=size), lambda: _point(reach)),
        "down_kind": tf.cast(u[8] * len(KINDS), tf.int32),
        "noise_on": noise_on,
        "noise_sigma": (1 + tf.floor(u[10] * NOISE_LEVELS)) / 255,
        "noise": tf.switch_case(tf.cast(noise_on, tf.int32) * (1 + tf.cast(first, tf.int32)), fields),
    }


def sample_psf(seed: tf.Tensor, *, size: int) -> tf.Tensor:
    """A random motion-blur kernel, as ``motion_blur.sample_psf``: float32 [k, k], sum 1, from seed int32 [2]."""
    m = motion_blur
    seeds = tf.unstack(tf.random.split(seed, 3))
    pull, jerk, shake, angle, exposure, exposed = tf.unstack(tf.random.stateless_uniform([6], seeds[0]))
    strength = tf.constant(m.EXPLOSURE)[tf.cast(exposure * len(m.EXPLOSURE), tf.int32)]
    count = tf.constant(m.EXPOSED)[tf.cast(exposed * len(m.EXPOSED), tf.int32)]

    happens, where = tf.unstack(tf.random.stateless_uniform([2, m.STEPS], seeds[1]))
    jerks = tf.cast(happens < m.MAX_JERK * jerk * strength * m.MERGED, tf.float32)
    turn_angle = math.pi + where - 0.5
    turns = tf.unstack(tf.complex(1 + 2 * jerks * tf.cos(turn_angle), 2 * jerks * tf.sin(turn_angle)))
    shakes = tf.random.stateless_normal([2, m.STEPS], seeds[2]) * (m.MAX_SHAKE * shake * strength * m.MERGED**0.5)
    pushes = tf.unstack(tf.complex(shakes[0], shakes[1]))
    pull = tf.cast(m.MAX_PULL * pull * strength * m.MERGED, tf.complex64)

    x = tf.zeros([], tf.complex64)
    v = tf.complex(tf.cos(2 * math.pi * angle), tf.sin(2 * math.pi * angle))
    path = []
    # Unrolled while tracing: each step of a tf.while_loop costs more than its arithmetic.
    for turn, push in zip(turns, pushes, strict=True):
        path.append(x)
        v = turn * v + push - pull * x
        v = v / tf.cast(tf.maximum(tf.abs(v), 1e-12), tf.complex64)
        x = x + v * (m.SOURCE_LENGTH_PX / m.STEPS)
    return _splat(tf.stack(path), count, m.psf_reach(size))


def shrink(recipe: Recipe, scale: int) -> Recipe:
    """The recipe for the image down-sampled by ``scale``, as ``degrade.shrink``."""
    cells = tf.constant(shrink_matrix(recipe["motion_psf"].shape[0] // 2, scale))
    return recipe | {
        "gauss_size": 1 + 2 * -(-(recipe["gauss_size"] // 2) // scale),
        "gauss_sigma": recipe["gauss_sigma"] / scale,
        "motion_psf": tf.matmul(tf.matmul(cells, recipe["motion_psf"]), cells, transpose_b=True),
    }


def apply_recipe(image: tf.Tensor, recipe: Recipe, *, scale: int, scaled: bool = False) -> tf.Tensor:
    """One image, float32 [h, w, 3] in [0, 1], degraded by a recipe: [h / scale, w / scale, 3] in [0, 1].

    With ``scaled``, blurs after the down-sampling have the scale of the small image.

    Raises:
      ValueError: the scale does not divide the image's sides, or they are unknown while tracing.
    """
    h, w = _static_size(image)
    small = low_res_size(h, scale), low_res_size(w, scale)
    order, down_at = recipe["order"], _position(recipe["order"], DOWN)
    done = tf.gather(tf.stack([recipe["gauss_on"], recipe["motion_on"], False, recipe["noise_on"]]), order)
    before = tf.unstack(tf.where(done & (tf.range(4) < down_at), order, DOWN))
    after = tf.unstack(tf.where(done & (tf.range(4) > down_at), order, DOWN))

    x = _run(tf.transpose(image, [2, 0, 1]), before[:3], recipe)
    rows, columns = (
        tf.constant(np.stack([resize_matrix(n, m, kind) for kind in KINDS]))[recipe["down_kind"]]
        for n, m in zip((h, w), small, strict=True)
    )
    x = _run(_both_sides(rows, x, columns), after[1:], shrink(recipe, scale) if scaled else recipe)
    return tf.clip_by_value(tf.transpose(x, [1, 2, 0]), 0.0, 1.0)


def degrade(
    image: tf.Tensor, seed: tf.Tensor, *, scale: int, scaled: bool = False, clean_share: float = 0.0
) -> tf.Tensor:
    """One square image, float32 [h, h, 3] in [0, 1], degraded by the recipe of its seed, int32 [2].

    With the seed (seed, position) for every example, a pipeline's results do not depend on batches or their order.
    ``scaled`` and ``clean_share`` are as in ``degrade.degrade``.
    """
    h, w = _static_size(image)
    if h != w:
        raise ValueError(f"degrade needs square images, got {h}x{w}: crop them first")
    degraded = lambda: apply_recipe(image, sample_recipe(seed, size=h, scale=scale), scale=scale, scaled=scaled)
    if not clean_share:
        return degraded()
    is_clean = tf.random.stateless_uniform([], tf.random.fold_in(seed, CLEAN)) < clean_share
    return tf.cond(is_clean, lambda: clean_lr(image, scale=scale), degraded)


def clean_lr(hr: tf.Tensor, *, scale: int) -> tf.Tensor:
    """PIL's antialiased bicubic down-sampling of [..., h, w, 3] in [0, 1], as ``degrade.clean_lr``."""
    rows, columns = (tf.constant(resize_matrix(n, low_res_size(n, scale), "bicubic")) for n in _static_size(hr))
    x = tf.clip_by_value(tf.einsum("jw,...hwc->...hjc", columns, hr), 0.0, 1.0)
    return tf.clip_by_value(tf.einsum("ih,...hjc->...ijc", rows, x), 0.0, 1.0)


def cv2_cubic(hr: tf.Tensor, *, scale: int) -> tf.Tensor:
    """``operators.cv2_cubic`` of [h, w, 3] in [0, 1], which is taken to 8 bits first: the same levels, over 255."""
    rows, columns = (tf.constant(_cv2_matrix(n, low_res_size(n, scale))) for n in _static_size(hr))
    x = tf.cast(tf.round(255.0 * tf.clip_by_value(hr, 0.0, 1.0)), tf.float64)
    # Weights and levels are whole numbers, so that the sums are exact in any order.
    sums = _both_sides(rows, tf.transpose(x, [2, 0, 1]), columns)
    levels = tf.clip_by_value(tf.round(sums / 2.0 ** (2 * CV2_BITS)), 0.0, 255.0)
    return tf.cast(tf.transpose(levels, [1, 2, 0]), tf.float32) / 255.0


def _cv2_matrix(before: int, after: int) -> np.ndarray:
    """The weights of ``operators.cubic_taps`` as a matrix, float64 [after, before]."""
    taps, weights = cubic_taps(before, after)
    out = np.zeros((after, before))
    np.add.at(out, (np.arange(after)[:, None], taps), weights)  # at an edge, several taps are one pixel
    return out


def misalign(image: tf.Tensor, similarity: tf.Tensor) -> tf.Tensor:
    """One square image [n, n, 3] turned, enlarged and moved by (angle_deg, zoom, dx, dy), as ``degrade.misalign``."""
    n, width = _static_size(image)
    if n != width:
        raise ValueError(f"misalign needs square images, got {n}x{width}: crop them first")
    angle, zoom, dx, dy = tf.unstack(similarity)
    cos, sin = tf.cos(angle * (math.pi / 180)) / zoom, tf.sin(angle * (math.pi / 180)) / zoom
    centre = (n - 1) / 2
    x, y = (tf.range(n, dtype=tf.float32) - centre - d for d in (dx, dy))
    columns = cos * x[None, :] + sin * y[:, None] + centre
    rows = cos * y[:, None] - sin * x[None, :] + centre
    left, top = tf.floor(columns), tf.floor(rows)
    flat, out = tf.reshape(image, [n * n, 3]), tf.zeros_like(image)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        r, c = top + i, left + j
        weight = tf.maximum(0.0, 1 - tf.abs(rows - r)) * tf.maximum(0.0, 1 - tf.abs(columns - c))
        inside = (r >= 0) & (r < n) & (c >= 0) & (c < n)
        index = tf.cast(tf.clip_by_value(r, 0, n - 1) * n + tf.clip_by_value(c, 0, n - 1), tf.int32)
        out += tf.where(inside, weight, 0.0)[..., None] * tf.gather(flat, index)
    return out


def _static_size(image):
    h, w = image.shape[-3:-1]
    if h is None or w is None:
        raise ValueError(
            f"the image's size must be known while tracing, got {image.shape}: call set_shape after decoding"
        )
    return h, w


def _position(order, step):
    return tf.argmax(tf.equal(order, step), output_type=tf.int32)


def _point(reach):
    return tf.constant(np.pad([[1.0]], reach), tf.float32)


def _both_sides(rows, x, columns):
    return tf.matmul(tf.matmul(rows[None], x), columns[None], transpose_b=True)


def _splat(path, count, reach):
    share = tf.cast(tf.range(motion_blur.STEPS) < count, tf.float32) / tf.cast(count, tf.float32)
    middle = tf.reduce_sum(tf.cast(share, tf.complex64) * path)
    path = (path - middle) * (2 * reach / motion_blur.SOURCE_LENGTH_PX)
    grid = tf.range(-reach, reach + 1, dtype=tf.float32)
    rows = tf.nn.relu(1 - tf.abs(tf.math.imag(path)[:, None] - grid))
    columns = tf.nn.relu(1 - tf.abs(tf.math.real(path)[:, None] - grid))
    psf = tf.matmul(share[:, None] * rows, columns, transpose_a=True)
    return psf / tf.reduce_sum(psf)


def _run(x, steps, recipe):
    """One channels-first image after steps that keep its size; DOWN does nothing."""
    for step in steps:
        branches = [
            lambda x=x: _gauss(x, recipe["gauss_size"], recipe["gauss_sigma"]),
            lambda x=x: _motion(x, recipe["motion_psf"]),
            lambda x=x: tf.identity(x),
            lambda x=x: _noise(x, recipe["noise_sigma"], recipe["noise"]),
        ]
        shape = x.shape
        x = tf.ensure_shape(tf.switch_case(step, branches), shape)
    return x


def _gauss(x, size, sigma):
    _, h, w = x.shape
    d = tf.range(RADII)
    taps = tf.exp(-0.5 * (tf.cast(d, tf.float32) / sigma) ** 2)
    taps = tf.where(d <= tf.minimum(size, odd_fit(h, w)) // 2, taps, 0.0)
    taps = taps / (2 * tf.reduce_sum(taps) - taps[0])
    rows, columns = (
        tf.reshape(tf.matmul(taps[None], tf.constant(mirror_shifts(n).reshape(RADII, -1))), [n, n]) for n in (h, w)
    )
    return _both_sides(rows, x, columns)


def _motion(x, psf):
    _, h, w = x.shape
    cut = max(0, (psf.shape[0] - odd_fit(h, w)) // 2)
    psf = psf[cut : psf.shape[0] - cut, cut : psf.shape[1] - cut]
    reach, mass = psf.shape[0] // 2, tf.reduce_sum(psf)
    psf = tf.where(mass < MIN_CUT_MASS, _point(reach), psf / mass)
    lengths = [fast_length(h + 2 * reach), fast_length(w + 2 * reach)]
    padded = tf.pad(x, [[0, 0], [reach, reach], [reach, reach]], mode="REFLECT")
    spectrum = tf.signal.rfft2d(padded, lengths) * tf.signal.rfft2d(psf, lengths)
    blurred = tf.signal.irfft2d(spectrum, lengths)
    return blurred[:, 2 * reach : 2 * reach + h, 2 * reach : 2 * reach + w]


def _noise(x, sigma, noise):
    _, h, w = x.shape
    return x + sigma * tf.transpose(noise[:h, :w], [2, 0, 1])
