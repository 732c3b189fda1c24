"""MagFace (Meng et al., 2021, arXiv 2103.06627) on an iResNet-100: 512 numbers; their length is the face's quality.

Published as IrvingMeng/MagFace; facts from its models/iresnet.py and inference/ @ 99bae61; 65,156,160 parameters. BGR
in [0, 1], 112×112, aligned to ArcFace's five points. The embedding is not normalised: its direction is the identity, to
be compared by cosine, and its length, trained to lie within 10 and 110, grows with the quality of the image.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen import blocks, rules
from jfsr.frozen.network import FrozenNetwork, PublishedFile

INPUT = 112
EPSILON = 2e-5  # for every BatchNorm
LAYERS = ((64, 3), (128, 13), (256, 30), (512, 3))  # width, blocks; the first block of each halves the image

# The files' prefix after training with DistributedDataParallel, or with DataParallel (whose own `module.` is already
# removed). It is required: a file with bare keys is ArcFace's, which is the same network trained on other inputs.
FEATURES = r"features\.(?:module\.)?"
RULES: tuple[rules.Rule, ...] = (
    *rules.conv(rf"{FEATURES}conv1", "conv1"),
    *rules.norm(rf"{FEATURES}bn1", "bn1"),
    (rf"{FEATURES}prelu\.weight", "params/prelu/slope", "same"),
    *rules.conv(rf"{FEATURES}layer(\d)\.(\d+)\.conv(\d)", r"layer\1_\2/conv\3"),
    *rules.norm(rf"{FEATURES}layer(\d)\.(\d+)\.bn(\d)", r"layer\1_\2/bn\3"),
    (rf"{FEATURES}layer(\d)\.(\d+)\.prelu\.weight", r"params/layer\1_\2/prelu/slope", "same"),
    *rules.conv(rf"{FEATURES}layer(\d)\.0\.downsample\.0", r"layer\1_0/shortcut"),
    *rules.norm(rf"{FEATURES}layer(\d)\.0\.downsample\.1", r"layer\1_0/shortcut_bn"),
    *rules.norm(rf"{FEATURES}bn2", "bn2"),
    *rules.linear(rf"{FEATURES}fc", "fc"),
    *rules.norm(rf"{FEATURES}features", "features"),
    rules.drop(r"(parallel_)?fc\.weight"),  # the classifier of its training, or one device's part of it
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

    The blocks are unrolled: one scanned block compiles no faster, and on two cores the gradient with respect to the
    image takes three times as long.
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
        # The fully connected layer expects PyTorch's order: channel, row, column.
        x = norm("bn2")(x).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        return norm("features")(nn.Dense(512, name="fc")(x))


NETWORKS = (
    FrozenNetwork(
        name="magface",
        kind="identity",
        module=MagFace(),
        input_size=INPUT,
        features=512,
        rules=RULES,
        files=(
            PublishedFile(
                "magface_epoch_00025.pth", "cfeba792dada6f1f30d1e118aff077d493dd95dd76c77c30f57f90fd0164ad58"
            ),
        ),
        megabytes=283.0,
        licence="see its LICENSE",
        published="IrvingMeng/MagFace on GitHub, by the link to iResNet100 on MS1MV2 in its README",
    ),
)
