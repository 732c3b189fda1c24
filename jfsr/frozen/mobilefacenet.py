"""MobileFaceNet: an identity embedding with 128 numbers from 112×112 faces; 999,936 parameters, Apache-2.0.

Published as foamliu/MobileFaceNet; facts from its mobilefacenet.py @ a6cc903. ImageNet's mean and deviation, ReLU6. The
embedding is not normalised; compare by cosine.
"""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, rules
from jfsr.frozen.network import FrozenNetwork, PublishedFile

INPUT = 112
# expansion, width, blocks, stride of the first block
STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))

RULES: tuple[rules.Rule, ...] = (
    *rules.conv(r"conv1\.0", "conv1"),
    *rules.norm(r"conv1\.1", "conv1_norm"),
    *rules.conv(r"dw_conv\.depthwise", "dw"),
    *rules.norm(r"dw_conv\.bn1", "dw_norm"),
    *rules.conv(r"dw_conv\.pointwise", "pw"),
    *rules.norm(r"dw_conv\.bn2", "pw_norm"),
    *rules.conv(r"features\.(\d+)\.conv\.0\.0", r"block\1/expand"),
    *rules.norm(r"features\.(\d+)\.conv\.0\.1", r"block\1/expand_norm"),
    *rules.conv(r"features\.(\d+)\.conv\.1\.0", r"block\1/dw"),
    *rules.norm(r"features\.(\d+)\.conv\.1\.1", r"block\1/dw_norm"),
    *rules.conv(r"features\.(\d+)\.conv\.2", r"block\1/project"),
    *rules.norm(r"features\.(\d+)\.conv\.3", r"block\1/project_norm"),
    *rules.conv(r"conv2\.0", "conv2"),
    *rules.norm(r"conv2\.1", "conv2_norm"),
    *rules.conv(r"gdconv\.depthwise", "gdconv"),
    *rules.norm(r"gdconv\.bn", "gdconv_norm"),
    *rules.conv(r"conv3", "conv3", bias=True),
    *rules.norm(r"bn", "norm"),
)


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise 3×3, linear 1×1 projection; added to its input where the shapes agree."""

    width: int
    stride: int
    expansion: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Features -> features."""
        y = blocks.Pointwise(self.expansion * x.shape[-1], name="expand")(x)
        y = nn.relu6(blocks.norm("expand_norm", train)(y))
        y = blocks.Depthwise(3, self.stride, 1, name="dw")(y)
        y = nn.relu6(blocks.norm("dw_norm", train)(y))
        y = blocks.norm("project_norm", train)(blocks.Pointwise(self.width, name="project")(y))
        return x + y if x.shape == y.shape and self.stride == 1 else y


class MobileFaceNet(nn.Module):
    """The network; faces of any size, brought to 112×112 inside."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool = False) -> Float[Array, "b 128"]:
        """RGB in [0, 1] -> embeddings."""
        x = blocks.imagenet(x, INPUT)
        x = nn.Conv(64, (3, 3), strides=2, padding=1, use_bias=False, name="conv1")(x)
        x = nn.relu6(blocks.norm("conv1_norm", train)(x))
        x = nn.relu(blocks.norm("dw_norm", train)(blocks.Depthwise(3, 1, 1, name="dw")(x)))
        x = nn.relu(blocks.norm("pw_norm", train)(blocks.Pointwise(64, name="pw")(x)))
        number = 0
        for expansion, width, count, first in STAGES:
            for i in range(count):
                x = InvertedResidual(width, first if i == 0 else 1, expansion, name=f"block{number}")(x, train=train)
                number += 1
        x = nn.relu6(blocks.norm("conv2_norm", train)(blocks.Pointwise(512, name="conv2")(x)))
        x = blocks.norm("gdconv_norm", train)(blocks.Depthwise(7, name="gdconv")(x))
        x = blocks.norm("norm", train)(nn.Conv(128, (1, 1), name="conv3")(x))
        return x.reshape(x.shape[0], -1)


NETWORKS = (
    FrozenNetwork(
        name="mobilefacenet",
        kind="identity",
        module=MobileFaceNet(),
        input_size=INPUT,
        features=128,
        rules=RULES,
        files=(PublishedFile("mobilefacenet.pt", "90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4"),),
        megabytes=4.1,
        licence="Apache-2.0",
        published="foamliu/MobileFaceNet on GitHub, weights/",
    ),
)
