"""MTUN's two networks (Yu et al. 2018, sec. 3): upsampling with component heatmaps, and the discriminator.

The widths are in the paper's Fig. 2, and its text does not repeat them. DEVIATES: every width below is our choice
except those of the transformer. The path of a 16×16 LR image with the defaults (``stn_at=32, heb_at=64``):

| size | layer | channels |
|---|---|---|
| 16 | autoencoder: conv 3×3 · conv 4×4 stride 2 (8×8) · deconv 4×4 stride 2 | 64 · 128 · 64 |
| 32 | deconv 4×4 stride 2 · conv 3×3 | 64 · 64 |
| 32 | `SimilaritySTN`: pool, conv 5×5, pool, conv 5×5, FC, FC; the features are resampled by its similarity | 20, 20, 20, 4 |
| 64 | deconv 4×4 stride 2 · conv 3×3 | 32 · 32 |
| 64 | `StackedHourglasses`, 4 of depth 4: eyes, nose, mouth, chin | 64 inside, 4 out |
| 64 | features and the last heatmaps, concatenated · conv 3×3, plus the features (skip) | 36 · 32 |
| 128 | deconv 4×4 stride 2 · conv 3×3 · conv 3×3 | 32 · 32 · 3 |

ReLU after every layer but the last. With ``heb_at`` 16 or 32, the heatmaps are estimated and concatenated at that
size, by hourglasses of depth 2 or 3: the innermost map is always 4×4. Sizes are those of a 16×16 input; with a larger
one (``config.hr_size``) all of them grow alike.

"The upsampling branch firstly super-resolves features of LR input images and then aligns the feature maps" (sec. 3.2):
so the transformer stands behind the first deconvolution. 32×32 is the one size from which its convolutions, pools and
FC layers fit each other.

DEVIATES: the place of the skip connection is in Fig. 2 alone. The text has it against "erroneous heatmaps", fused with
the features (sec. 5); here it leads the features past that fusion. Without it, Table 1's †, the fusion stays.
"""  # noqa: E501 - a table

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.models import layers
from jfsr.models.hourglass import StackedHourglasses
from jfsr.models.stn import SimilaritySTN, sample_similarity

SCALE = 8
MAPS = 4  # eyes, nose, mouth, chin: the order of `jfsr.data.heatmaps.COMPONENTS`


class Upright(NamedTuple):
    """The generator's output: the face, the heatmaps after each hourglass, the transformer's estimate."""

    image: Float[Array, "b n n 3"]
    maps: Float[Array, "s b m m 4"]  # s = 0 without the heatmap branch
    theta: Float[Array, "b 4"]


