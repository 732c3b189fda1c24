"""Residual-in-residual dense blocks and the ×4 network of ESRGAN (Wang et al. 2018, arXiv 1809.00219, fig. 4).

`RRDBNet` is the published network, with the same parameters; `RRDBTrunk` is its trunk, which MSGAN uses twice.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.models import layers

# β of the paper: scales a residual branch, both in a dense block and around three of them.
RESIDUAL_SCALE = 0.2


class ResidualDenseBlock(nn.Module):
    """Five 3×3 convolutions, each on all features before it; LeakyReLU after all but the last.

    [b, h, w, features] -> same. Parameters: ``conv1`` … ``conv4`` to ``growth`` channels, ``conv5`` back to
    ``features``, all initialised at 0.1× He.
    """

    features: int = 64
    growth: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Features -> features, same shape and type."""

        def conv(width: int, i: int) -> nn.Conv:
            return layers.conv3x3(width, init=layers.small_he_init, dtype=self.dtype, name=f"conv{i}")

        dense = x
        for i in range(1, 5):
            dense = jnp.concatenate([dense, layers.leaky_relu(conv(self.growth, i)(dense))], axis=-1)
        return x + RESIDUAL_SCALE * conv(self.features, 5)(dense)


class RRDB(nn.Module):
    """Three residual dense blocks (``rdb1`` … ``rdb3``) with a scaled residual around them; [b, h, w, c] -> same."""

    features: int = 64
    growth: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Features -> features, same shape and type."""
        y = x
        for i in range(1, 4):
            y = ResidualDenseBlock(self.features, self.growth, dtype=self.dtype, name=f"rdb{i}")(y)
        return x + RESIDUAL_SCALE * y


class RRDBTrunk(nn.Module):
    """``blocks`` RRDBs and a convolution with a long skip around them: x -> x + conv(blocks(x)).

    Parameters: ``conv_first`` (if chosen), ``blocks`` with a leading axis for the block, ``conv_trunk``.

    Attributes:
      blocks: number of RRDBs.
      features: channels of the output, and of the input unless ``conv_first``.
      growth: channels that each convolution of a dense block adds.
      conv_first: start with a 3×3 convolution from any number of channels to ``features``.
      unroll: blocks per iteration of the compiled loop; None: by platform, see `layers.resolve_unroll`.
      remat: keep only the input of each RRDB for the backward pass and recompute the rest: about 1/8 of the memory, 1/3
        more time. XLA on CPU ignores it.
      dtype: type of the computation and of the output.
    """

    blocks: int = 23
    features: int = 64
    growth: int = 32
    conv_first: bool = False
    unroll: int | None = None
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h w c"]:
        """Features (with ``conv_first``: any channels) -> features of the same height and width, in ``dtype``."""
        x = x.astype(self.dtype)
        if self.conv_first:
            x = layers.conv3x3(self.features, dtype=self.dtype, name="conv_first")(x)
        # A rolled loop already stops XLA from merging the recomputation with the forward pass (CSE).
        rolled = layers.resolve_unroll(self.unroll, self.blocks) == 1
        rrdb = nn.remat(RRDB, prevent_cse=not rolled) if self.remat else RRDB
        block = rrdb(self.features, self.growth, dtype=self.dtype, name="blocks")
        y = layers.stack_blocks(block, x, length=self.blocks, unroll=self.unroll)
        # An untrained RRDB multiplies its input by 1 + β, because of its skips, and 23 of them by 66. A small initial
        # kernel here keeps the untrained trunk within an order of magnitude of the identity.
        return x + layers.conv3x3(self.features, init=layers.small_he_init, dtype=self.dtype, name="conv_trunk")(y)


class RRDBNet(nn.Module):
    """ESRGAN's ×4 generator: 16,697,987 parameters at the defaults.

    Parameters: ``trunk`` (with ``conv_first``), ``conv_up1``, ``conv_up2`` (after each nearest-neighbour ×2),
    ``conv_hr``, ``conv_last``. Attributes as in `RRDBTrunk`.
    """

    blocks: int = 23
    features: int = 64
    growth: int = 32
    unroll: int | None = None
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"]) -> Float[Array, "b h_out w_out 3"]:
        """RGB in [0, 1], [b, h, w, 3] -> float32 [b, 4h, 4w, 3], not clipped."""
        x = RRDBTrunk(
            self.blocks,
            self.features,
            self.growth,
            conv_first=True,
            unroll=self.unroll,
            remat=self.remat,
            dtype=self.dtype,
            name="trunk",
        )(lr)
        for name in ("conv_up1", "conv_up2"):
            x = layers.upsample_nearest(x)
            x = layers.leaky_relu(layers.conv3x3(self.features, dtype=self.dtype, name=name)(x))
        x = layers.leaky_relu(layers.conv3x3(self.features, dtype=self.dtype, name="conv_hr")(x))
        return layers.conv3x3(3, dtype=self.dtype, name="conv_last")(x).astype(jnp.float32)
