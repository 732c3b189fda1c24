"""Layers that the networks share: convolutions and their initialisers, PixelShuffle, norms, stacks of blocks.

Images and features are NHWC. Every module takes ``dtype``, the type of its computation (``jnp.bfloat16`` or float32);
parameters and running statistics are always float32.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

LEAKY_SLOPE = 0.2
Init = Callable[..., Array]  # (key, shape, dtype) -> array, as in jax.nn.initializers


def as_matrix(init: Init) -> Init:
    """An initialiser that draws a kernel as the matrix [fan_in, fan_out] and reshapes it: the same values.

    XLA on CPU compiles a draw of four axes three to ten times as long as one of two: 2 s for each convolution, 45 s for
    all networks of a small GAN.
    """

    def draw(key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return init(key, (math.prod(shape[:-1]), shape[-1]), dtype).reshape(shape)

    return draw


def normal_init(std: float) -> Init:
    """N(0, std²)."""
    return as_matrix(nn.initializers.normal(std))


# std = 0.1 * sqrt(2 / fan_in): ESRGAN's initial kernels in its dense blocks (arXiv 1809.00219, sec. 3.1).
small_he_init = as_matrix(nn.initializers.variance_scaling(0.1**2 * 2.0, "fan_in", "normal"))
# U(+-1/sqrt(fan_in)): PyTorch's default, which ESRGAN's code keeps for all its other convolutions.
torch_conv_init = as_matrix(nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform"))
# Flax's default.
lecun_init = as_matrix(nn.initializers.lecun_normal())


def leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """LeakyReLU with slope 0.2, the only slope in the four papers; same shape."""
    return nn.leaky_relu(x, LEAKY_SLOPE)


def conv3x3(
    features: int, *, init: Init = torch_conv_init, dtype: Any = jnp.float32, name: str | None = None
) -> nn.Conv:
    """A 3×3 convolution with bias, stride 1, zero padding 1: [b, h, w, c] -> [b, h, w, features]."""
    return nn.Conv(features, (3, 3), padding=1, kernel_init=init, dtype=dtype, name=name)


class Deconv(nn.Module):
    """A 4×4 transposed convolution with stride 2 and bias: same parameters and result as `nn.ConvTranspose`.

    An output sub-pixel depends on 2×2 inputs. The layer is therefore computed as one plain 2×2 convolution to four
    times the channels, which are then interleaved. On CPU, XLA differentiates this six to nine times faster than the
    dilated convolution of `nn.ConvTranspose` (benchmarks/deconv.py).

    Attributes:
      features: output channels.
      dtype: type of the computation.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h_out w_out features"]:
        """[b, h, w, c] -> [b, 2h, 2w, features]."""
        b, h, w, c = x.shape
        kernel = self.param("kernel", lecun_init, (4, 4, c, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = (v.astype(self.dtype) for v in (x, kernel, bias))
        # Along each axis, tap 2d + p of the kernel connects sub-pixel p to input d of its two inputs.
        taps = kernel.reshape(2, 2, 2, 2, c, self.features).transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, -1)
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = jax.lax.conv_general_dilated(padded, taps, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = y.reshape(b, h + 1, w + 1, 2, 2, self.features)
        rows = jnp.stack([y[:, :h, :, 0], y[:, 1:, :, 1]], axis=2).reshape(b, 2 * h, w + 1, 2, self.features)
        out = jnp.stack([rows[:, :, :w, 0], rows[:, :, 1:, 1]], axis=3).reshape(b, 2 * h, 2 * w, self.features)
        return out + bias[None, None, None]


def pixel_shuffle(x: Float[Array, "b h w c_in"], factor: int = 2) -> Float[Array, "b h_out w_out c_out"]:
    """Moves channels to space: [b, h, w, c·r²] -> [b, h·r, w·r, c] with r = ``factor`` (arXiv 1609.05158).

    Input channel c·r² + i·r + j becomes channel c of the sub-pixel at row i, column j. This is PyTorch's order, so that
    ported kernels need no permutation.

    Raises:
      ValueError: the number of channels is not a multiple of r².
    """
    b, h, w, c = x.shape
    if c % factor**2:
        raise ValueError(f"pixel_shuffle({factor}) needs a multiple of {factor**2} channels, got {c}")
    x = x.reshape(b, h, w, c // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * factor, w * factor, c // factor**2)


def upsample_nearest(x: Float[Array, "b h w c"], factor: int = 2) -> Float[Array, "b h_out w_out c"]:
    """Repeats every pixel ``factor`` times along both axes."""
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


class BatchNorm(nn.Module):
    """BatchNorm over all axes but the last, with statistics of the whole batch, over all devices.

    Attributes:
      axis_name: the mapped axis over which mean and variance are averaged. With ``train=True``, a call outside a `pmap`
        or `shard_map` that binds the axis raises JAX's "unbound axis name" error. None keeps the statistics local.
        Initialisation needs no axis.
      momentum: weight of the old running average (0.9 is PyTorch's momentum 0.1).
      epsilon: added to the variance.
      dtype: the type of the result; the statistics are float32.
    """

    axis_name: str | None = "data"
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b c"], *, train: bool = True, update_stats: bool = True
    ) -> Float[Array, "*b c"]:
        """Normalises by the batch's statistics if ``train``, else by the running statistics.

        The running statistics change only with both ``train`` and ``update_stats``; ``apply`` then needs
        ``mutable=['batch_stats']``.
        """
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name="norm",
        )
        if not train or update_stats or self.is_initializing():
            return norm(x)
        # Linen's BatchNorm updates its running averages whenever it uses the batch's statistics. Here it updates a
        # detached copy of its variables, which is thrown away.
        y, _ = norm.clone(parent=None, name=None).apply(norm.variables, x, mutable=["batch_stats"])
        return y


def spectral_conv(
    x: Float[Array, "b h w c_in"], conv: nn.Conv, *, update_stats: bool, name: str | None = None
) -> Float[Array, "b h_out w_out c_out"]:
    """Applies ``conv`` with its kernel divided by the largest singular value of the matrix [kh·kw·c_in, c_out].

    Each call does one step of power iteration (arXiv 1802.05957, Algorithm 1) from the vector u in ``batch_stats``; the
    new u is stored only if ``update_stats``. Call it inside a compact ``__call__``.
    """
    return nn.SpectralNorm(conv, n_steps=1, name=name)(x, update_stats=update_stats)


_ROLLED = contextvars.ContextVar("rolled", default=False)


@contextlib.contextmanager
def rolled() -> Iterator[None]:
    """Here, what is traced on a CPU for all platforms has loops, see :func:`resolve_unroll`."""
    token = _ROLLED.set(True)
    try:
        yield
    finally:
        _ROLLED.reset(token)


def resolve_unroll(unroll: int | None, length: int) -> int:
    """Number of blocks (of ``length``) in one iteration of the compiled loop; 0 means all blocks and no loop.

    None chooses by the platform at tracing time. On CPU: 0, because XLA differentiates a loop over convolutions about
    25 times slower than straight code. On GPU and TPU, and inside :func:`rolled`: 1, because a loop is as fast there
    and compiles in a fraction of the time.
    """
    if unroll is None:
        unroll = 0 if jax.default_backend() == "cpu" and not _ROLLED.get() else 1
    # For one block and unroll=1, `lax.scan` would keep a loop of one iteration, with the slow derivative.
    return 0 if unroll >= length else unroll


def stack_blocks(
    block: nn.Module, x: Float[Array, "b h w c"], *, length: int, unroll: int | None = None
) -> Float[Array, "b h w c"]:
    """Applies ``length`` copies of ``block`` one after the other, each with its own parameters: x -> block_n(...(x)).

    The parameters are one tree: that of ``block``, with a leading axis ``length`` on every leaf. It does not depend on
    ``unroll``, and so neither does a checkpoint. Initialisation always uses the rolled loop: compiling the unrolled one
    takes minutes, and its output is not used.

    Args:
      block: a bound or unbound module, ``block(x)`` -> same shape and type. Its only variables are parameters.
      x: features.
      length: number of copies, at least 1.
      unroll: see :func:`resolve_unroll`.
    """
    initializing = block.is_initializing()
    scan = nn.scan(
        lambda block, carry, _: (block(carry), None),
        variable_axes={"params": 0},
        split_rngs={"params": True},
        length=length,
        unroll=1 if initializing else resolve_unroll(unroll, length),
    )
    return scan(block, x, None)[0]
