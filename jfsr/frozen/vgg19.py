"""VGG-19 up to relu3_2 (Simonyan & Zisserman, 2015, arXiv 1409.1556), by which MTUN compares images; and VGG's blocks.

Published by torchvision, trained on ImageNet; facts: features[:14] of its vgg19, the maps after the ReLU of conv3_2.
Images keep their own size; ImageNet's mean and deviation.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, rules
from jfsr.frozen.network import FrozenNetwork, PublishedFile

# Width of each block, and the places of its convolutions in torchvision's `features`.
BLOCKS = ((64, (0, 2)), (128, (5, 7)), (256, (10, 12)))

RULES: tuple[rules.Rule, ...] = (
    *rules.conv(r"features\.(0|2|5|7|10|12)", r"conv\1", bias=True),
    rules.drop(r"features\.(14|16|19|21|23|25|28|30|32|34)\.(weight|bias)"),  # conv3_3 to conv5_4
    rules.drop(r"classifier\.\d\.(weight|bias)"),
)


def stack(x: Float[Array, "b h w 3"], plan: Sequence[tuple[int, tuple[int, ...]]]) -> list[Float[Array, "b _ _ _"]]:
    """VGG's blocks of 3×3 convolutions with ReLU, a 2×2 pooling between them; for use inside a compact module.

    Args:
      x: normalised images with sides of at least 2 ** (blocks - 1) pixels.
      plan: in the form of ``BLOCKS``; the numbers give the names ``conv0``, ``conv2``, …

    Returns:
      The last maps of each block.
    """
    taps: list[Array] = []
    for width, numbers in plan:
        x = nn.max_pool(x, (2, 2), strides=(2, 2)) if taps else x
        for number in numbers:
            x = nn.relu(nn.Conv(width, (3, 3), padding=1, name=f"conv{number}")(x))
        taps.append(x)
    return taps


class VGG19(nn.Module):
    """The network; images of any size from 4×4 pixels up."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b h4 w4 256"]:
        """RGB in [0, 1] -> relu3_2, a quarter of the sides (rounded down)."""
        mean, std = (jnp.array(v, x.dtype).reshape(1, 1, 1, 3) for v in (blocks.IMAGENET_MEAN, blocks.IMAGENET_STD))
        return stack((x - mean) / std, BLOCKS)[-1]


NETWORKS = (
    FrozenNetwork(
        name="vgg19",
        kind="features",
        module=VGG19(),
        input_size=0,
        features=256,
        rules=RULES,
        files=(
            PublishedFile("vgg19-dcbb9e9d.pth", "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"),
        ),
        megabytes=574.7,
        licence="BSD-3",
        published="torchvision (VGG19_Weights.IMAGENET1K_V1)",
    ),
)
