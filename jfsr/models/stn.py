"""A spatial transformer that is restricted to similarities (Jaderberg et al. 2015; MTUN, sec. 3.4).

Images and features of any size share one convention. Positions are measured from the image's centre in units of half
its side: -1 and 1 are the *outer edges* of the border pixels (``align_corners=False``), and pixel i of n has its centre
at (2i + 1) / n - 1. A similarity therefore means the same motion at 16×16 and at 128×128. Interpolation is bilinear;
values outside the image are zero.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.models import layers


def sample_similarity(x: Float[Array, "b h w c"], theta: Float[Array, "b 4"]) -> Float[Array, "b h w c"]:
    """Resamples square images or features: output position p takes the value at input position exp(s)·R(a)·p + t.

    Differentiable in both arguments (in ``theta`` piecewise, because of the bilinear interpolation).

    Args:
      x: h = w, any c.
      theta: (s, a, t_x, t_y): logarithm of the scale, angle in radians (positive rotates x towards y, clockwise for the
        viewer), shift in half sides. Zero is the identity, which returns ``x`` exactly.

    Returns:
      Shape and type of ``x``.
    """
    n = x.shape[1]
    s, a, tx, ty = (theta[:, i, None, None].astype(jnp.float32) for i in range(4))
    # Computed as a displacement from the pixel's own index, so that the identity is exact in floating point.
    at = jnp.arange(n, dtype=jnp.float32)
    u, v = (2 * at + 1)[None, None, :] / n - 1, (2 * at + 1)[None, :, None] / n - 1
    cos, sin = jnp.exp(s) * jnp.cos(a), jnp.exp(s) * jnp.sin(a)
    columns = at[None, None, :] + ((cos - 1) * u - sin * v + tx) * (n / 2)
    rows = at[None, :, None] + (sin * u + (cos - 1) * v + ty) * (n / 2)
    return _bilinear(x, rows, columns)


def _bilinear(
    x: Float[Array, "b n n c"], rows: Float[Array, "b n n"], columns: Float[Array, "b n n"]
) -> Float[Array, "b n n c"]:
    b, n, _, c = x.shape
    flat = x.reshape(b, n * n, c)
    top, left = jnp.floor(rows), jnp.floor(columns)
    out = jnp.zeros_like(x)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        r, k = top + i, left + j
        weight = (1 - jnp.abs(rows - r)) * (1 - jnp.abs(columns - k))
        inside = (r >= 0) & (r < n) & (k >= 0) & (k < n)
        index = (jnp.clip(r, 0, n - 1) * n + jnp.clip(k, 0, n - 1)).astype(jnp.int32).reshape(b, n * n)
        values = jnp.take_along_axis(flat, index[..., None], axis=1).reshape(x.shape)
        out += jnp.where(inside, weight, 0.0)[..., None].astype(x.dtype) * values
    return out


class SimilaritySTN(nn.Module):
    """Estimates the similarity that makes a face upright (MTUN, sec. 3.4); :func:`sample_similarity` applies it.

    max-pool 2, conv 5×5 to ``width`` + ReLU, max-pool 2, conv 5×5 + ReLU, max-pool to 2×2, FC 80 → 20 + ReLU,
    FC 20 → 4. The last layer is initialised to zero: the identity. The convolutions have no padding, as in the paper:
    32 → 16 → 12 → 6 → 2. So from features of 32×32 the paper's 80 = 2·2·20 numbers reach the FC, and from 16×16 none
    would; there the convolutions are padded: 16 → 8 → 8 → 4 → 4 → 2.

    Attributes:
      width: channels of the convolutions and of the hidden layer (the paper's 20).
      dtype: type of the computation.
    """

    width: int = 20
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n n c"]) -> Float[Array, "b 4"]:
        """Features of 16×16, 32×32 or 64×64 -> float32 (s, a, t_x, t_y) of :func:`sample_similarity`."""
        if x.shape[1] not in (16, 32, 64):
            raise ValueError(f"SimilaritySTN takes maps with a side of 16, 32 or 64, got {x.shape[1]}")
        padding = 2 if x.shape[1] == 16 else 0
        conv = functools.partial(
            nn.Conv, self.width, (5, 5), padding=padding, kernel_init=layers.lecun_init, dtype=self.dtype
        )
        for i in (1, 2):
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = nn.relu(conv(name=f"conv{i}")(x))
        # DEVIATES: the paper has a third max-pool 2 here. From 32×32 it leaves 20 numbers, not the paper's 80 (which
        # its STN_0 has, this network without the first pool and the third). The last pool reaches 2×2 instead.
        last = x.shape[1] // 2
        x = nn.max_pool(x, (last, last), strides=(last, last)).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="hidden")(x))
        zeros = nn.initializers.zeros
        theta = nn.Dense(4, kernel_init=zeros, bias_init=zeros, name="theta")(x.astype(jnp.float32))
        # tanh keeps the scale finite, between 1/e and e, and is close to the identity near the initial 0.
        return theta.at[:, 0].set(jnp.tanh(theta[:, 0]))
