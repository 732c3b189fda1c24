"""Shared by the ported networks: resizing, normalisation, BatchNorm, and convolutions that are fast on a CPU.

The parameters have the shapes of ordinary convolutions, kernels HWIO. Only the arithmetic is our own: a frozen network
runs forward and backward inside every training step, and XLA's grouped convolutions use one core of a CPU
(benchmarks/frozen.py).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet(x: Float[Array, "b h w 3"], size: int) -> Float[Array, "b size size 3"]:
    """RGB in [0, 1] at size × size pixels (bilinear, antialiased if shrunk), normalised as for ImageNet."""
    x = jax.image.resize(x, (x.shape[0], size, size, 3), "bilinear")
    mean, std = (jnp.array(v, x.dtype).reshape(1, 1, 1, 3) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (x - mean) / std


def resize(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b size size c"]:
    """Images at size × size pixels, bilinear, antialiased if shrunk; images of that size already stay as they are."""
    return jax.image.resize(x, (x.shape[0], size, size, x.shape[-1]), "bilinear")


def norm(name: str, train: bool, *, epsilon: float = 1e-5) -> nn.BatchNorm:
    """BatchNorm with PyTorch's epsilon: running statistics or, if ``train``, those of the batch on all devices."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=epsilon, axis_name="data", name=name)


class Pointwise(nn.Module):
    """1×1 convolution without bias, written as one matrix product.

    Attributes:
      width: number of output channels.
      groups: number of groups; channels mix only within a group, and the matrix is zero elsewhere.
    """

    width: int
    groups: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Mixes the channels of each pixel."""
        shape = (1, 1, x.shape[-1] // self.groups, self.width)
        matrix = self.param("kernel", nn.initializers.lecun_normal(), shape)[0, 0]
        if self.groups > 1:
            blocks = matrix.reshape(matrix.shape[0], self.groups, -1)
            matrix = jnp.einsum("gh,iho->giho", jnp.eye(self.groups, dtype=x.dtype), blocks)
        return x @ matrix.reshape(x.shape[-1], self.width)


class Depthwise(nn.Module):
    """Depthwise convolution without bias, with PyTorch's symmetric padding.

    Attributes:
      kernel: side of the filter.
      stride: step between outputs, in pixels.
      padding: zero pixels added on each side.
    """

    kernel: int
    stride: int = 1
    padding: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Filters each channel by itself."""
        shape = (self.kernel, self.kernel, 1, x.shape[-1])
        weight = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return depthwise(x, weight, self.stride, self.padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: Float[Array, "b h w c"], weight: Float[Array, "k k 1 c"], stride: int, padding: int
) -> Float[Array, "b h2 w2 c"]:
    """Depthwise convolution as a sum of shifted products, and its gradients in the same form.

    On two cores it is over ten times faster than XLA's grouped convolution, and so is its input gradient; the
    gradient that JAX would derive from the shifted products takes 1.5 to 5 times as long as the one below.
    """
    h, w = ((n + 2 * padding - weight.shape[0]) // stride + 1 for n in x.shape[1:3])
    return _filter(_pad(x, padding), weight, stride, h, w)


def _pad(x: Array, padding: int) -> Array:
    return jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def _taps(x: Array, k: int, stride: int, h: int, w: int) -> Iterator[Array]:
    """For each of the filter's k·k entries, row by row, the pixels that it multiplies."""
    for i in range(k):
        for j in range(k):
            yield x[:, i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride]


def _filter(x: Array, weight: Array, stride: int, h: int, w: int) -> Array:
    k = weight.shape[0]
    first, *others = (t * v for t, v in zip(_taps(x, k, stride, h, w), weight.reshape(k * k, 1, 1, 1, -1), strict=True))
    return sum(others, start=first)


def _depthwise_forward(x: Array, weight: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, weight, stride, padding), (x, weight)


def _depthwise_backward(stride: int, padding: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, weight = saved
    k, (h, w) = weight.shape[0], x.shape[1:3]
    # The transpose of a strided filter: the gradient, spread out by the stride, under the filter turned by 180°.
    before = k - 1 - padding
    after = [n + padding - 1 - (m - 1) * stride for n, m in zip((h, w), dy.shape[1:3], strict=True)]
    spread = [(0, 0, 0), *((before, a, stride - 1) for a in after), (0, 0, 0)]
    dx = _filter(jax.lax.pad(dy, jnp.zeros((), dy.dtype), spread), weight[::-1, ::-1], 1, h, w)
    # A frozen network never uses the weight's gradient, and jit leaves out what is not used.
    taps = _taps(_pad(x, padding), k, stride, *dy.shape[1:3])
    return dx, jnp.stack([jnp.sum(t * dy, axis=(0, 1, 2)) for t in taps]).reshape(weight.shape)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)
