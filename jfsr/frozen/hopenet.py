"""Hopenet (Ruiz et al., 2018, arXiv 1710.00925): a ResNet-50 with three heads of 66 bins; and how such heads are read.

Published as natanielruiz/deep-head-pose; facts from its code/hopenet.py @ f7bbb99. 224×224, ImageNet's mean and
deviation; features are the 2048 averages under the heads; angles are decoded at the bins' left edges. Its output is
the form that every pose frozen network gives.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, porting
from jfsr.geometry import POSE_BIN_DEG, POSE_BINS, POSE_LIMIT_DEG

INPUT = 224
LAYERS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # bottleneck width, blocks, stride of the first

RULES: tuple[porting.Rule, ...] = (
    *porting.conv(r"conv1", "conv1"),
    *porting.norm(r"bn1", "bn1"),
    *porting.conv(r"layer(\d)\.(\d)\.conv(\d)", r"layer\1_\2/conv\3"),
    *porting.norm(r"layer(\d)\.(\d)\.bn(\d)", r"layer\1_\2/bn\3"),
    *porting.conv(r"layer(\d)\.0\.downsample\.0", r"layer\1_0/shortcut"),
    *porting.norm(r"layer(\d)\.0\.downsample\.1", r"layer\1_0/shortcut_bn"),
    *porting.linear(r"fc_(yaw|pitch|roll)", r"\1"),
    porting.drop(r"fc_finetune\.(weight|bias)"),  # in the files, but no output depends on it
)


class PoseOutput(NamedTuple):
    """What a pose network says of a batch: penultimate features and the logits of yaw, pitch, roll."""

    features: Float[Array, "b f"]
    logits: Float[Array, "b 3 66"]


def decode_bins(logits: Float[Array, "b 3 66"], *, centre: bool) -> Float[Array, "b 3"]:
    """Expected angle in degrees of each head, MSGAN's eq. (4).

    Args:
      logits: of 66 bins of 3° over [-99, 99), for yaw, pitch, roll.
      centre: the angle of a bin is its centre (LightPose, ours) or its left edge (Hopenet, and eq. (4): 1.5° lower).
    """
    angles = -POSE_LIMIT_DEG + POSE_BIN_DEG * (jnp.arange(POSE_BINS, dtype=jnp.float32) + (0.5 if centre else 0.0))
    return jax.nn.softmax(logits.astype(jnp.float32), axis=-1) @ angles


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions, four times as wide at the end, added to the input; the stride is the 3×3's."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Features -> features."""
        conv = lambda width, side, stride, name: nn.Conv(
            width, (side, side), strides=stride, padding=side // 2, use_bias=False, name=name
        )
        y = nn.relu(blocks.norm("bn1", train)(conv(self.width, 1, 1, "conv1")(x)))
        y = nn.relu(blocks.norm("bn2", train)(conv(self.width, 3, self.stride, "conv2")(y)))
        y = blocks.norm("bn3", train)(conv(4 * self.width, 1, 1, "conv3")(y))
        if x.shape != y.shape:
            x = blocks.norm("shortcut_bn", train)(conv(4 * self.width, 1, self.stride, "shortcut")(x))
        return nn.relu(x + y)


class Hopenet(nn.Module):
    """The network; faces of any size, brought to 224×224 inside."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool = False) -> PoseOutput:
        """RGB in [0, 1] -> 2048 features and the logits of yaw, pitch, roll."""
        x = blocks.imagenet(x, INPUT)
        x = nn.Conv(64, (7, 7), strides=2, padding=3, use_bias=False, name="conv1")(x)
        x = nn.relu(blocks.norm("bn1", train)(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for number, (width, count, stride) in enumerate(LAYERS, start=1):
            for i in range(count):
                x = Bottleneck(width, stride if i == 0 else 1, name=f"layer{number}_{i}")(x, train=train)
        features = jnp.mean(x, axis=(1, 2))
        heads = [nn.Dense(POSE_BINS, name=angle)(features) for angle in ("yaw", "pitch", "roll")]
        return PoseOutput(features, jnp.stack(heads, axis=1))
