"""The discriminators of MSGAN: one PatchGAN per stage, and D_r on the pose network's features (sec. III-B1, IV-B).

Both take ``train`` (BatchNorm uses the batch's statistics) and ``update_stats`` (running averages and spectral-norm
vectors move, all of them in the collection ``batch_stats``). Three ways to call one:

    # its own update: real and fake apart, so that their statistics do not mix
    logits, new = D.apply(variables, hr, train=True, update_stats=True, mutable=["batch_stats"])
    logits = D.apply(variables, sr, train=True, update_stats=False)     # the generator's update
    logits = D.apply(variables, sr, train=False, update_stats=False)    # running statistics

With ``train=True`` the call must sit inside a `pmap` or `shard_map` that binds ``axis_name``, except at `init`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.models import layers

KERNEL, PADDING, MIN_MAP = 4, 1, 4


def strides_for(size: int, convs: int) -> tuple[int, ...]:
    """Strides of the ``convs`` convolutions of a PatchGAN for images of ``size`` pixels.

    A 4×4 convolution with padding 1 takes n pixels to n // 2 with stride 2 and to n - 1 with stride 1. From the first
    layer on the stride is 2 for as long as a map that takes it, and then loses one pixel in every layer that remains,
    still ends with at least 4 pixels; it is 1 from there.
    """
    strides: list[int] = []
    for i in range(convs):
        halve = all(s == 2 for s in strides) and size // 2 - (convs - i - 1) >= MIN_MAP
        strides.append(2 if halve else 1)
        size = size // 2 if halve else size - 1
    return tuple(strides)


def receptive_field(strides: tuple[int, ...]) -> int:
    """Side, in input pixels, of the square that one logit sees through 4×4 convolutions with these strides."""
    field, jump = 1, 1
    for stride in strides:
        field += (KERNEL - 1) * jump
        jump *= stride
    return field


class PatchDiscriminator(nn.Module):
    """PatchGAN (arXiv 1611.07004, 3.2.2) for one stage: a map of logits, each judging one patch.

    Five 4×4 convolutions of widths 64-128-256-512-1 with padding 1, spectral normalisation on every one, BatchNorm on
    the middle three, LeakyReLU 0.2 after all but the last. A convolution that BatchNorm follows has no bias: the
    normalisation would subtract it again. Strides by :func:`strides_for`:

    | ``size`` | strides | map | receptive field | parameters |
    |---|---|---|---|---|
    | 16 | 2 1 1 1 1 | 4×4 | 28 px | 2,765,633 |
    | 32 | 2 2 1 1 1 | 5×5 | 46 px | 2,765,633 |
    | 64 | 2 2 2 1 1 | 6×6 | 70 px | 2,765,633 |
    | 128 | 2 2 2 2 2 | 4×4 | 94 px | 2,765,633 |

    Where the field is wider than the image the border logits still differ: each sees its own crop of it.

    Attributes:
      size: resolution that the strides are chosen for; images of other sizes go through with the same strides.
      widths: channels of all convolutions but the last.
      axis_name: see `layers.BatchNorm`.
      dtype: type of the computation.
    """

    size: int = 128
    widths: tuple[int, ...] = (64, 128, 256, 512)
    axis_name: str | None = "data"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], *, train: bool = True, update_stats: bool = True
    ) -> Float[Array, "b h_map w_map"]:
        """RGB in [0, 1] -> float32 logits, > 0 for real."""
        x = 2.0 * x - 1.0  # centred, as pix2pix feeds it
        strides = strides_for(self.size, len(self.widths) + 1)
        for i, (width, stride) in enumerate(zip((*self.widths, 1), strides, strict=True), 1):
            first, last = i == 1, i == len(strides)
            conv = nn.Conv(
                width,
                (KERNEL, KERNEL),
                strides=stride,
                padding=PADDING,
                use_bias=first or last,
                kernel_init=nn.initializers.normal(0.02),
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = layers.spectral_conv(x, conv, update_stats=update_stats, name=f"spectral{i}")
            if last:
                return x[..., 0].astype(jnp.float32)
            if not first:
                norm = layers.BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"norm{i}")
                x = norm(x, train=train, update_stats=update_stats)
            x = layers.leaky_relu(x)
        raise AssertionError("the last convolution returns")


class FeatureDiscriminator(nn.Module):
    """D_r: tells features of HR faces from features of restored ones, eq. (3).

    Two hidden layers of 256, each followed by BatchNorm and LeakyReLU 0.2, and one logit (the sigmoid is in the loss).
    591,105 parameters on HopeNet's 2048 features. As in `PatchDiscriminator`, no bias where BatchNorm follows.

    Attributes:
      hidden: widths of the hidden layers.
      axis_name: see `layers.BatchNorm`.
    """

    hidden: tuple[int, ...] = (256, 256)
    axis_name: str | None = "data"

    @nn.compact
    def __call__(
        self, features: Float[Array, "b f"], *, train: bool = True, update_stats: bool = True
    ) -> Float[Array, " b"]:
        """Features [b, f] -> float32 logits [b], > 0 for HR."""
        x = features.astype(jnp.float32)
        for i, width in enumerate(self.hidden, 1):
            x = nn.Dense(width, use_bias=False, name=f"dense{i}")(x)
            x = layers.BatchNorm(axis_name=self.axis_name, name=f"norm{i}")(x, train=train, update_stats=update_stats)
            x = layers.leaky_relu(x)
        return nn.Dense(1, name="logit")(x)[:, 0]
