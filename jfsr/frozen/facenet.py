"""FaceNet (Schroff et al., 2015, arXiv 1503.03832) as an Inception-ResNet-v1: 512 numbers of length 1.

Published as timesler/facenet-pytorch; facts from its models/inception_resnet_v1.py @ 787da06; 23,482,624 parameters.
Faces of 160×160 pixels; a value x in [0, 1] enters as (255·x − 127.5)/128. Compare embeddings by cosine or by their
distance. The files also hold a classifier ``logits`` for 8,631 (VGGFace2) or 10,575 (CASIA-WebFace) people; we drop
it.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, rules
from jfsr.frozen.network import FrozenNetwork, PublishedFile

INPUT = 160
EPSILON = 1e-3  # for every BatchNorm

# One layer of a branch: width, (height, width) of the filter, stride, padding.
Layer = tuple[int, tuple[int, int], int, tuple[int, int]]


def _same(width: int, height: int, across: int) -> Layer:
    return width, (height, across), 1, (height // 2, across // 2)


def _half(width: int) -> Layer:
    return width, (3, 3), 2, (0, 0)


BLOCK35 = ((_same(32, 1, 1),), (_same(32, 1, 1), _same(32, 3, 3)), (_same(32, 1, 1), _same(32, 3, 3), _same(32, 3, 3)))
MIXED_6A = ((_half(384),), (_same(192, 1, 1), _same(192, 3, 3), _half(256)))
BLOCK17 = ((_same(128, 1, 1),), (_same(128, 1, 1), _same(128, 1, 7), _same(128, 7, 1)))
MIXED_7A = (
    (_same(256, 1, 1), _half(384)),
    (_same(256, 1, 1), _half(256)),
    (_same(256, 1, 1), _same(256, 3, 3), _half(256)),
)
BLOCK8 = ((_same(192, 1, 1),), (_same(192, 1, 1), _same(192, 1, 3), _same(192, 3, 1)))


def _unit(source: str, target: str) -> list[rules.Rule]:
    return [*rules.conv(rf"{source}\.conv", f"{target}/conv"), *rules.norm(rf"{source}\.bn", f"{target}/bn")]


# Where a branch has one layer, the file leaves out the layer's number, except in mixed_7a.
RULES: tuple[rules.Rule, ...] = (
    *_unit(r"(conv2d_\d[ab])", r"\1"),
    *_unit(r"(mixed_6a|block8)\.branch0", r"\1/branch0_0"),
    *_unit(r"(mixed_\da|block8)\.(branch\d)\.(\d)", r"\1/\2_\3"),
    *_unit(r"(repeat_\d)\.(\d)\.branch0", r"\1_\2/branch0_0"),
    *_unit(r"(repeat_\d)\.(\d)\.(branch\d)\.(\d)", r"\1_\2/\3_\4"),
    *rules.conv(r"block8\.conv2d", "block8/conv2d", bias=True),
    *rules.conv(r"(repeat_\d)\.(\d)\.conv2d", r"\1_\2/conv2d", bias=True),
    *rules.linear("last_linear", "last_linear", bias=False),
    *rules.norm("last_bn", "last_bn"),
    rules.drop(r"logits\.(weight|bias)"),  # the classifier of its training
)


class Unit(nn.Module):
    """Convolution without bias, BatchNorm, ReLU."""

    layer: Layer

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Features -> features."""
        width, kernel, stride, (y, across) = self.layer
        x = nn.Conv(width, kernel, strides=stride, padding=((y, y), (across, across)), use_bias=False, name="conv")(x)
        return nn.relu(blocks.norm("bn", train, epsilon=EPSILON)(x))


class Inception(nn.Module):
    """Chains of layers side by side; their concatenated outputs are either added to the input or its max-pooling joins.

    Attributes:
      branches: the chains.
      scale: factor for the 1×1 convolution of the concatenated outputs, which is added to the input. None: nothing is
        added, and the input's 3×3 max-pooling with stride 2 is the last branch.
      relu: whether a ReLU follows the addition.
    """

    branches: tuple[tuple[Layer, ...], ...]
    scale: float | None = None
    relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Features -> features."""
        outputs = []
        for i, branch in enumerate(self.branches):
            y = x
            for j, layer in enumerate(branch):
                y = Unit(layer, name=f"branch{i}_{j}")(y, train=train)
            outputs.append(y)
        if self.scale is None:
            return jnp.concatenate([*outputs, nn.max_pool(x, (3, 3), strides=(2, 2))], axis=-1)
        y = x + self.scale * nn.Conv(x.shape[-1], (1, 1), name="conv2d")(jnp.concatenate(outputs, axis=-1))
        return nn.relu(y) if self.relu else y


class FaceNet(nn.Module):
    """The network; faces of any size, brought to 160×160 inside."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool = False) -> Float[Array, "b 512"]:
        """RGB in [0, 1] -> embeddings of length 1."""
        unit = lambda x, name, layer: Unit(layer, name=name)(x, train=train)
        x = (255 * blocks.resize(x, INPUT) - 127.5) / 128
        x = unit(x, "conv2d_1a", _half(32))
        x = unit(x, "conv2d_2a", (32, (3, 3), 1, (0, 0)))
        x = unit(x, "conv2d_2b", _same(64, 3, 3))
        x = nn.max_pool(x, (3, 3), strides=(2, 2))
        x = unit(x, "conv2d_3b", _same(80, 1, 1))
        x = unit(x, "conv2d_4a", (192, (3, 3), 1, (0, 0)))
        x = unit(x, "conv2d_4b", _half(256))
        for i in range(5):
            x = Inception(BLOCK35, 0.17, name=f"repeat_1_{i}")(x, train=train)
        x = Inception(MIXED_6A, name="mixed_6a")(x, train=train)
        for i in range(10):
            x = Inception(BLOCK17, 0.10, name=f"repeat_2_{i}")(x, train=train)
        x = Inception(MIXED_7A, name="mixed_7a")(x, train=train)
        for i in range(5):
            x = Inception(BLOCK8, 0.20, name=f"repeat_3_{i}")(x, train=train)
        x = Inception(BLOCK8, 1.0, relu=False, name="block8")(x, train=train)
        x = nn.Dense(512, use_bias=False, name="last_linear")(jnp.mean(x, axis=(1, 2)))
        x = blocks.norm("last_bn", train, epsilon=EPSILON)(x)
        return unit_length(x)


def unit_length(x: Float[Array, "b f"]) -> Float[Array, "b f"]:
    """Embeddings divided by their lengths (by 1e-12 at least, as in PyTorch); the gradient is finite at 0 too."""
    return x / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-24))


NETWORKS = (
    FrozenNetwork(
        name="facenet",
        kind="identity",
        module=FaceNet(),
        input_size=INPUT,
        features=512,
        rules=RULES,
        files=(
            PublishedFile(
                "20180402-114759-vggface2.pt", "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"
            ),
        ),
        megabytes=111.9,
        licence="MIT",
        published="timesler/facenet-pytorch on GitHub, release v2.2.9 (there too: 20180408-102900-casia-webface.pt)",
    ),
)
