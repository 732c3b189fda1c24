"""The multi-stage generator of MSGAN (sec. III-A, IV-B, fig. 3): ESRGAN's trunk twice, an image at every resolution.

| scale | LR | first half | second half | images | parameters (defaults) |
|---|---|---|---|---|---|
| 16 | 8×8 | 23 RRDBs at 8, to 32 | 23 RRDBs at 32, to 128 | 16, 32, 64, 128 | 33,803,852 |
| 8 | 16×16 | 23 RRDBs at 16, to 32 | 23 RRDBs at 32, to 128 | 32, 64, 128 | 33,654,409 |
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.models import layers
from jfsr.models.rrdb import RRDBTrunk

HR_SIZE = 128
# PixelShuffle(2) steps in the two halves: "x16: the first half x4, the other half the remaining x4; x8: x2, then x4".
UPS = {8: (1, 2), 16: (2, 2)}


class MSGANGenerator(nn.Module):
    """Low-resolution face -> faces at every resolution on the way to ×``scale``.

    Each half is an `RRDBTrunk` (``trunk1`` with the first convolution, ``trunk2``) followed by PixelShuffle steps:
    conv to 4·features, PixelShuffle(2), LeakyReLU. Parameters are named by the resolution they produce: ``up_16`` …
    ``up_128``, ``rgb_16`` … ``rgb_128``, and ``conv_hr`` before the last head.

    Attributes:
      scale: 8 or 16.
      features: channels between blocks.
      growth: channels that each convolution of a dense block adds.
      blocks: RRDBs in the first and the second half.
      skip: 'none': the heads paint the whole image, as ESRGAN's does. 'bicubic': they paint what is to be added to the
        LR image, resized by cubic interpolation to their stage; an untrained generator of a few blocks then already
        scores like bicubic (within 0.01 dB), and becomes useful in minutes. Same parameters.
      unroll, remat, dtype: as in `RRDBTrunk`. Trace with ``unroll=1`` what is exported from a CPU for other platforms.
    """

    scale: int = 16
    features: int = 64
    growth: int = 32
    blocks: tuple[int, int] = (23, 23)
    skip: Literal["none", "bicubic"] = "none"
    unroll: int | None = None
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The keys of the result, coarse to fine: (16, 32, 64, 128) for ×16, (32, 64, 128) for ×8."""
        first = 2 * HR_SIZE // self.scale
        return tuple(first * 2**i for i in range(sum(UPS[self.scale])))

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"]) -> dict[int, Float[Array, "b _ _ 3"]]:
        """Restores RGB in [0, 1], [b, h, w, 3], any h and w.

        Returns:
          {resolution: float32 image, not clipped}, coarse to fine; the resolution is that of the stage for a nominal
          input of 128/scale pixels, so 128 always names the final image, [b, scale·h, scale·w, 3].

        Raises:
          ValueError: unknown scale or skip.
        """
        if self.scale not in UPS:
            raise ValueError(f"MSGANGenerator: scale is {sorted(UPS)}, got {self.scale}")
        if self.skip not in ("none", "bicubic"):
            raise ValueError(f"MSGANGenerator: skip is 'none' or 'bicubic', got {self.skip!r}")
        images = {}
        x, resolution = lr, HR_SIZE // self.scale
        for half, (blocks, ups) in enumerate(zip(self.blocks, UPS[self.scale], strict=True), 1):
            x = RRDBTrunk(
                blocks,
                self.features,
                self.growth,
                conv_first=half == 1,
                unroll=self.unroll,
                remat=self.remat,
                dtype=self.dtype,
                name=f"trunk{half}",
            )(x)
            for _ in range(ups):
                resolution *= 2
                x = layers.conv3x3(4 * self.features, dtype=self.dtype, name=f"up_{resolution}")(x)
                x = layers.leaky_relu(layers.pixel_shuffle(x, 2))
                images[resolution] = self._to_rgb(x, lr, resolution)
        return images

    def _to_rgb(
        self, x: Float[Array, "b h w c"], lr: Float[Array, "b h_lr w_lr 3"], resolution: int
    ) -> Float[Array, "b h w 3"]:
        if resolution == HR_SIZE:
            x = layers.leaky_relu(layers.conv3x3(self.features, dtype=self.dtype, name="conv_hr")(x))
        head = layers.conv3x3(3, init=layers.small_he_init, dtype=self.dtype, name=f"rgb_{resolution}")
        image = head(x).astype(jnp.float32)
        if self.skip == "bicubic":
            # DEVIATES: MSGAN has no skip; `skip='bicubic'` is ours, for configs that must converge in minutes.
            image = image + jax.image.resize(lr.astype(jnp.float32), image.shape, "cubic")
        return image
