"""The networks of IAFSR (Chen et al., 2020, sec. II-B): SRResNet with six blocks, and SRGAN's discriminator.

Both are those of SRGAN (Ledig et al., arXiv 1609.04802, fig. 4), the letter's reference [20]. /2: stride 2.

| module | layers | parameters |
|---|---|---|
| `SRResNet` | conv9-64, PReLU | 15,680 |
| | 6 × [conv3-64, BN, PReLU, conv3-64, BN, + skip] | 444,288 |
| | conv3-64, BN, + skip over all blocks | 36,992 |
| | 3 × [conv3-256, PixelShuffle(2), PReLU], conv9-3 | 458,883 |
| | | 955,843 |
| `Discriminator` | conv3 of 64, 64/2, 128, 128/2, 256, 256/2, 512, 512/2; BN but the first; LeakyReLU | 4,687,232 |
| | Dense 1024, LeakyReLU 0.2; Dense 1 | 33,556,481 |
| | | 38,243,713 |

A convolution before BatchNorm has no bias, because the normalisation would subtract it.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.models import layers


class PReLU(nn.Module):
    """max(x, 0) + a·min(x, 0), with one slope a per channel (He et al., arXiv 1502.01852), initially 0.25."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Same shape and type."""
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],)).astype(x.dtype)
        return jnp.maximum(x, 0) + slope.reshape((1,) * (x.ndim - 1) + (-1,)) * jnp.minimum(x, 0)


class SRResNet(nn.Module):
    """Low-resolution face -> face ×``scale``.

    With ``train=True``, call inside a `pmap` or `shard_map` that binds ``axis_name``; `init` may be outside.

    Attributes:
      scale: HR size / LR size, a power of two, because each upsampling block doubles the size.
      features: channels of every convolution but the last.
      blocks: number of residual blocks.
      kernel: side of the first and the last convolution, odd.
      skip: 'none': the last convolution predicts the whole image, as SRGAN's does. 'bicubic': it predicts the
        difference to the LR image enlarged by cubic interpolation; an untrained network then scores like bicubic.
      axis_name: see `layers.BatchNorm`.
      dtype: type of the computation.
    """

    scale: int = 8
    features: int = 64
    blocks: int = 6
    kernel: int = 9
    skip: Literal["none", "bicubic"] = "none"
    axis_name: str | None = "data"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"], *, train: bool = True) -> Float[Array, "b H W 3"]:
        """RGB in [0, 1], any h and w -> float32 [b, scale·h, scale·w, 3], not clipped.

        Raises:
          ValueError: a scale that is not a power of two, or an unknown skip.
        """
        ups = self.scale.bit_length() - 1
        if self.scale < 2 or self.scale != 2**ups:
            raise ValueError(f"SRResNet: scale must be a power of two, 2 or more, got {self.scale}")
        if self.skip not in ("none", "bicubic"):
            raise ValueError(f"SRResNet: skip must be 'none' or 'bicubic', got {self.skip!r}")

        def conv_norm(x: Array, name: str) -> Array:
            conv = nn.Conv(
                self.features,
                (3, 3),
                padding=1,
                use_bias=False,
                kernel_init=layers.torch_conv_init,
                dtype=self.dtype,
                name=f"conv_{name}",
            )
            norm = layers.BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"norm_{name}")
            return norm(conv(x), train=train)

        first = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            padding=self.kernel // 2,
            kernel_init=layers.torch_conv_init,
            dtype=self.dtype,
            name="conv_first",
        )
        x = shallow = PReLU(name="prelu_first")(first(lr))
        for i in range(1, self.blocks + 1):
            y = PReLU(name=f"prelu_{i}")(conv_norm(x, f"{i}a"))
            x = x + conv_norm(y, f"{i}b")
        x = shallow + conv_norm(x, "trunk")
        for i in range(1, ups + 1):
            x = layers.conv3x3(4 * self.features, dtype=self.dtype, name=f"up_{2**i}")(x)
            x = PReLU(name=f"prelu_up_{2**i}")(layers.pixel_shuffle(x, 2))
        last = nn.Conv(
            3,
            (self.kernel, self.kernel),
            padding=self.kernel // 2,
            kernel_init=layers.small_he_init,
            dtype=self.dtype,
            name="conv_last",
        )
        image = last(x).astype(jnp.float32)
        if self.skip == "bicubic":
            # DEVIATES: IAFSR has no skip; `skip='bicubic'` is ours, for configs that must converge in minutes.
            image = image + jax.image.resize(lr.astype(jnp.float32), image.shape, "cubic")
        return image


class Discriminator(nn.Module):
    """SRGAN's discriminator, one logit per image; only the variant ``srgan`` uses it.

    ``train`` and ``update_stats`` as in `jfsr.models.msgan`. The dense layer fixes the size of the images.

    Attributes:
      widths: channels; each entry is two convolutions, the second with stride 2.
      hidden: width of the dense layer.
      axis_name: see `layers.BatchNorm`.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    hidden: int = 1024
    axis_name: str | None = "data"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], *, train: bool = True, update_stats: bool = True
    ) -> Float[Array, " b"]:
        """RGB in [0, 1] -> float32 logits, > 0 for real."""
        x = 2.0 * x - 1.0  # SRGAN's discriminator takes [-1, 1]
        for i, width in enumerate(self.widths, 1):
            for letter, stride in (("a", 1), ("b", 2)):
                plain = i == 1 and letter == "a"
                conv = nn.Conv(
                    width,
                    (3, 3),
                    strides=stride,
                    padding=1,
                    use_bias=plain,
                    kernel_init=layers.normal_init(0.02),
                    name=f"conv_{i}{letter}",
                )
                x = conv(x)
                if not plain:
                    norm = layers.BatchNorm(axis_name=self.axis_name, name=f"norm_{i}{letter}")
                    x = norm(x, train=train, update_stats=update_stats)
                x = layers.leaky_relu(x)
        x = layers.leaky_relu(nn.Dense(self.hidden, name="dense")(x.reshape(x.shape[0], -1)))
        return nn.Dense(1, name="logit")(x)[:, 0]
