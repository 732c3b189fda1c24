"""The multi-stage generator of MSGAN (sec. III-A, IV-B, fig. 3): ESRGAN's trunk twice, an image at every resolution.

| scale | LR | first half | second half | images | parameters (defaults) |
|---|---|---|---|---|---|
| 16 | 8×8 | 23 RRDBs at 8, to 32 | 23 RRDBs at 32, to 128 | 16, 32, 64, 128 | 33,803,852 |
| 8 | 16×16 | 23 RRDBs at 16, to 32 | 23 RRDBs at 32, to 128 | 32, 64, 128 | 33,654,409 |

Ours beside the paper's: ×4 (32×32, 23 RRDBs at 32, 23 at 64), faces of another size than 128, and fewer channels where
the images are large (``widths``).

The discriminators: one PatchGAN per stage, and D_r on the pose network's features (sec. III-B1, IV-B).

Both take ``train`` (BatchNorm uses the batch's statistics) and ``update_stats`` (the running averages and the
spectral-norm vectors change; both are in the collection ``batch_stats``). Three ways to call one:

    # the discriminator's update: of images, real and fake in separate calls, so that their statistics do not mix; of
    # features, real and fake concatenated, so that BatchNorm does not hide how far apart they are
    logits, new = D.apply(variables, hr, train=True, update_stats=True, mutable=["batch_stats"])
    logits = D.apply(variables, sr, train=True, update_stats=False)     # the generator's update
    logits = D.apply(variables, sr, train=False, update_stats=False)    # running statistics

With ``train=True``, call inside a `pmap` or `shard_map` that binds ``axis_name``; `init` may be outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.geometry import HR_SIZE
from jfsr.models import layers
from jfsr.models.rrdb import RRDBTrunk

# PixelShuffle(2) steps in the two halves: "x16: the first half x4, the other half the remaining x4; x8: x2, then x4".
# ×4 is ours.
UPS = {4: (1, 1), 8: (1, 2), 16: (2, 2)}


class MSGANGenerator(nn.Module):
    """Low-resolution face -> faces at every resolution on the way to ×``scale``.

    Each half is an `RRDBTrunk` (``trunk1`` with the first convolution, ``trunk2``) followed by PixelShuffle steps:
    conv to 4·features, PixelShuffle(2), LeakyReLU. Parameters are named by the resolution they produce: ``up_16`` …
    ``up_128``, ``rgb_16`` … ``rgb_128``, and ``conv_hr`` before the last head.

    Attributes:
      scale: 4, 8 or 16.
      hr_size: side of the final image for the nominal input, see :attr:`resolutions`.
      features: channels between the blocks of the first half.
      growth: channels that each convolution of a dense block adds; in a second half of other width, as many more or
        fewer.
      blocks: RRDBs in the first and the second half.
      widths: channels at each of the resolutions; the second half's blocks have those of their input. () = ``features``
        everywhere, as in the paper. Most of the cost is where the images are large.
      skip: 'none': a head predicts the whole image, as ESRGAN's does. 'bicubic': a head predicts the difference to the
        LR image resized to its stage by cubic interpolation; an untrained generator of a few blocks then scores like
        bicubic (within 0.01 dB), and becomes useful in minutes. Same parameters.
      unroll, remat, dtype: as in `RRDBTrunk`.
    """

    scale: int = 16
    hr_size: int = HR_SIZE
    features: int = 64
    growth: int = 32
    blocks: tuple[int, int] = (23, 23)
    widths: tuple[int, ...] = ()
    skip: Literal["none", "bicubic"] = "none"
    unroll: int | None = None
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Keys of the result, coarse to fine: (16, 32, 64, 128) for ×16, (32, 64, 128) for ×8."""
        first = 2 * self.hr_size // self.scale
        return tuple(first * 2**i for i in range(sum(UPS[self.scale])))

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"]) -> dict[int, Float[Array, "b _ _ 3"]]:
        """Restores RGB in [0, 1], [b, h, w, 3], any h and w.

        Returns:
          {resolution: float32 image, not clipped}, coarse to fine. A resolution is the stage's size for the nominal
          input of hr_size/scale pixels: hr_size always means the final image, [b, scale·h, scale·w, 3].

        Raises:
          ValueError: unknown scale or skip, or not one width for each resolution.
        """
        if self.scale not in UPS:
            raise ValueError(f"MSGANGenerator: scale must be one of {sorted(UPS)}, got {self.scale}")
        if self.skip not in ("none", "bicubic"):
            raise ValueError(f"MSGANGenerator: skip must be 'none' or 'bicubic', got {self.skip!r}")
        widths = self.widths or (self.features,) * len(self.resolutions)
        if len(widths) != len(self.resolutions):
            raise ValueError(f"MSGANGenerator: widths are channels at {self.resolutions}, one for each; got {widths}")
        images: dict[int, Array] = {}
        x, resolution, width = lr, self.hr_size // self.scale, self.features
        for half, (blocks, ups) in enumerate(zip(self.blocks, UPS[self.scale], strict=True), 1):
            x = RRDBTrunk(
                blocks,
                width,
                self.growth * width // self.features,
                conv_first=half == 1,
                unroll=self.unroll,
                remat=self.remat,
                dtype=self.dtype,
                name=f"trunk{half}",
            )(x)
            for _ in range(ups):
                resolution, width = 2 * resolution, widths[len(images)]
                x = layers.conv3x3(4 * width, dtype=self.dtype, name=f"up_{resolution}")(x)
                x = layers.leaky_relu(layers.pixel_shuffle(x, 2))
                images[resolution] = self._to_rgb(x, lr, resolution)
        return images

    def _to_rgb(
        self, x: Float[Array, "b h w c"], lr: Float[Array, "b h_lr w_lr 3"], resolution: int
    ) -> Float[Array, "b h w 3"]:
        if resolution == self.hr_size:
            x = layers.leaky_relu(layers.conv3x3(x.shape[-1], dtype=self.dtype, name="conv_hr")(x))
        head = layers.conv3x3(3, init=layers.small_he_init, dtype=self.dtype, name=f"rgb_{resolution}")
        image = head(x).astype(jnp.float32)
        if self.skip == "bicubic":
            # DEVIATES: MSGAN has no skip; `skip='bicubic'` is ours, for configs that must converge in minutes.
            image = image + jax.image.resize(lr.astype(jnp.float32), image.shape, "cubic")
        return image