class MTUNGenerator(nn.Module):
    """Unaligned 16×16 face -> upright 128×128 face, with component heatmaps estimated on the way.

    Attributes:
      widths: channels at 16, at 8 (inside the autoencoder), at 32, at 64 and at 128.
      autoencoder: False: Table 1's ‡, "we also remove our autoencoder and upsample LR inputs directly".
      stn_at: side of the features that the transformer turns upright, 16 or 32; at most ``heb_at``.
      heb_at: side of the features from which the heatmaps are estimated: 16, 32, 64; 0 for no heatmap branch.
      stacks: number of hourglasses.
      heb_features: channels inside them.
      skip_connection: 'heatmaps': from the features before they meet the heatmaps to those after. 'none': Table 1's †.
        'autoencoder': from its first layer to its last, and the heatmaps are not fused by a layer of their own; this is
        what earlier versions of jfsr had.
      skip: 'none': the last layer predicts the whole image, as in the paper. 'aligned': it predicts the difference to
        the LR image, enlarged by cubic interpolation and made upright by the transformer. The transformer then learns
        from the pixels from the first step on, and the network becomes useful in minutes. Same parameters.
      axis_name, dtype: see `layers.BatchNorm`.
    """

    widths: tuple[int, int, int, int, int] = (64, 128, 64, 32, 32)
    autoencoder: bool = True
    stn_at: int = 32
    heb_at: int = 64
    stacks: int = 4
    heb_features: int = 64
    skip_connection: Literal["heatmaps", "autoencoder", "none"] = "heatmaps"
    skip: Literal["none", "aligned"] = "none"
    axis_name: str | None = "data"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"], *, train: bool = True) -> Upright:
        """RGB in [0, 1], [b, 16, 16, 3] (or [b, 32, 32, 3]) -> float32 image, not clipped, heatmaps and ``theta``.

        With ``train``, BatchNorm (only in the heatmap branch) uses the batch's statistics and updates the running ones,
        which needs ``mutable=['batch_stats']``.

        Raises:
          ValueError: an option that is unknown, or heatmaps before the features are upright.
        """
        self._check()
        at16, at8, at32, at64, at128 = self.widths
        up = lambda width, name: layers.Deconv(width, dtype=self.dtype, name=name)

        x = lr
        if self.autoencoder:
            first = nn.relu(layers.conv3x3(at16, dtype=self.dtype, name="encode1")(lr))
            x = nn.Conv(
                at8, (4, 4), strides=2, padding=1, kernel_init=layers.lecun_init, dtype=self.dtype, name="encode2"
            )(first)
            x = up(at16, "decode")(nn.relu(x))
            x = nn.relu(x + first if self.skip_connection == "autoencoder" else x)

        theta = jnp.zeros((lr.shape[0], 4), jnp.float32)
        maps = jnp.zeros((0, lr.shape[0], 0, 0, MAPS), jnp.float32)
        for size, width in ((16, at16), (32, at32), (64, at64), (128, at128)):
            if size > 16:
                x = nn.relu(up(width, f"up_{size}")(x))
                x = nn.relu(layers.conv3x3(width, dtype=self.dtype, name=f"conv_{size}")(x))
            if size == self.stn_at:
                theta = SimilaritySTN(dtype=self.dtype, name="stn")(x)
                x = sample_similarity(x, theta)
            if size == self.heb_at:
                heb = StackedHourglasses(
                    stacks=self.stacks,
                    features=self.heb_features,
                    maps=MAPS,
                    depth={16: 2, 32: 3, 64: 4}[size],
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    name="heb",
                )
                maps = heb(x, train=train)
                features = x
                x = jnp.concatenate([x, maps[-1].astype(x.dtype)], axis=-1)
                if self.skip_connection != "autoencoder":
                    x = nn.relu(layers.conv3x3(features.shape[-1], dtype=self.dtype, name="fuse")(x))
                    x = x + features if self.skip_connection == "heatmaps" else x
        init = layers.small_he_init if self.skip == "aligned" else layers.torch_conv_init
        image = layers.conv3x3(3, init=init, dtype=self.dtype, name="rgb")(x).astype(jnp.float32)
        if self.skip == "aligned":
            # DEVIATES: MTUN has no such skip; `skip='aligned'` is ours, for configs that must converge in minutes.
            large = jax.image.resize(lr.astype(jnp.float32), image.shape, "cubic")
            image = image + sample_similarity(large, theta)
        return Upright(image, maps, theta)

    def _check(self) -> None:
        options = {
            "stn_at": (16, 32),
            "heb_at": (0, 16, 32, 64),
            "skip_connection": ("heatmaps", "autoencoder", "none"),
            "skip": ("none", "aligned"),
        }
        for name, known in options.items():
            if getattr(self, name) not in known:
                said = ", ".join(map(repr, known))
                raise ValueError(f"MTUNGenerator: {name} must be one of {said}, got {getattr(self, name)!r}")
        if self.heb_at and self.stn_at > self.heb_at:
            raise ValueError(
                f"MTUNGenerator: heatmaps are estimated on upright features, and with stn_at {self.stn_at} those of "
                f"heb_at {self.heb_at} are not yet turned; give stn_at {self.heb_at}"
            )


class MTUNDiscriminator(nn.Module):
    """DCGAN's layout with one fully connected layer (sec. 3.2): real or hallucinated, one logit per image.

    4×4 convolutions with stride 2 and LeakyReLU 0.2, all but the first with BatchNorm.

    Attributes:
      widths: channels of the convolutions. DEVIATES: DCGAN's 64 to 512, because the paper gives no widths.
      axis_name: see `layers.BatchNorm`.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    axis_name: str | None = "data"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], *, train: bool = True, update_stats: bool = True
    ) -> Float[Array, " b"]:
        """RGB in [0, 1] -> float32 logits, > 0 for real."""
        x = 2.0 * x - 1.0
        for i, width in enumerate(self.widths, 1):
            init = layers.normal_init(0.02)
            x = nn.Conv(width, (4, 4), strides=2, padding=1, use_bias=i == 1, kernel_init=init, name=f"conv{i}")(x)
            if i > 1:
                norm = layers.BatchNorm(axis_name=self.axis_name, name=f"norm{i}")
                x = norm(x, train=train, update_stats=update_stats)
            x = layers.leaky_relu(x)
        return nn.Dense(1, name="logit")(x.reshape(x.shape[0], -1))[:, 0]
