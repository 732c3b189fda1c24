"""LightCNN-9, -29 and -29v2 (Wu et al., 2018, arXiv 1511.02683): 256 identity features from grey faces; MIT.

Published as AlfredXiangWu/LightCNN; facts from its light_cnn.py @ 7b38a6f. 128×128 grey in [0, 1], eyes level at row 40
and mouth at row 88; max-feature-map (the larger of two halves of the channels) in place of an activation. The features
are not normalised; compare by cosine. LightCNN-9 is -29 without its residual blocks.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, rules
from jfsr.frozen.network import FrozenNetwork, PublishedFile

INPUT = 128
FEATURES = 256
WIDTHS = (48, 96, 192, 128, 128)  # after the first convolution and after each group
POOLED = (1, 2, 4)  # a pooling follows these groups
RESIDUAL_29 = (1, 2, 3, 4)  # residual blocks before each group
LUMINANCE = (0.299, 0.587, 0.114)  # weights of R, G, B, as in OpenCV's grey images (ITU-R BT.601)

RULES_29: tuple[rules.Rule, ...] = (
    *rules.conv(r"conv1\.filter", "conv1", bias=True),
    *rules.conv(r"block(\d)\.(\d)\.conv(\d)\.filter", r"block\1_\2_conv\3", bias=True),
    *rules.conv(r"group(\d)\.conv_a\.filter", r"group\1_a", bias=True),
    *rules.conv(r"group(\d)\.conv\.filter", r"group\1", bias=True),
    *rules.linear(r"fc\.filter", "fc"),
    rules.drop(r"fc2\.(weight|bias)"),  # the classifier of its training, for any number of people
)
RULES_29V2: tuple[rules.Rule, ...] = (
    *(rule for rule in RULES_29 if not rule[0].startswith("fc")),
    *rules.linear("fc", "fc"),
    rules.drop(r"fc2\.weight"),
)
RULES_9: tuple[rules.Rule, ...] = (
    *rules.conv(r"features\.0\.filter", "conv1", bias=True),
    *(  # the numbers in between are poolings
        rule
        for group, number in enumerate((2, 4, 6, 7), 1)
        for source, target in (("conv_a", f"group{group}_a"), ("conv", f"group{group}"))
        for rule in rules.conv(rf"features\.{number}\.{source}\.filter", target, bias=True)
    ),
    *rules.linear(r"fc1\.filter", "fc"),
    rules.drop(r"fc2\.(weight|bias)"),
)


def luminance(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 1"]:
    """Grey from RGB, in the same range, as OpenCV makes it but not rounded to 8 bits."""
    # A sum, because a GPU would compute a matrix product with 10 bits of mantissa.
    return jnp.sum(x * jnp.array(LUMINANCE, x.dtype).reshape(1, 1, 1, 3), axis=-1, keepdims=True)


def max_feature_map(x: Float[Array, "*b c"]) -> Float[Array, "*b half"]:
    """The larger of channels i and i + c/2."""
    return jnp.maximum(*jnp.split(x, 2, axis=-1))


class LightCNN(nn.Module):
    """The network; faces of any size, brought to 128×128 inside.

    Attributes:
      residual: residual blocks before each group; none in LightCNN-9.
      v2: LightCNN-29v2: the poolings add the mean to the maximum, and a linear layer gives the features.
    """

    residual: tuple[int, int, int, int] = (0, 0, 0, 0)
    v2: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b 256"]:
        """RGB in [0, 1] -> features."""
        conv = lambda width, side, name: (
            lambda x: max_feature_map(nn.Conv(2 * width, (side, side), padding=side // 2, name=name)(x))
        )
        x = blocks.resize(luminance(x), INPUT)
        x = self._pool(conv(WIDTHS[0], 5, "conv1")(x))
        for i, (count, width) in enumerate(zip(self.residual, WIDTHS[1:], strict=True), 1):
            c = x.shape[-1]
            for j in range(count):
                x += conv(c, 3, f"block{i}_{j}_conv2")(conv(c, 3, f"block{i}_{j}_conv1")(x))
            x = conv(width, 3, f"group{i}")(conv(c, 1, f"group{i}_a")(x))
            x = self._pool(x) if i in POOLED else x
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # the published matrix wants channels first
        return nn.Dense(FEATURES, name="fc")(x) if self.v2 else max_feature_map(nn.Dense(2 * FEATURES, name="fc")(x))

    def _pool(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Halves the sides; they are even at every pooling, as the input is 128."""
        largest = nn.max_pool(x, (2, 2), strides=(2, 2))
        return largest + nn.avg_pool(x, (2, 2), strides=(2, 2)) if self.v2 else largest


NETWORKS = (
    FrozenNetwork(
        name="lightcnn9",
        kind="identity",
        module=LightCNN(),
        input_size=INPUT,
        features=FEATURES,
        rules=RULES_9,
        files=(PublishedFile("LightCNN_9Layers_checkpoint.pth.tar"),),
        parameters=5_480_864,
        licence="MIT",
        published="AlfredXiangWu/LightCNN on GitHub, by the links in its README",
    ),
    FrozenNetwork(
        name="lightcnn29",
        kind="identity",
        module=LightCNN(RESIDUAL_29),
        input_size=INPUT,
        features=FEATURES,
        rules=RULES_29,
        files=(PublishedFile("LightCNN_29Layers_checkpoint.pth.tar"),),
        parameters=12_573_280,
        licence="MIT",
        published="AlfredXiangWu/LightCNN on GitHub, by the links in its README",
    ),
    FrozenNetwork(
        name="lightcnn29v2",
        kind="identity",
        module=LightCNN(RESIDUAL_29, v2=True),
        input_size=INPUT,
        features=FEATURES,
        rules=RULES_29V2,
        files=(PublishedFile("LightCNN_29Layers_V2_checkpoint.pth.tar"),),
        parameters=10_475_872,
        licence="MIT",
        published="AlfredXiangWu/LightCNN on GitHub, by the links in its README",
    ),
)