KERNEL, PADDING = 4, 1
# Strides of the PatchGAN for each resolution: from 64 on pix2pix's, whose field is 70 px; below, as many halvings as
# leave a map of at least 4 pixels.
STRIDES = {16: (2, 1, 1, 1, 1), 32: (2, 2, 1, 1, 1), **dict.fromkeys((64, 128, 256), (2, 2, 2, 1, 1))}


def map_side(size: int, strides: Sequence[int]) -> int:
    """Side of the map of logits for an image of ``size`` pixels; below 1 where the convolutions do not fit.

    A 4×4 convolution with padding 1 turns n pixels into n // 2 with stride 2, and into n - 1 with stride 1.
    """
    for stride in strides:
        size = (size + 2 * PADDING - KERNEL) // stride + 1
    return size


def receptive_field(strides: Sequence[int]) -> int:
    """Side in pixels of the square that one logit sees: 70 for pix2pix's 2-2-2-1-1."""
    field = 1
    for stride in reversed(strides):
        field = (field - 1) * stride + KERNEL
    return field


class PatchDiscriminator(nn.Module):
    """PatchGAN (arXiv 1611.07004, 3.2.2) for one stage: a map of logits, one for each patch of the image.

    Five 4×4 convolutions of widths 64-128-256-512-1 with padding 1, all with spectral normalisation, the middle three
    with BatchNorm, all but the last with LeakyReLU 0.2. A convolution before BatchNorm has no bias, because the
    normalisation would subtract it. By default, strides are those of :data:`STRIDES`:

    | ``size`` | strides | map | receptive field | parameters |
    |---|---|---|---|---|
    | 16 | 2 1 1 1 1 | 4×4 | 28 px | 2,765,633 |
    | 32 | 2 2 1 1 1 | 5×5 | 46 px | 2,765,633 |
    | 64 | 2 2 2 1 1 | 6×6 | 70 px | 2,765,633 |
    | 128 | 2 2 2 1 1 | 14×14 | 70 px | 2,765,633 |
    | 256 | 2 2 2 1 1 | 30×30 | 70 px | 2,765,633 |

    Where the receptive field is wider than the image, the logits still differ: each sees another part of the image.

    Attributes:
      size: side of the images of its stage; larger ones pass as well.
      widths: channels of all convolutions but the last.
      strides: of all convolutions; () = those of :data:`STRIDES` for ``size``.
      axis_name: see `layers.BatchNorm`.
      dtype: type of the computation.
    """

    size: int = HR_SIZE
    widths: tuple[int, ...] = (64, 128, 256, 512)
    strides: tuple[int, ...] = ()
    axis_name: str | None = "data"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], *, train: bool = True, update_stats: bool = True
    ) -> Float[Array, "b h_map w_map"]:
        """RGB in [0, 1] -> float32 logits, > 0 for real.

        Raises:
          ValueError: the strides are not one for each convolution, or leave no map of an image of ``size`` pixels.
        """
        strides = self.strides or STRIDES[self.size]
        if len(strides) != len(self.widths) + 1:
            raise ValueError(
                f"a PatchGAN of widths {self.widths} and 1 takes {len(self.widths) + 1} strides: {strides}"
            )
        if map_side(self.size, strides) < 1:
            raise ValueError(f"the strides {strides} leave no map of an image of {self.size} pixels")
        x = 2.0 * x - 1.0  # pix2pix's discriminator takes [-1, 1]
        for i, (width, stride) in enumerate(zip((*self.widths, 1), strides, strict=True), 1):
            first, last = i == 1, i == len(strides)
            conv = nn.Conv(
                width,
                (KERNEL, KERNEL),
                strides=stride,
                padding=PADDING,
                use_bias=first or last,
                kernel_init=layers.normal_init(0.02),
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
    """D_r: separates features of HR faces from features of restored faces, eq. (3). Both go through in one call.

    The first layer is linear, then comes BatchNorm: in two calls, each normalised by its own mean and deviation, any
    shift or scale of the restored faces' features would vanish before the first non-linearity.

    Two hidden layers of 256, each with BatchNorm and LeakyReLU 0.2, then one logit (the sigmoid is in the loss).
    591,105 parameters for HopeNet's 2048 features. As in `PatchDiscriminator`, no bias before BatchNorm.

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
