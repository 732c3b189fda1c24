"""MagFace (Meng et al., 2021, arXiv 2103.06627) on an iResNet-100: 512 numbers whose length is the face's quality.

Published as IrvingMeng/MagFace; facts from its models/iresnet.py and inference/ @ 99bae61; 65,156,160 parameters. BGR
in [0, 1], 112×112, aligned to ArcFace's five points. The embedding is not normalised: its direction is the identity, to
be compared by cosine, and its length, trained to lie within 10 and 110, grows with the quality of the image.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, porting

INPUT = 112
EPSILON = 2e-5  # of every BatchNorm
LAYERS = ((64, 3), (128, 13), (256, 30), (512, 3))  # width, blocks; the first block of each halves the image

# The files' prefix: trained by DistributedDataParallel, or by DataParallel (whose own `module.` is off already). It is
# asked for: a file with bare keys is ArcFace's, the same network trained on other inputs.
FEATURES = r"features\.(?:module\.)?"
RULES: tuple[porting.Rule, ...] = (
    *porting.conv(rf"{FEATURES}conv1", "conv1"),
    *porting.norm(rf"{FEATURES}bn1", "bn1"),
    (rf"{FEATURES}prelu\.weight", "params/prelu/slope", "same"),
    *porting.conv(rf"{FEATURES}layer(\d)\.(\d+)\.conv(\d)", r"layer\1_\2/conv\3"),
    *porting.norm(rf"{FEATURES}layer(\d)\.(\d+)\.bn(\d)", r"layer\1_\2/bn\3"),
    (rf"{FEATURES}layer(\d)\.(\d+)\.prelu\.weight", r"params/layer\1_\2/prelu/slope", "same"),
    *porting.conv(rf"{FEATURES}layer(\d)\.0\.downsample\.0", r"layer\1_0/shortcut"),
    *porting.norm(rf"{FEATURES}layer(\d)\.0\.downsample\.1", r"layer\1_0/shortcut_bn"),
    *porting.norm(rf"{FEATURES}bn2", "bn2"),
    *porting.linear(rf"{FEATURES}fc", "fc"),
    *porting.norm(rf"{FEATURES}features", "features"),
    porting.drop(r"(parallel_)?fc\.weight"),  # the classifier that it was trained with, or one device's part of it
)


class PReLU(nn.Module):
    """max(x, 0) + slope · min(x, 0), one slope a channel."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Features -> features."""
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.where(x >= 0, x, slope.reshape((1,) * (x.ndim - 1) + (-1,)) * x)


class Block(nn.Module):
    """BatchNorm, 3×3, BatchNorm, PReLU, 3×3 with the stride, BatchNorm, added to the input; no activation after."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Features -> features."""
        norm = lambda name: blocks.norm(name, train, epsilon=EPSILON)
        conv = lambda side, stride, name: nn.Conv(
            self.width, (side, side), strides=stride, padding=side // 2, use_bias=False, name=name
        )
        y = PReLU(name="prelu")(norm("bn2")(conv(3, 1, "conv1")(norm("bn1")(x))))
        y = norm("bn3")(conv(3, self.stride, "conv2")(y))
        if self.stride > 1:
            x = norm("shortcut_bn")(conv(1, self.stride, "shortcut")(x))
        return x + y


class MagFace(nn.Module):
    """The network; faces of any size, brought to 112×112 inside.

    The blocks are written out one by one: as one scanned block they compile no faster, and on two cores the image's
    gradient takes three times as long.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool = False) -> Float[Array, "b 512"]:
        """RGB in [0, 1] -> embeddings; their lengths are the qualities."""
        norm = lambda name: blocks.norm(name, train, epsilon=EPSILON)
        x = blocks.resize(x, INPUT)[..., ::-1]
        x = nn.Conv(64, (3, 3), padding=1, use_bias=False, name="conv1")(x)
        x = PReLU(name="prelu")(norm("bn1")(x))
        for number, (width, count) in enumerate(LAYERS, start=1):
            for i in range(count):
                x = Block(width, 2 if i == 0 else 1, name=f"layer{number}_{i}")(x, train=train)
        # The fully connected layer's columns are in the order of PyTorch: channel, row, column.
        x = norm("bn2")(x).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        return norm("features")(nn.Dense(512, name="fc")(x))
