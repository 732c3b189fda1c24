"""LPIPS v0.1 (Zhang et al., 2018, arXiv 1801.03924), on AlexNet and VGG-16: how different two images look.

Published as richzhang/PerceptualSimilarity; facts from its lpips/lpips.py @ 082bb24. The activations after five ReLUs
are brought to length 1 over the channels; the distance is their squared difference, weighted by channel, averaged over
the pixels and summed over the five. Images keep their own size and are in [0, 1]: the network itself converts to the
paper's [-1, 1] and applies its shift and scale. The weights are published in two files, torchvision's backbone and the
paper's weights for the channels; the rules take both together.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.experimental import checkify
from jaxtyping import Array, Float

from jfsr.frozen import rules, vgg19
from jfsr.frozen.network import FrozenNetwork, PublishedFile

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # for images in [-1, 1]
EPSILON = 1e-10
LOW, HIGH = -0.1, 1.1  # the overshoot of a generator passes; [-1, 1] and 0-255 do not
# Each convolution's place in torchvision's `features`, width, side, stride, padding; a pooling stands before 3 and 6.
ALEX = ((0, 64, 11, 4, 2), (3, 192, 5, 1, 2), (6, 384, 3, 1, 1), (8, 256, 3, 1, 1), (10, 256, 3, 1, 1))
VGG16 = ((64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28)))
CHANNELS = {"alex": 1152, "vgg": 1472}  # in all five maps together
SMALLEST = {"alex": 31, "vgg": 16}  # a smaller image has no pixel left after the poolings


def _rules(*convolutions: int) -> tuple[rules.Rule, ...]:
    numbers = "|".join(map(str, convolutions))
    return (
        *rules.conv(rf"features\.({numbers})", r"conv\1", bias=True),
        rules.drop(r"classifier\.\d\.(weight|bias)"),
        (r"lin(\d)\.model\.1\.weight", r"params/linear\1", "conv"),
    )


RULES_ALEX = _rules(*(number for number, *_ in ALEX))
RULES_VGG = _rules(*(number for _, numbers in VGG16 for number in numbers))


class LPIPS(nn.Module):
    """The network; images of any size from 31×31 pixels (AlexNet) or 16×16 (VGG-16).

    Attributes:
      backbone: 'alex' or 'vgg'.
    """

    backbone: str = "alex"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """RGB in [0, 1] -> five maps, from whose squared differences :func:`distance` is made.

        They are the activations at length 1, times the square roots of the channels' weights. A negative weight would
        make the distance NaN.

        Raises:
          ValueError: the image is too small.
        """
        if min(x.shape[1:3]) < (least := SMALLEST[self.backbone]):
            raise ValueError(
                f"LPIPS on {self.backbone} needs images of {least}×{least} pixels or more, and these are "
                f"{x.shape[1]}×{x.shape[2]}; enlarge them first"
            )
        shift, scale = (jnp.array(v, x.dtype).reshape(1, 1, 1, 3) for v in (SHIFT, SCALE))
        x = (2 * x - 1 - shift) / scale
        maps = []
        for i, tap in enumerate(_alexnet(x) if self.backbone == "alex" else vgg19.stack(x, VGG16)):
            c = tap.shape[-1]
            weight = self.param(f"linear{i}", nn.initializers.constant(1 / c), (1, 1, c, 1))
            maps.append(unit(tap) * jnp.sqrt(weight).reshape(1, 1, 1, c))
        return tuple(maps)

    def distance(self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
        """LPIPS of each pair of images, RGB in [0, 1]; refuses another range (:func:`check_range`)."""
        check_range(a)
        check_range(b)
        return distance(self(a), self(b))


def _alexnet(x: Float[Array, "b h w 3"]) -> list[Float[Array, "b _ _ _"]]:
    """The activations after AlexNet's five ReLUs; for use inside a compact module."""
    taps: list[Array] = []
    for number, width, side, stride, padding in ALEX:
        x = nn.max_pool(x, (3, 3), strides=(2, 2)) if number in (3, 6) else x
        conv = nn.Conv(width, (side, side), strides=stride, padding=padding, name=f"conv{number}")
        x = nn.relu(conv(x))
        taps.append(x)
    return taps


def unit(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Length 1 over the channels; where all channels are 0 they stay 0, and the gradient is finite."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    dead = square == 0.0
    length = jnp.where(dead, 0.0, jnp.sqrt(jnp.where(dead, 1.0, square)))
    return x / (length + EPSILON)


def distance(a: tuple[Float[Array, "b _ _ _"], ...], b: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, " b"]:
    """LPIPS of each pair of images, from their maps; 0 for equal images, symmetric."""
    pairs = zip(a, b, strict=True)
    return sum((jnp.mean(jnp.sum(jnp.square(p - q), axis=-1), axis=(1, 2)) for p, q in pairs), start=jnp.zeros(()))


def check_range(images: Float[Array | np.ndarray, "b h w 3"]) -> None:
    """Refuses images that are not RGB in [0, 1], with a tolerance of 0.1.

    An error needs concrete values. Inside ``jit``, ``grad`` or ``vmap`` there are none, and this is a
    ``checkify.debug_check``, which reports under ``jax.experimental.checkify.checkify(f)`` and costs nothing elsewhere.
    A caller that scores in a compiled function calls this on the batch first.

    Raises:
      ValueError: values outside [-0.1, 1.1], or not finite.
    """
    message = "LPIPS takes RGB in [0, 1], and these images go from {low} to {high}; scale them ([-1, 1]: (x + 1) / 2)"
    images = jax.lax.stop_gradient(images)  # gives concrete values under an uncompiled gradient
    inside = jnp.all((images >= LOW) & (images <= HIGH))  # False for NaN, which a minimum on a CPU may skip
    low, high = jnp.min(images), jnp.max(images)
    if isinstance(inside, jax.core.Tracer):
        checkify.debug_check(inside, message, low=low, high=high)
    elif not inside:
        raise ValueError(message.format(low=float(low), high=float(high)))


NETWORKS = (
    FrozenNetwork(
        name="lpips_alex",
        kind="perceptual",
        module=LPIPS("alex"),
        input_size=0,
        features=CHANNELS["alex"],
        rules=RULES_ALEX,
        files=(
            PublishedFile(
                "alexnet-owt-7be5be79.pth", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
            ),
            PublishedFile("alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
        ),
        megabytes=244.4,
        licence="BSD-3, BSD-2",
        published="torchvision (AlexNet_Weights.IMAGENET1K_V1) and richzhang/PerceptualSimilarity, lpips/weights/v0.1/",
    ),
    FrozenNetwork(
        name="lpips_vgg",
        kind="perceptual",
        module=LPIPS("vgg"),
        input_size=0,
        features=CHANNELS["vgg"],
        rules=RULES_VGG,
        files=(
            PublishedFile("vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
            PublishedFile("vgg.pth", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
        ),
        megabytes=553.4,
        licence="BSD-3, BSD-2",
        published="torchvision (VGG16_Weights.IMAGENET1K_V1) and richzhang/PerceptualSimilarity, lpips/weights/v0.1/",
    ),
)
