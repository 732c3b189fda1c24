"""LightPose: a head pose network of 206,390 parameters with Hopenet's heads, trained on 300W-LP; MIT.

Published as Shaw-git/Lightweight-Head-Pose-Estimation; facts from its network/network.py @ aed1802. It expects a tight
square face, 1.2 times the landmarks' box, at 224×224 with ImageNet's mean and deviation. A bin stands
for its centre. Its authors return (roll, yaw, pitch), we stack (yaw, pitch, roll).
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, rules
from jfsr.frozen.network import FrozenNetwork, PoseOutput, PublishedFile
from jfsr.geometry import POSE_BINS

INPUT = 224
WIDTHS = (16, 32, 64, 96, 96, 128, 128, 128)
KERNELS = (3, 3, 3, 5, 5, 5, 3)
STRIDES = (2, 2, 1, 2, 1, 2, 1)
GROUPS = 4

# Keys of the file: features.0 is the stem, features.1-7 are the bottlenecks; then three heads.
RULES: tuple[rules.Rule, ...] = (
    *rules.conv(r"features\.0\.0", "stem"),
    *rules.norm(r"features\.0\.1", "stem_norm"),
    *rules.conv(r"features\.(\d)\.(exp|dw|pw)_conv\.0", r"block\1/\2"),
    *rules.norm(r"features\.(\d)\.(exp|dw|pw)_conv\.1", r"block\1/\2_norm"),
    *rules.linear(r"fc_(yaw|pitch|roll)", r"\1"),
)


class Bottleneck(nn.Module):
    """Grouped 1×1 expansion ×2, depthwise convolution, 1×1 projection; BatchNorm and activation after each."""

    width: int
    kernel: int
    stride: int
    swish: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Features -> features."""
        act = nn.hard_swish if self.swish else nn.relu
        x = blocks.Pointwise(2 * x.shape[-1], GROUPS, name="exp")(x)
        x = act(blocks.norm("exp_norm", train)(x))
        x = blocks.Depthwise(self.kernel, self.stride, self.kernel // 2, name="dw")(x)
        x = act(blocks.norm("dw_norm", train)(x))
        x = blocks.Pointwise(self.width, name="pw")(x)
        return act(blocks.norm("pw_norm", train)(x))


class LightPose(nn.Module):
    """The network; faces of any size, brought to 224×224 inside."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool = False) -> PoseOutput:
        """RGB in [0, 1] -> the 128 averages under the heads and the logits of yaw, pitch, roll."""
        x = blocks.imagenet(x, INPUT)
        x = nn.Conv(WIDTHS[0], (3, 3), strides=2, padding=1, use_bias=False, name="stem")(x)
        x = nn.relu(blocks.norm("stem_norm", train)(x))
        for i, (width, kernel, stride) in enumerate(zip(WIDTHS[1:], KERNELS, STRIDES, strict=True)):
            x = Bottleneck(width, kernel, stride, swish=i >= 3, name=f"block{i + 1}")(x, train=train)
        features = nn.relu(jnp.mean(x, axis=(1, 2)))
        heads = [nn.Dense(POSE_BINS, name=angle)(features) for angle in ("yaw", "pitch", "roll")]
        return PoseOutput(features, jnp.stack(heads, axis=1))


NETWORKS = (
    FrozenNetwork(
        name="lightpose",
        kind="pose",
        module=LightPose(),
        input_size=INPUT,
        features=128,
        rules=RULES,
        files=(PublishedFile("model-b66.pkl", "0398c6d13983bc9820dd60fcd00c2e8b655e7a78d4cd7572fa6b4a42b9064879"),),
        megabytes=0.9,
        licence="MIT",
        published="Shaw-git/Lightweight-Head-Pose-Estimation on GitHub, models/model-b66.pkl",
    ),
)
