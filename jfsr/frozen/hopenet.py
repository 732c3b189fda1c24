"""Hopenet (Ruiz et al., 2018, arXiv 1710.00925): a ResNet-50 with three heads of 66 bins.

Published as natanielruiz/deep-head-pose; facts from its code/hopenet.py @ f7bbb99. 224×224, ImageNet's mean and
deviation; features are the 2048 averages under the heads; a bin stands for its left edge.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, rules
from jfsr.frozen.network import FrozenNetwork, PoseOutput, PublishedFile
from jfsr.geometry import POSE_BINS

INPUT = 224
LAYERS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # bottleneck width, blocks, stride of the first block

RULES: tuple[rules.Rule, ...] = (
    *rules.conv(r"conv1", "conv1"),
    *rules.norm(r"bn1", "bn1"),
    *rules.conv(r"layer(\d)\.(\d)\.conv(\d)", r"layer\1_\2/conv\3"),
    *rules.norm(r"layer(\d)\.(\d)\.bn(\d)", r"layer\1_\2/bn\3"),
    *rules.conv(r"layer(\d)\.0\.downsample\.0", r"layer\1_0/shortcut"),
    *rules.norm(r"layer(\d)\.0\.downsample\.1", r"layer\1_0/shortcut_bn"),
    *rules.linear(r"fc_(yaw|pitch|roll)", r"\1"),
    rules.drop(r"fc_finetune\.(weight|bias)"),  # in the files, but no output depends on it
)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions, four times as wide at the end, added to the input; the 3×3 has the stride."""

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


NETWORKS = (
    FrozenNetwork(
        name="hopenet",
        kind="pose",
        module=Hopenet(),
        input_size=INPUT,
        features=2048,
        centre=False,
        rules=RULES,
        files=(PublishedFile("hopenet_robust_alpha1.pkl"),),
        megabytes=95.9,
        licence="Apache-2.0",
        published="natanielruiz/deep-head-pose on GitHub, by the links in its README",
    ),
)
