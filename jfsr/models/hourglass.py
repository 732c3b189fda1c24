"""Stacked hourglasses that estimate heatmaps, each one supervised (Newell et al. 2016; MTUN's branch HEB).

The layout is pose-hg-train's. After each hourglass come a residual unit and a 1×1 convolution with BatchNorm and ReLU;
another 1×1 convolution makes the heatmaps. Features and heatmaps are added to the input of the next hourglass.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.models import layers


class ResidualUnit(nn.Module):
    """BN, ReLU, conv 3×3 (N_i), BN, ReLU, conv 1×1 (N_o), plus the input (MTUN, sec. 3.4).

    Attributes:
      features: N_o; if it differs from the input's N_i, the skip has a 1×1 convolution.
      axis_name, dtype: see `layers.BatchNorm`.
    """

    features: int
    axis_name: str | None = "data"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = True) -> Float[Array, "b h w d"]:
        """[b, h, w, N_i] -> [b, h, w, N_o]."""
        norm = lambda name: layers.BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=name)
        conv = functools.partial(nn.Conv, kernel_init=layers.lecun_init, dtype=self.dtype)
        wide, y = x.shape[-1], x
        # No bias before BatchNorm, which would subtract it.
        y = nn.relu(norm("norm1")(y, train=train))
        y = conv(wide, (3, 3), padding=1, use_bias=False, name="conv1")(y)
        y = nn.relu(norm("norm2")(y, train=train))
        y = conv(self.features, (1, 1), name="conv2")(y)
        if wide != self.features:
            x = conv(self.features, (1, 1), name="skip")(x)
        return x + y


class Hourglass(nn.Module):
    """One hourglass: ``depth`` halvings by max-pooling with a residual unit at each, then nearest-neighbour upsampling.

    Attributes:
      depth: number of halvings; the map's side must be a multiple of 2**depth.
      axis_name, dtype: see `layers.BatchNorm`.
    """

    depth: int
    axis_name: str | None = "data"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n n c"], *, train: bool = True) -> Float[Array, "b n n c"]:
        """Features -> features, same shape."""
        if x.shape[1] % 2**self.depth:
            raise ValueError(
                f"an hourglass of depth {self.depth} takes maps with a side that is a multiple of {2**self.depth}, "
                f"got {x.shape[1]}"
            )
        unit = lambda name: ResidualUnit(x.shape[-1], axis_name=self.axis_name, dtype=self.dtype, name=name)
        beside, y = [], x
        for level in range(self.depth):
            beside.append(unit(f"beside{level}")(y, train=train))
            y = unit(f"down{level}")(nn.max_pool(y, (2, 2), strides=(2, 2)), train=train)
        y = unit("middle")(y, train=train)
        for level in reversed(range(self.depth)):
            y = unit(f"up{level}")(y, train=train)
            y = layers.upsample_nearest(y) + beside[level]
        return y


class StackedHourglasses(nn.Module):
    """Heatmaps from features, one estimate after each of ``stacks`` hourglasses.

    Attributes:
      stacks: number of hourglasses.
      features: channels inside them.
      maps: number of heatmaps.
      depth: halvings in each hourglass.
      axis_name, dtype: see `layers.BatchNorm`.
    """

    stacks: int = 4
    features: int = 64
    maps: int = 4
    depth: int = 4
    axis_name: str | None = "data"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n n c"], *, train: bool = True) -> Float[Array, "s b n n m"]:
        """[b, n, n, c] -> float32 [stacks, b, n, n, maps], not clipped; the last stack's are the final estimate."""
        kind = {"axis_name": self.axis_name, "dtype": self.dtype}
        conv = lambda wide, name, bias=True: nn.Conv(
            wide, (1, 1), use_bias=bias, kernel_init=layers.lecun_init, dtype=self.dtype, name=name
        )
        x = ResidualUnit(self.features, **kind, name="first")(x, train=train)
        estimates = []
        for i in range(1, self.stacks + 1):
            y = Hourglass(self.depth, **kind, name=f"hourglass{i}")(x, train=train)
            y = ResidualUnit(self.features, **kind, name=f"unit{i}")(y, train=train)
            y = conv(self.features, f"linear{i}", bias=False)(y)
            y = nn.relu(layers.BatchNorm(**kind, name=f"norm{i}")(y, train=train))
            maps = conv(self.maps, f"maps{i}")(y)
            estimates.append(maps.astype(jnp.float32))
            if i < self.stacks:
                x = x + conv(self.features, f"back{i}")(y) + conv(self.features, f"maps_back{i}")(maps)
        return jnp.stack(estimates)
